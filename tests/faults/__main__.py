"""`python -m tests.faults --kills 200 --out build/faults.json`: `make faults`."""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from infra.kafka.broker import Broker
from infra.topics import create_topics
from pipelines.config import load_config
from pipelines.progress import Progress
from pipelines.simulate import load_prompts
from schemas.events import Event
from tests.benchmarks.arena.contract import written
from tests.benchmarks.arena.progress import Clock, Lines
from tests.conftest import Endpoint
from tests.faults.course import Course, CourseReport, Outage, Plan
from tests.faults.events import Feed, repeated
from tests.faults.outcome import Outcome
from tests.faults.soak import soak
from tests.faults.verdict import judged, recovery

# Four medians of half a minute in the second half, and some room.
_SHORTEST_SOAK: Final = 5
INPUTS: Final = ("requests", "responses", "accounts", "control")


class Bench:
    """A broker with the events on it; each course gets outputs and a ClickHouse of its own."""

    def __init__(self, options: argparse.Namespace, folder: Path, broker: Broker, tell: Clock) -> None:
        self.options, self.folder, self.broker, self.tell = options, folder, broker, tell
        self._names = itertools.count(1)
        self.inputs = create_topics(broker.bootstrap, prefix="in.")

    def events(self) -> Iterator[Event]:
        """The traffic, without end."""
        options = self.options
        prompts = load_prompts(options.cache, wheels=None, data=None)
        return repeated(prompts, seed=options.seed, accounts=options.accounts, compress=options.compress)

    def fill(self) -> int:
        """Put the events on the broker; how many requests are among them."""
        feed = Feed(self.broker, self.inputs)
        with self.bar("events to the broker", self.options.events) as advance:
            for event in itertools.islice(self.events(), self.options.events):
                feed.send(event)
                advance(1)
            feed.close()
        return len(feed.requests)

    def course(self, what: str, plan: Plan) -> tuple[CourseReport, Outcome]:
        """Run one, and look at what it left."""
        with self.place() as (name, folder, endpoint), self.bar(what, self.options.events) as advance:
            topics = create_topics(self.broker.bootstrap, prefix=f"{name}.") | {r: self.inputs[r] for r in INPUTS}
            told = 0

            def share(done: float) -> None:
                nonlocal told
                now = max(told, round(done * self.options.events))
                advance(now - told)
                told = now

            course = Course(
                self.broker, endpoint, topics, folder, plan,
                group=name, checkpoint_ms=self.options.checkpoint_ms, advance=share,
            )  # fmt: skip
            report = course.run()
            found = course.outcome()
        self.tell(f"{what}: {report.seconds:,.0f} s")
        return report, found

    def soak(self, rate: float) -> dict[str, Any]:
        """Run it."""
        seconds = round(self.options.soak * 60)
        with self.place() as (name, folder, endpoint), self.bar("seconds of the soak", seconds) as advance:
            topics = create_topics(self.broker.bootstrap, prefix=f"{name}.")
            return soak(
                self.broker, endpoint, topics, folder, self.events(),
                minutes=self.options.soak, rate=rate, advance=advance,
            )  # fmt: skip

    @contextmanager
    def place(self) -> Iterator[tuple[str, Path, Endpoint]]:
        """A name, a directory and a ClickHouse that nobody used."""
        name = f"c{next(self._names)}"
        folder = self.folder / name
        folder.mkdir()
        endpoint = Endpoint(folder / "clickhouse")
        endpoint.start()
        try:
            yield name, folder, endpoint
        finally:
            endpoint.stop()

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], object]]:
        """A progress bar on a terminal, lines elsewhere."""
        bars = Progress(enabled=True) if sys.stderr.isatty() else Lines("", self.tell)
        with bars, bars.bar(what, total) as advance:
            yield advance


def run(options: argparse.Namespace, folder: Path, tell: Clock) -> dict[str, Any]:
    """Everything that the report holds; it is written after each course, in case that a later one breaks off."""
    report: dict[str, Any] = {
        "config_version": load_config(None).version,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]},
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
        "courses": {},
        "failures": [],
    }
    plans = {"undisturbed": Plan()}
    plans |= {f"{outage} away": Plan(outages=(Outage(outage, options.seconds),)) for outage in options.outage}
    if options.kills:
        plans["killed"] = Plan(seed=options.seed, kills=options.kills)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with Broker(folder / "kafka") as broker:
        bench = Bench(options, folder, broker, tell)
        requests = bench.fill()
        wanted: Outcome | None = None
        for what, plan in plans.items():
            done, found = bench.course(what, plan)
            wanted = found if wanted is None else wanted
            report["courses"][what] = as_told(done, found)
            report["failures"] += judged(what, done, wanted, found, requests)
            options.out.write_bytes(written(report))
        if options.soak:
            full = options.events / report["courses"]["undisturbed"]["input_seconds"]
            report["soak"] = bench.soak(options.rate or full / 2)
            report["failures"] += report["soak"]["failures"]
            options.out.write_bytes(written(report))
    return report


def as_told(done: CourseReport, found: Outcome) -> dict[str, Any]:
    """A course as the report has it."""
    told: dict[str, Any] = msgspec.to_builtins(done)
    return told | {"recovery": recovery(done), "tables": msgspec.to_builtins(found.tables)}


def main(arguments: list[str] | None = None) -> int:
    """Run, write the report; 1 where anything was lost, doubled, or otherwise not as it has to be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=11, help="of the traffic and of the moments of kills")
    parser.add_argument("--kills", type=int, default=0, help="shared out among two detect workers, correlate and sink")
    parser.add_argument("--outage", choices=["clickhouse", "broker"], nargs="+", default=[], help="a run for each")
    parser.add_argument("--seconds", type=float, default=60.0, help="of an outage")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="at half of the undisturbed rate")
    parser.add_argument("--rate", type=float, help="events a second of the soak, instead of half the undisturbed rate")
    parser.add_argument("--accounts", type=int, default=1_000, help="ordinary accounts of each run of the scenario")
    parser.add_argument("--compress", type=float, default=50.0, help="event time is so many times as dense")
    parser.add_argument("--checkpoint-ms", type=int, default=1_000, help="stream.checkpoint_ms of the courses")
    parser.add_argument("--out", type=Path, default=Path("build/faults.json"))
    parser.add_argument("--cache", type=Path, default=Path("build/prompts"), help="where downloaded prompts are kept")
    parser.add_argument("--folder", type=Path, help="where to work; what is there is kept where something fails")
    options = parser.parse_args(arguments)
    if 0 < options.soak < _SHORTEST_SOAK:
        parser.error(f"--soak: a slope needs {_SHORTEST_SOAK} minutes")
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=options.folder))
    tell = Clock(time.time())
    failures = ["the run broke off"]
    try:
        failures = run(options, folder, tell)["failures"]
    finally:
        if failures:
            tell(f"logs and data are in {folder}")
        else:
            shutil.rmtree(folder)
    for failure in failures:
        tell(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
