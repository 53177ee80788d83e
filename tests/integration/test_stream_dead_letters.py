"""Dead letters on a real broker: rejected by a worker, listed, shown, sent back, taken the second time."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.kafka_io import ConfirmedProducer, make_producer
from pipelines.settings import KafkaSettings
from schemas.events import Request, encode_event
from tests.conftest import Topics
from tests.integration.stream_rig import Stream

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LIMIT = 20_000


def test_a_message_rejected_for_its_size_is_sent_back_after_the_limit_was_raised(
    topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream(topics, tmp_path)
    pipeline = stream.config / "pipeline.toml"
    usual = pipeline.read_text()
    pipeline.write_text(f"{usual}[input]\nmax_event_bytes = {LIMIT}\n")
    large = encode_event(Request(id="r", ts=1_784_887_200_000, account="a", model="m", system="x" * (2 * LIMIT)))
    producer = ConfirmedProducer(make_producer(KafkaSettings(bootstrap=topics.bootstrap)))
    producer.send(topics["requests"], large, key=b"a")
    producer.send(topics["requests"], b"[]", key=b"b")
    producer.flush()
    producer.close()
    stream.once("detect")

    def run(*arguments: str) -> str:
        assert main(["dead-letters", *arguments, "--config", str(stream.config)]) == 0
        return capsys.readouterr().out

    listed = run("list")
    assert "2 dead letters" in listed
    assert "too_large" in listed
    assert "not_an_object" in listed
    number = next(str(record.offset) for record in stream.read("dead_letters") if record.value == large)
    shown = run("show", number, "--bytes", "32")
    assert f"size      {len(large)} bytes" in shown
    assert "raise `input.max_event_bytes`" in shown
    assert "would be sent" in run("send-back", "--reason", "too_large")
    assert len(stream.read("requests")) == 2

    pipeline.write_text(usual)
    assert run("send-back", "--reason", "too_large", "--yes") == f"1 message sent to {topics['requests']}\n"
    again = [record for record in stream.read("requests") if record.value == large]
    assert [(record.key, record.partition) for record in again] == [(b"a", again[0].partition)] * 2
    stream.once("detect")
    assert len(stream.read("dead_letters")) == 2
    assert [record.key for record in stream.read("activity")] == [b"a"]
