"""The state changelog on Kafka: one transactional id a partition, and reading a partition's state back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from pipelines.detect.outputs import KafkaWriter
from pipelines.errors import Failure
from pipelines.kafka_io import make_consumer, make_producer
from pipelines.kafka_transactions import TransactionalProducer
from pipelines.settings import KafkaSettings

_PROGRESS_EVERY_S: Final = 2.0
_SILENCE_S: Final = 30.0
_RECORDS: Final = 4_000


class KafkaChangelog:
    """A :class:`pipelines.detect.ports.Changelog`.

    The transactional id belongs to the partition, not to the worker: whoever is given the partition thereby ends
    what its last owner left unfinished, and shuts that one out, without waiting for a time-out.

    Args:
        settings: of the broker.
        topics: names by role.
        group: the consumer group; its metadata come from `member`.
        log: a structlog logger.
        beat: called while a state is read, which may take minutes.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Mapping[str, str],
        group: str,
        member: Callable[[], Any],
        log: Any,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._group = group
        self._member = member
        self._log = log
        self._beat = beat

    @property
    def group(self) -> str:
        """The consumer group whose offsets are committed."""
        return self._group

    def open(self, partition: int) -> KafkaWriter:
        """Become the one writer of a partition.

        Raises:
            DeliveryFailure: the broker begins no transactions.
            Failure: no broker answers.
        """
        producer = make_producer(self._settings, transactional_id=f"{self._group}-{partition}")
        return KafkaWriter(TransactionalProducer(producer), self._topics, partition, self._member)

    def read(self, partition: int) -> dict[bytes, bytes]:
        """The newest record of each key.

        Raises:
            Failure: the broker falls silent on the way.
        """
        from kafka import TopicPartition

        key = TopicPartition(self._topics["detect_state"], partition)
        consumer = make_consumer(self._settings, group=None, poll_records=_RECORDS)
        newest: dict[bytes, bytes] = {}
        try:
            consumer.assign([key])
            consumer.seek_to_beginning(key)
            begin, end = consumer.position(key), consumer.end_offsets([key])[key]
            told = heard = time.monotonic()
            at = begin
            while at < end:
                for record in consumer.poll(timeout_ms=500, max_records=_RECORDS).get(key, ()):
                    if record.value is None:
                        newest.pop(record.key, None)
                    elif record.key is not None:
                        newest[record.key] = record.value
                before, at, now = at, consumer.position(key), time.monotonic()
                if at > before:
                    heard = now
                    self._beat()
                if now - heard > _SILENCE_S:
                    raise Failure(f"topic {key.topic} partition {partition}: no record for {_SILENCE_S:g} s; is it up?")
                if now - told >= _PROGRESS_EVERY_S:
                    told = now
                    done = round(100 * (at - begin) / (end - begin))
                    self._log.info("reading the state of a partition", partition=partition, percent=done)
        finally:
            consumer.close(timeout_ms=5_000)
        return newest
