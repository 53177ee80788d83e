"""The detect worker's parts one by one: offsets, merging, intake, envelopes, outputs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import kafka_transactions
from pipelines.detect.control import Control
from pipelines.detect.intake import Intake
from pipelines.detect.kafka_source import Rebalances
from pipelines.detect.merge import PartitionMerge, TopicReader
from pipelines.detect.offsets import PendingOffsets
from pipelines.detect.outputs import KafkaWriter
from pipelines.detect.ports import Change, Envelope
from pipelines.kafka_io import partition_of
from pipelines.stopping import stop_on_signals
from schemas.activity import ACTIVITY_DECODER, Activity
from schemas.alerts import ALERT_DECODER, SIGNAL_DECODER, Alert, Signal
from schemas.deadletters import DeadLetter
from schemas.events import Enforcement, Release, encode_event
from schemas.evidence import EVIDENCE_DECODER, Watermark
from tests.unit.pipelines.detect_fakes import ROLES, FakeControlSource, Tick, rows


def test_offset_zero_is_an_offset() -> None:
    pending = PendingOffsets(0)
    pending.read(rows([0]), rows([500]), 1)
    assert pending.committable == 0
    pending.close(1_000)
    assert pending.committable == 1


def test_rejected_records_hold_nothing_back() -> None:
    pending = PendingOffsets(7)
    pending.read(rows([]), rows([]), 9)
    assert (pending.committable, pending.unfinished) == (9, 0)


def test_an_event_on_the_end_of_a_tick_belongs_to_the_next() -> None:
    pending = PendingOffsets(0)
    pending.read(rows([0, 1]), rows([999, 1_000]), 2)
    pending.close(1_000)
    assert pending.committable == 1


@given(
    times=st.lists(st.integers(0, 20), min_size=1, max_size=40),
    cuts=st.lists(st.integers(1, 8), max_size=20),
    ticks=st.lists(st.integers(0, 22), max_size=6),
)
def test_committable_is_the_lowest_offset_whose_tick_is_open(
    times: list[int], cuts: list[int], ticks: list[int]
) -> None:
    pending = PendingOffsets(100)
    at = 0
    for cut in [*cuts, len(times)]:
        stop = min(at + cut, len(times))
        pending.read(rows(range(100 + at, 100 + stop)), rows(times[at:stop]), 100 + stop)
        at = stop
    closed = 0
    for tick in sorted(ticks):
        pending.close(tick)
        closed = max(closed, tick)
        unfinished = [100 + index for index, ts in enumerate(times) if ts >= closed]
        assert pending.committable == min(unfinished, default=100 + len(times))
        assert pending.unfinished == len(unfinished)


def merge(**readers: TopicReader) -> PartitionMerge:
    return PartitionMerge(dict(readers), idle_close_s=2.0, max_skew_ms=1_000, max_pending=10)


def test_a_topic_with_a_backlog_and_no_time_yet_holds_everything() -> None:
    both = merge(a=TopicReader(position=0, end=5), b=TopicReader(position=0, end=5))
    both.saw("a", [100], now=0.0)
    assert both.watermark(0.0) is None
    both.saw("b", [50], now=0.0)
    assert both.watermark(0.0) == 50


def test_an_empty_topic_holds_nobody() -> None:
    both = merge(a=TopicReader(position=0, end=5), b=TopicReader(position=0, end=0))
    both.saw("a", [100], now=0.0)
    assert both.watermark(0.0) == 100


def test_a_topic_of_rejected_records_holds_nobody_once_it_is_read() -> None:
    both = merge(a=TopicReader(position=0, end=5), b=TopicReader(position=0, end=3))
    both.saw("a", [100], now=0.0)
    both.saw("b", [], now=0.0)
    both.progress("b", position=3, end=3)
    assert both.watermark(0.0) == 100
    assert not both.silent(1.9)
    both.progress("a", position=5, end=5)
    assert both.silent(2.0)


def test_the_slowest_topic_is_never_paused() -> None:
    both = merge(a=TopicReader(position=0, end=5), b=TopicReader(position=0, end=5))
    both.saw("a", [5_000], now=0.0)
    both.saw("b", [50], now=0.0)
    assert both.ahead(pending=0, now=0.0) == {"a"}
    both.saw("b", [4_500], now=0.0)
    assert both.ahead(pending=0, now=0.0) == set()
    assert both.ahead(pending=11, now=0.0) == {"a"}


def test_too_much_pending_pauses_what_is_known_while_the_other_has_no_time_yet() -> None:
    both = merge(a=TopicReader(position=0, end=500), b=TopicReader(position=0, end=5))
    both.saw("a", [5_000], now=0.0)
    assert both.ahead(pending=10, now=0.0) == set()
    assert both.ahead(pending=11, now=0.0) == {"a"}


def test_an_older_event_does_not_turn_the_newest_time_back() -> None:
    one = merge(a=TopicReader(position=0, end=5))
    one.saw("a", [100], now=0.0)
    one.saw("a", [40], now=0.0)
    assert one.watermark(0.0) == 100


def test_the_end_never_lies_before_the_position() -> None:
    one = merge(a=TopicReader(position=0, end=0))
    one.progress("a", position=9, end=5)
    assert one.behind == 0


def envelope(value: bytes | None, topic: str = "control", offset: int = 0) -> Envelope:
    return Envelope(topic=topic, partition=0, offset=offset, key=b"k", value=value)


def test_an_envelope_knows_its_next_offset_and_is_frozen() -> None:
    one = envelope(b"x", offset=0)
    assert one.next_offset == 1
    with pytest.raises(AttributeError):
        one.offset = 5  # type: ignore[misc]


def test_an_event_at_the_limit_of_the_future_passes() -> None:
    intake = Intake(ROLES, max_bytes=1_000, max_future_s=60, wall=lambda: 100.0)
    now = intake.now_ms()
    assert intake.admit(envelope(encode_event(Release(ts=160_000, model="m"))), now) == Release(ts=160_000, model="m")
    letter = intake.admit(envelope(encode_event(Release(ts=160_001, model="m"))), now)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.ts) == ("in_future", 100_000)


def test_no_text_of_an_event_reaches_the_detail_of_its_letter() -> None:
    intake = Intake(ROLES, max_bytes=1_000, max_future_s=60, wall=lambda: 100.0)
    secret = b'{"type":"enforcement","ts":1,"account":"a","action":"whatever the customer wrote"}'
    letter = intake.admit(envelope(secret), 0)
    assert isinstance(letter, DeadLetter)
    assert "customer" not in letter.detail
    assert letter.raw == secret


def test_control_history_is_bounded() -> None:
    source = FakeControlSource([encode_event(Release(ts=ts, model="m")) for ts in range(50)])
    intake = Intake(ROLES, max_bytes=1_000, max_future_s=60, wall=lambda: 100.0)
    control = Control(source, intake, partitions=4, max_history=10)
    control.poll()
    assert control.position == 50
    assert [event.ts for event in control.between(0, 0, 50)] == list(range(40, 50))


def test_control_events_are_given_by_their_offsets_and_to_the_lane_they_concern() -> None:
    bans = [Enforcement(ts=ts, account=f"a{ts}", action="ban") for ts in range(6)]
    source = FakeControlSource([encode_event(one) for one in (*bans, Release(ts=6, model="m"))])
    intake = Intake(ROLES, max_bytes=1_000, max_future_s=60, wall=lambda: 100.0)
    control = Control(source, intake, partitions=2)
    control.poll()
    for partition in (0, 1):
        own = [ban for ban in bans if partition_of(ban.account.encode(), 2) == partition]
        assert own
        assert control.between(partition, 0, 6) == own
        assert control.between(partition, 0, 7) == [*own, Release(ts=6, model="m")]
        assert control.between(partition, 2, 4) == [ban for ban in own if 2 <= ban.ts < 4]
        assert control.between(partition, 5, 2) == []


def test_rebalances_come_out_once_and_in_order() -> None:
    rebalances = Rebalances()
    first, second = Change("revoked", frozenset()), Change("assigned", frozenset({("a", 0)}))
    rebalances.add(first)
    rebalances.add(second)
    assert rebalances.drain() == [first, second]
    assert rebalances.drain() == []


class Sent:
    """Records what was sent."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes | None, bytes | None, int | None]] = []
        self.commits: list[tuple[dict[Any, int], Any]] = []

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        self.records.append((topic, key, value, partition))

    def commit(self, offsets: dict[Any, int], group: Any, note: str) -> bool:
        self.commits.append((offsets, group, note))
        return True


def alert(**changes: Any) -> Alert:
    fields: dict[str, Any] = {
        "alert_id": "al-1",
        "version": 1,
        "kind": "account",
        "campaign_id": None,
        "status": "new",
        "ts": 5,
        "first_seen": 1,
        "last_seen": 5,
        "accounts": ["a"],
        "accounts_total": 1,
        "requests_total": 9,
        "score": 0.9,
        "severity": "high",
        "confidence": 0.8,
        "signals": [],
        "blind": [],
        "atlas": [],
        "runbook": "docs/runbook.md#account",
        "config_version": "v",
        "shadow": False,
    }
    return Alert(**{**fields, **changes})


def test_outputs_go_to_their_topics_under_their_keys() -> None:
    sent = Sent()
    roles = ("evidence", "alerts", "signals", "activity", "dead_letters", "detect_state")
    writer = KafkaWriter(sent, {role: f"t.{role}" for role in roles}, 2, lambda: "the member")
    finding = Signal(
        ts=5,
        request_id=None,
        account=None,
        cohort="c9",
        detector="template_family",
        score=0.6,
        p_value=0.1,
        evidence={},
    )
    row = Activity(
        account="a",
        hour=1,
        as_of=5,
        requests=1,
        responses=0,
        refused=0,
        input_tokens=None,
        output_tokens=None,
        reasoning_tokens=None,
    )
    mark = Watermark(source=3, ts=5)
    writer.put_tick(Tick(5, [mark], [], [finding], [alert()], [row]))
    writer.put_state(b"head", b"state")
    writer.put_state(b"gone:0", None)
    assert writer.commit({("requests", 2): 7}, "a note")
    (alerts, signals, activity, evidence, *state) = sent.records
    assert alerts[:2] == ("t.alerts", b"al-1")
    assert ALERT_DECODER.decode(alerts[2] or b"") == alert()
    assert signals[:2] == ("t.signals", b"c9")
    assert SIGNAL_DECODER.decode(signals[2] or b"") == finding
    assert activity[:2] == ("t.activity", b"a")
    assert ACTIVITY_DECODER.decode(activity[2] or b"") == row
    assert (evidence[0], evidence[1], evidence[3]) == ("t.evidence", None, 0)
    assert EVIDENCE_DECODER.decode(evidence[2] or b"") == mark
    assert state == [("t.detect_state", b"head", b"state", 2), ("t.detect_state", b"gone:0", None, 2)]
    assert sent.commits == [({("requests", 2): 7}, "the member", "a note")]


def test_a_signal_asks_for_a_stop_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGTERM)
        assert stopped()
    assert signal.getsignal(signal.SIGTERM) is before


def test_rejected_control_records_are_kept_up_to_a_bound_and_counted_beyond() -> None:
    source = FakeControlSource(rows=[b"junk" * 100 for _ in range(3_000)])
    intake = Intake(ROLES, max_bytes=1_000, max_future_s=60, wall=lambda: 100.0)
    control = Control(source, intake, 4)
    control.poll()
    assert len(control.letters()) == 3_000
    assert control.dropped_letters == 0
    control.letters_written()
    assert control.letters() == []

    source.rows += [b"junk" * 100 for _ in range(10)]
    small = Control(FakeControlSource(rows=source.rows), intake, 4, max_letter_bytes=5 * (400 + 1_024))
    small.poll()
    assert [letter.offset for letter in small.letters()] == [3_005, 3_006, 3_007, 3_008, 3_009]
    assert small.dropped_letters == 3_005


class Deaf:
    """A producer that never hears of its offsets, as one whose broker restarted within a transaction."""

    def __init__(self) -> None:
        self.heard = threading.Event()
        self.committed = False

    def init_transactions(self) -> None:
        """The broker gives the id."""

    def begin_transaction(self) -> None:
        """Nothing is sent for that."""

    def send_offsets_to_transaction(self, offsets: object, group: object) -> None:
        self.heard.wait(30)

    def commit_transaction(self) -> None:
        self.committed = True


def test_a_client_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_transactions, "_OFFSETS_S", 0.05)
    deaf = Deaf()
    sender = kafka_transactions.TransactionalProducer(deaf)
    try:
        with pytest.raises(kafka_transactions.StuckTransactionError, match=r"nothing of its transaction for 0\.05 s"):
            sender.commit({("requests", 0): 7}, "the member")
        assert not deaf.committed
    finally:
        deaf.heard.set()
    assert kafka_transactions.TransactionalProducer(Deaf()).commit({}, "the member"), "without offsets there is no wait"
