"""Workers as subprocesses on a real broker, and a reader for their topics."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.conftest import Topics

ROOT = Path(__file__).resolve().parents[2]
HASH_KEY = "the integration tests' own key"
ROLES = (
    "requests",
    "responses",
    "accounts",
    "control",
    "evidence",
    "alerts",
    "signals",
    "activity",
    "verdicts",
    "dead_letters",
    "detect_state",
)

# Small sketches have few blocks, so that states are soon written and read.
SMALL_SKETCHES: Final = """
[template_family]
sketch_bits = 18
[signature_replay]
capacity = 8192
[foreign_turns]
capacity = 8192
[sampling_sweep]
capacity = 8192
"""


class Stream:
    """One deployment on the test's topics: a config directory, workers, what they wrote."""

    def __init__(
        self,
        topics: Topics,
        directory: Path,
        *,
        store: str = "rocksdb",
        checkpoint_ms: int = 200,
        poll_records: int = 4_000,
        detectors: str = "",
        kafka: str = "",
        environment: Mapping[str, str] | None = None,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        """`kafka`: further lines of the table of that name; `client`: options of the clients that look in from here."""
        self.topics = topics
        self._environment = environment or {}
        self._client = {"bootstrap_servers": topics.bootstrap, **(client or {})}
        self.directory = directory
        self.config = directory / "config"
        self.config.mkdir()
        names = "\n".join(f'{role} = "{topics[role]}"' for role in ROLES)
        (self.config / "pipeline.toml").write_text(
            f'[kafka]\nbootstrap = "{topics.bootstrap}"\ngroup = "{topics.prefix}w"\n{kafka}\n[kafka.topics]\n{names}\n'
            f"[stream]\nidle_close_ms = 500\ncheckpoint_ms = {checkpoint_ms}\npoll_records = {poll_records}\n"
            f'[correlate]\nstore = "{store}"\ndata_dir = "{directory / "store"}"\n'
        )
        (self.config / "detectors.toml").write_text(detectors)

    def start(self, command: str, *options: str, fault: str | None = None) -> subprocess.Popen[str]:
        """Start a worker; its log goes to a file of its own.

        Args:
            fault: Python that runs in the worker before its command does.
        """
        program = ["-m", "pipelines.cli"]
        if fault is not None:
            program = ["-c", f"{fault}\nimport sys\nfrom pipelines.cli import main\nsys.exit(main())"]
        log = self.directory / f"{command}-{time.monotonic_ns()}.log"
        with log.open("w") as stderr:
            return subprocess.Popen(
                [sys.executable, *program, command, "--config", str(self.config), *options],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                text=True,
                env={**os.environ, "DISTILLWATCH_HASH_KEY": HASH_KEY, **self._environment},
            )

    @contextlib.contextmanager
    def running(self, command: str, *options: str, fault: str | None = None) -> Iterator[subprocess.Popen[str]]:
        """A worker that is killed at the end, whatever happens."""
        worker = self.start(command, *options, fault=fault)
        try:
            yield worker
        finally:
            if worker.poll() is None:
                worker.kill()
            worker.wait(10)

    def once(self, command: str, *options: str, timeout: float = 120, fault: str | None = None) -> None:
        """Run a worker until it has done everything there is."""
        with self.running(command, "--once", *options, fault=fault) as worker:
            code = worker.wait(timeout)
        assert code == 0, self.logs(command)

    def logs(self, command: str) -> str:
        return "\n".join(path.read_text() for path in sorted(self.directory.glob(f"{command}-*.log")))

    def size(self, topic: str) -> int:
        """Offset after the last record of a topic of one partition; 0 where there is no such topic."""
        from kafka import KafkaConsumer, TopicPartition

        with contextlib.closing(KafkaConsumer(**self._client, enable_auto_commit=False)) as consumer:
            if not consumer.partitions_for_topic(topic):
                return 0
            partition = TopicPartition(topic, 0)
            return int(consumer.end_offsets([partition])[partition])

    def read(self, role: str) -> list[Any]:
        """All records of a topic, partition by partition."""
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(
            **self._client,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_bytes=32 * 1024 * 1024,
        )
        with contextlib.closing(consumer):
            numbers = consumer.partitions_for_topic(self.topics[role])
            partitions = [TopicPartition(self.topics[role], number) for number in sorted(numbers)]
            consumer.assign(partitions)
            ends = consumer.end_offsets(partitions)
            records = []
            while any(consumer.position(one) < ends[one] for one in partitions):
                for batch in consumer.poll(timeout_ms=500).values():
                    records += batch
        return records

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Committed offsets of one of the deployment's groups."""
        from kafka import KafkaAdminClient
        from kafka.errors import RetriableError

        name = f"{self.topics.prefix}w-{group}"
        admin = KafkaAdminClient(**self._client)
        with contextlib.closing(admin):
            try:
                offsets = admin.list_group_offsets(name)[name]
            except RetriableError:
                # A fresh broker makes its offsets topic when the first group asks, and then loads it.
                return {}
        return {(one.topic, one.partition): value.offset for one, value in offsets.items() if value.offset > 0}


def until(condition: Callable[[], bool], *, seconds: float = 60, what: str = "") -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def kill(worker: subprocess.Popen[str]) -> None:
    """End a worker as a crash of the machine would."""
    worker.send_signal(signal.SIGKILL)
    worker.wait(10)
