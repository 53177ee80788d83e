"""What the sink's loop needs of its surroundings: a consumer, a store, somewhere for dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from pipelines.detect.ports import Envelope, Member, TopicPartition
from schemas.activity import Activity
from schemas.alerts import Alert, Signal
from schemas.deadletters import DeadLetter


class Record(Struct, frozen=True, gc=False):
    """One record as it was read, with its headers."""

    envelope: Envelope
    headers: Sequence[tuple[str, bytes]] = ()


class SinkSource(Member, Protocol):
    """The consumer of the result topics (see :class:`pipelines.sink_kafka.SinkConsumer`)."""

    def poll_records(self, timeout_ms: int, max_records: int) -> list[Record]:
        """Records of the assigned, unpaused partitions."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit; False where the group takes none now."""


class SinkStore(Protocol):
    """What the sink needs of :class:`pipelines.store.Store`."""

    def insert_alerts(self, alerts: Sequence[Alert]) -> int:
        """Write alerts."""

    def insert_signals(self, signals: Sequence[Signal]) -> int:
        """Write signals."""

    def insert_activity(self, rows: Sequence[Activity]) -> int:
        """Write activity."""

    def insert_dead_letters(self, letters: Sequence[DeadLetter]) -> int:
        """Write where and why messages were rejected."""


class Letters(Protocol):
    """Where records go that are no row."""

    def put(self, letter: DeadLetter) -> None:
        """Queue a letter."""

    def flush(self) -> None:
        """Return when every letter is confirmed."""
