"""Kills of the detect worker at every step of its checkpoint, and a damaged state, on a real broker."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections import defaultdict
from pathlib import Path

import pytest

from infra.kafka.broker import Broker
from infra.topics import create_topics
from pipelines.detect.changelog import FORMAT, HEAD
from pipelines.kafka_io import make_producer, produce_events
from pipelines.settings import KafkaSettings
from schemas.evidence import EVIDENCE_DECODER, Watermark
from tests.conftest import Topics
from tests.integration.stream_rig import Stream, until
from tests.integration.stream_traffic import traffic

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# The shortest session that the broker allows: how long a restarted worker waits for the killed one's partitions.
_SHORT_SESSION = "import pipelines.kafka_io as k; k.SESSION_TIMEOUT_S = 6"
_KILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def killed_at(step: str, call: int) -> str:
    """Python that kills the worker in the given call of a step of its checkpoint, or right behind the commit."""
    owner, method, after = {
        "tick": ("pipelines.detect.outputs.KafkaWriter", "put_tick", False),
        "state": ("pipelines.detect.outputs.KafkaWriter", "put_state", False),
        "offsets": ("kafka.KafkaProducer", "send_offsets_to_transaction", True),
        "commit": ("kafka.KafkaProducer", "commit_transaction", True),
    }[step]
    module, name = owner.rsplit(".", 1)
    return f"""{_SHORT_SESSION}
from {module} import {name} as Owner
real, calls = Owner.{method}, [0]
def fatal(self, *args, **kwargs):
    calls[0] += 1
    if {after}:
        real(self, *args, **kwargs)
    if calls[0] == {call}:
        {_KILL}
    return None if {after} else real(self, *args, **kwargs)
Owner.{method} = fatal"""


def said(stream: Stream) -> tuple[dict[int, list[bytes]], dict[str, list[tuple[bytes | None, bytes]]]]:
    """Evidence of each partition in its order, and the other outputs; but for the marks of time."""
    evidence: dict[int, list[bytes]] = defaultdict(list)
    for record in stream.read("evidence"):
        one = EVIDENCE_DECODER.decode(record.value)
        if not isinstance(one, Watermark):
            evidence[one.source].append(record.value)
    others = ("alerts", "signals", "activity", "dead_letters")
    return evidence, {role: sorted((r.key, r.value) for r in stream.read(role)) for role in others}


def deployment(broker: Broker, directory: Path) -> Stream:
    prefix = f"t{uuid.uuid4().hex[:8]}."
    directory.mkdir()
    topics = Topics(broker.bootstrap, prefix, create_topics(broker.bootstrap, prefix=prefix))
    return Stream(topics, directory, checkpoint_ms=0, poll_records=400)


def test_a_worker_killed_at_every_step_says_what_an_undisturbed_one_says(kafka_broker: Broker, tmp_path: Path) -> None:
    events = traffic(everyday=60, harvesters=25)
    streams = [deployment(kafka_broker, tmp_path / name) for name in ("undisturbed", "killed")]
    for stream in streams:
        produce_events(stream.topics.bootstrap, stream.topics.names, events)
        producer = make_producer(KafkaSettings(bootstrap=stream.topics.bootstrap))
        producer.send(stream.topics["requests"], b"not json", partition=1)
        producer.close()
    undisturbed, killed = streams
    undisturbed.once("detect")
    for step, call in [("tick", 30), ("state", 100), ("offsets", 4), ("commit", 9)]:
        with killed.running("detect", fault=killed_at(step, call)) as worker:
            assert worker.wait(60) == -signal.SIGKILL, f"{step}: {killed.logs('detect')}"
    with killed.running("detect", fault=_SHORT_SESSION) as worker:
        until(lambda: killed.logs("detect").count("state taken over") >= 20, what="the partitions of the killed one")
        time.sleep(random.Random(5).uniform(0, 0.5))
        worker.kill()
    killed.once("detect", fault=_SHORT_SESSION)
    expected = said(undisturbed)
    assert sum(map(len, expected[0].values())) > 50
    assert len(expected[1]["signals"]) > 100
    assert said(killed) == expected, "nothing is missing, and nothing is there twice"
    assert "cannot be used" not in killed.logs("detect")
    # Transactions leave no offset behind that the undisturbed worker would not have.
    assert {one[0].removeprefix(killed.topics.prefix): at for one, at in killed.committed("detect").items()} == {
        one[0].removeprefix(undisturbed.topics.prefix): at for one, at in undisturbed.committed("detect").items()
    }


def test_truncated_and_foreign_state_is_told_and_the_partition_goes_on(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    events = traffic(everyday=30, harvesters=5)
    produce_events(topics.bootstrap, topics.names, events[: len(events) // 2])
    stream.once("detect")
    newest = {(record.partition, record.key): record.value for record in stream.read("detect_state")}
    producer = make_producer(KafkaSettings(bootstrap=topics.bootstrap))
    lane, head = newest[0, b"lane:0"], newest[1, HEAD]
    producer.send(topics["detect_state"], lane[:-3], key=b"lane:0", partition=0)
    producer.send(topics["detect_state"], head[:2] + bytes([FORMAT + 1]) + head[3:], key=HEAD, partition=1)
    producer.close()
    produce_events(topics.bootstrap, topics.names, events[len(events) // 2 :])
    stream.once("detect")
    log = stream.logs("detect")
    assert "record lane:0 is truncated or damaged" in log
    assert f"record head is of version {FORMAT + 1}; this program reads version {FORMAT}" in log
    assert log.count("the state cannot be used; the partition starts without one") == 2
    ends = {
        (record.topic, record.partition): record.offset + 1
        for role in ("requests", "responses")
        for record in stream.read(role)
    }
    assert ends.items() <= stream.committed("detect").items()
    stream.once("detect")
    assert stream.logs("detect").count("cannot be used") == 2, "the next checkpoint made them whole"
