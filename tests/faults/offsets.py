"""How far the groups of a deployment are, by the broker's own books, and whether any is further than its work."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pipelines.correlate.app import TABLE
from pipelines.correlate.journal import COMMIT, Commit
from pipelines.kafka_io import EVENT_ROLES, make_admin, make_consumer
from pipelines.settings import KafkaSettings
from pipelines.sink import SINK_ROLES
from schemas.alerts import ALERT_DECODER

READS: Final[dict[str, tuple[str, ...]]] = {"detect": EVENT_ROLES, "correlate": ("evidence",), "sink": SINK_ROLES}
"""Roles of the topics that each worker's group reads."""

_MARKS_S: Final = 1.0
_ALL_S: Final = 60.0

Place = tuple[str, int]
"""Topic and partition."""


class Books:
    """Committed offsets and ends of a deployment's topics. Its clients are opened when they are needed.

    Args:
        topics: topic names by role.
        group: prefix of the groups' names.
    """

    def __init__(self, bootstrap: str, topics: Mapping[str, str], group: str) -> None:
        self._settings = KafkaSettings(bootstrap=bootstrap)
        self._topics, self._group = topics, group
        self._clients: tuple[Any, Any] | None = None

    def close(self) -> None:
        """Close the clients until the next question; kafka-python leaks sockets while a broker is away."""
        if self._clients is not None:
            for client in self._clients:
                client.close()
            self._clients = None

    def _open(self) -> tuple[Any, Any]:
        if self._clients is None:
            self._clients = make_admin(self._settings), make_consumer(self._settings, group=None, poll_records=1)
        return self._clients

    def committed(self, worker: str) -> dict[Place, int]:
        """Offsets of a worker's group; places without one are absent."""
        name = f"{self._group}-{worker}"
        admin, _ = self._open()
        found = admin.list_group_offsets(name)[name]
        return {(one.topic, one.partition): value.offset for one, value in found.items() if value.offset >= 0}

    def ends(self, roles: Iterable[str]) -> dict[Place, int]:
        """Offsets after the last record of each partition."""
        from kafka import TopicPartition

        _, consumer = self._open()
        names = [self._topics[role] for role in roles]
        places = [TopicPartition(name, n) for name in names for n in sorted(consumer.partitions_for_topic(name))]
        return {(one.topic, one.partition): int(end) for one, end in consumer.end_offsets(places).items()}

    def backlog(self, worker: str) -> int | None:
        """Offsets that a worker's group has not committed, marks of transactions too; None without an answer."""
        found = self._progress(worker)
        return None if found is None else found[0]

    def share(self, worker: str) -> float | None:
        """Share of all offsets that a worker's group has committed; None without an answer."""
        found = self._progress(worker)
        return None if found is None else 1.0 - found[0] / max(found[1], 1)

    def _progress(self, worker: str) -> tuple[int, int] | None:
        """Offsets that are not committed, and all that there are."""
        from kafka.errors import KafkaError

        with contextlib.suppress(KafkaError, TimeoutError):
            committed, ends = self.committed(worker), self.ends(READS[worker])
            return sum(max(0, end - committed.get(place, 0)) for place, end in ends.items()), sum(ends.values())
        return None


class Follower:
    """Reads topics of a deployment as they grow, in a client of no group that sees what is committed.

    Args:
        patience_s: without a record for so long, what is left are marks of transactions, or hidden by an open one.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str], patience_s: float) -> None:
        from kafka import TopicPartition

        self._patience_s = patience_s
        self._consumer = make_consumer(KafkaSettings(bootstrap=bootstrap), group=None, poll_records=4_000)
        self._places = [
            TopicPartition(topic, n)
            for topic in topics
            for n in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        self._consumer.assign(self._places)

    def read(self) -> list[Any]:
        """What is new up to now."""
        ends = self._consumer.end_offsets(self._places)
        records: list[Any] = []
        last = time.monotonic()
        while any(self._consumer.position(place) < ends[place] for place in self._places):
            batch = self._consumer.poll(timeout_ms=200)
            records += [record for part in batch.values() for record in part]
            if batch:
                last = time.monotonic()
            elif time.monotonic() - last > self._patience_s:
                break
        return records

    def close(self) -> None:
        """Close the client."""
        self._consumer.close(timeout_ms=5_000)


class Audit:
    """Compares, while a worker is dead, what its group has committed with what its work has left.

    A sink may have committed no alert that is not in ClickHouse, and correlate no evidence that its durable state has
    not taken in. Detect commits within the transaction of its work, and says itself where the two do not meet.

    Attributes:
        checks: how often that was compared. overruns: what was committed and not done.
    """

    def __init__(self, books: Books, bootstrap: str, topics: Mapping[str, str], group: str) -> None:
        self._books, self._bootstrap, self._topics = books, bootstrap, topics
        self._alerts: Follower | None = None
        self._changelog_topic = f"{group}-correlate-{TABLE}-changelog"
        self._changelog: Follower | None = None
        self._seen: dict[Place, dict[int, tuple[str, int]]] = {}
        self._taken = 0
        self.checks = 0
        self.overruns: list[str] = []

    def close(self) -> None:
        """Close the clients until the next check, which then reads from the beginning."""
        for follower in (self._alerts, self._changelog):
            if follower is not None:
                follower.close()
        self._alerts = self._changelog = None

    def sink(self, stored: Callable[[], set[tuple[str, int]]]) -> None:
        """With what ClickHouse has: id and version of each alert, asked for after the offsets."""
        committed = self._books.committed("sink")
        if self._alerts is None:
            self._alerts = Follower(self._bootstrap, [self._topics["alerts"]], _MARKS_S)
        for record in self._alerts.read():
            alert = ALERT_DECODER.decode(record.value)
            self._seen.setdefault((record.topic, record.partition), {})[record.offset] = (alert.alert_id, alert.version)
        has = stored()
        self.checks += 1
        for place, seen in self._seen.items():
            missing = [said for offset, said in seen.items() if offset < committed.get(place, 0) and said not in has]
            self.overruns += [f"sink: {alert} version {version} is committed, not stored" for alert, version in missing]

    def correlate(self) -> None:
        """With the newest record of the changelog that says how far its state is."""
        committed = self._books.committed("correlate").get((self._topics["evidence"], 0), 0)
        if not committed:
            return
        if self._changelog is None:
            # It is written outside of transactions, so all of it can be read.
            self._changelog = Follower(self._bootstrap, [self._changelog_topic], _ALL_S)
        for record in self._changelog.read():
            if record.key == COMMIT.encode() and record.value is not None:
                self._taken = msgspec.msgpack.decode(record.value, type=Commit).next_offset
        self.checks += 1
        if committed > self._taken:
            self.overruns.append(
                f"correlate: offset {committed} is committed, its state has those before {self._taken}"
            )
