"""What cohorts of accounts ask usually: a sample of accounts of days ago, and how random groups of them score.

The statistic is that of :mod:`detectors.shift_statistic`: the excess of pairs of like texts, each pair weighted by
how rare pairs are around its texts, here over pairs of accounts. A cohort is compared with groups of as many accounts
drawn from the sample: a permutation test (Gretton et al., JMLR 2012, section 5), whose spread tells how far out a
cohort lies beyond the largest of them.

The sample is at least a pane old: what begins today is compared with what was asked before it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.hashing import U64
from detectors.shift_statistic import pairs, rarity

F64 = NDArray[np.float64]
I8 = NDArray[np.int8]
Rows = NDArray[np.void]

LARGEST: Final = 64  # accounts of a window
_DRAWS: Final = 200
_DAY_MS: Final = 86_400_000
_REMEMBERED_MS: Final = 7 * _DAY_MS


class Verdict(NamedTuple):
    """How a window of n accounts stands out.

    Attributes:
        excess: of weighted pairs. deviations: of groups of at most as many accounts by which that is above theirs.
        p_value: of the window. tails: (n,) share of the accounts of such groups that add as much to the excess.
    """

    excess: float
    deviations: float
    p_value: float
    tails: F64


class _Usual(NamedTuple):
    """What random groups of `size` accounts score, ascending: `excess` (draws,), `own` (draws * size,)."""

    size: int
    excess: F64
    own: F64


class Baseline(Blocked):
    """The sample, renewed each pane.

    Args:
        sample: accounts that windows are compared with, and as many more of which the random groups are drawn.
        least: accounts of a window, at least.
        dims: of a point.
    """

    def __init__(self, sample: int, least: int, dims: int) -> None:
        self._sample = sample
        self._least = least
        self._type = np.dtype(
            [("account", np.uint64), ("ts", np.int64), ("text", np.uint64), ("point", np.int8, (dims,))]
        )
        self._coming: Rows = np.zeros(0, self._type)
        self._rows: Rows = np.zeros(0, self._type)
        self._pane = 0
        self._fit()

    @property
    def nbytes(self) -> int:
        usual = sum(one.excess.nbytes + one.own.nbytes for one in self._usual)
        return self._rows.nbytes + self._coming.nbytes + self._points.nbytes + 8 * len(self._weight) + usual

    @property
    def accounts(self) -> int:
        """Accounts that windows are compared with."""
        return len(self._weight)

    @property
    def ready(self) -> bool:
        """Are there enough accounts for groups of the smallest size?"""
        return len(self._usual) > 0

    def turn(self, pane: int, now: int, rows: Rows, marked: U64) -> None:
        """Take in what was seen until the last turn, and keep `rows` for the next one.

        Args:
            pane: its number. now: its start, epoch ms.
            rows: recent ones, of accounts of which nothing was found.
            marked: accounts of which something was found meanwhile: they do not become usual.
        """
        known = np.concatenate([self._coming, self._rows])
        known = known[(known["ts"] >= now - _REMEMBERED_MS) & ~np.isin(known["account"], marked)]
        self._rows = known[_once(known)[: 2 * self._sample]]
        order = _once(rows)[: 2 * self._sample]
        self._coming = np.zeros(len(order), self._type)
        for name in self._type.names or ():
            self._coming[name] = rows[name][order]
        self._pane = pane
        self._fit()

    def _fit(self) -> None:
        """Everything that follows from the sample."""
        half = min(self._sample, len(self._rows) // 2)
        # Hashes are uniform, so every other account is a random half.
        self._points: I8 = self._rows["point"][: 2 * half : 2]
        self._usual: list[_Usual] = []
        self._weight: F64 = np.zeros(half)
        self._within = self._mean = 0.0
        if half < 2 * self._least:
            return
        among = pairs(self._points, self._points)
        np.fill_diagonal(among, 0)
        density = among.sum(axis=1, dtype=np.float64) / (half - 1)
        self._mean = float(density.mean())
        self._weight = rarity(density, self._mean)
        weighted = (among * self._weight).sum(axis=1) * self._weight
        self._within = float(weighted.sum()) / (half * (half - 1))
        others = self._rows[1 : 2 * half : 2]
        weight, across = self._across(others["point"])
        table = _between(others["point"], weight)
        # Without replacement, and the smaller groups are the first ones of the larger: one gathering for all sizes.
        largest = min(LARGEST, half // 2)
        groups = np.random.default_rng(self._pane).random((_DRAWS, half)).argsort(axis=1)[:, :largest]
        tables, across = table[groups[:, :, None], groups[:, None, :]], across[groups]
        size = self._least
        while size <= largest:
            own = self._own(tables[:, :size, :size], across[:, :size])
            self._usual.append(_Usual(size, np.sort(own.mean(axis=1)), np.sort(own, axis=None)))
            size *= 2

    def _across(self, points: I8) -> tuple[F64, F64]:
        """Of points (n, dims): their weights, and their weighted pairs with the sample; shapes (n,)."""
        likeness = pairs(points, self._points).astype(np.float64)
        weight = rarity(likeness.mean(axis=1), self._mean)
        return weight, weight * (likeness * self._weight).sum(axis=1) / len(self._weight)

    def _own(self, table: F64, across: F64) -> F64:
        """What each of n accounts adds to the excess, of which the mean is the excess: (…, n, n), (…, n) to (…, n)."""
        out: F64 = table.sum(axis=-1) / (table.shape[-1] - 1) - 2 * across + self._within
        return out

    def judge(self, points: I8) -> Verdict:
        """A window of n accounts, `least` to :data:`LARGEST`, each with a text of its own: points (n, dims)."""
        weight, across = self._across(points)
        own = self._own(_between(points, weight), across)
        usual = [one for one in self._usual if one.size <= len(own)][-1]
        excess = float(own.mean())
        spread = max(float(usual.excess.std()), 1e-9)
        above = len(usual.excess) - int(np.searchsorted(usual.excess, excess))
        tails = (1 + len(usual.own) - np.searchsorted(usual.own, own)) / (1 + len(usual.own))
        return Verdict(
            excess,
            (excess - float(usual.excess.mean())) / spread,
            (1 + above) / (1 + len(usual.excess)),
            np.asarray(tails, np.float64),
        )

    def parts(self) -> dict[str, Part]:
        held = (self._pane, self._rows.tobytes(), self._coming.tobytes())
        return {"sample": whole(msgspec.msgpack.encode(held))}

    def restore_parts(self, parts: Blocks) -> None:
        pane, rows, coming = msgspec.msgpack.decode(whole_of(parts["sample"]), type=tuple[int, bytes, bytes])
        self._pane = pane
        self._rows, self._coming = (np.frombuffer(data, self._type).copy() for data in (rows, coming))
        self._fit()


def _once(rows: Rows) -> NDArray[np.int64]:
    """Places of rows in the order of their accounts' hashes: the first one of each account, and of each text."""
    _, first = np.unique(rows["account"], return_index=True)
    _, text = np.unique(rows["text"][first], return_index=True)
    return first[np.sort(text)]


def _between(points: I8, weight: F64) -> F64:
    """Weighted pairs between accounts: shape (n, n)."""
    table = pairs(points, points).astype(np.float64)
    np.fill_diagonal(table, 0)
    out: F64 = table * weight[:, None] * weight[None, :]
    return out
