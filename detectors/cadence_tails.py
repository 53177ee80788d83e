"""How many accounts show at least as much, per plan and age of the account: one small histogram each.

In the spirit of :class:`detectors.baselines.ScoreTail`, for many of them at once, and in one array, whose changed
blocks a checkpoint finds. A share is a conformal p-value (Vovk, Gammerman and Shafer, 2005): the account looked at
counts as one of them, so it is above 0 and never too small.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Marks, Part, words, words_of

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

BINS: Final = 64
EVERYBODY: Final = 0
"""The stratum of all accounts, whatever their plan; one without a plan counts there alone."""
_REMEMBERED: Final = 100_000.0
_BLOCK: Final = 1024  # numbers, 8 kB


class Tails(Blocked):
    """Histograms of measures, by stratum and level, each account counting once in each.

    Args:
        measures, strata, levels: how many there are of each.
    """

    def __init__(self, measures: int, strata: int, levels: int) -> None:
        self._counts = np.zeros((measures, strata, levels, BINS))
        self._marks = Marks(_BLOCK)
        self._marks.grow(self._counts.size)

    @property
    def nbytes(self) -> int:
        return self._counts.nbytes

    def accounts(self, measure: int, stratum: I64, level: I64) -> F64:
        """Accounts remembered of each stratum and level (n,); shape (n,)."""
        return np.asarray(self._counts[measure, stratum, level].sum(axis=1))

    def at_least(self, measure: int, stratum: I64, level: I64, place: I64) -> F64:
        """The share of accounts, itself among them, in the same bin or a higher one; all of shape (n,)."""
        above = self._above(measure, stratum, level)
        return np.asarray((1 + above[np.arange(len(place)), place]) / (1 + above[:, 0]))

    def from_where(self, measure: int, stratum: I64, level: I64, tail: float) -> I64:
        """The lowest bin that a share of `tail` or less reaches; BINS if none does; shape (n,)."""
        above = self._above(measure, stratum, level)
        return np.asarray(((1 + above) / (1 + above[:, :1]) > tail).sum(axis=1), np.int64)

    def _above(self, measure: int, stratum: I64, level: I64) -> F64:
        return np.cumsum(self._counts[measure, stratum, level][:, ::-1], axis=1)[:, ::-1]

    def learn(self, measure: int, stratum: I64, level: I64, place: I64) -> None:
        """Count new accounts, one each, in their stratum and among everybody; all of shape (n,)."""
        told = stratum != EVERYBODY
        for which, where in ((np.ones(len(place), np.bool_), np.zeros_like(stratum)), (told, stratum)):
            at = (np.full(int(which.sum()), measure), where[which], level[which], place[which])
            np.add.at(self._counts, at, 1)
            self._touch(measure, at[1], at[2])

    def _touch(self, measure: int, stratum: I64, level: I64) -> None:
        if not len(stratum):
            return
        cells = np.unique(np.ravel_multi_index((stratum, level), self._counts.shape[1:3]))
        rows = self._counts.reshape(-1, BINS)
        cells = cells + measure * self._counts.shape[1] * self._counts.shape[2]
        full = cells[rows[cells].sum(axis=1) >= _REMEMBERED]
        # It follows what changes.
        rows[full] /= 2
        self._marks.mark(cells * BINS)

    def parts(self) -> dict[str, Part]:
        return {"counts": words(self._counts, self._marks)}

    def restore_parts(self, parts: Blocks) -> None:
        self._counts = words_of(parts["counts"], self._counts, _BLOCK)
        self._marks = Marks(_BLOCK)
        self._marks.mark_from(0, self._counts.size)
