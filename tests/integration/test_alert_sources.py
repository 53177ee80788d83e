"""`alerts` and `explain` against a real topic and a real ClickHouse engine."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import msgspec
import pytest

from pipelines.alert_sources import TopicAlerts
from pipelines.alert_store import StoreAlerts
from pipelines.cli import main
from pipelines.errors import UsageError
from pipelines.kafka_io import make_producer
from pipelines.settings import KafkaSettings, TopicNames
from pipelines.store import open_store
from schemas.alerts import Alert
from tests.conftest import Topics
from tests.unit.pipelines.alert_factory import make_alert

pytestmark = pytest.mark.integration

FIRST = make_alert(version=1, accounts=["a1", "a2"])
SECOND = make_alert(version=2, accounts=["a3"], accounts_total=3, status="updated", campaign_id=None)


def send(topics: Topics, *alerts: Alert) -> None:
    producer = make_producer(KafkaSettings(bootstrap=topics.bootstrap))
    for alert in alerts:
        producer.send(topics["alerts"], key=alert.alert_id.encode(), value=msgspec.json.encode(alert))
    producer.flush()
    producer.close()


def test_a_topic_is_read_from_its_start_and_then_followed(topics: Topics) -> None:
    names = TopicNames(alerts=topics["alerts"])
    source = TopicAlerts(KafkaSettings(bootstrap=topics.bootstrap, topics=names))
    try:
        assert source.poll() == []
        send(topics, FIRST, make_alert(alert_id="other"))
        assert sorted(alert.alert_id for alert in source.poll()) == ["campaign-1", "other"]
        send(topics, SECOND)
        assert source.poll() == [SECOND]
        assert source.poll() == []
    finally:
        source.close()


def test_a_message_that_is_no_alert_is_named_by_its_offset(topics: Topics) -> None:
    producer = make_producer(KafkaSettings(bootstrap=topics.bootstrap))
    producer.send(topics["alerts"], value=b"{}", partition=0)
    producer.flush()
    producer.close()
    source = TopicAlerts(KafkaSettings(bootstrap=topics.bootstrap, topics=TopicNames(alerts=topics["alerts"])))
    try:
        with pytest.raises(UsageError, match=rf"{topics['alerts']}/0@0: not an alert"):
            source.poll()
    finally:
        source.close()


def test_a_topic_that_is_not_there_is_bad_usage(
    topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pipeline.toml").write_text(f'kafka.topics.alerts = "absent-{uuid.uuid4().hex}"\n')
    assert main(["alerts", "--bootstrap", topics.bootstrap, "--config", str(tmp_path)]) == 2
    assert f"{topics.bootstrap} has no topic absent-" in capsys.readouterr().err


def test_an_embedded_store_gives_back_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dsn = f"chdb://{tmp_path / 'store'}"
    with open_store(dsn) as store:
        store.insert_alerts([FIRST])
    source = StoreAlerts(dsn)
    try:
        assert source.poll() == [FIRST]
        assert source.poll() == []
    finally:
        source.close()
    with open_store(dsn) as store:
        store.insert_alerts([SECOND, FIRST])
    assert main(["alerts", "--clickhouse", dsn, "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    shown = json.loads(line)
    assert (shown["version"], shown["accounts"], shown["campaign_id"]) == (2, ["a1", "a2", "a3"], None)
    assert main(["explain", "campaign", "--clickhouse", dsn]) == 0
    assert "template_family" in capsys.readouterr().out


def test_reading_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "--clickhouse", f"chdb://{tmp_path / 'typo'}"]) == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_does_not_answer_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "--clickhouse", "http://127.0.0.1:9/default"]) == 1
    assert "ClickHouse does not answer" in capsys.readouterr().err


def test_without_a_source_the_error_says_which_was_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pipeline.toml").write_text('clickhouse.dsn = "http://127.0.0.1:9/default"\n')
    assert main(["alerts", "--config", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "no source was named, so ClickHouse was asked at http://127.0.0.1:9/default" in said
    assert "--file, --bootstrap or --clickhouse" in said
