"""Ticks, dead letters and state as Kafka records of one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.dead_letters import TopicDeadLetters
from pipelines.detect.ports import TickOutput, TopicPartition
from schemas import activity, alerts, evidence
from schemas.deadletters import DeadLetter
from schemas.evidence import Evidence


class KafkaWriter:
    """Sends to the topics of the roles evidence, alerts, signals, activity, dead_letters and detect_state.

    Keys: an alert's id, a signal's account or else cohort, an activity's account. Evidence has no key: its
    topic has one partition, in which the evidence of one worker keeps its order. State goes to the partition
    of its own number.

    Args:
        sender: a transactional producer.
        topics: topic names by role.
        partition: number of the input partition.
        group: the metadata of the consumer now.
    """

    def __init__(self, sender: Any, topics: Mapping[str, str], partition: int, group: Callable[[], Any]) -> None:
        self._sender = sender
        self._topics = topics
        self._partition = partition
        self._group = group
        self._letters = TopicDeadLetters(sender, topics["dead_letters"])

    def put_letter(self, letter: DeadLetter) -> None:
        """Queue a dead letter."""
        self._letters.put(letter)

    def put_evidence(self, evidence_: Evidence) -> None:
        """Queue evidence."""
        self._sender.send(self._topics["evidence"], evidence.ENCODER.encode(evidence_), partition=0)

    def put_tick(self, output: TickOutput) -> None:
        """Queue all that a tick says."""
        for alert in output.alerts:
            self._sender.send(self._topics["alerts"], alerts.ENCODER.encode(alert), key=alert.alert_id.encode())
        for signal in output.signals:
            name = signal.account if signal.account is not None else signal.cohort
            key = None if name is None else name.encode()
            self._sender.send(self._topics["signals"], alerts.ENCODER.encode(signal), key=key)
        for row in output.activity:
            self._sender.send(self._topics["activity"], activity.ENCODER.encode(row), key=row.account.encode())
        for evidence_ in output.evidence:
            self.put_evidence(evidence_)

    def put_state(self, key: bytes, value: bytes | None) -> None:
        """Queue a record of the state changelog; None is a tombstone."""
        self._sender.send(self._topics["detect_state"], value, key=key, partition=self._partition)

    def commit(self, offsets: Mapping[TopicPartition, int], note: str) -> bool:
        """End the transaction; False where nothing was written.

        Raises:
            DeliveryFailure: see :meth:`pipelines.kafka_transactions.TransactionalProducer.commit`.
        """
        committed: bool = self._sender.commit(offsets, self._group(), note)
        return committed

    def close(self) -> None:
        """Give the partition up."""
        self._sender.close()
