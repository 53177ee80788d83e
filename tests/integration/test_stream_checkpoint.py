"""Kills of the detect worker at every step of what it writes, and a damaged state, on a real broker."""

from __future__ import annotations

import random
import re
import signal
import time
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.kafka.broker import Broker
from infra.topics import create_topics
from pipelines.detect.changelog import FORMAT, HEAD
from pipelines.kafka_io import make_producer, produce_events
from pipelines.settings import KafkaSettings
from schemas.events import Event
from schemas.evidence import EVIDENCE_DECODER, Watermark
from tests.conftest import Topics
from tests.integration.stream_rig import SMALL_SKETCHES, Stream, kill, until
from tests.integration.stream_traffic import traffic

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# A restarted worker waits for the killed one's partitions no longer than that.
_SHORT_SESSION = "session_s = 3"
# A backlog is told of now and then; here at every chance.
_TALKATIVE = """
import pipelines.detect.state as state
state._SHARE = 1e9
"""
_FORGETFUL = """
import pipelines.detect.state_topic as state_topic
state_topic.KafkaChangelog.read = lambda self, partition: {}
"""
# Three courses run beside each other; a machine that is at work on other things needs its time.
_PATIENCE_S = 300
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
    return f"""{_TALKATIVE}
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


def deployment(broker: Broker, directory: Path, events: list[Event]) -> Stream:
    """Fresh topics with all of the events, and one bad record."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    directory.mkdir()
    topics = Topics(broker.bootstrap, prefix, create_topics(broker.bootstrap, prefix=prefix))
    produce_events(topics.bootstrap, topics.names, events)
    producer = make_producer(KafkaSettings(bootstrap=topics.bootstrap))
    producer.send(topics["requests"], b"not json", partition=1)
    producer.close()
    return Stream(
        topics, directory, checkpoint_ms=5_000, poll_records=100, detectors=SMALL_SKETCHES, kafka=_SHORT_SESSION
    )


def checkpoint_every(stream: Stream, milliseconds: int) -> None:
    """From the next worker on; 0 is at every tick."""
    pipeline = stream.config / "pipeline.toml"
    pipeline.write_text(re.sub(r"checkpoint_ms = \d+", f"checkpoint_ms = {milliseconds}", pipeline.read_text()))


def offsets(stream: Stream) -> dict[tuple[str, int], int]:
    """Committed offsets of the detect group, by topic without the deployment's prefix."""
    prefix = stream.topics.prefix
    return {(topic.removeprefix(prefix), number): at for (topic, number), at in stream.committed("detect").items()}


def kill_in(stream: Stream, step: str, call: int) -> None:
    with stream.running("detect", fault=killed_at(step, call)) as worker:
        assert worker.wait(_PATIENCE_S) == -signal.SIGKILL, f"{step}: {stream.logs('detect')}"


def kill_at_random(stream: Stream, rng: random.Random) -> None:
    """Kill a worker soon after it has its partitions."""
    with stream.running("detect", fault=_TALKATIVE) as worker:
        log = max(stream.directory.glob("detect-*.log"))
        until(lambda: log.read_text().count("state taken over") == 4, seconds=_PATIENCE_S, what="partitions")
        time.sleep(rng.uniform(0.2, 1.0))
        kill(worker)


def never_disturbed(stream: Stream) -> None:
    stream.once("detect", timeout=_PATIENCE_S)
    stream.once("correlate", timeout=_PATIENCE_S)


def killed_again_and_again(stream: Stream) -> None:
    checkpoint_every(stream, 0)
    for step, call in [("tick", 12), ("state", 60), ("commit", 6)]:
        kill_in(stream, step, call)
    # From here on no state is written before the end: what is told stands on an older and older one.
    checkpoint_every(stream, 600_000)
    for step, call in [("offsets", 6), ("commit", 9)]:
        kill_in(stream, step, call)
    kill_at_random(stream, random.Random(5))
    stream.once("detect", timeout=_PATIENCE_S)
    stream.once("correlate", timeout=_PATIENCE_S)


def killed_and_without_memory(stream: Stream) -> None:
    checkpoint_every(stream, 0)
    kill_in(stream, "commit", 12)
    checkpoint_every(stream, 5_000)
    stream.once("detect", fault=_FORGETFUL, timeout=_PATIENCE_S)


def test_a_worker_killed_at_every_step_says_what_an_undisturbed_one_says(kafka_broker: Broker, tmp_path: Path) -> None:
    events = traffic(everyday=60, harvesters=25)
    courses = (never_disturbed, killed_again_and_again, killed_and_without_memory)
    streams = [deployment(kafka_broker, tmp_path / course.__name__, events) for course in courses]
    with ThreadPoolExecutor(len(courses)) as pool:
        for done in [pool.submit(course, stream) for course, stream in zip(courses, streams, strict=True)]:
            done.result()
    undisturbed, killed, forgetful = streams
    expected = said(undisturbed)
    assert sum(map(len, expected[0].values())) > 50
    assert len(expected[1]["signals"]) > 100
    assert expected[1]["alerts"]
    assert said(killed) == expected, "nothing is missing, and nothing is there twice"
    assert "cannot be used" not in killed.logs("detect")
    assert re.search("told=[1-9]", killed.logs("detect")), "what was told was not said again"
    assert "cannot be read again" not in killed.logs("detect")
    # Transactions leave no offset behind that the undisturbed worker would not have.
    assert offsets(killed) == offsets(undisturbed)
    # And it would be seen here if a state was not taken over.
    assert said(forgetful)[0] != expected[0]


def test_truncated_and_foreign_state_is_told_and_the_partition_goes_on(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path, detectors=SMALL_SKETCHES)
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
