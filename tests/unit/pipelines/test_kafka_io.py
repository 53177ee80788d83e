"""Kafka clients from settings, partitioning, confirmed sending: everything that needs no broker."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import DefaultPartitioner

from pipelines.config import load_config
from pipelines.correlate import app as correlate_app
from pipelines.correlate.app import changelog_topic, import_faust, store_directory
from pipelines.correlate.worker import open_store
from pipelines.errors import Failure, UsageError
from pipelines.kafka_io import (
    EVENT_ROLES,
    ROLE_TYPES,
    ConfirmedProducer,
    DeliveryFailure,
    check_native_modules,
    check_partitions,
    connection_options,
    partition_of,
    route_event,
    topic_by_role,
)
from pipelines.launch import launch, override
from pipelines.secrets import KAFKA_PASSWORD
from pipelines.settings import KafkaSettings, PipelineSettings, TopicNames
from pipelines.stopping import Job
from tests.bad_inputs import good_events

CONFIG = load_config(None)


class Cluster:
    """As much of kafka-python's cluster metadata as its partitioner asks for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def topics(self) -> set[str]:
        return {"t"}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self.count))

    available_partitions_for_topic = partitions_for_topic


@given(st.binary(max_size=40), st.integers(1, 64))
def test_partitions_are_those_of_the_producers_own_partitioner(key: bytes, count: int) -> None:
    assert partition_of(key, count) == DefaultPartitioner().partition("t", key, key, None, None, Cluster(count))


# Reference values of org.apache.kafka.common.utils.Utils.murmur2, from Kafka's own unit test.
@pytest.mark.parametrize(
    ("key", "murmur2"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"", 275646681)],
)
def test_partitions_are_those_of_javas_clients(key: bytes, murmur2: int) -> None:
    assert partition_of(key, 1009) == (murmur2 & 0x7FFFFFFF) % 1009


def test_every_event_goes_to_a_topic_that_takes_it() -> None:
    for event in good_events(300, seed=5):
        role, key = route_event(event)
        assert isinstance(event, ROLE_TYPES[role])
        assert key == (event.account.encode() if hasattr(event, "account") else None)
    assert set(EVENT_ROLES) | {"control"} == set(ROLE_TYPES)


def test_topics_by_role_are_those_of_the_settings() -> None:
    names = topic_by_role(TopicNames(alerts="security.alerts"))
    assert names["alerts"] == "security.alerts"
    assert names["dead_letters"] == "dead-letters"


def test_missing_native_parts_are_refused_with_what_to_install() -> None:
    check_native_modules()
    with pytest.raises(UsageError, match=r"kafka-python\[absent\]"):
        check_native_modules({"no_such_module_here": "kafka-python[absent]"})


def test_the_password_comes_from_the_environment_only() -> None:
    settings = KafkaSettings(security_protocol="SASL_SSL", sasl_username="worker")
    options = connection_options(settings, {KAFKA_PASSWORD: "s3cret"})
    assert options["sasl_plain_password"] == "s3cret"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    with pytest.raises(UsageError, match=KAFKA_PASSWORD):
        connection_options(settings, {})
    with pytest.raises(UsageError, match="sasl_username"):
        connection_options(KafkaSettings(security_protocol="SASL_PLAINTEXT"), {KAFKA_PASSWORD: "s3cret"})


def test_without_sasl_no_password_is_read() -> None:
    options = connection_options(KafkaSettings(bootstrap="a:1,b:2"), {KAFKA_PASSWORD: "s3cret"})
    assert options == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}


def test_partition_counts_that_differ_are_all_named() -> None:
    check_partitions({"a": 4, "b": 4}, {"a": 4, "b": 4})
    with pytest.raises(Failure, match="topic a has 3 partitions, wanted 4; topic b has 5 partitions, wanted 4"):
        check_partitions({"a": 3, "b": 5}, {"a": 4, "b": 4})
    with pytest.raises(Failure, match="no topic a, b on the broker"):
        check_partitions({}, {"a": 4, "b": 4})


class FakeFuture:
    """Keeps the callback that a failed delivery would call."""

    def __init__(self) -> None:
        self.failed: Callable[[BaseException], None] | None = None

    def add_errback(self, failed: Callable[[BaseException], None]) -> None:
        self.failed = failed


class FakeClient:
    """kafka-python's producer; its flush is quiet about records that failed."""

    def __init__(self) -> None:
        self.futures: list[FakeFuture] = []
        self.error: Exception | None = None
        self.closed = False

    def send(self, topic: str, **fields: Any) -> FakeFuture:
        if self.error is not None:
            raise self.error
        self.futures.append(FakeFuture())
        return self.futures[-1]

    def flush(self, timeout: float) -> None:
        if self.error is not None:
            raise self.error

    def close(self, timeout: float) -> None:
        self.closed = True


def test_a_flush_fails_when_any_record_failed_also_an_earlier_one() -> None:
    client = FakeClient()
    producer = ConfirmedProducer(client)
    producer.send("t", b"1")
    producer.send("t", b"2")
    producer.flush()
    first, second = client.futures
    assert first.failed is not None
    assert second.failed is not None
    second.failed(RuntimeError("the cause"))
    first.failed(RuntimeError("its echo"))
    for _ in range(2):
        with pytest.raises(DeliveryFailure, match="the cause"):
            producer.flush()
    producer.close()
    assert client.closed


def test_a_record_that_cannot_be_queued_or_flushed_is_a_delivery_failure() -> None:
    client = FakeClient()
    producer = ConfirmedProducer(client)
    client.error = RuntimeError("too large")
    with pytest.raises(DeliveryFailure, match="topic t: too large"):
        producer.send("t", b"1")
    with pytest.raises(DeliveryFailure, match="did not acknowledge"):
        producer.flush()


def test_the_command_line_overrides_addresses_and_not_the_version(tmp_path: Path) -> None:
    changed = override(CONFIG, bootstrap="kafka-1:9092,kafka-2:9092", data_dir=tmp_path)
    assert changed.pipeline.kafka.bootstrap == "kafka-1:9092,kafka-2:9092"
    assert changed.pipeline.correlate.data_dir == str(tmp_path)
    assert changed.version == CONFIG.version
    assert override(CONFIG, bootstrap=None).pipeline == CONFIG.pipeline
    with pytest.raises(UsageError, match="--bootstrap must be host:port"):
        override(CONFIG, bootstrap="nowhere")
    named = override(CONFIG, bootstrap=None, instance="detect-0")
    assert named.pipeline.kafka.group_instance_id == "detect-0"
    assert named.version == CONFIG.version
    with pytest.raises(UsageError, match="--instance must be letters"):
        override(CONFIG, bootstrap=None, instance="a name")


def test_a_kafka_error_is_shown_as_a_failure_and_a_bad_level_as_misuse() -> None:
    from kafka.errors import TopicAuthorizationFailedError

    def worker(config: object, *, job: Job) -> None:
        raise TopicAuthorizationFailedError({"llm.requests"})

    def start(level: str) -> None:
        launch(
            worker,
            config=None,
            bootstrap=None,
            once=True,
            log_level=level,
            until=None,
            metrics_port=None,
            name="detect",
        )

    with pytest.raises(Failure, match="TopicAuthorizationFailedError"):
        start("error")
    with pytest.raises(UsageError, match="--log-level"):
        start("loud")


def test_importing_faust_leaves_arguments_and_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["distillwatch", "correlate", "--datadir", "elsewhere", "--loop", "uvloop"])
    for name in [name for name in sys.modules if name == "faust"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delenv("FAUST_DATADIR", raising=False)
    before = dict(os.environ)
    assert import_faust().__name__ == "faust"
    assert dict(os.environ) == before
    assert sys.argv[2:] == ["--datadir", "elsewhere", "--loop", "uvloop"]


def test_the_apps_names_follow_the_group(tmp_path: Path) -> None:
    config = override(CONFIG, bootstrap=None, data_dir=tmp_path)
    assert changelog_topic(config) == "distillwatch-correlate-campaign-state-changelog"
    assert store_directory(config) == tmp_path / "distillwatch-correlate"
    assert PipelineSettings().correlate.store == "rocksdb"
    assert correlate_app.PARTITION == 0


def test_the_store_of_a_killed_app_is_rebuilt(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    clean = open_store(directory)
    (directory / "data").write_text("state")
    clean.touch()
    clean = open_store(directory)
    assert (directory / "data").read_text() == "state"
    assert not clean.exists(), "a kill from now on leaves no marker"
    open_store(directory)
    assert list(directory.iterdir()) == []
