"""Where `alerts` and `explain` read alerts from: a file, a Kafka topic or ClickHouse.

Every source hands out what it has, then what came since; none of them changes anything where it reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from pipelines.errors import Failure, UsageError
from pipelines.settings import KafkaSettings
from schemas.alerts import ALERT_DECODER, Alert

# An alert names at most 1000 accounts of 512 characters; far beyond its largest encoding.
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_KAFKA_WAIT_MS: Final = 500
_KAFKA_PATIENCE_S: Final = 30.0


class AlertSource(Protocol):
    """One place that holds alerts."""

    def poll(self) -> list[Alert]:
        """All alerts at the first call, then those that came since the last; [] where there are none.

        Raises:
            UsageError: there is no such file, topic or store, or it holds something else.
            Failure: it could not be read.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class FileAlerts:
    """JSON lines as `replay --alerts` writes them; a line that is still being written waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._line = 0
        self._inode: int | None = None

    def poll(self) -> list[Alert]:
        """Alerts of the lines that are complete; see :class:`AlertSource`."""
        try:
            with self._path.open("rb") as stream:
                status = self._path.stat()
                if status.st_ino != self._inode or status.st_size < self._offset:
                    # Written anew since: everything in it is news.
                    self._inode, self._offset, self._line = status.st_ino, 0, 0
                stream.seek(self._offset)
                return self._read(stream)
        except FileNotFoundError:
            raise UsageError(
                f"{self._path}: no such file; `distillwatch replay EVENTS --alerts {self._path}` writes one"
            ) from None
        except OSError as error:
            raise Failure(f"{self._path}: {error.strerror}") from None

    def _read(self, stream: Any) -> list[Alert]:
        alerts = []
        while line := stream.readline(_MAX_LINE_BYTES):
            complete = line.endswith(b"\n")
            try:
                if line.strip():
                    alerts.append(ALERT_DECODER.decode(line))
            except msgspec.DecodeError as error:
                if not complete and len(line) < _MAX_LINE_BYTES:
                    break
                raise UsageError(f"{self._path}:{self._line + 1}: not an alert: {error}") from None
            self._offset += len(line)
            self._line += 1
        return alerts

    def close(self) -> None:
        """Nothing is held between two calls."""


class TopicAlerts:
    """The alerts topic, read from its start without a consumer group: no offset is ever committed."""

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        from pipelines.kafka_io import make_consumer

        self._topic = settings.topics.alerts
        self._bootstrap = settings.bootstrap
        self._clock = clock
        self._consumer = make_consumer(settings, group=None, poll_records=500)
        self._assigned = False

    def poll(self) -> list[Alert]:
        """Alerts up to the end that the topic had at the call; see :class:`AlertSource`."""
        from kafka.errors import KafkaError

        try:
            if not self._assigned:
                self._assign()
            return self._read_to_end()
        except KafkaError as error:
            raise Failure(f"{self._topic} at {self._bootstrap}: {error}") from None

    def _assign(self) -> None:
        from kafka import TopicPartition

        partitions = self._consumer.partitions_for_topic(self._topic)
        if not partitions:
            raise UsageError(
                f"{self._bootstrap} has no topic {self._topic}; `distillwatch up` or `make kafka` creates the topics; "
                "or this user has no right to read it (docs/operator.md)"
            )
        assigned = [TopicPartition(self._topic, number) for number in sorted(partitions)]
        self._consumer.assign(assigned)
        self._consumer.seek_to_beginning(*assigned)
        self._assigned = True

    def _read_to_end(self) -> list[Alert]:
        assigned = list(self._consumer.assignment())
        ends = self._consumer.end_offsets(assigned)
        alerts: list[Alert] = []
        patience = self._clock() + _KAFKA_PATIENCE_S
        while any(self._consumer.position(partition) < ends[partition] for partition in assigned):
            batch = self._consumer.poll(timeout_ms=_KAFKA_WAIT_MS)
            for partition, records in batch.items():
                for record in records:
                    try:
                        alerts.append(ALERT_DECODER.decode(record.value or b""))
                    except msgspec.DecodeError as error:
                        place = f"{partition.topic}/{partition.partition}@{record.offset}"
                        raise UsageError(f"{self._bootstrap} {place}: not an alert: {error}") from None
            if batch:
                patience = self._clock() + _KAFKA_PATIENCE_S
            elif self._clock() > patience:
                raise Failure(f"{self._topic} at {self._bootstrap}: no answer for {_KAFKA_PATIENCE_S:g} s")
        return alerts

    def close(self) -> None:
        """Leave the brokers."""
        # A broker that is gone is no reason to hang or to hide what was read.
        with suppress(Exception):
            self._consumer.close()


def open_alerts(
    *, file: Path | None, bootstrap: str | None, clickhouse: str | None, config: Path | None
) -> AlertSource:
    """The source that the options name; without any, ClickHouse as the config has it.

    Raises:
        UsageError: more than one source, or one that cannot be opened as named.
        ConfigError: the config directory is wrong.
        Failure: broker or ClickHouse do not answer.
    """
    named = {"--file": file, "--bootstrap": bootstrap, "--clickhouse": clickhouse}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} name different sources; give one of them")
    if file is not None:
        return FileAlerts(file)
    from pipelines.config import load_config

    pipeline = load_config(config).pipeline
    if bootstrap is not None:
        return TopicAlerts(msgspec.structs.replace(pipeline.kafka, bootstrap=bootstrap))
    from pipelines.alert_store import StoreAlerts

    if clickhouse is not None:
        return StoreAlerts(clickhouse)
    try:
        return StoreAlerts(pipeline.clickhouse.dsn)
    except Failure as error:
        asked = f"no source was named, so ClickHouse was asked at {pipeline.clickhouse.dsn} (clickhouse.dsn)"
        raise Failure(f"{asked}: {error}; --file, --bootstrap or --clickhouse names another source") from None
