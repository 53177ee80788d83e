"""How far the groups of a deployment are, by the broker's own books, and whether any is further than its work."""

from __future__ import annotations

import contextlib
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

Place = tuple[str, int]
"""Topic and partition."""


class Books:
    """Committed offsets and ends of a deployment's topics.

    Args:
        topics: topic names by role.
        group: prefix of the groups' names.
    """

    def __init__(self, bootstrap: str, topics: Mapping[str, str], group: str) -> None:
        settings = KafkaSettings(bootstrap=bootstrap)
        self._topics, self._group = topics, group
        self._admin = make_admin(settings)
        self._consumer = make_consumer(settings, group=None, poll_records=1)

    def close(self) -> None:
        """Close the clients."""
        self._consumer.close(timeout_ms=5_000)
        self._admin.close()

    def committed(self, worker: str) -> dict[Place, int]:
        """Offsets of a worker's group; places without one are absent."""
        name = f"{self._group}-{worker}"
        found = self._admin.list_group_offsets(name)[name]
        return {(one.topic, one.partition): value.offset for one, value in found.items() if value.offset >= 0}

    def ends(self, roles: Iterable[str]) -> dict[Place, int]:
        """Offsets after the last record of each partition."""
        from kafka import TopicPartition

        names = [self._topics[role] for role in roles]
        places = [TopicPartition(name, n) for name in names for n in sorted(self._consumer.partitions_for_topic(name))]
        return {(one.topic, one.partition): int(end) for one, end in self._consumer.end_offsets(places).items()}

    def backlog(self, worker: str) -> int | None:
        """Offsets that a worker's group has not committed, marks of transactions too; None without an answer."""
        from kafka.errors import KafkaError

        with contextlib.suppress(KafkaError, TimeoutError):
            committed = self.committed(worker)
            return sum(max(0, end - committed.get(place, 0)) for place, end in self.ends(READS[worker]).items())
        return None


class Follower:
    """Reads topics of a deployment as they grow, in a client of no group that sees what is committed."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        from kafka import TopicPartition

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
        while any(self._consumer.position(place) < ends[place] for place in self._places):
            batch = self._consumer.poll(timeout_ms=200)
            records += [record for part in batch.values() for record in part]
            # An open transaction hides what is behind it; its records are not said yet.
            if not batch:
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
        self._alerts = Follower(bootstrap, [topics["alerts"]])
        self._changelog_topic = f"{group}-correlate-{TABLE}-changelog"
        self._changelog: Follower | None = None
        self._seen: dict[Place, dict[int, tuple[str, int]]] = {}
        self._taken = 0
        self.checks = 0
        self.overruns: list[str] = []

    def close(self) -> None:
        """Close the clients."""
        self._alerts.close()
        if self._changelog is not None:
            self._changelog.close()

    def sink(self, stored: Callable[[], set[tuple[str, int]]]) -> None:
        """With what ClickHouse has: id and version of each alert, asked for after the offsets."""
        committed = self._books.committed("sink")
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
        if self._changelog is None:
            self._changelog = Follower(self._bootstrap, [self._changelog_topic])
        for record in self._changelog.read():
            if record.key == COMMIT.encode() and record.value is not None:
                self._taken = msgspec.msgpack.decode(record.value, type=Commit).next_offset
        self.checks += 1
        if committed > self._taken:
            self.overruns.append(
                f"correlate: offset {committed} is committed, its state has those before {self._taken}"
            )
