"""Rates over accounts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.baselines import AccountRate


def test_starts_from_the_prior_and_learns() -> None:
    rate = AccountRate(prior=0.01)
    assert rate.rate == pytest.approx(0.01)
    rate.learn(40, 400)
    assert 0.05 < rate.rate < 0.1
    for _ in range(1000):
        rate.learn(1, 10)
    assert rate.rate == pytest.approx(0.1, abs=0.01)


def test_is_never_zero() -> None:
    """That nobody did it yet is no proof that nobody honest ever will."""
    rate = AccountRate(prior=0.0005)
    rate.learn(0, 50_000)
    assert 0 < rate.rate < 0.0001


def test_a_lasting_rise_wins_within_some_hundred_accounts() -> None:
    rate = AccountRate(prior=0.001)
    for _ in range(100):
        rate.learn(0, 100)
    assert rate.drifts == 0
    for _ in range(60):
        rate.learn(2, 10)
    assert rate.drifts >= 1
    assert rate.rate > 0.1


def test_steady_traffic_does_not_drift() -> None:
    rate = AccountRate(prior=0.02)
    for _ in range(500):
        rate.learn(1, 50)
    assert rate.drifts == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=30), st.integers(0, 30))
def test_snapshot(hits: list[int], cut: int) -> None:
    one, other = AccountRate(prior=0.01), AccountRate(prior=0.5)
    other.learn(3, 300)
    for count in hits[:cut]:
        one.learn(count, 20)
    other.restore(one.snapshot())
    for count in hits[cut:]:
        one.learn(count, 20)
        other.learn(count, 20)
    assert (other.rate, other.drifts) == (one.rate, one.drifts)
    assert other.snapshot() == one.snapshot()


def test_accounts_that_come_in_one_tick_or_in_several_count_alike() -> None:
    one, other = AccountRate(prior=0.01), AccountRate(prior=0.01)
    one.learn(0, 300)
    for _ in range(300):
        other.learn(0, 1)
    assert one.rate == pytest.approx(other.rate)


def test_a_large_tick_is_no_drift() -> None:
    rate = AccountRate(prior=0.02)
    for _ in range(50):
        rate.learn(12, 600)
    assert rate.drifts == 0
    assert rate.rate == pytest.approx(0.02, rel=0.1)
