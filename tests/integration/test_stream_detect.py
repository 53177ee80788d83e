"""The detect worker as a process on a real broker: bad input, kills, shared partitions, wrong topics."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from infra.kafka.broker import Broker
from infra.topics import create_topics
from pipelines.detect.kafka_source import KafkaSource
from pipelines.kafka_io import (
    ConfirmedProducer,
    make_consumer,
    make_producer,
    partition_of,
    produce_events,
    route_event,
)
from pipelines.settings import KafkaSettings
from schemas.activity import ACTIVITY_DECODER, Activity
from schemas.alerts import SIGNAL_DECODER
from schemas.events import Enforcement, Event, Release, Request, Response, encode_event
from tests.bad_inputs import generate, good_events
from tests.conftest import Topics
from tests.integration.stream_rig import Stream, kill, until
from tests.integration.stream_traffic import CAMPAIGN, traffic

pytestmark = [pytest.mark.integration, pytest.mark.slow]

GROUP_TOPICS = ("requests", "responses", "accounts")


def ends(stream: Stream) -> dict[tuple[str, int], int]:
    """Records of each partition of the account topics that has any."""
    counts: Counter[tuple[str, int]] = Counter()
    for role in GROUP_TOPICS:
        counts.update((record.topic, record.partition) for record in stream.read(role))
    return dict(counts)


def elicitations(stream: Stream) -> set[str]:
    """Requests that the elicitation detector reported; it judges every request by itself."""
    found = (SIGNAL_DECODER.decode(record.value) for record in stream.read("signals"))
    return {one.request_id for one in found if one.detector == "elicitation" and one.request_id is not None}


def harvest_requests(events: list[Event]) -> set[str]:
    return {event.id for event in events if isinstance(event, Request) and event.account.startswith(CAMPAIGN)}


def newest_rows(stream: Stream) -> list[Activity]:
    """The holding row of each account and hour."""
    rows: dict[tuple[str, int], Activity] = {}
    for record in stream.read("activity"):
        row = ACTIVITY_DECODER.decode(record.value)
        held = rows.get((row.account, row.hour))
        if held is None or row.as_of >= held.as_of:
            rows[row.account, row.hour] = row
    return list(rows.values())


def test_bad_input_stops_nothing_and_is_kept_whole(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    bad = list(generate(10_000, seed=11))
    good = list(good_events(1_500, seed=12))
    assert any(len(raw) > 9_000_000 for raw, _ in bad)
    rng = random.Random(13)
    producer = ConfirmedProducer(make_producer(KafkaSettings(bootstrap=topics.bootstrap)))
    sent: Counter[tuple[bytes, str, str, bytes]] = Counter()
    work: list[tuple[bytes, str] | Event] = [*bad, *good]
    rng.shuffle(work)
    for item in work:
        if isinstance(item, tuple):
            role = rng.choice((*GROUP_TOPICS, "control"))
            # The smaller topics refuse what is larger than their limit before any worker sees it.
            if len(item[0]) > 900_000 and role in ("accounts", "control"):
                role = "requests"
            key = rng.randbytes(4)
            sent[item[0], item[1], topics[role], key] += 1
            producer.send(topics[role], item[0], key=key)
        else:
            role, account = route_event(item)
            producer.send(topics[role], encode_event(item), key=account)
    producer.flush()
    producer.close()

    stream.once("detect")

    letters: Counter[tuple[bytes, str, str, bytes]] = Counter()
    for record in stream.read("dead_letters"):
        headers = {name: value.decode() for name, value in record.headers}
        letters[record.value, headers["dw-reason"], headers["dw-source"], record.key] += 1
    assert letters == sent
    rows = newest_rows(stream)
    assert sum(row.requests for row in rows) == sum(isinstance(event, Request) for event in good)
    assert sum(row.responses for row in rows) == sum(isinstance(event, Response) for event in good)
    assert stream.committed("detect") == ends(stream)

    # A second run finds everything done: no letter is written twice, not even those of the control topic.
    stream.once("detect")
    assert len(stream.read("dead_letters")) == sum(sent.values())


def test_a_worker_killed_again_and_again_loses_nothing(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    events = traffic()
    cuts = [0, len(events) // 3, 2 * len(events) // 3, len(events)]
    for start, stop in itertools.pairwise(cuts):
        seen = len(stream.read("evidence"))
        with stream.running("detect") as worker:
            produce_events(topics.bootstrap, topics.names, events[start:stop])
            until(lambda seen=seen: len(stream.read("evidence")) > seen + 20, what="evidence")  # type: ignore[misc]
            kill(worker)
    stream.once("detect")
    assert elicitations(stream) == harvest_requests(events)
    assert stream.committed("detect") == ends(stream)


def test_two_workers_share_the_partitions_and_one_takes_over(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    events = traffic()
    half = len(events) // 2
    with stream.running("detect") as first, stream.running("detect") as second:
        until(lambda: "partitions=0,1 " in stream.logs("detect") + " ", what="a share for the first worker")
        until(lambda: "partitions=2,3" in stream.logs("detect"), what="a share for the second worker")
        produce_events(topics.bootstrap, topics.names, events[:half])
        until(lambda: len(elicitations(stream)) > 50, what="signals of both")
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0, stream.logs("detect")
        produce_events(topics.bootstrap, topics.names, events[half:])
        until(lambda: stream.committed("detect") == ends(stream), what="one worker to do all")
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0, stream.logs("detect")
    assert elicitations(stream) == harvest_requests(events)
    assert not stream.read("dead_letters")


def test_a_broker_that_restarts_is_waited_for(tmp_path: Path) -> None:
    events = traffic()
    with Broker(tmp_path / "kafka") as broker:
        names = create_topics(broker.bootstrap, prefix="restart.")
        stream = Stream(Topics(broker.bootstrap, "restart.", names), tmp_path)
        with stream.running("detect") as worker:
            until(lambda: "partitions=0,1,2,3" in stream.logs("detect"), what="an assignment")
            produce_events(broker.bootstrap, names, events[: len(events) // 2])
            until(lambda: len(elicitations(stream)) > 20, what="signals")
            broker.stop()
            time.sleep(3)
            broker.start()
            produce_events(broker.bootstrap, names, events[len(events) // 2 :])
            # A broker that goes in the middle of a transaction costs the client's patience as well.
            until(lambda: stream.committed("detect") == ends(stream), seconds=180, what="all")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0, stream.logs("detect")
        assert elicitations(stream) == harvest_requests(events)


def test_records_parked_by_a_pause_come_back(topics: Topics) -> None:
    """The client's own defect, see `free_in_line_slot`; without it these rounds never end."""
    names = [topics[role] for role in GROUP_TOPICS]
    settings = KafkaSettings(bootstrap=topics.bootstrap)
    producer = ConfirmedProducer(make_producer(settings))
    for number in range(600):
        producer.send(names[number % 3], b"%d" % number, key=b"k", partition=0)
    producer.flush()
    producer.close()
    everything = [(name, 0) for name in names]
    for attempt in range(2):
        consumer = make_consumer(settings, group=f"{topics.prefix}park-{attempt}", poll_records=100)
        source = KafkaSource(consumer, names)
        seen: set[bytes | None] = set()
        deadline = time.monotonic() + 30
        while len(seen) < 600 and time.monotonic() < deadline:
            envelopes = source.poll(100, 7)
            seen.update(envelope.value for envelope in envelopes)
            read = {envelope.source for envelope in envelopes}
            source.pause(read)
            source.resume([one for one in everything if one not in read])
        source.close()
        assert len(seen) == 600, f"attempt {attempt}"


def test_bans_and_releases_reach_the_lanes_that_they_concern(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    banned = next(f"a{number}" for number in range(99) if partition_of(b"a%d" % number, 4) == 2)
    events: list[Event] = [
        Enforcement(ts=1_784_887_200_000, account=banned, action="ban"),
        Release(ts=1_784_887_200_001, model="m-next"),
        Request(id="r", ts=1_784_887_205_000, account=banned, model="m"),
    ]
    produce_events(topics.bootstrap, topics.names, events)
    stream.once("detect")
    assert [row.requests for row in newest_rows(stream)] == [1]
    assert not stream.read("dead_letters")


def test_topics_of_another_partition_count_are_refused(kafka_broker: Broker, tmp_path: Path) -> None:
    prefix = f"{tmp_path.name}."
    names = create_topics(kafka_broker.bootstrap, prefix=prefix, partitions=2)
    stream = Stream(Topics(kafka_broker.bootstrap, prefix, names), tmp_path)
    with stream.running("detect", "--once") as worker:
        assert worker.wait(60) == 1
    assert f"topic {prefix}llm.requests has 2 partitions, wanted 4" in stream.logs("detect")
    assert "stream.partitions" in stream.logs("detect")
    assert "Traceback" not in stream.logs("detect")
