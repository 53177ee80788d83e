"""A deployment whose workers, ClickHouse and broker are killed leaves in ClickHouse what a replay leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.kafka.broker import Broker
from infra.topics import create_topics
from pipelines import replay
from pipelines.config import load_config
from pipelines.store import open_store
from schemas.events import Request, encode_event
from tests.conftest import Endpoint
from tests.faults import outcome
from tests.faults.course import Course, Outage, Plan
from tests.faults.events import Feed
from tests.faults.verdict import judged
from tests.faults.workers import HASH_KEY
from tests.integration.stream_rig import SMALL_SKETCHES
from tests.integration.stream_traffic import traffic

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# Detect reads slowly, so that kills find it at work.
_PRELUDE = """
import time
from pipelines.detect.kafka_source import KafkaSource
poll = KafkaSource.poll
def slowly(self, timeout_ms, max_records):
    time.sleep(0.1)
    return poll(self, timeout_ms, 100)
KafkaSource.poll = slowly
"""


def test_kills_and_outages_lose_nothing_and_double_nothing(
    kafka_broker: Broker, make_endpoint: Callable[..., Endpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = traffic(everyday=400, harvesters=50, hours=5)
    topics = create_topics(kafka_broker.bootstrap, prefix="faults.")
    feed = Feed(kafka_broker, topics)
    for event in events:
        feed.send(event)
    feed.close()

    plan = Plan(seed=5, kills=6, life_s=0.5, outages=(Outage("clickhouse", 2.0), Outage("broker", 2.0)))
    course = Course(
        kafka_broker, make_endpoint(), topics, tmp_path, plan,
        group="faults", checkpoint_ms=200, session_s=3, detectors=SMALL_SKETCHES, prelude=_PRELUDE,
    )  # fmt: skip
    report = course.run()

    monkeypatch.setenv("DISTILLWATCH_HASH_KEY", HASH_KEY)
    (tmp_path / "events.jsonl").write_bytes(b"".join(encode_event(event) + b"\n" for event in events))
    with open_store(make_endpoint().dsn) as store:
        config = load_config(tmp_path / "config")
        replay.run([tmp_path / "events.jsonl"], config=config, alerts=tmp_path / "alerts.jsonl", store=store)
        wanted = outcome.read(store)
    requests = sum(isinstance(event, Request) for event in events)
    assert judged("disturbed", report, wanted, course.outcome(), requests) == []
    assert [lives.kills for lives in report.workers.values()] == [2, 2, 1, 1]
    assert report.kills_during_input >= 2
    assert report.offset_checks >= 3
