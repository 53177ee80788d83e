"""The source's polls while the group hands out partitions, with as much of a consumer as they need."""

from __future__ import annotations

from typing import Any

from kafka import TopicPartition

from pipelines.detect.kafka_source import KafkaSource


class Consumer:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.listener: Any = None
        self.waits: list[int] = []
        self.asked: list[str] = []

    def subscribe(self, *, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def partitions_for_topic(self, topic: str) -> set[int]:
        assert self.listener is not None, "which topics count is known by now"
        self.asked.append(topic)
        return {0}

    def poll(self, *, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        self.waits.append(timeout_ms)
        return {}


def test_the_partitions_of_all_topics_are_known_before_the_first_poll_joins() -> None:
    consumer = Consumer()
    KafkaSource(consumer, ["a", "b"])
    assert consumer.asked == ["a", "b"]
    assert consumer.waits == []


def test_polls_are_long_while_the_group_has_given_nothing() -> None:
    consumer = Consumer()
    source = KafkaSource(consumer, ["a"])
    given = {TopicPartition("a", 0)}
    source.poll(100, 10)
    consumer.listener.on_partitions_assigned(given)
    source.poll(100, 10)
    consumer.listener.on_partitions_revoked(given)
    source.poll(100, 10)
    source.poll(5_000, 10)
    consumer.listener.on_partitions_assigned(given)
    source.poll(100, 10)
    consumer.listener.on_partitions_lost(given)
    source.poll(100, 10)
    assert consumer.waits == [1_000, 100, 1_000, 5_000, 100, 1_000]
    assert [change.kind for change in source.changes()] == ["assigned", "revoked", "assigned", "lost"]
