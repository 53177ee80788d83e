"""The correlate app as a process on a real broker: the same alerts as a replay, also when it is killed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import replay
from pipelines.config import load_config
from pipelines.kafka_io import ConfirmedProducer, make_producer, produce_events
from pipelines.settings import KafkaSettings
from schemas.alerts import ALERT_DECODER
from schemas.events import Event, Request, Response, encode_event
from schemas.evidence import ENCODER, CohortEvidence, Watermark
from tests.conftest import Topics
from tests.integration.stream_rig import HASH_KEY, Stream, kill, until
from tests.integration.stream_traffic import CAMPAIGN, HOUR, traffic

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def arrivals() -> list[Event]:
    """The traffic as it comes in; one producer's clock is 20 hours ahead."""
    events = traffic()
    at = len(events) // 4
    ts = events[at].ts + 20 * HOUR
    ahead: list[Event] = [
        Request(id="ahead", ts=ts, account="user-0", model="m-large"),
        Response(request_id="ahead", ts=ts + 500, account="user-0", model="m-large", status=200),
    ]
    return [*events[:at], *ahead, *events[at:]]


@pytest.fixture
def replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Alerts of a replay of the same traffic under the same config."""
    monkeypatch.setenv("DISTILLWATCH_HASH_KEY", HASH_KEY)
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(map(encode_event, sorted(arrivals(), key=lambda event: event.ts))))
    replay.run([events], config=load_config(None), alerts=tmp_path / "alerts.jsonl")
    alerts = set((tmp_path / "alerts.jsonl").read_bytes().splitlines())
    assert any(CAMPAIGN in account for line in alerts for account in ALERT_DECODER.decode(line).accounts)
    return alerts


@pytest.mark.parametrize("store", ["rocksdb", "memory"])
def test_killed_in_the_middle_it_finds_what_a_replay_finds(
    topics: Topics, tmp_path: Path, replayed: set[bytes], store: str
) -> None:
    stream = Stream(topics, tmp_path, store=store, poll_records=500)
    produce_events(topics.bootstrap, topics.names, arrivals())
    stream.once("detect")
    assert not stream.read("alerts"), "no account of this traffic alerts by itself"
    state = f"{topics.prefix}w-correlate-campaign-state-changelog"
    for _ in range(2):
        with stream.running("correlate") as worker:
            written = stream.size(state)
            until(lambda written=written: stream.size(state) > written + 200, what="state in the changelog")  # type: ignore[misc]
            kill(worker)
    stream.once("correlate")
    assert {record.value for record in stream.read("alerts")} == replayed

    # Also where a rebalance, at the end of a killed member's session, refused a commit.
    assert stream.committed("correlate") == {(topics["evidence"], 0): stream.read("evidence")[-1].offset + 1}

    # Started once more it has nothing to say.
    before = len(stream.read("alerts"))
    stream.once("correlate")
    assert len(stream.read("alerts")) == before


def test_evidence_that_cannot_be_used_is_a_dead_letter_and_holds_nobody_up(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    good = ENCODER.encode(CohortEvidence(source=0, tick=10_000, kind="template", key="k", members=[]))
    huge = b'{"type":"cohort","key":"' + b"x" * 10_000_000 + b'"}'
    with produced(topics) as produce:
        produce([b"junk", good, huge, b"", good])
    with stream.running("correlate") as worker:
        until(
            lambda: stream.committed("correlate") == {(topics["evidence"], 0): 5},
            what=f"all evidence acknowledged: {stream.logs('correlate')}",
        )
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, stream.logs("correlate")
    letters = [
        (record.value, {name: value.decode() for name, value in record.headers})
        for record in stream.read("dead_letters")
    ]
    assert [(value, headers["dw-reason"], headers["dw-offset"]) for value, headers in letters] == [
        (b"junk", "not_json", "0"),
        (huge, "wrong_type", "2"),
        (b"", "empty", "3"),
    ]


def test_without_its_topics_it_says_what_is_missing(topics: Topics, tmp_path: Path) -> None:
    names = {**topics.names, "evidence": f"{topics.prefix}absent"}
    stream = Stream(Topics(topics.bootstrap, topics.prefix, names), tmp_path)
    with stream.running("correlate", "--once") as worker:
        assert worker.wait(60) == 1
    assert f"no topic {topics.prefix}absent" in stream.logs("correlate")
    assert "Traceback" not in stream.logs("correlate")


def test_killed_behind_a_commit_it_commits_the_rest(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    watermarks = [ENCODER.encode(Watermark(source=0, ts=10_000 * (1 + i))) for i in range(600)]
    state = f"{topics.prefix}w-correlate-campaign-state-changelog"
    with produced(topics) as produce:
        produce(watermarks[:200])
        with stream.running("correlate") as worker:
            until(lambda: bool(stream.committed("correlate")), what="a commit")
            written = stream.size(state)
            produce(watermarks[200:400])
            until(lambda: stream.size(state) > written, what="more state in the changelog")
            kill(worker)
        produce(watermarks[400:])
    stream.once("correlate")
    assert stream.committed("correlate") == {(topics["evidence"], 0): len(watermarks)}


# What Faust does around some rebalances, in the quiet: of messages that it fetched, it delivers the later ones.
LOSE_SOME = """
from pipelines.correlate.correlator import Correlator
take, lost = Correlator._take, set()
async def lose(self, message):
    if message.offset % 100 < 50 and message.offset >= 100 and message.offset not in lost:
        lost.add(message.offset)
        return False
    return await take(self, message)
Correlator._take = lose
"""


def test_messages_lost_between_the_broker_and_the_agent_are_read_again(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    watermarks = [ENCODER.encode(Watermark(source=0, ts=10_000 * (1 + i))) for i in range(340)]
    with produced(topics) as produce:
        produce(watermarks)
    stream.once("correlate", fault=LOSE_SOME)
    assert stream.committed("correlate") == {(topics["evidence"], 0): len(watermarks)}
    log = stream.logs("correlate")
    assert log.count("evidence was lost on the way") >= 1, log
    stopped = next(line for line in log.splitlines() if "event=stopped" in line)
    counts = dict(part.split("=", 1) for part in stopped.split())
    assert int(counts["messages"]) - int(counts["skipped"]) == len(watermarks), log


def test_offsets_without_a_record_are_passed_over(topics: Topics, tmp_path: Path) -> None:
    from kafka import KafkaProducer

    stream = Stream(topics, tmp_path)
    watermarks = [ENCODER.encode(Watermark(source=0, ts=10_000 * (1 + i))) for i in range(3)]
    # The end of a transaction takes an offset of its own, which no consumer sees.
    writer = KafkaProducer(
        bootstrap_servers=topics.bootstrap, transactional_id=f"{topics.prefix}writer", enable_idempotence=True
    )
    with contextlib.closing(writer):
        writer.init_transactions()
        for value in watermarks[:2]:
            writer.begin_transaction()
            writer.send(topics["evidence"], value, partition=0)
            writer.commit_transaction()
    with produced(topics) as produce:
        produce(watermarks[2:])
    stream.once("correlate")
    assert stream.committed("correlate") == {(topics["evidence"], 0): 5}
    assert "lost" not in stream.logs("correlate")


@contextlib.contextmanager
def produced(topics: Topics) -> Iterator[Callable[[list[bytes]], None]]:
    """Sends evidence, and closes its producer whatever happens."""
    producer = ConfirmedProducer(make_producer(KafkaSettings(bootstrap=topics.bootstrap)))

    def send(values: list[bytes]) -> None:
        for value in values:
            producer.send(topics["evidence"], value, partition=0)
        producer.flush()

    with contextlib.closing(producer):
        yield send
