"""The sink worker between a real broker and the real engine behind its endpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from pipelines.store import open_store
from schemas.activity import ENCODER
from tests.conftest import Endpoint, Topics
from tests.integration.test_clickhouse_store import ACTIVITY, ALERTS, LETTERS, SIGNALS, everything, fill

pytestmark = pytest.mark.integration


def write_config(folder: Path, topics: Topics, **clickhouse: Any) -> Path:
    folder.mkdir()
    lines = ["[kafka]", f'bootstrap = "{topics.bootstrap}"', f'group = "{topics.prefix}dw"', "[kafka.topics]"]
    lines += [f'{role} = "{name}"' for role, name in topics.names.items()]
    lines += ["[clickhouse]", *(f"{name} = {value}" for name, value in clickhouse.items())]
    (folder / "pipeline.toml").write_text("\n".join(lines) + "\n")
    return folder


def sink(config: Path, endpoint: Endpoint, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "pipelines.cli",
        "sink",
        "--config",
        str(config),
        "--clickhouse",
        endpoint.dsn,
        *options,
    ]


def run_once(config: Path, endpoint: Endpoint) -> str:
    done = subprocess.run(sink(config, endpoint, "--once"), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def produce(topics: Topics) -> None:
    """What `fill` writes, as the workers would send it, and a record that is no alert."""
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
    for alert in ALERTS:
        producer.send(topics["alerts"], key=alert.alert_id.encode(), value=ENCODER.encode(alert))
    for one in SIGNALS:
        producer.send(topics["signals"], key=(one.account or one.cohort or "").encode(), value=ENCODER.encode(one))
    for row in ACTIVITY:
        producer.send(topics["activity"], key=row.account.encode(), value=ENCODER.encode(row))
    for letter in LETTERS:
        values = {
            "dw-reason": letter.reason, "dw-detail": letter.detail, "dw-source": letter.source,
            "dw-partition": "" if letter.partition is None else str(letter.partition),
            "dw-offset": str(letter.offset), "dw-ts": str(letter.ts),
        }  # fmt: skip
        headers = [(name, value.encode()) for name, value in values.items()]
        producer.send(topics["dead_letters"], value=letter.raw, headers=headers)
    producer.flush()
    producer.close()


def committed(topics: Topics, role: str) -> int:
    """Records of a topic that the sink's group has finished."""
    consumer = KafkaConsumer(
        bootstrap_servers=topics.bootstrap, group_id=f"{topics.prefix}dw-sink", enable_auto_commit=False
    )
    try:
        partitions = consumer.partitions_for_topic(topics[role]) or set()
        return sum(consumer.committed(TopicPartition(topics[role], number)) or 0 for number in partitions)
    finally:
        consumer.close()


def forget_offsets(topics: Topics) -> None:
    """As if the sink had died before it committed anything."""
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    try:
        admin.delete_groups([f"{topics.prefix}dw-sink"])
    finally:
        admin.close()


@pytest.mark.slow
def test_all_topics_arrive_and_a_second_run_changes_no_answer(
    topics: Topics, make_endpoint: Callable[..., Endpoint], tmp_path: Path
) -> None:
    endpoint, direct = make_endpoint(), make_endpoint()
    config = write_config(tmp_path / "config", topics)
    produce(topics)
    run_once(config, endpoint)
    with open_store(direct.dsn) as store:
        fill(store)
        expected = everything(store)
    with open_store(endpoint.dsn) as store:
        first = everything(store)
    assert first == expected
    assert committed(topics, "alerts") == len(ALERTS)
    run_once(config, endpoint)
    forget_offsets(topics)
    assert committed(topics, "alerts") == 0
    run_once(config, endpoint)
    with open_store(endpoint.dsn) as store:
        assert everything(store) == first


def test_a_record_that_is_no_alert_is_a_dead_letter(
    topics: Topics, clickhouse_endpoint: Endpoint, tmp_path: Path
) -> None:
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
    good = ENCODER.encode(ALERTS[0])
    for value in (b"not json", good, good.replace(b'"version":1', b'"version":99999999999')):
        producer.send(topics["alerts"], key=b"the key", value=value, partition=1)
    producer.flush()
    producer.close()
    run_once(write_config(tmp_path / "config", topics), clickhouse_endpoint)
    consumer = KafkaConsumer(bootstrap_servers=topics.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([TopicPartition(topics["dead_letters"], 0)])
    letters = []
    while len(letters) < 2:
        for batch in consumer.poll(timeout_ms=5000).values():
            letters += batch
    consumer.close()
    assert letters[0].value == b"not json"
    assert letters[0].key == b"the key"
    headers = dict(letters[0].headers)
    assert (headers["dw-reason"], headers["dw-source"]) == (b"not_json", topics["alerts"].encode())
    assert (headers["dw-partition"], headers["dw-offset"]) == (b"1", b"0")
    assert dict(letters[1].headers)["dw-reason"] == b"out_of_range"
    with open_store(clickhouse_endpoint.dsn) as store:
        assert store.read_alerts() == [ALERTS[0]]
    # The next run finds the letters and counts them.
    run_once(tmp_path / "config", clickhouse_endpoint)
    with open_store(clickhouse_endpoint.dsn) as store:
        assert sorted(store.query("dead_letters")["reason"]) == ["not_json", "out_of_range"]


def test_clickhouse_away_for_a_while_loses_nothing(
    topics: Topics, clickhouse_endpoint: Endpoint, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "config", topics, batch_ms=50, batch_rows=20)
    log = (tmp_path / "sink.log").open("wb")
    worker = subprocess.Popen(sink(config, clickhouse_endpoint), stdout=log, stderr=log)
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
    sent = 0

    def send(count: int) -> None:
        nonlocal sent
        for number in range(sent, sent + count):
            account = f"account-{number}"
            row = ENCODER.encode(
                {
                    "account": account, "hour": 0, "as_of": 0, "requests": 1, "responses": 1, "refused": 0,
                    "input_tokens": None, "output_tokens": None, "reasoning_tokens": None,
                }
            )  # fmt: skip
            producer.send(topics["activity"], key=account.encode(), value=row)
        producer.flush()
        sent += count

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in (tmp_path / "sink.log").read_text():
            assert worker.poll() is None, (tmp_path / "sink.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "sink.log").read_text()
            time.sleep(0.1)

    try:
        send(100)
        wait_for_rows(clickhouse_endpoint, 100)
        clickhouse_endpoint.kill()
        send(300)
        wait_for("ClickHouse is away; paused")
        done = committed(topics, "activity")
        time.sleep(1.5)
        assert committed(topics, "activity") == done < 400
        clickhouse_endpoint.start()
        wait_for("ClickHouse is back; reading on")
        send(100)
        wait_for_rows(clickhouse_endpoint, 500)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        producer.close()
        worker.kill()
        worker.wait()
        log.close()
    assert committed(topics, "activity") == 500
    with open_store(clickhouse_endpoint.dsn) as store:
        frame = store.query("SELECT count() AS n, uniqExact(account) AS accounts FROM activity_current")
    assert frame.to_dict("records") == [{"n": 500, "accounts": 500}]


def wait_for_rows(endpoint: Endpoint, count: int) -> None:
    """Until the table holds so many accounts; the sink makes the table first."""
    deadline = time.monotonic() + 60
    found = 0
    while found != count:
        assert time.monotonic() < deadline, f"{found} of {count} rows"
        time.sleep(0.1)
        with endpoint.client() as client:
            if client.command("EXISTS TABLE activity_current"):
                found = client.query("SELECT uniqExact(account) FROM activity_current").result_rows[0][0]


def test_wrong_use(topics: Topics, tmp_path: Path, clickhouse_endpoint: Endpoint) -> None:
    config = write_config(tmp_path / "config", topics)
    command = [sys.executable, "-m", "pipelines.cli", "sink", "--config", str(config), "--once"]
    for dsn, said in (("http://user:pw@127.0.0.1:1/default", "holds a password"), ("ftp://x", "a ClickHouse DSN is")):
        done = subprocess.run([*command, "--clickhouse", dsn], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    missing = write_config(tmp_path / "missing", Topics(topics.bootstrap, "none.", {"alerts": "no.such.topic"}))
    command = sink(missing, clickhouse_endpoint, "--once")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))
    assert done.returncode == 1
    assert "no topic no.such.topic" in done.stderr
