"""The throughput bench: what its clock counts, what its contenders score, and that its traffic is as it says."""

from __future__ import annotations

import argparse
from collections import Counter

import msgspec
import pytest

from pipelines.kafka_io import partition_of
from schemas.events import Request, Response, decode_event
from tests.benchmarks.throughput.__main__ import compare
from tests.benchmarks.throughput.latency import ACCOUNTS, EVERY, Cause, harvester_causes, quantiles, split
from tests.benchmarks.throughput.live import at_time
from tests.benchmarks.throughput.models import MODELS
from tests.benchmarks.throughput.rig import RunError
from tests.benchmarks.throughput.stopwatch import Mark, Timing, timing, together
from tests.benchmarks.throughput.traffic import STRONG, harvested, traffic


def test_the_clock_begins_with_the_first_event_and_does_not_count_the_wait_for_a_late_tick() -> None:
    marks = [Mark(0.0, 0, 5.0), Mark(3.0, 0, 6.0), Mark(4.0, 50, 6.9), Mark(5.0, 100, 7.8), Mark(9.0, 100, 8.0)]
    took = timing(marks)
    assert took.events == 100
    assert took.seconds == pytest.approx(2.0 + 0.2)
    assert took.cpu_seconds == pytest.approx(2.0)
    assert took.events_per_s == pytest.approx(100 / 2.2)
    assert took.cpu_us == pytest.approx(20_000)


@pytest.mark.parametrize("marks", [[], [Mark(0.0, 0, 0.0)]])
def test_a_run_without_an_event_has_no_time(marks: list[Mark]) -> None:
    with pytest.raises(ValueError, match="no event was done"):
        timing(marks)


def test_workers_are_timed_only_while_all_of_them_work() -> None:
    early = [Mark(0.0, 0, 0.0), Mark(1.0, 100, 1.0), Mark(3.0, 300, 3.0)]
    late = [Mark(1.5, 0, 0.0), Mark(2.0, 40, 0.5), Mark(4.0, 200, 2.5)]
    # From 2.0, when the later one had its first events done, to 3.0, when the earlier one had no more.
    assert together([early, late]) == pytest.approx(100 + 80)


def test_workers_that_never_met_are_no_pair() -> None:
    first = [Mark(0.0, 0, 0.0), Mark(1.0, 9, 1.0)]
    second = [Mark(2.0, 0, 0.0), Mark(3.0, 9, 1.0)]
    with pytest.raises(ValueError, match="never at work"):
        together([first, second])


def test_traffic_has_requests_of_the_length_asked_for_and_an_answer_to_each() -> None:
    lines = traffic(2_000, 500, 600, seed=3)
    events = [decode_event(value) for _, _, value in lines]
    requests = [event for event in events if isinstance(event, Request)]
    answers = [event for event in events if isinstance(event, Response)]
    assert [answer.request_id for answer in answers] == [request.id for request in requests]
    assert {len(str(request.messages[0].content)) for request in requests if request.messages} == {600}
    assert max(Counter(request.account for request in requests).values()) < len(requests) / 5
    assert lines == traffic(2_000, 500, 600, seed=3)


@pytest.mark.parametrize("name", list(MODELS))
def test_every_peer_gives_every_event_a_score(name: str) -> None:
    score = MODELS[name]()
    for i in range(300):
        request = {"type": "request", "ts": i, "account": "a", "messages": [{"content": f"word {i}"}]}
        response = {"type": "response", "ts": i, "account": "a", "text": "answer", "usage": {"input": i}}
        assert all(isinstance(value, float) and value >= 0 for value in (score(request), score(response)))


def test_the_rule_forgets_requests_after_a_minute() -> None:
    score = MODELS["rule_60"]()
    burst = [score({"type": "request", "ts": i, "account": "a"}) for i in range(61)]
    assert burst[59] == 1
    assert burst[60] > 1
    assert score({"type": "request", "ts": 60_060, "account": "a"}) == pytest.approx(1 / 60)


class FailingRig:
    """A rig on which one contender fails in its second run."""

    def __init__(self, fails: str) -> None:
        self.fails = fails
        self.ran: list[str] = []

    def time(self, name: str, seconds: float) -> Timing:
        self.ran.append(name)
        if name == self.fails and self.ran.count(name) == 2:
            raise RunError("ended with 1:\nTraceback\nOSError: no room")
        return Timing(1_000, 0.1 * self.ran.count(name), 0.05)


def test_the_bench_goes_on_where_a_contender_fails_and_says_why_it_is_absent() -> None:
    rig = FailingRig("kafka_python_rule_60")
    only = ["floor", "kafka_python_rule_60", "detect"]
    options = argparse.Namespace(only=only, runs=3, seconds=1.0)
    found, absent = compare(rig, options, lambda _: None)  # type: ignore[arg-type]
    assert set(found) == {"floor", "detect"}
    assert found["detect"]["events_per_s"] == pytest.approx(5_000), "the median of its three runs"
    assert absent["kafka_python_rule_60"] == "run 2 of 3: ended with 1: | Traceback | OSError: no room"
    assert rig.ran.count("kafka_python_rule_60") == 2


def test_harvested_traffic_is_the_same_but_for_the_requests_of_harvesters() -> None:
    lines = list(harvested(2_000, 500, 600, seed=3, every=50, times=4))
    events = [decode_event(value) for _, _, value in lines]
    requests = [event for event in events if isinstance(event, Request)]
    marked = [i for i, one in enumerate(requests) if one.messages and STRONG in str(one.messages[0].content)]
    assert marked == list(range(0, 1_000, 50))
    assert [requests[i].account for i in marked] == [f"acct-{500 + number // 4}" for number in range(20)]
    assert {len(str(request.messages[0].content)) for request in requests if request.messages} == {600}
    others = [i for i in range(1_000) if i % 50]
    before = [decode_event(value) for role, _, value in traffic(2_000, 500, 600, seed=3) if role == "requests"]
    assert [requests[i] for i in others] == [before[i] for i in others]


def test_an_event_is_sent_with_the_time_of_its_sending_and_nothing_else_changes() -> None:
    for _, _, value in traffic(4, 2, 100, seed=1):
        before, after = decode_event(value), decode_event(at_time(value, 1_800_000_000_123))
        assert after.ts == 1_800_000_000_123
        assert msgspec.structs.replace(after, ts=before.ts) == before


def test_an_alert_goes_back_to_the_request_that_brought_its_account_to_the_threshold() -> None:
    sent = [float(i) for i in range(5 * EVERY + 1)]
    signals, alerts = harvester_causes(sent, times=2)
    assert {name: cause.sent for name, cause in signals.items()} == {f"r{i}": float(i) for i in range(0, 251, EVERY)}
    first = f"acct-{ACCOUNTS}"
    assert signals["r0"].account == signals[f"r{EVERY}"].account == first
    assert {name: cause.sent for name, cause in alerts.items()} == {
        first: float(EVERY),
        f"acct-{ACCOUNTS + 1}": 3.0 * EVERY,
        f"acct-{ACCOUNTS + 2}": 5.0 * EVERY,
    }


def test_latency_is_the_wait_for_the_end_of_the_tick_for_its_closing_and_for_the_writing() -> None:
    number = partition_of(b"a", 4)
    closed = [(number, 10_000, 10.5), ((number + 1) % 4, 10_000, 99.0), (number, 30_000, 30.25)]
    causes = {"on time": Cause(4.0, "a"), "late": Cause(12.0, "a")}
    rows = split({"on time": 11.0, "late": 31.0}, causes, closed, 10_000, 4)
    assert rows.tolist() == [[7_000, 6_000, 500, 500], [19_000, 8_000, 10_250, 750]]
    assert rows[:, 0].tolist() == rows[:, 1:].sum(axis=1).tolist()
    found = quantiles(rows)
    assert found["count"] == 2
    assert found["p50"] == {"total": 13_000, "tick": 7_000, "close": 5_375, "write": 625}
    with pytest.raises(RunError, match="no finding"):
        quantiles(rows[:0])
