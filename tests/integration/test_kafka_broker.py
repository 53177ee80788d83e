"""The local broker: round trips, transactions, restarts, topics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from infra.kafka.broker import Broker, BrokerUnavailable, free_port
from infra.topics import TopicError, create_topics, load_topics
from tests.conftest import Topics

pytestmark = pytest.mark.integration


def read_all(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[tuple[bytes | None, bytes]]:
    """Every record of a topic that a consumer of this isolation level sees."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level=isolation, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        records = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=500).values():
                records.extend((record.key, record.value) for record in batch)
        return records
    finally:
        consumer.close()


def test_what_is_produced_is_consumed(topics: Topics) -> None:
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
    for number in range(100):
        producer.send(topics["requests"], key=f"a{number % 7}".encode(), value=f"v{number}".encode())
    producer.flush()
    producer.close()
    records = read_all(topics.bootstrap, topics["requests"])
    assert sorted(value for _, value in records) == sorted(f"v{number}".encode() for number in range(100))
    # One account stays on one partition, so its own events keep their order.
    assert [value for key, value in records if key == b"a3"] == [f"v{n}".encode() for n in range(3, 100, 7)]


def test_a_record_as_large_as_the_topic_allows_passes(topics: Topics) -> None:
    value = os.urandom(11 * 1024 * 1024)
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap, max_request_size=16 * 1024 * 1024)
    producer.send(topics["requests"], key=b"a", value=value).get(timeout=30)
    producer.close()
    assert read_all(topics.bootstrap, topics["requests"]) == [(b"a", value)]


def test_an_aborted_transaction_is_invisible_to_read_committed(topics: Topics) -> None:
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap, transactional_id=f"{topics.prefix}tx")
    producer.init_transactions()
    for value, commit in ((b"kept", True), (b"dropped", False), (b"kept too", True)):
        producer.begin_transaction()
        producer.send(topics["alerts"], key=b"k", value=value)
        if commit:
            producer.commit_transaction()
        else:
            producer.flush()
            producer.abort_transaction()
    producer.close()
    assert [value for _, value in read_all(topics.bootstrap, topics["alerts"])] == [b"kept", b"kept too"]
    uncommitted = read_all(topics.bootstrap, topics["alerts"], isolation="read_uncommitted")
    assert [value for _, value in uncommitted] == [b"kept", b"dropped", b"kept too"]


@pytest.mark.slow
def test_stop_and_crash_keep_data_and_port(tmp_path: Path, kafka_broker: Broker) -> None:
    data = tmp_path / "kafka"
    data.mkdir()
    # One id in 64 begins with a dash, as an option does.
    (data / "cluster.id").write_text(f"-{'A' * 21}")
    broker = Broker(data)
    with broker:
        bootstrap = broker.bootstrap
        names = create_topics(bootstrap)
        for value in (b"before the stop", b"before the crash"):
            producer = KafkaProducer(bootstrap_servers=bootstrap)
            producer.send(names["alerts"], key=b"k", value=value).get(timeout=30)
            producer.close()
            if value == b"before the stop":
                broker.restart()
            else:
                broker.kill()
                broker.start()
            assert broker.bootstrap == bootstrap
        values = [value for _, value in read_all(bootstrap, names["alerts"])]
    assert values == [b"before the stop", b"before the crash"]
    assert broker.pid is None


def test_creating_topics_again_changes_nothing_and_other_counts_are_refused(kafka_broker: Broker) -> None:
    prefix = f"again{free_port()}."
    first = create_topics(kafka_broker.bootstrap, prefix=prefix, partitions=2)
    assert create_topics(kafka_broker.bootstrap, prefix=prefix, partitions=2) == first
    with pytest.raises(TopicError, match=r"requests has 2 partitions, wanted 3(.|\n)*stream\.partitions"):
        create_topics(kafka_broker.bootstrap, prefix=prefix, partitions=3)


def test_topic_settings_reach_the_broker(topics: Topics) -> None:
    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    try:
        counts = {
            found["name"]: len(found["partitions"]) for found in admin.describe_topics(list(topics.names.values()))
        }
    finally:
        admin.close()
    assert counts == {topics[role]: topic.partitions for role, topic in load_topics().items()}


def test_a_broker_that_dies_while_starting_says_why(tmp_path: Path, kafka_broker: Broker) -> None:
    taken = int(kafka_broker.bootstrap.rpartition(":")[2])
    with pytest.raises(BrokerUnavailable, match="Address already in use"):
        Broker(tmp_path / "kafka", port=taken, start_timeout=60).start()


def test_foreground_broker_stops_cleanly_on_sigterm(tmp_path: Path, kafka_broker: Broker) -> None:
    command = [sys.executable, "-m", "infra.kafka", "--port", "0", "--data", str(tmp_path / "kafka")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Kafka broker at 127.0.0.1:")
        assert "llm.requests" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
