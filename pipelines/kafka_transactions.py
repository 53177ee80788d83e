"""A producer whose records and offsets become visible together, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pipelines.kafka_io import DeliveryFailure

# A rebalance that took the partition away is heard of within seconds; whoever is not the owner stops then.
_FENCED_PATIENCE_S: Final = 60.0
# A client whose broker restarts within a transaction may never hear of its offsets, and waits for them without end.
_OFFSETS_S: Final = 20.0
_COMMIT_S: Final = 45.0


class StuckTransactionError(RuntimeError):
    """The client does not get on; whoever opens the id next ends what is left of its transaction."""


class TransactionalProducer:
    """One transaction after the other, under one transactional id; the newest user of an id is the only one.

    Opening it ends what an earlier user left unfinished: committed where its commit was under way, aborted
    where not. So after it nothing of the earlier user is pending, and nothing more of it can come.

    Args:
        producer: of kafka-python, with a transactional id.
        steady: a clock that never goes back, seconds.

    Raises:
        DeliveryFailure: the broker does not give the id.
    """

    def __init__(self, producer: Any, *, steady: Callable[[], float] = time.monotonic) -> None:
        from kafka.errors import KafkaError

        self._producer = producer
        self._steady = steady
        self._begun = False
        self._fenced_at: float | None = None
        try:
            producer.init_transactions()
        except KafkaError as error:
            producer.close(timeout=5)
            raise DeliveryFailure(f"the broker begins no transactions: {error}") from error

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        """Queue one record of the transaction, which begins with its first; a None is a tombstone.

        Raises:
            DeliveryFailure: this record cannot be queued.
        """
        if self._fenced_at is not None:
            return
        try:
            self._begin()
            self._producer.send(topic, value=value, key=key, headers=list(headers), partition=partition)
        except Exception as error:
            if self._is_fenced(error):
                return
            raise DeliveryFailure(f"could not send to topic {topic}: {error}") from error

    def flush(self) -> None:
        """Nothing: a transaction is complete when it is committed."""

    def commit(self, offsets: Mapping[tuple[str, int], int], group: Any, note: str = "") -> bool:
        """Commit what was sent, and the offsets of the consumer group with it.

        Args:
            offsets: next offset by topic and partition; may be empty.
            group: kafka-python's metadata of the consumer; the broker refuses a member that is not of today.
            note: is committed beside each of these offsets.

        Returns:
            False where nothing was written, because the group is in a rebalance or has given the partition away.

        Raises:
            StuckTransactionError: this client is of no more use. Nothing was written, but where the answer to the
                commit itself was lost: then all of it may have been.
            DeliveryFailure: the broker did not take a record, or it is not known whether it has committed.
        """
        from kafka import OffsetAndMetadata, TopicPartition
        from kafka.errors import KafkaError

        if self._fenced_at is not None:
            if self._steady() - self._fenced_at > _FENCED_PATIENCE_S:
                raise DeliveryFailure("another worker writes for a partition that the group has given to this one")
            return False
        try:
            self._begin()
            if offsets:
                wanted = {TopicPartition(*one): OffsetAndMetadata(offset, note, -1) for one, offset in offsets.items()}
                _within(_OFFSETS_S, lambda: self._producer.send_offsets_to_transaction(wanted, group))
        except KafkaError as error:
            if self._is_fenced(error):
                return False
            if not isinstance(error, _refusals()):
                raise DeliveryFailure(f"the broker did not take a checkpoint: {error}") from error
            self._abort()
            return False
        try:
            _within(_COMMIT_S, self._producer.commit_transaction)
        except KafkaError as error:
            # Where another worker ended the transaction, the committed offsets tell how, at the next assignment.
            if self._is_fenced(error):
                return False
            raise DeliveryFailure(f"the broker did not commit a checkpoint: {error}") from error
        self._begun = False
        return True

    def close(self) -> None:
        """Close the client without waiting long; an unfinished transaction is ended by whoever opens the id next."""
        self._producer.close(timeout=5)

    def _begin(self) -> None:
        if not self._begun:
            self._producer.begin_transaction()
            self._begun = True

    def _abort(self) -> None:
        from kafka.errors import KafkaError

        try:
            self._producer.abort_transaction()
        except KafkaError as error:
            if not self._is_fenced(error):
                raise DeliveryFailure(f"the broker did not abort a checkpoint: {error}") from error
        self._begun = False

    def _is_fenced(self, error: BaseException) -> bool:
        from kafka.errors import InvalidProducerEpochError, ProducerFencedError

        if isinstance(error, (InvalidProducerEpochError, ProducerFencedError)):
            self._fenced_at = self._steady()
            return True
        return False


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Call, and wait so long at most; the call takes no limit itself.

    Raises:
        StuckTransactionError: it is not back.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    # Not of a pool, which would wait for it at the end of the process.
    thread = threading.Thread(target=run, name="transaction", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise StuckTransactionError(f"the client heard nothing of its transaction for {seconds:g} s")
    if errors:
        raise errors[0]


def _refusals() -> tuple[type[BaseException], ...]:
    from kafka.errors import (
        CommitFailedError,
        IllegalGenerationError,
        RebalanceInProgressError,
        UnknownMemberIdError,
    )

    return CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError
