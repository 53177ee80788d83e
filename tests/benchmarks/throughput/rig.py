"""One broker for all contenders: topics, events on them, processes that read them."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from infra.kafka.broker import Broker
from infra.processes import spawn, stop, tail
from infra.topics import create_topics
from pipelines.kafka_io import ConfirmedProducer, make_producer
from pipelines.settings import KafkaSettings
from tests.benchmarks.throughput import stopwatch
from tests.benchmarks.throughput.stopwatch import Mark, Timing
from tests.benchmarks.throughput.traffic import Line

# What a run may take beyond its time for starting, stopping, and a machine that is busy.
_GRACE_S: Final = 120.0


class RunError(RuntimeError):
    """A contender did not end as it should; the message has the end of its log."""


class Rig:
    """Topics of their own with `lines` on them, and their file for `replay`."""

    def __init__(self, broker: Broker, work: Path, lines: Sequence[Line]) -> None:
        self.broker = broker
        self.work = work
        self.events = len(lines)
        self.prefix = f"b{uuid.uuid4().hex[:8]}."
        work.mkdir(parents=True, exist_ok=True)
        self.topics = create_topics(broker.bootstrap, prefix=self.prefix)
        self._runs = 0
        send(broker.bootstrap, self.topics, lines)
        (work / "events.jsonl").write_bytes(b"".join(value + b"\n" for _, _, value in lines))

    def time(self, name: str, seconds: float, *, detectors: str = "") -> Timing:
        """One run of a contender, stopped after `seconds` where it is not done before.

        `detectors` is what the worker's config says beside the defaults.

        Raises:
            RunError: it ended with an error, or not at all, or did nothing.
        """
        group = self.group()
        self.config(group, detectors)
        marks = self._finish(*self._start(name, seconds, group), seconds)
        try:
            return stopwatch.timing(marks)
        except ValueError as error:
            raise RunError(str(error)) from error

    def time_workers(self, count: int, seconds: float) -> float:
        """Events a second of `count` workers of one group while all of them were at work.

        Raises:
            RunError: see :meth:`time`.
        """
        group = self.group()
        started = [self._start("detect", seconds, group) for _ in range(count)]
        return stopwatch.together([self._finish(*one, seconds) for one in started])

    def group(self) -> str:
        """A consumer group that never read anything."""
        self._runs += 1
        return f"{self.prefix}g{self._runs}"

    def config(self, group: str, detectors: str = "") -> Path:
        """A config directory for the worker: defaults but for topics and group, and what `detectors` says."""
        folder = self.work / group
        folder.mkdir()
        # No group takes over what another one knows.
        state = create_topics(self.broker.bootstrap, prefix=f"{group}.")["detect_state"]
        names = "\n".join(f'{role} = "{name}"' for role, name in {**self.topics, "detect_state": state}.items())
        (folder / "pipeline.toml").write_text(
            f'[kafka]\nbootstrap = "{self.broker.bootstrap}"\ngroup = "{group}"\n[kafka.topics]\n{names}\n'
        )
        (folder / "detectors.toml").write_text(detectors)
        return folder

    def _start(self, name: str, seconds: float, group: str) -> tuple[subprocess.Popen[bytes], Path]:
        config = self.config(group) if not (self.work / group).exists() else self.work / group
        out = config / f"{uuid.uuid4().hex[:8]}.json"
        command = [sys.executable, "-m", "tests.benchmarks.throughput.contenders", name]
        command += ["--bootstrap", self.broker.bootstrap, "--group", group, "--out", str(out)]
        command += ["--topics", self.topics["requests"], self.topics["responses"], "--events", str(self.events)]
        command += ["--seconds", str(seconds), "--config", str(config), "--work", str(self.work)]
        return spawn(command, log=out.with_suffix(".log")), out

    def _finish(self, process: subprocess.Popen[bytes], out: Path, seconds: float) -> list[Mark]:
        try:
            code = process.wait(seconds + _GRACE_S)
        except subprocess.TimeoutExpired:
            stop(process, 5.0)
            raise RunError(f"not done after {seconds + _GRACE_S:.0f} s:\n{tail(out.with_suffix('.log'))}") from None
        if code or not out.exists():
            raise RunError(f"ended with {code}:\n{tail(out.with_suffix('.log'))}")
        return stopwatch.load(out)


def send(bootstrap: str, topics: dict[str, str], lines: Iterable[Line]) -> None:
    """Put events on their topics and wait until the broker has them."""
    producer = ConfirmedProducer(make_producer(KafkaSettings(bootstrap=bootstrap)))
    try:
        for role, key, value in lines:
            producer.send(topics[role], value, key=key)
        producer.flush()
    finally:
        producer.close()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, user and system."""
    import os

    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
