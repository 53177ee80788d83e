"""Summaries of windows and the excess of rare pairs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.hashing import hash_strings
from detectors.shift_statistic import (
    ALIKE,
    DIMENSIONS,
    SURELY_ALIKE,
    Axes,
    Reference,
    Summary,
    WordVectors,
    p_value,
    pairs,
)

SUBJECTS = (
    "sort the list of names in this table by the date of birth",
    "write a short letter to my landlord about the broken heating",
    "which train goes from the harbour to the old town on sunday",
    "explain to a child why the sky turns red in the evening",
    "plan a week of cheap dinners without meat for four people",
    "translate this sentence and mark every verb that is irregular",
)

SUMS = "how many apples does she have left after selling half of her pencils each week in april"


def prompts(rng: random.Random, count: int) -> list[str]:
    """Each a handful of words from two of the subjects."""
    out = []
    for _ in range(count):
        left, right = rng.sample(SUBJECTS, 2)
        out.append(" ".join(rng.sample(left.split(), 6) + rng.sample(right.split(), 4)))
    return out


def harvest(rng: random.Random, count: int) -> list[str]:
    words = SUMS.split()
    return [" ".join(rng.sample(words, 10)) for _ in range(count)]


def keys(count: int, start: int = 0) -> np.ndarray:
    return hash_strings([f"request {number}" for number in range(start, start + count)])


def random_points(count: int, seed: int, dims: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dims))
    return np.rint(127 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.int8)


def summary(points: np.ndarray, start: int = 0, limit: int = 1_500) -> Summary:
    out = Summary(limit, points.shape[1])
    out.add(keys(len(points), start), points)
    return out


def same(left: Summary, right: Summary) -> bool:
    return left.snapshot() == right.snapshot()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 59), max_size=90), st.integers(1, 5), st.integers(2, 40), st.randoms())
def test_a_merge_is_the_summary_of_the_union_in_any_order(
    requests: list[int], workers: int, limit: int, rng: random.Random
) -> None:
    points, names = random_points(60, 1), keys(60)
    rows = np.array(requests, np.int64)
    whole = Summary(limit, 8)
    whole.add(names[rows], points[rows])
    parts = [Summary(limit, 8) for _ in range(workers)]
    for row in rng.sample(requests, len(requests)):
        parts[rng.randrange(workers)].add(names[[row]], points[[row]])
    rng.shuffle(parts)
    merged = Summary(limit, 8)
    for part in parts:
        merged.merge(part)
    assert same(merged, whole)
    assert len(whole) == min(limit, len(set(requests)))
    assert same(Summary.restore(whole.snapshot()), whole)
    merged.merge(whole)  # delivered twice
    assert same(merged, whole)


def test_a_summary_is_bounded_and_keeps_a_uniform_sample() -> None:
    held = Summary(100, 8)
    held.add(keys(5_000), random_points(5_000, 2))
    assert len(held) == 100
    assert held.nbytes == 100 * (8 + 8)
    np.testing.assert_array_equal(held.keys, np.sort(keys(5_000))[:100])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not merge"):
        Summary(10).merge(Summary(11))
    with pytest.raises(ValueError, match="shape"):
        Summary(10).add(keys(3), random_points(3, 1))
    with pytest.raises(ValueError, match="two requests"):
        Summary(1)
    with pytest.raises(ValueError, match="reference needs two"):
        Reference(summary(random_points(1, 1)))
    with pytest.raises(ValueError, match="window needs two"):
        Reference(summary(random_points(5, 1))).statistic(summary(random_points(1, 1)))
    with pytest.raises(ValueError, match="as many vectors as words"):
        WordVectors(["one", "two"], np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="two vectors"):
        Axes.fit(np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="the same"):
        Axes.fit(np.ones((5, 4), np.float32))


def test_the_order_of_requests_does_not_matter_to_the_statistic() -> None:
    base, window = random_points(50, 3), random_points(30, 4)
    order = np.random.default_rng(0).permutation(30)
    left, right = Summary(dims=8), Summary(dims=8)
    left.add(keys(30), window)
    right.add(keys(30)[order], window[order])
    assert Reference(summary(base)).statistic(left) == Reference(summary(base)).statistic(right)


def test_pairs_rise_from_alike_to_surely_alike_and_stay_there() -> None:
    angles = np.arccos([1.0, SURELY_ALIKE, (ALIKE + SURELY_ALIKE) / 2, ALIKE, 0.0])
    points = np.rint(127 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.int8)
    np.testing.assert_allclose(pairs(points[:1], points)[0], [1, 1, 0.5, 0, 0], atol=0.03)


def test_the_statistic_by_plain_sums() -> None:
    base, window = random_points(9, 5), random_points(7, 6)
    p, q = pairs(base, base), pairs(window, base)
    among = pairs(window, window)
    density = [np.mean([p[i, j] for j in range(9) if j != i]) for i in range(9)]
    usual = np.mean(density)
    u = [1 / np.sqrt(value + usual) for value in density]
    v = [1 / np.sqrt(q[i].mean() + usual) for i in range(7)]
    expected = (
        sum(u[i] * p[i, j] * u[j] for i in range(9) for j in range(9) if i != j) / 72
        + sum(v[i] * among[i, j] * v[j] for i in range(7) for j in range(7) if i != j) / 42
        - 2 * sum(v[i] * q[i, j] * u[j] for i in range(7) for j in range(9)) / 63
    )
    assert Reference(summary(base)).statistic(summary(window)) == pytest.approx(expected, rel=1e-5)


def test_a_harvest_crowds_where_benign_requests_are_rare_and_stands_out_at_a_twentieth() -> None:
    rng = random.Random(1)
    vectors = WordVectors()
    axes = Axes.fit(vectors(prompts(rng, 400)))

    def of(texts: list[str]) -> Summary:
        return summary(axes.points(vectors(texts)))

    reference = Reference(of(prompts(rng, 300)))
    benign = np.array([reference.statistic(of(prompts(rng, 200))) for _ in range(40)])
    mixed = np.array([reference.statistic(of([*prompts(rng, 190), *harvest(rng, 10)])) for _ in range(20)])
    crowd = [*prompts(rng, 190), *harvest(rng, 10)]
    points = axes.points(vectors(crowd))
    window = summary(points)
    shares = reference.shares(window)
    assert shares.mean() == pytest.approx(reference.statistic(window))
    where = {tuple(point) for point in points[190:].tolist()}
    own = np.array([tuple(point) in where for point in window.points.tolist()])
    assert shares[own].mean() > 5 * shares[~own].mean()
    assert abs(benign.mean()) < 3 * benign.std() / np.sqrt(40) + benign.std()
    assert np.median(mixed) > benign.max()
    assert p_value(float(mixed.max()), benign) == pytest.approx(1 / 41)


def test_vectors_are_sums_of_weighted_words() -> None:
    table = np.array([[1, 0], [0, 1], [3, 3]], np.float32)
    vectors = WordVectors(["the", "cat", "two words"], table)  # what is not one word cannot be found
    got = vectors(["the cat the", "unknown", "", "cat"])
    weight = np.log([2, 3]) / np.log(4)
    first = np.array([2 * weight[0], weight[1]])
    np.testing.assert_allclose(got, [first / np.linalg.norm(first), [0, 0], [0, 0], [0, 1]], rtol=1e-6)
    assert got.dtype == np.float32


def test_texts_do_not_depend_on_the_batch() -> None:
    texts = prompts(random.Random(3), 600)
    vectors = WordVectors()
    whole = vectors(texts)
    np.testing.assert_array_equal(np.vstack([vectors(texts[:7]), vectors(texts[7:])]), whole)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-5)


def test_axes_whiten() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(4_000, 5)) * [5, 4, 3, 2, 1] + 7).astype(np.float32)
    axes = Axes.fit(vectors, dims=3, ridge=0.0)
    turned = (vectors - axes.centre) @ axes.turn
    np.testing.assert_allclose(np.cov(turned.T), np.eye(3), atol=1e-3)
    points = axes.points(np.vstack([vectors, np.zeros((1, 5), np.float32)]))
    assert not points[-1].any()
    np.testing.assert_allclose(np.linalg.norm(points[:-1].astype(float), axis=1), 127, rtol=0.02)


def test_golden() -> None:
    """Figures written down once: points and the statistic must stay comparable over versions."""
    rng = random.Random(7)
    vectors = WordVectors()
    axes = Axes.fit(vectors(prompts(rng, 200)))
    base, window = (axes.points(vectors(prompts(rng, 60))) for _ in range(2))
    assert base.shape == (60, DIMENSIONS)
    np.testing.assert_allclose(vectors(["sort the list"])[0, :8], GOLDEN_VECTOR, atol=1e-3)
    assert Reference(summary(base)).statistic(summary(window)) == pytest.approx(GOLDEN_STATISTIC, rel=0.02)


GOLDEN_VECTOR = [0.042, -0.126, 0.126, 0.126, -0.042, 0.042, -0.042, -0.042]
GOLDEN_STATISTIC = 0.14787
