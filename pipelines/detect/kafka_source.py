"""The detect loop's view of kafka-python's consumers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pipelines.detect.ports import Change, Envelope, TopicPartition
from pipelines.errors import Failure
from pipelines.kafka_ends import first_from

# Long enough for a coordinator that moves; a rebalance in this time is found by the next poll.
_COMMIT_TIMEOUT_MS: Final = 10_000
# Polls of a broker that is away fail at once; it is not asked more often than that.
_AWAY_S: Final = 0.2
# kafka-python (seen in 3.0.12) forgets that it has joined where a poll's time is up at that very moment, and joins
# again, which every member then has to. While there is nothing to read, polls are therefore long against a join.
_JOIN_MS: Final = 1_000


class Rebalances:
    """Collects the consumer's reports, which come on its IO thread, for the loop's thread.

    Nothing is done in the callbacks themselves: the loop has committed all it may before every poll, and
    the client forbids blocking calls there.

    Attributes:
        joining: the group has not given anything yet, or has taken it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: list[Change] = []
        self.joining = True

    def add(self, change: Change) -> None:
        """Called on the IO thread."""
        with self._lock:
            self._changes.append(change)
            self.joining = change.kind != "assigned"

    def drain(self) -> list[Change]:
        """Called by the loop; oldest first."""
        with self._lock:
            changes, self._changes = self._changes, []
        return changes


def _listener(rebalances: Rebalances) -> Any:
    from kafka import ConsumerRebalanceListener

    def partitions(reported: Iterable[Any]) -> frozenset[TopicPartition]:
        return frozenset((one.topic, one.partition) for one in reported)

    class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_revoked(self, revoked: Any) -> None:
            rebalances.add(Change("revoked", partitions(revoked)))

        def on_partitions_assigned(self, assigned: Any) -> None:
            rebalances.add(Change("assigned", partitions(assigned)))

        def on_partitions_lost(self, lost: Any) -> None:
            rebalances.add(Change("lost", partitions(lost)))

    return Listener()


class KafkaSource:
    """A :class:`pipelines.detect.ports.Source` over a kafka-python consumer with a group."""

    def __init__(self, consumer: Any, topics: Sequence[str], look_ahead: Callable[[], Any] | None = None) -> None:
        """`look_ahead` makes a consumer of no group, to see whether records are left; needed for `group_is_done`
        where the topics are written in transactions."""
        self._consumer = consumer
        self._look_ahead = look_ahead
        self._rebalances = Rebalances()
        self._ends: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._notes: dict[TopicPartition, str] = {}
        self._paused_before = False
        consumer.subscribe(topics=list(topics), listener=_listener(self._rebalances))
        # A leader that joins before it knows the partitions joins again when it does, and all the others with it.
        for topic in topics:
            consumer.partitions_for_topic(topic)

    def poll(self, timeout_ms: int, max_records: int) -> list[Envelope]:
        """Records, the partitions in order; none while the broker is away."""
        from kafka.errors import RetriableError

        if self._paused_before:
            free_in_line_slot(self._consumer)
        try:
            batch = self._consumer.poll(timeout_ms=self._wait_ms(timeout_ms), max_records=max_records)
        except RetriableError:
            time.sleep(_AWAY_S)
            return []
        return [envelope(record) for partition in sorted(batch) for record in batch[partition]]

    def _wait_ms(self, timeout_ms: int) -> int:
        return max(timeout_ms, _JOIN_MS) if self._rebalances.joining else timeout_ms

    def changes(self) -> list[Change]:
        """Rebalances since the last call."""
        return self._rebalances.drain()

    def position(self, partition: TopicPartition) -> int:
        """Next offset to read; the last known one where the partition was just taken away.

        Raises:
            Failure: the broker does not say where to start.
        """
        from kafka.errors import IllegalStateError, RetriableError

        try:
            position = self._consumer.position(_key(partition), timeout_ms=30_000)
        except (IllegalStateError, RetriableError):
            if partition not in self._positions:
                raise
            return self._positions[partition]
        if position is None:
            raise Failure(f"the broker did not say where {partition[0]} partition {partition[1]} begins; is it up?")
        self._positions[partition] = int(position)
        return int(position)

    def end(self, partition: TopicPartition) -> int:
        """The newer of what fetches and what :meth:`refresh_ends` reported."""
        from kafka.errors import IllegalStateError

        try:
            fetched = self._consumer.highwater(_key(partition))
        except IllegalStateError:
            fetched = None
        known = self._ends.get(partition, 0)
        return known if fetched is None else max(known, int(fetched))

    def refresh_ends(self, partitions: Iterable[TopicPartition]) -> bool:
        """One request for all; False where the broker is away."""
        from kafka.errors import RetriableError

        try:
            ends = self._consumer.end_offsets([_key(one) for one in partitions])
        except RetriableError:
            return False
        for partition, end in ends.items():
            self._ends[partition.topic, partition.partition] = int(end)
        return True

    def group_is_done(self, partitions: Iterable[TopicPartition]) -> bool:
        """Has the group, whoever its members are, committed all there is? False where the broker is away.

        The share of a member that was killed is nobody's until its session ends, so a worker that is done
        with its own share is not done.
        """
        from kafka.errors import RetriableError

        keys = [_key(one) for one in partitions]
        try:
            starts, ends = self._consumer.beginning_offsets(keys), self._consumer.end_offsets(keys)
            begins = {key: max(self._consumer.committed(key) or 0, starts[key]) for key in keys}
            behind = [key for key in keys if begins[key] < ends[key]]
            # Behind the last record there may be the marks of transactions, which nobody commits.
            return not behind or self._nothing_left(behind, begins, ends)
        except (RetriableError, TimeoutError):
            return False

    def _nothing_left(self, partitions: Sequence[Any], begins: Mapping[Any, int], ends: Mapping[Any, int]) -> bool:
        if self._look_ahead is None:
            return False
        # A consumer of its own: this one's assignment is the group's.
        consumer = self._look_ahead()
        try:
            return all(first_from(consumer, key, begins[key], ends[key]) is None for key in partitions)
        finally:
            consumer.close(timeout_ms=5_000)

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """From the group coordinator."""
        found = {one: self._consumer.committed(_key(one), metadata=True) for one in partitions}
        self._notes.update((one, "" if known is None else known.metadata or "") for one, known in found.items())
        return {one: None if known is None else int(known.offset) for one, known in found.items()}

    def notes(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """As the coordinator told them with the offsets."""
        return {one: self._notes.get(one, "") for one in partitions}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from `offset`; nothing where the partition was just taken away."""
        if _key(partition) in self._consumer.assignment():
            self._consumer.seek(_key(partition), offset)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Leave out of polls."""
        assigned = self._assigned(partitions)
        self._paused_before = self._paused_before or bool(assigned)
        self._consumer.pause(*assigned)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Take into polls again."""
        self._consumer.resume(*self._assigned(partitions))

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit; False where the group is in a rebalance, has put this worker out, or the broker is away.

        Raises:
            kafka.errors.KafkaError: any other failure.
        """
        from kafka import OffsetAndMetadata
        from kafka.errors import (
            CommitFailedError,
            IllegalGenerationError,
            RebalanceInProgressError,
            RetriableError,
            UnknownMemberIdError,
        )

        refused = (
            CommitFailedError,
            IllegalGenerationError,
            RebalanceInProgressError,
            RetriableError,
            UnknownMemberIdError,
        )
        wanted = {_key(partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
        try:
            self._consumer.commit(wanted, timeout_ms=_COMMIT_TIMEOUT_MS)
        except refused:
            return False
        return True

    def group(self) -> Any:
        """Metadata of this member of the group, for a transaction that commits its offsets."""
        return self._consumer.group_metadata()

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close(timeout_ms=5_000)

    def _assigned(self, partitions: Iterable[TopicPartition]) -> list[Any]:
        assigned = self._consumer.assignment()
        return [key for key in map(_key, partitions) if key in assigned]


def free_in_line_slot(consumer: Any) -> None:
    """Let records that were parked by a pause come back after the resume.

    kafka-python (seen in 3.0.12) hands parked records back only while its in-line slot is None, but leaves
    used-up records in the slot; and it does not fetch a partition that has parked records. Such a partition
    would never be read again. There is no public way to empty the slot.
    """
    fetcher: Any = getattr(consumer, "_fetcher", None)
    in_line = getattr(fetcher, "_next_partition_records", None)
    if in_line is not None and not in_line:
        fetcher._next_partition_records = None


class KafkaControlSource:
    """A :class:`pipelines.detect.ports.ControlSource`: the control topic by manual assignment.

    The consumer belongs to a group of its own only to store how far rejected records were written as dead
    letters; no two workers share partitions in it.
    """

    def __init__(self, consumer: Any, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._caught_up = False

    def poll(self) -> list[Envelope]:
        """Everything at the first call, then what is new.

        Raises:
            Failure: the topic is missing, or the broker falls silent during the first call.
        """
        from kafka.errors import RetriableError

        if self._caught_up:
            try:
                batch = self._consumer.poll(timeout_ms=0)
            except RetriableError:
                return []
            return [envelope(record) for records in batch.values() for record in records]
        self._caught_up = True
        return self._read_all()

    def _read_all(self) -> list[Envelope]:
        from kafka import TopicPartition as Key

        numbers = self._consumer.partitions_for_topic(self._topic)
        if not numbers:
            raise Failure(f"no topic {self._topic} on the broker; create the topics first (infra/topics.toml)")
        keys = [Key(self._topic, number) for number in sorted(numbers)]
        self._consumer.assign(keys)
        self._consumer.seek_to_beginning(*keys)
        ends = self._consumer.end_offsets(keys)
        envelopes: list[Envelope] = []
        while any(self._consumer.position(key) < ends[key] for key in keys):
            batch = self._consumer.poll(timeout_ms=30_000)
            if not batch:
                raise Failure(f"topic {self._topic}: no record for 30 s before its end; is the broker up?")
            envelopes.extend(envelope(record) for key in keys for record in batch.get(key, ()))
        return envelopes

    def reported(self) -> int:
        """Stored position, 0 where none is stored."""
        offset = self._consumer.committed(_key((self._topic, 0)))
        return 0 if offset is None else int(offset)

    def report(self, offset: int) -> None:
        """Store it."""
        from kafka import OffsetAndMetadata

        self._consumer.commit(
            {_key((self._topic, 0)): OffsetAndMetadata(offset, "", -1)}, timeout_ms=_COMMIT_TIMEOUT_MS
        )

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close(timeout_ms=5_000)


def envelope(record: Any) -> Envelope:
    """The envelope of a kafka-python record."""
    return Envelope(
        topic=record.topic, partition=record.partition, offset=record.offset, key=record.key, value=record.value
    )


def _key(partition: TopicPartition) -> Any:
    from kafka import TopicPartition as Key

    return Key(*partition)
