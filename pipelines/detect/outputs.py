"""Ticks and dead letters as Kafka records."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.dead_letters import Sender, TopicDeadLetters
from pipelines.detect.ports import TickOutput
from schemas import activity, alerts, evidence
from schemas.deadletters import DeadLetter
from schemas.evidence import Evidence


class KafkaOutputs:
    """Sends to the topics of the roles evidence, alerts, signals, activity and dead_letters.

    Keys: an alert's id, a signal's account or else cohort, an activity's account. Evidence has no key: its
    topic has one partition, in which the evidence of one worker keeps its order.
    """

    def __init__(self, sender: Sender, topics: Mapping[str, str]) -> None:
        self._sender = sender
        self._topics = topics
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

    def flush(self) -> None:
        """Return when the broker has everything.

        Raises:
            DeliveryFailure: it refused a record.
        """
        self._sender.flush()
