"""What the detect loop needs of its surroundings: Kafka, the detection core, a clock.

The loop sees only these shapes, so its order of work is tested without a broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from detectors.blocks import Blocks, Part
from schemas.activity import Activity
from schemas.alerts import Alert, Signal
from schemas.deadletters import DeadLetter
from schemas.events import Event
from schemas.evidence import Evidence

TopicPartition = tuple[str, int]
"""Topic and partition; kafka-python's named tuple of the same name equals it."""

Clock = Callable[[], float]
"""Seconds; the wall clock counts from the epoch, the steady clock from anywhere."""


class Envelope(Struct, frozen=True, kw_only=True, gc=False):
    """One record as it was read. It alone knows which offset follows it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

    @property
    def next_offset(self) -> int:
        """The offset to commit once this record and all before it are finished."""
        return self.offset + 1

    @property
    def source(self) -> TopicPartition:
        """Where it was read."""
        return self.topic, self.partition


class Change(Struct, frozen=True):
    """A rebalance as the consumer reported it, in the order of its reports.

    `revoked`: given up, nobody else has read on yet; `lost`: others may have; `assigned`: ours from now on.
    """

    kind: Literal["revoked", "lost", "assigned"]
    partitions: frozenset[TopicPartition]


class Member(Protocol):
    """A consumer, as a member of a group."""

    def changes(self) -> list[Change]:
        """Rebalances since the last call, oldest first."""

    def position(self, partition: TopicPartition) -> int:
        """Offset of the next record that a poll will return."""

    def end(self, partition: TopicPartition) -> int:
        """Offset after the last record that the broker is known to have; cheap, may be a little old."""

    def refresh_ends(self, partitions: Iterable[TopicPartition]) -> bool:
        """Ask the broker for the ends now; False where it does not answer."""

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Committed offsets; None where the group never committed."""

    def notes(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """What stands beside the offsets that the last :meth:`committed` told; empty where nothing does."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from `offset`; from the oldest record where there is none so old."""

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls leave these partitions out."""

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Undo `pause`."""


class Source(Member, Protocol):
    """The consumer of the account topics."""

    def poll(self, timeout_ms: int, max_records: int) -> list[Envelope]:
        """Records of the assigned, unpaused partitions; offsets of one partition ascend."""


class ControlSource(Protocol):
    """The consumer of the control topic, read whole by every worker and outside of any group."""

    def poll(self) -> list[Envelope]:
        """New control records, without waiting; the first call returns everything there is."""

    def reported(self) -> int:
        """Stored offset before which rejected control records are dead letters already."""

    def report(self, offset: int) -> None:
        """Store it."""


class Frame(Protocol):
    """Columns of events; `len` is the number of events."""

    def __len__(self) -> int: ...

    def take(self, indices: Any) -> Any:
        """The events at `indices`."""


class FrameBuilder(Protocol):
    """Turns events into columns, once for all lanes."""

    def build(self, events: Sequence[Event]) -> Any:
        """A frame of the same length and order."""


class TickOutput(Protocol):
    """What one closed tick says."""

    @property
    def tick(self) -> int:
        """End of the tick, epoch ms."""

    @property
    def evidence(self) -> Sequence[Evidence]:
        """For the campaign stage; ends with this source's watermark."""

    @property
    def signals(self) -> Sequence[Signal]:
        """Findings above their reporting floor."""

    @property
    def alerts(self) -> Sequence[Alert]:
        """Account alerts."""

    @property
    def activity(self) -> Sequence[Activity]:
        """Rows for analysts."""


class Lane(Protocol):
    """The detection state of one partition (see :class:`detectors.engine.Lane`)."""

    @property
    def pending(self) -> int:
        """Events offered and not yet in a closed tick."""

    @property
    def waiting(self) -> int:
        """Cohorts whose news found no room in the evidence of the last tick."""

    @property
    def evicted(self) -> int:
        """Cohorts given up for want of room."""

    def offer(self, frame: Any) -> None:
        """Take events of this partition in any order."""

    def close_until(self, watermark: int) -> Iterator[TickOutput]:
        """Close every tick that ends at or before `watermark`, in order."""

    def flush(self) -> Iterator[TickOutput]:
        """Close every tick."""

    @property
    def layout(self) -> str:
        """What a state must have been made by to be taken over."""

    def parts(self) -> dict[str, Part]:
        """All state but the pending events."""

    def restore_parts(self, parts: Blocks) -> None:
        """Take a state over; raises KeyError or ValueError where it does not fit, and is then of no use."""


class Writer(Protocol):
    """Where the work of one partition goes; nothing of it can be read before `commit`, and then all of it."""

    def put_letter(self, letter: DeadLetter) -> None:
        """Queue a dead letter."""

    def put_evidence(self, evidence: Evidence) -> None:
        """Queue evidence; order is kept."""

    def put_tick(self, output: TickOutput) -> None:
        """Queue a tick's evidence, alerts, signals and activity."""

    def put_state(self, key: bytes, value: bytes | None) -> None:
        """Queue a record of the state changelog."""

    def commit(self, offsets: Mapping[TopicPartition, int], note: str) -> bool:
        """Make all that was queued durable, with these offsets; False where nothing was, and it is to be queued again.

        Beside each offset stands the note. Other failures raise.
        """

    def close(self) -> None:
        """Give the partition up."""


class Changelog(Protocol):
    """The state changelog, and the right to write for a partition."""

    @property
    def group(self) -> str:
        """The consumer group whose offsets are committed."""

    def open(self, partition: int) -> Writer:
        """Become the one writer of a partition; what an earlier one left unfinished is ended."""

    def read(self, partition: int) -> dict[bytes, bytes]:
        """The newest record of each key, as of now; call it after :meth:`open`."""
