"""Window statistics: how far is a window from a reference sample of benign prompts? Larger is farther.

Every window is compared with a reference drawn from the calibration prompts. Calibration windows come from
the rest of them, so that both luck of the window and luck of the reference are in the threshold.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.shift_statistic import Axes, pairs, rarity
from tests.benchmarks.peers.mmd import kernel, median_gamma

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_LEAST_SPREAD: Final = 1e-6  # below it rounding is all that varies
_MEDIAN_SAMPLE: Final = 500  # as many as median_gamma looks at


class Scorer(Protocol):
    """Scores of windows on one split; a window is a row of booleans over the prompts of its side."""

    def calibration(self, windows: Bool, reference: I64) -> F64:
        """Scores of windows over the calibration prompts; `reference` says which reference each is compared with."""
        ...

    def test(self, windows: Bool, reference: I64) -> F64:
        """The same over the test prompts, benign ones before attack ones."""
        ...


def width_of(points: F32) -> float:
    """The kernel's gamma by the median heuristic, from points of all sets: rows are in the sets' order."""
    return median_gamma(points[:: max(1, len(points) // _MEDIAN_SAMPLE)])


class Mmd:
    """Unbiased squared maximum mean discrepancy (Gretton et al., JMLR 2012) with an RBF kernel.

    Args:
        calibration: points of the calibration prompts; their median distance is the kernel's width.
        test: points of the test side.
        references: rows of booleans over the calibration prompts.
    """

    def __init__(self, calibration: F32, test: F32, references: Bool) -> None:
        self.gamma = width_of(calibration)
        self._inside = kernel(calibration, calibration, self.gamma)
        chosen = references.astype(np.float32)
        sums = chosen @ self._inside
        self._size = references.sum(axis=1).astype(np.float64)
        self._own = _distinct_pairs(_rows_dot(sums, chosen), self._size)
        self._to_inside = sums
        self._to_test = chosen @ kernel(calibration, test, self.gamma)
        self._test = kernel(test, test, self.gamma)

    def calibration(self, windows: Bool, reference: I64) -> F64:
        return self._score(windows, reference, self._inside, self._to_inside)

    def test(self, windows: Bool, reference: I64) -> F64:
        return self._score(windows, reference, self._test, self._to_test)

    def _score(self, windows: Bool, reference: I64, kernels: F32, to_reference: F32) -> F64:
        chosen = windows.astype(np.float32)
        size = windows.sum(axis=1).astype(np.float64)
        within = _distinct_pairs(_rows_dot(chosen @ kernels, chosen), size)
        across = _rows_dot(to_reference[reference], chosen) / (size * self._size[reference])
        out: F64 = within + self._own[reference] - 2 * across
        return out


def _rows_dot(left: F32, right: F32) -> F64:
    # In double precision: the terms of the statistic cancel to a ten-thousandth of their size.
    dots: F64 = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    return dots


def _distinct_pairs(total: F64, size: F64) -> F64:
    """Mean over pairs of different prompts; the kernel of a prompt with itself is 1."""
    return (total - size) / (size * (size - 1))


class PairExcess:
    """The project's own statistic: excess of rare pairs, :class:`detectors.shift_statistic.Reference`.

    Args:
        calibration: word vectors of the calibration prompts; the axes are fitted on them.
        test: those of the test side.
        references: rows of booleans over the calibration prompts.
    """

    def __init__(self, calibration: F32, test: F32, references: Bool) -> None:
        axes = Axes.fit(calibration)
        inside, outside = axes.points(calibration), axes.points(test)
        self._inside, self._test = pairs(inside, inside), pairs(outside, outside)
        across = pairs(inside, outside)
        for among in (self._inside, self._test):
            np.fill_diagonal(among, 0)
        chosen = references.astype(np.float32)
        self._size = references.sum(axis=1).astype(np.float64)
        size = self._size[:, None]
        density = (chosen @ self._inside).astype(np.float64)
        own = density / (size - 1)
        usual = (own * references).sum(axis=1) / self._size
        self._inside_weight, self._test_weight = (
            np.stack([rarity(row, level) for row, level in zip(found / size, usual, strict=True)]).astype(np.float32)
            for found in (density, (chosen @ across).astype(np.float64))
        )
        weighted = np.stack([rarity(row, level) for row, level in zip(own, usual, strict=True)]) * references
        weighted = weighted.astype(np.float32)
        self._to_inside, self._to_test = weighted @ self._inside, weighted @ across
        self._own = _rows_dot(self._to_inside, weighted) / (self._size * (self._size - 1))

    def calibration(self, windows: Bool, reference: I64) -> F64:
        return self._score(windows * self._inside_weight[reference], reference, self._inside, self._to_inside)

    def test(self, windows: Bool, reference: I64) -> F64:
        return self._score(windows * self._test_weight[reference], reference, self._test, self._to_test)

    def _score(self, weights: F32, reference: I64, among: F32, to_reference: F32) -> F64:
        size = np.count_nonzero(weights, axis=1).astype(np.float64)
        within = _rows_dot(weights @ among, weights) / (size * (size - 1))
        between = _rows_dot(to_reference[reference], weights) / (size * self._size[reference])
        out: F64 = within + self._own[reference] - 2 * between
        return out


class MeanShift:
    """Squared length of the difference of means, each feature in standard deviations of the reference.

    Needs only sums and sums of squares, which merge over workers. Arguments as for :class:`Mmd`.
    """

    def __init__(self, calibration: F64, test: F64, references: Bool) -> None:
        self._inside, self._test = calibration, test
        self._means = _means(references, calibration)
        spread = np.sqrt(np.maximum(_means(references, calibration**2) - self._means**2, 0))
        # What never varies in the reference says nothing, neither of calibration windows nor of test windows.
        self._spread = np.where(spread > _LEAST_SPREAD, spread, np.inf)

    def calibration(self, windows: Bool, reference: I64) -> F64:
        return self._score(_means(windows, self._inside), reference)

    def test(self, windows: Bool, reference: I64) -> F64:
        return self._score(_means(windows, self._test), reference)

    def _score(self, means: F64, reference: I64) -> F64:
        out: F64 = np.square((means - self._means[reference]) / self._spread[reference]).sum(axis=1)
        return out


class MeanOdds:
    """What the data-set classifier gave each prompt: mean of the window less mean of the reference.

    Args:
        calibration, test: log odds for the attack set, shape (prompts,).
        references: rows of booleans over the calibration prompts.
    """

    def __init__(self, calibration: F64, test: F64, references: Bool) -> None:
        self._inside, self._test = calibration[:, None], test[:, None]
        self._means = _means(references, self._inside)

    def calibration(self, windows: Bool, reference: I64) -> F64:
        return (_means(windows, self._inside) - self._means[reference])[:, 0]

    def test(self, windows: Bool, reference: I64) -> F64:
        return (_means(windows, self._test) - self._means[reference])[:, 0]


def _means(windows: Bool, points: F64) -> F64:
    means: F64 = (windows.astype(np.float64) @ points) / windows.sum(axis=1)[:, None]
    return means
