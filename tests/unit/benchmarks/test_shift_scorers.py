"""Window statistics of the shift bench, against plain formulas and against each other's blind spots."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.shift_statistic import Axes, Reference, Summary
from tests.benchmarks.peers.mmd import mmd2
from tests.benchmarks.shift.features import DIMENSIONS, STYLE, features, style
from tests.benchmarks.shift.scorers import MeanOdds, MeanShift, Mmd, PairExcess
from tests.benchmarks.shift.windows import blocks_of, draw, draw_beside, take_blocks, threshold


@pytest.fixture
def sides() -> tuple[np.ndarray, np.ndarray]:
    """60 calibration points; 40 test points of the same kind and 20 of another."""
    rng = np.random.default_rng(4)
    test = np.vstack([rng.normal(size=(40, 6)), rng.normal(1.5, 1.0, size=(20, 6))])
    return rng.normal(size=(60, 6)).astype(np.float32), test.astype(np.float32)


def test_mmd_is_the_unbiased_estimate_of_window_against_reference(sides: tuple[np.ndarray, np.ndarray]) -> None:
    inside, outside = sides
    rng = np.random.default_rng(0)
    references = draw(60, 15, 3, rng)
    scorer = Mmd(inside, outside, references)
    which = np.array([2, 0, 1])
    beside, windows = draw_beside(references, which, 20, rng), draw(60, 12, 3, rng)
    for row, reference in enumerate(which):
        sample = inside[references[reference]]
        assert scorer.calibration(beside, which)[row] == pytest.approx(
            mmd2(inside[beside[row]], sample, scorer.gamma), abs=1e-6
        )
        assert scorer.test(windows, which)[row] == pytest.approx(
            mmd2(outside[windows[row]], sample, scorer.gamma), abs=1e-6
        )


def test_excess_of_pairs_is_the_statistic_of_the_detectors(sides: tuple[np.ndarray, np.ndarray]) -> None:
    inside, outside = sides
    rng = np.random.default_rng(0)
    references = draw(60, 15, 3, rng)
    scorer, axes = PairExcess(inside, outside, references), Axes.fit(inside)
    which = np.array([2, 0, 1])

    def summary(vectors: np.ndarray) -> Summary:
        out = Summary(dims=axes.turn.shape[1])
        out.add(rng.integers(0, 2**64, len(vectors), np.uint64), axes.points(vectors))
        return out

    for side, windows, score in (
        (inside, draw_beside(references, which, 20, rng), scorer.calibration),
        (outside, draw(60, 12, 3, rng), scorer.test),
    ):
        for row, reference in enumerate(which):
            expected = Reference(summary(inside[references[reference]])).statistic(summary(side[windows[row]]))
            assert score(windows, which)[row] == pytest.approx(expected, rel=1e-5)


def test_mean_shift_is_the_squared_standardised_difference(sides: tuple[np.ndarray, np.ndarray]) -> None:
    inside, outside = (side.astype(np.float64) for side in sides)
    inside[:, 0] = outside[:, 0] = 3.0  # never varies: says nothing, and divides by nothing
    references = draw(60, 15, 1, np.random.default_rng(0))
    windows = draw(60, 12, 1, np.random.default_rng(1))
    shift = outside[windows[0]].mean(axis=0) - inside[references[0]].mean(axis=0)
    expected = ((shift[1:] / inside[references[0]].std(axis=0)[1:]) ** 2).sum()
    assert MeanShift(inside, outside, references).test(windows, np.array([0]))[0] == pytest.approx(expected)


def test_windows_with_more_of_the_other_kind_score_higher(sides: tuple[np.ndarray, np.ndarray]) -> None:
    inside, outside = sides
    references = draw(60, 20, 1, np.random.default_rng(0))
    shares = [np.zeros(60, np.bool_) for _ in range(3)]
    shares[0][:20] = shares[1][:15] = shares[1][55:] = shares[2][40:] = True
    windows, which = np.stack(shares), np.zeros(3, np.int64)
    odds = MeanOdds(np.full(60, -1.0), np.r_[np.full(40, -1.0), np.full(20, 2.0)], references)
    for scorer in (
        PairExcess(inside, outside, references),
        Mmd(inside, outside, references),
        MeanShift(inside, outside, references),
        odds,
    ):
        scores = scorer.test(windows, which)
        assert scores[0] < scores[1] < scores[2]


def test_features_have_their_shape_and_empty_texts_are_zero() -> None:
    table = features(["how do i sort a list", "how do i sort a list", "", "!"])
    assert table.shape == (4, DIMENSIONS + STYLE)
    np.testing.assert_array_equal(table[0], table[1])
    assert not table[2].any()
    assert np.linalg.norm(table[0, :DIMENSIONS]) == pytest.approx(1)


def test_style_by_hand() -> None:
    row = style(["What is 12 plus 12?"])[0]
    expected = [np.log1p(5), np.log1p(19), 15 / 5, 0, 1, 1 / 5, 0, 1, 4 / 19, 1 / 19]
    np.testing.assert_allclose(row, expected)


def test_the_threshold_carries_over_to_the_other_side_of_a_split() -> None:
    """Neighbours are alike: windows of one side share blocks, and would set the threshold too low unless kept apart."""
    rate, above = 0.05, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sets, blocks = blocks_of([200, 100], 10)
        points = rng.normal(size=(300, 5)) + rng.normal(size=(len(np.unique(blocks)), 5))[blocks]
        test = take_blocks(sets, blocks, 0.4, rng)
        inside = ~test
        references = np.stack([take_blocks(sets[inside], blocks[inside], 0.25, rng) for _ in range(20)])
        scorer = MeanShift(points[inside], points[test], references)
        which = np.arange(100) % 20
        limit = threshold(scorer.calibration(draw_beside(references, which, 20, rng), which), rate)
        above.append(np.mean(scorer.test(draw(int(test.sum()), 20, 100, rng), which) > limit))
    assert np.mean(above) == pytest.approx(rate, abs=0.03)
