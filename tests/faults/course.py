"""One course over events that lie on the broker: workers that read them, and what is done to the workers meanwhile."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from infra.kafka.broker import Broker
from pipelines.store import open_store
from tests.conftest import Endpoint
from tests.faults import outcome
from tests.faults.offsets import Audit, Books
from tests.faults.workers import DETECT_WORKERS, LOST_STATE, Worker, counted, fleet, write_config

_LOOK_S: Final = 0.2
_ASK_S: Final = 1.0
# Some kills do not wait until the worker is ready, and hit it while it starts, joins or restores.
_EARLY_SHARE: Final = 0.15
_EARLY_S: Final = 8.0
# Where in the input an outage begins.
_OUTAGE_AT: Final = 0.3
# Records and marks that a group is behind while it keeps up.
_KEEPS_UP: Final = 2_000
# Without any commit for so long something is stuck.
_STUCK_S: Final = 600.0
_FINISH_S: Final = 1_800.0


class Outage(Struct, frozen=True):
    """`what` (clickhouse or broker) is killed in the course of the run, and back after so many seconds."""

    what: str
    seconds: float


class Plan(Struct, frozen=True):
    """What is done to a course; nothing in an undisturbed one.

    Attributes:
        seed: of the moments of kills.
        kills: shared out among the workers.
        life_s: the longest that a worker lives between being ready and its next kill, drawn evenly up to here; in the
            end that depends on how fast the input is used up.
    """

    seed: int = 0
    kills: int = 0
    life_s: float = 12.0
    outages: tuple[Outage, ...] = ()


class OutageReport(Struct, frozen=True):
    """Times from the return of what was away: until detect commits again, until the sink has what waited for it."""

    what: str
    seconds: float
    resumed_s: float | None
    caught_up_s: float | None
    backlog_before: int
    backlog_most: int


class Lives(Struct, frozen=True):
    """What became of one worker."""

    kills: int
    recovery_s: list[float]
    rss_max_mb: float
    exits: list[int]
    problems: dict[str, int]


class CourseReport(Struct, frozen=True):
    """One course; `kills_during_input` are those before the last event was read and committed."""

    seconds: float
    input_seconds: float
    kills_during_input: int
    workers: dict[str, Lives]
    outages: list[OutageReport]
    offset_checks: int
    overruns: list[str]
    lost_states: int
    uncommitted: int


class Course:
    """Two detect workers, correlate and a sink over one set of input topics, with outputs of their own.

    Args:
        endpoint: a running ClickHouse with no tables.
        topics: names by role; the outputs are this course's alone.
        session_s: how long a killed worker's partitions wait for another one.
        detectors: content of `detectors.toml`. prelude: Python that runs in each worker before its command.
        advance: told the share of the input that is committed, whenever it is looked at.
    """

    def __init__(
        self,
        broker: Broker,
        endpoint: Endpoint,
        topics: Mapping[str, str],
        folder: Path,
        plan: Plan,
        *,
        group: str,
        checkpoint_ms: int = 1_000,
        session_s: int = 10,
        detectors: str = "",
        prelude: str = "",
        advance: Callable[[float], object] = lambda share: None,
    ) -> None:
        self._broker, self._endpoint, self._plan, self._advance = broker, endpoint, plan, advance
        self._config = write_config(
            folder,
            broker.bootstrap,
            topics,
            group,
            checkpoint_ms=checkpoint_ms,
            session_s=session_s,
            detectors=detectors,
        )
        self.workers = fleet(self._config, folder, endpoint.dsn, prelude=prelude)
        self._books = Books(broker.bootstrap, topics, group)
        self._audit = Audit(self._books, broker.bootstrap, topics, group)
        self._killers = killers(self.workers, plan)
        self._progress = 0.0
        self._asked_at = 0.0
        self._moved_at = time.monotonic()
        self._away: str | None = None

    def run(self) -> CourseReport:
        """From the start of the workers until everything is in ClickHouse."""
        began = time.monotonic()
        outages = list(self._plan.outages)
        reports: list[OutageReport] = []
        with contextlib.ExitStack() as stack:
            stack.callback(self._books.close)
            stack.callback(self._audit.close)
            for worker in self.workers:
                stack.callback(worker.stop)
                worker.start()
            during = 0
            while self._progress < 1.0 or outages or any(killer.left for killer in self._killers):
                self._step()
                during = sum(worker.kills for worker in self.workers) if self._progress < 1.0 else during
                if outages and self._progress >= _OUTAGE_AT:
                    reports.append(self._go_through(outages.pop(0)))
            input_seconds = time.monotonic() - began
            for worker in self.workers:
                worker.stop()
            for worker in (self.workers[0], *self.workers[DETECT_WORKERS:]):
                worker.finish(_FINISH_S)
            uncommitted = self._books.backlog("detect")
            self._check("correlate")
            self._check("sink")
        return CourseReport(
            seconds=time.monotonic() - began,
            input_seconds=input_seconds,
            kills_during_input=during,
            workers={worker.name: _lives(worker) for worker in self.workers},
            outages=reports,
            offset_checks=self._audit.checks,
            overruns=self._audit.overruns,
            lost_states=sum(worker.logs().count(LOST_STATE) for worker in self.workers),
            uncommitted=-1 if uncommitted is None else uncommitted,
        )

    def outcome(self) -> outcome.Outcome:
        """What it left."""
        with open_store(self._endpoint.dsn) as store:
            return outcome.read(store)

    def _step(self) -> None:
        time.sleep(_LOOK_S)
        for worker in self.workers:
            worker.look()
        if self._away != "broker" and time.monotonic() - self._asked_at >= _ASK_S:
            self._ask()
        for killer in self._killers:
            if self._away is None and killer.is_due(self._progress):
                killer.kill()
                self._check(killer.worker.role)

    def _ask(self) -> None:
        before, self._asked_at = self._progress, time.monotonic()
        share = self._books.share("detect")
        if share is not None:
            self._progress = share
            self._advance(share)
        if self._progress != before:
            self._moved_at = time.monotonic()
        elif self._progress < 1.0 and time.monotonic() - self._moved_at > _STUCK_S:
            raise RuntimeError(f"no input was committed for {_STUCK_S:.0f} s, {self._progress:.1%} are done")

    def _check(self, role: str) -> None:
        from kafka.errors import RetriableError

        # A broker that has just come back may not have its groups yet; then this kill goes without a check.
        with contextlib.suppress(RetriableError, TimeoutError):
            if role == "correlate":
                self._audit.correlate()
            elif role == "sink":
                with open_store(self._endpoint.dsn) as store:
                    self._audit.sink(partial(outcome.stored_alerts, store))

    def _go_through(self, outage: Outage) -> OutageReport:
        before = max(self._books.backlog("sink") or 0, _KEEPS_UP)
        at, most = self._progress, before
        self._away = outage.what
        if outage.what == "broker":
            self._books.close()
            self._audit.close()
        (self._endpoint if outage.what == "clickhouse" else self._broker).kill()
        until = time.monotonic() + outage.seconds
        while time.monotonic() < until:
            self._step()
            if outage.what != "broker":
                most = max(most, self._books.backlog("sink") or 0)
        (self._endpoint if outage.what == "clickhouse" else self._broker).start()
        self._away, back = None, time.monotonic()
        resumed = caught_up = None
        if outage.what == "clickhouse":
            at = -1.0
        while resumed is None or caught_up is None:
            self._step()
            waiting = self._books.backlog("sink")
            most = max(most, waiting or 0)
            if resumed is None and (self._progress > at or self._progress == 1.0):
                resumed = time.monotonic() - back
            if resumed is not None and waiting is not None and waiting <= before:
                caught_up = time.monotonic() - back
            if time.monotonic() - back > _STUCK_S:
                break
        return OutageReport(outage.what, outage.seconds, resumed, caught_up, before, most)


class Killer:
    """The kills of one worker, at moments drawn from the seed and slowed or hurried to last as long as the input.

    Attributes:
        left: kills to come.
        early: the next one does not wait until the worker is ready.
        wait: seconds from then, or from the start, to the next kill.
    """

    def __init__(self, worker: Worker, count: int, life_s: float, rng: random.Random) -> None:
        self.worker = worker
        self.left = count
        self._count = count
        self._life_s = life_s
        self._rng = rng
        self._draw()

    def _draw(self) -> None:
        self.early = self._rng.random() < _EARLY_SHARE
        self.wait = self._rng.uniform(0.0, _EARLY_S if self.early else self._life_s)

    def is_due(self, progress: float) -> bool:
        """Is it time, with this share of the input committed?"""
        if not self.left or self.worker.pid is None:
            return False
        now = time.monotonic()
        if self.early:
            return now >= self.worker.started_at + self.wait
        done = (self._count - self.left + 1) / self._count
        pace = min(max(done / max(progress, 0.01), 0.1), 4.0)
        return self.worker.ready_at is not None and now >= self.worker.ready_at + self.wait * pace

    def kill(self) -> None:
        """Do it, and draw the next."""
        self.worker.kill()
        self.left -= 1
        self._draw()


def killers(workers: list[Worker], plan: Plan) -> list[Killer]:
    """The plan's kills shared out evenly, each worker with random numbers of its own."""
    share, more = divmod(plan.kills, len(workers))
    return [
        Killer(worker, share + (n < more), plan.life_s, random.Random(f"{plan.seed} {worker.name}"))
        for n, worker in enumerate(workers)
    ]


def _lives(worker: Worker) -> Lives:
    return Lives(
        kills=worker.kills,
        recovery_s=worker.recoveries,
        rss_max_mb=worker.rss_max / 2**20,
        exits=worker.exits,
        problems=counted(worker.problems()),
    )
