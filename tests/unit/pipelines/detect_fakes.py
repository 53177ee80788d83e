"""A broker in memory, lanes of one-second ticks and a clock: what the detect loop runs on in unit tests.

Everything that leaves the loop is written into one journal, so that a test can read the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import structlog
import structlog.testing

from detectors.blocks import Blocks, Part, whole, whole_of
from pipelines.detect.control import Control
from pipelines.detect.intake import Intake
from pipelines.detect.loop import DetectLoop
from pipelines.detect.ports import Change, Envelope, TickOutput, TopicPartition
from pipelines.errors import Failure
from pipelines.kafka_transactions import StuckTransactionError
from pipelines.settings import StreamSettings
from schemas.activity import Activity
from schemas.alerts import Alert, Signal
from schemas.deadletters import DeadLetter
from schemas.events import Enforcement, Event, Release, Request, Response, encode_event
from schemas.evidence import Evidence, Watermark

TICK_MS = 1000
TOPICS = ("requests", "responses", "accounts")
ROLES = {topic: topic for topic in (*TOPICS, "control")}

Journal = list[tuple[Any, ...]]


class BoomError(RuntimeError):
    """The failure that a test asked for."""


@dataclass
class FakeClock:
    """Seconds that pass when a test says so."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Tick:
    """What a closed tick of a :class:`FakeLane` says; `ids` are the events that were in it."""

    tick: int
    evidence: Sequence[Evidence]
    ids: list[str]
    signals: Sequence[Signal] = ()
    alerts: Sequence[Alert] = ()
    activity: Sequence[Activity] = ()


class FakeFrame:
    """Events themselves instead of columns."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = list(events)

    def __len__(self) -> int:
        return len(self.events)

    def take(self, indices: Any) -> FakeFrame:
        return FakeFrame([self.events[int(index)] for index in indices])


class FakeBuilder:
    """Counts how often features were computed."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def build(self, events: Sequence[Event]) -> FakeFrame:
        self.sizes.append(len(events))
        return FakeFrame(events)


class FakeLane:
    """Holds events by tick and gives back their ids when the tick closes."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.open: dict[int, list[str]] = {}
        self.seen: list[str] = []
        self.done: list[str] = []
        self.late: list[str] = []
        self.closed = 0
        self.most_pending = 0
        self.waiting = 0
        self.evicted = 0

    @property
    def pending(self) -> int:
        return sum(map(len, self.open.values()))

    def offer(self, frame: FakeFrame) -> None:
        for event in frame.events:
            name = name_of(event)
            self.seen.append(name)
            end = event.ts // TICK_MS * TICK_MS + TICK_MS
            if end <= self.closed:
                self.late.append(name)
            else:
                self.open.setdefault(end, []).append(name)
        self.most_pending = max(self.most_pending, self.pending)

    def close_until(self, watermark: int) -> Iterator[TickOutput]:
        for end in sorted(end for end in self.open if end <= watermark):
            ids = self.open.pop(end)
            self.done += ids
            self.closed = end
            yield Tick(end, [Watermark(source=self.partition, ts=end)], ids)

    def flush(self) -> Iterator[TickOutput]:
        yield from self.close_until(max(self.open, default=0))

    @property
    def layout(self) -> str:
        return "fake lane"

    def parts(self) -> dict[str, Part]:
        return {"lane": whole(msgspec.msgpack.encode((self.closed, self.done)))}

    def restore_parts(self, parts: Blocks) -> None:
        self.closed, self.done = msgspec.msgpack.decode(whole_of(parts["lane"]), type=tuple[int, list[str]])


def name_of(event: Event) -> str:
    match event:
        case Request():
            return event.id
        case Response():
            return f"re-{event.request_id}"
        case Enforcement():
            return f"{event.action}-{event.account}"
        case Release():
            return f"release-{event.model}"
        case _:
            return f"account-{event.account}"


@dataclass
class FakeSource:
    """Topics in memory, one member of a group."""

    journal: Journal
    records: dict[TopicPartition, list[tuple[bytes | None, bytes | None]]] = field(default_factory=dict)
    stored: dict[TopicPartition, int] = field(default_factory=dict)
    noted: dict[TopicPartition, str] = field(default_factory=dict)
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    paused: set[TopicPartition] = field(default_factory=set)
    pending_changes: list[Change] = field(default_factory=list)
    away: bool = False
    unread_at_once: int = 10_000
    _kept: dict[TopicPartition, int] = field(default_factory=dict)

    def append(self, topic: str, partition: int, value: bytes | None, key: bytes | None = None) -> None:
        self.records.setdefault((topic, partition), []).append((key, value))

    def event(self, topic: str, partition: int, event: Event) -> None:
        self.append(topic, partition, encode_event(event))

    def assign(self, *partitions: int, topics: Sequence[str] = TOPICS) -> None:
        """As kafka-python does it: what was ours before keeps its position and its pause."""
        chosen = frozenset((topic, partition) for topic in topics for partition in partitions)
        self.positions = {one: self._kept.get(one, self.stored.get(one, 0)) for one in chosen}
        self.paused &= set(self._kept)
        self._kept = {}
        self.pending_changes.append(Change("assigned", chosen))

    def revoke(self, kind: Any = "revoked") -> None:
        self.pending_changes.append(Change(kind, frozenset(self.positions)))
        self._kept = self.positions if kind == "revoked" else {}
        self.positions = {}

    def poll(self, timeout_ms: int, max_records: int) -> list[Envelope]:
        envelopes = []
        for one in sorted(self.positions):
            if one in self.paused:
                continue
            rows = self.records.get(one, [])
            stop = min(self.positions[one] + self.unread_at_once, len(rows), self.positions[one] + max_records)
            for offset in range(self.positions[one], stop):
                key, value = rows[offset]
                envelopes.append(Envelope(topic=one[0], partition=one[1], offset=offset, key=key, value=value))
            self.positions[one] = stop
        return envelopes

    def changes(self) -> list[Change]:
        changes, self.pending_changes = self.pending_changes, []
        return changes

    def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    def end(self, partition: TopicPartition) -> int:
        return len(self.records.get(partition, []))

    def refresh_ends(self, partitions: Iterable[TopicPartition]) -> bool:
        return not self.away

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        return {one: self.stored.get(one) for one in partitions}

    def notes(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return {one: self.noted.get(one, "") for one in partitions}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused -= set(partitions)


@dataclass
class FakeControlSource:
    """Control records in memory."""

    rows: list[bytes] = field(default_factory=list)
    at: int = 0
    stored: int = 0

    def poll(self) -> list[Envelope]:
        found = [
            Envelope(topic="control", partition=0, offset=offset, key=None, value=self.rows[offset])
            for offset in range(self.at, len(self.rows))
        ]
        self.at = len(self.rows)
        return found

    def reported(self) -> int:
        return self.stored

    def report(self, offset: int) -> None:
        self.stored = offset


@dataclass
class FakeChangelog:
    """Transactions and state in memory; `fail_at` names the call that fails, `refuse` plays a rebalance.

    So many of the next commits hang as `stuck` says, and so many of the next clients find no broker as `away` says.

    What is committed comes into the journal, in its order, and `state` holds the newest record of each key.
    """

    journal: Journal
    source: FakeSource
    state: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    fail_at: str | None = None
    refuse: bool = False
    stuck: int = 0
    away: int = 0
    opened: int = 0
    owners: dict[int, int] = field(default_factory=dict)
    takes: Callable[[], None] = lambda: None
    group: str = "group"

    def open(self, partition: int) -> FakeWriter:
        if self.away:
            self.away -= 1
            raise Failure("no broker answers")
        self.opened += 1
        self.owners[partition] = self.owners.get(partition, 0) + 1
        return FakeWriter(self, partition, self.owners[partition])

    def read(self, partition: int) -> dict[bytes, bytes]:
        return dict(self.state.get(partition, {}))


@dataclass
class FakeWriter:
    """One partition's transaction."""

    log: FakeChangelog
    partition: int
    owner: int
    queued: Journal = field(default_factory=list)

    def _put(self, name: str, *what: Any) -> None:
        if self.log.fail_at == name:
            raise BoomError(name)
        self.queued.append((name, *what))

    def put_letter(self, letter: DeadLetter) -> None:
        self._put("letter", letter)

    def put_evidence(self, evidence: Evidence) -> None:
        self._put("evidence", evidence)

    def put_tick(self, output: TickOutput) -> None:
        assert isinstance(output, Tick)
        self._put("tick", output.tick, sorted(output.ids))

    def put_state(self, key: bytes, value: bytes | None) -> None:
        self._put("state", self.partition, key, value)

    def commit(self, offsets: Mapping[TopicPartition, int], note: str) -> bool:
        self._put("commit", dict(offsets))
        self.log.takes()
        if self.log.stuck:
            self.log.stuck -= 1
            raise StuckTransactionError("as asked")
        queued, self.queued = self.queued, []
        if self.log.refuse or self.log.owners[self.partition] != self.owner:
            return False
        self.log.journal += queued
        self.log.source.stored.update(offsets)
        self.log.source.noted.update(dict.fromkeys(offsets, note))
        held = self.log.state.setdefault(self.partition, {})
        for entry in queued:
            if entry[0] == "state" and entry[3] is None:
                held.pop(entry[2], None)
            elif entry[0] == "state":
                held[entry[2]] = entry[3]
        return True

    def close(self) -> None:
        self.queued = []


class Rig:
    """A loop with all of its surroundings."""

    def __init__(self, **settings: Any) -> None:
        self.journal: Journal = []
        self.source = FakeSource(self.journal)
        self.control = FakeControlSource()
        self.changelog = FakeChangelog(self.journal, self.source)
        self.config = "config"
        self.builder = FakeBuilder()
        self.clock = FakeClock()
        self.lanes: list[FakeLane] = []
        self.told = structlog.testing.LogCapture()
        self.settings = StreamSettings(**{"idle_close_ms": 2_000, "max_skew_ms": 5_000, "checkpoint_ms": 0, **settings})
        self.loop = self.restart()

    def restart(self) -> DetectLoop:
        """A new worker over the same broker."""
        self.control.at = 0
        self.source.positions = {}
        self.source.paused = set()
        intake = Intake(ROLES, max_bytes=100_000, max_future_s=60, wall=lambda: 10_000.0)
        self.loop = DetectLoop(
            source=self.source,
            control=Control(self.control, intake, self.settings.partitions),
            intake=intake,
            topics=TOPICS,
            builder=self.builder,
            new_lane=self._lane,
            changelog=self.changelog,
            config=self.config,
            settings=self.settings,
            steady=self.clock,
            log=structlog.wrap_logger(structlog.PrintLogger(), processors=[self.told]),
        )
        return self.loop

    def _lane(self, partition: int) -> FakeLane:
        self.lanes.append(FakeLane(partition))
        return self.lanes[-1]

    def step(self, times: int = 1, *, seconds: float = 0.0) -> None:
        """Step; `seconds` pass before each step."""
        for _ in range(times):
            self.clock.now += seconds
            self.loop.step()

    def entries(self, kind: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.journal if entry[0] == kind]

    @property
    def ids(self) -> list[str]:
        """Events in closed ticks, in the order of the ticks that were put out."""
        return [name for entry in self.entries("tick") for name in entry[2]]


def request(name: str, ts: int, account: str = "a") -> Request:
    return Request(id=name, ts=ts, account=account, model="m")


def response(name: str, ts: int, account: str = "a") -> Response:
    return Response(request_id=name, ts=ts, account=account, model="m")


def rows(values: Sequence[int]) -> Any:
    return np.asarray(values, dtype=np.int64)


def fill(rig: Rig, count: int, *, partition: int = 0, start: int = 0, every_ms: int = 100) -> None:
    """Requests r0, r1, …, `every_ms` apart, and the response of each 50 ms later."""
    for number in range(start, start + count):
        rig.source.event("requests", partition, request(f"r{number}", number * every_ms))
        rig.source.event("responses", partition, response(f"r{number}", number * every_ms + 50))


def drain(rig: Rig) -> None:
    """Step until everything is idle and committed."""
    for _ in range(200):
        rig.step(seconds=0.5)
        if rig.loop.done:
            return
    raise AssertionError("the loop does not come to its end")
