"""The throughput bench: what its clock counts, what its contenders score, and that its traffic is as it says."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.events import Request, Response, decode_event
from tests.benchmarks.throughput.models import MODELS
from tests.benchmarks.throughput.stopwatch import Mark, timing, together
from tests.benchmarks.throughput.traffic import traffic


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
