"""PRADA, against Shapiro and Wilk's own example, scipy, and a growing set worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tests.benchmarks.peers.prada import MORE_THAN, GrowingSet, Prada, shapiro_wilk
from tests.unit.benchmarks.peer_rig import ask, setting, spell

# Weights of eleven men in pounds: the first example of Shapiro and Wilk (Biometrika 52, 1965), who get W = 0.79.
WEIGHTS = (148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236)


def test_the_published_example_of_w() -> None:
    assert shapiro_wilk(WEIGHTS) == pytest.approx(0.79, abs=0.005)


@pytest.mark.parametrize("count", [6, 11, 50, 101, 500])
@pytest.mark.parametrize("shape", ["normal", "exponential", "uniform"])
def test_w_is_that_of_scipy(count: int, shape: str) -> None:
    values = getattr(np.random.default_rng(count), shape)(size=count)
    assert shapiro_wilk(values) == pytest.approx(float(stats.shapiro(values).statistic), abs=1e-4)


def test_w_needs_values_that_differ() -> None:
    with pytest.raises(ValueError, match="6 values"):
        shapiro_wilk([1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="equal values"):
        shapiro_wilk([2.0] * 20)


def test_a_growing_set_by_hand() -> None:
    growing = GrowingSet(1)
    for value in (0, 3, 4):
        growing.put(np.array([value], np.float32))
    # 0 begins the set with distance 0; 3 is 3 away, and 4 is 1 away from 3: both are taken in.
    # Mean 4/3, standard deviation sqrt(10/3 - 16/9) = sqrt(14)/3.
    assert growing.threshold == pytest.approx((4 - math.sqrt(14)) / 3, abs=1e-6)
    assert len(growing.ring) == 3
    growing.put(np.array([4.05], np.float32))  # 0.05 is less than the threshold of 0.086
    assert len(growing.ring) == 3
    assert growing.distances.tolist() == pytest.approx([3, 1, 0.05], abs=1e-3)
    assert growing.normality() is None


def test_the_set_and_the_distances_are_bounded() -> None:
    growing = GrowingSet(1, limit=8, distances=120)
    for value in range(300):
        growing.put(np.array([1.7 ** (value % 60)], np.float32))
    assert len(growing.ring) <= 8
    assert len(growing.distances) == 120


def test_repeating_one_query_is_never_scored() -> None:
    growing = GrowingSet(1)
    for _ in range(300):
        growing.put(np.array([2], np.float32))
    assert growing.normality() is None


def test_synthetic_queries_are_detected_at_the_published_delta_and_natural_ones_are_not() -> None:
    # As in the paper: natural samples lie about one distance apart, synthetic ones a fixed small step from a seed.
    rng = np.random.default_rng(8)
    dims, count = 24, 400
    natural = rng.normal(size=(count, dims))
    seeds = rng.normal(size=(count // 4, dims))
    steps = 0.5 * np.sign(rng.normal(size=(count, dims))) / math.sqrt(dims)
    synthetic = np.concatenate([seeds, seeds[rng.integers(len(seeds), size=3 * count // 4)] + steps[: 3 * count // 4]])
    texts = {"people": natural, "thief": synthetic}
    events = [ask(name, place, spell(texts[name][place].round(4))) for place in range(count) for name in texts]
    peer = Prada(setting(natural[:5].round(4).tolist()))
    worst = dict.fromkeys(texts, 0.0)
    first: dict[str, int] = {}
    for score in peer.score(events):
        worst[score.account] = max(worst[score.account], score.value)
        first.setdefault(score.account, (score.ts - events[0].ts) // 1_000)
    assert worst["people"] <= peer.published < worst["thief"]
    # The first query has no distance, so the 102nd is the first with more than 100 of them.
    assert set(first.values()) == {MORE_THAN + 1}
