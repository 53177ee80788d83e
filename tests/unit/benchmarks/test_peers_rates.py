"""The call-count rules, against the boundaries that their authors publish."""

from __future__ import annotations

from tests.benchmarks.peers.rates import CallRate, calls_per_hour, requests_per_minute
from tests.unit.benchmarks.peer_rig import ask


def named_at(rule: CallRate, events: list) -> list[int]:
    """The places of the scores above the published threshold."""
    return [place for place, score in enumerate(rule.score(events)) if score.value > rule.published]


def test_the_500th_call_within_an_hour_is_named_and_the_499th_is_not() -> None:
    events = [ask("a", second) for second in range(0, 3_500, 7)]
    assert len(events) == 500
    assert named_at(calls_per_hour(), events) == [499]


def test_500_calls_in_a_little_more_than_an_hour_are_let_through() -> None:
    events = [ask("a", second * 3_600 / 499) for second in range(500)]
    assert named_at(calls_per_hour(), events) == []


def test_calls_to_two_models_are_counted_apart() -> None:
    events = [ask("a", second, model=f"m-{second % 2}") for second in range(998)]
    assert named_at(calls_per_hour(), events) == []


def test_60_requests_in_a_minute_are_let_through_and_61_are_not() -> None:
    assert named_at(requests_per_minute(), [ask("a", place * 0.9) for place in range(60)]) == []
    assert named_at(requests_per_minute(), [ask("a", place * 0.9) for place in range(61)]) == [60]


def test_the_window_slides_and_accounts_do_not_mix() -> None:
    rule = CallRate("three", 10_000, published=2)
    events = [ask("a", 0), ask("b", 1), ask("a", 4), ask("a", 9.999), ask("a", 10), ask("a", 30)]
    # At 10 s the request of 0 s is exactly ten seconds old, and no longer counts.
    assert [score.value for score in rule.score(events)] == [1, 1, 2, 3, 3, 1]


def test_an_accounts_memory_is_bounded() -> None:
    rule = CallRate("bounded", 10_000, published=2, most=3)
    assert max(score.value for score in rule.score([ask("a", place / 100) for place in range(50)])) == 3
