"""Mahalanobis distance, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.benchmarks.peers.contract import reference_vectors
from tests.benchmarks.peers.mahalanobis import Gaussian, Mahalanobis
from tests.unit.benchmarks.peer_rig import ask, setting

# Mean (0, 0), covariance diag(4, 1) with n - 1 in the denominator.
CROSS = np.array([[math.sqrt(6), 0], [-math.sqrt(6), 0], [0, math.sqrt(1.5)], [0, -math.sqrt(1.5)]])


def test_squared_distances_by_hand() -> None:
    gaussian = Gaussian(CROSS, ridge=0)
    assert gaussian.mean.tolist() == pytest.approx([0, 0])
    # (2, 1): 4/4 + 1/1 = 2. (4, 0): 16/4 = 4.
    assert gaussian.squared(np.array([[2, 1], [4, 0], [0, 0]])).tolist() == pytest.approx([2, 4, 0])


def test_a_ridge_widens_every_direction_alike() -> None:
    # The mean variance is 2.5; a tenth of it makes the variances 4.25 and 1.25.
    gaussian = Gaussian(CROSS, ridge=0.1)
    assert gaussian.squared(np.array([[2, 1]])).tolist() == pytest.approx([4 / 4.25 + 1 / 1.25])


def test_a_singular_covariance_is_refused() -> None:
    flat = np.array([[1.0, 0], [2, 0], [3, 0]])
    with pytest.raises(ValueError, match="singular"):
        Gaussian(flat, ridge=0)
    assert np.isfinite(Gaussian(flat, ridge=0.1).squared(flat)).all()
    with pytest.raises(ValueError, match="two vectors"):
        Gaussian(flat[:1])


def test_the_score_is_in_standard_errors_over_the_window() -> None:
    reference = [[1.0], [1.5], [-1.0], [3.0]]
    peer = Mahalanobis(setting(reference), window=2)
    vectors = reference_vectors(setting(reference))
    gaussian = Gaussian(vectors[::2])
    usual = gaussian.squared(vectors[1::2])
    values = [score.value for score in peer.score([ask("a", place, text) for place, text in enumerate("230")])]
    two, three, zero = gaussian.squared(np.array([[2.0], [3.0], [0.0]]))
    # The mean of n independent distances has the deviation of one, divided by the root of n.
    expected = [
        two - usual.mean(),
        ((two + three) / 2 - usual.mean()) * 2**0.5,
        ((three + zero) / 2 - usual.mean()) * 2**0.5,
    ]
    assert values == pytest.approx([value / usual.std() for value in expected])


def test_a_reference_at_one_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="one distance"):
        Mahalanobis(setting([[1.0], [2.0], [3.0]]))
