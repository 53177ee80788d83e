"""What the broker knows of the app's group and of the evidence partition.

Faust's own idea of it will not do: it takes an offset for committed when a rebalance refused the commit, its
position is ahead of the agent, and after a rebalance it may deliver messages out of order.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

from pipelines.kafka_ends import end_of_records, first_from
from pipelines.kafka_io import make_consumer
from pipelines.settings import KafkaSettings

_PATIENCE_MS: Final = 15_000


class GroupProgress:
    """Reads a group's offset in one partition, without being a member of the group; from any thread.

    All of its calls block, for seconds where the broker is away.

    Args:
        settings: of the broker.
        group: the consumer group.
        topic, partition: where the offset is.

    Raises:
        UsageError: the security settings lack something.
        Failure: no broker answers.
    """

    def __init__(self, settings: KafkaSettings, group: str, topic: str, partition: int) -> None:
        from kafka import TopicPartition

        self._partition = TopicPartition(topic, partition)
        self._consumer = make_consumer(settings, group=group, poll_records=1)
        self._lock = Lock()

    def start(self) -> int:
        """Where the group goes on reading: its offset, or the first there is.

        Raises:
            KafkaError: the broker does not answer.
        """
        with self._lock:
            first, end, committed = self._first(), self._end(), self._committed()
            # An offset that the topic does not have is of another topic of this name, or retention passed it.
            return committed if committed is not None and first <= committed <= end else first

    def end(self) -> int:
        """Offset after all there is, the marks of transactions too.

        Raises:
            KafkaError: the broker does not answer.
        """
        with self._lock:
            return self._end()

    def end_of_records(self) -> int:
        """Offset after the last record.

        Raises:
            KafkaError: the broker does not answer.
            TimeoutError: it does not give the records that it says it has.
        """
        with self._lock:
            return end_of_records(self._consumer, self._partition, self._first(), self._end())

    def is_done(self) -> bool:
        """Has the group committed all there is? False where the broker is away."""
        from kafka.errors import RetriableError

        with self._lock:
            try:
                first, end = self._first(), self._end()
                begin = max(self._committed() or first, first)
                return first_from(self._consumer, self._partition, begin, end) is None
            except (RetriableError, TimeoutError):
                return False

    def first_from(self, offset: int) -> int:
        """Offset of the first record at or behind `offset`; `offset` itself where that cannot be told."""
        from kafka.errors import KafkaError

        with self._lock:
            try:
                first = first_from(self._consumer, self._partition, offset, self._end())
            except (KafkaError, TimeoutError):
                return offset
            return offset if first is None else first

    def close(self) -> None:
        """End the connection, after a call that is under way."""
        with self._lock:
            self._consumer.close(autocommit=False)

    def _first(self) -> int:
        return int(self._consumer.beginning_offsets([self._partition], timeout_ms=_PATIENCE_MS)[self._partition])

    def _end(self) -> int:
        return int(self._consumer.end_offsets([self._partition], timeout_ms=_PATIENCE_MS)[self._partition])

    def _committed(self) -> int | None:
        offset = self._consumer.committed(self._partition, timeout_ms=_PATIENCE_MS)
        return None if offset is None else int(offset)
