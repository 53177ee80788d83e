"""PRADA: are the distances between an account's queries distributed as people's are?

Juuti, Szyller, Marchal and Asokan, "PRADA: Protecting against DNN Model Stealing Attacks" (EuroS&P 2019).
For every query its distance to the nearest one in a growing set is noted; the set takes it in if that is more
than a threshold, which follows the mean less the standard deviation of the distances taken in. From more than
100 distances on, those within three standard deviations are tested for normality (Shapiro and Wilk): an
attack is called where W falls below delta, 0.95 in most of the paper.

Adapted: vectors are embeddings, there are no predicted classes, hence one set an account, and set and distances
are bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from schemas.events import Event
from tests.benchmarks.peers.contract import F32, F64, Recent, Ring, Score, Setting
from tests.benchmarks.peers.queries import blocks, queries

MORE_THAN: Final = 100
DELTA: Final = 0.95
_SET: Final = 256
_DISTANCES: Final = 500


@lru_cache(maxsize=_DISTANCES + 1)
def _weights(count: int) -> F64:
    """Royston's approximation of the Shapiro-Wilk weights (Applied Statistics 41, 1992), ascending."""
    normal = NormalDist()
    m = np.array([normal.inv_cdf((i - 0.375) / (count + 0.25)) for i in range(1, count + 1)])
    squares = float(m @ m)
    u = 1 / math.sqrt(count)
    out = m / math.sqrt(squares)
    last = float(np.polyval([-2.706056, 4.434685, -2.071190, -0.147981, 0.221157, out[-1]], u))
    second = float(np.polyval([-3.582633, 5.682633, -1.752461, -0.293762, 0.042981, out[-2]], u))
    rest = (squares - 2 * m[-1] ** 2 - 2 * m[-2] ** 2) / (1 - 2 * last**2 - 2 * second**2)
    out = m / math.sqrt(rest)
    out[0], out[1], out[-2], out[-1] = -last, -second, second, last
    return out


def shapiro_wilk(values: ArrayLike) -> float:
    """W of at least 6 values: 1 for what looks normal, less for what does not.

    Raises:
        ValueError: fewer values, or all the same.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if len(ordered) < 6:
        raise ValueError(f"W needs 6 values or more, got {len(ordered)}")
    centred = ordered - ordered.mean()
    spread = float(centred @ centred)
    if not spread > 1e-18:
        raise ValueError("W of equal values is not defined")
    return min(1.0, float(_weights(len(ordered)) @ ordered) ** 2 / spread)


class GrowingSet:
    """The state of one account.

    Args:
        limit: vectors in the set; a new one then replaces the oldest.
        distances: of the last queries, that are tested.

    Attributes:
        threshold: the set takes in what is farther away than this.
    """

    def __init__(self, dims: int, limit: int = _SET, distances: int = _DISTANCES) -> None:
        self.ring = Ring(limit, dims)
        self._distances: F64 = np.empty(distances)
        self._noted = 0
        self.threshold = 0.0
        self._taken = 0
        self._sum = 0.0
        self._squares = 0.0

    @property
    def distances(self) -> F64:
        """(noted,) of the last queries to the nearest vector in the set, in no order."""
        return self._distances[: self._noted]

    def put(self, vector: F32) -> None:
        """Note a query."""
        if not len(self.ring):
            self._take(vector, 0.0)
            return
        nearest = math.sqrt(float(self.ring.squared_distances(vector).min()))
        self._distances[self._noted % len(self._distances)] = nearest
        self._noted += 1
        if nearest > self.threshold:
            self._take(vector, nearest)

    def _take(self, vector: F32, distance: float) -> None:
        self.ring.put(vector)
        self._taken += 1
        self._sum += distance
        self._squares += distance * distance
        mean = self._sum / self._taken
        deviation = math.sqrt(max(self._squares / self._taken - mean * mean, 0.0))
        self.threshold = max(self.threshold, mean - deviation)

    def normality(self) -> float | None:
        """W of the distances without outliers; None while there are too few, or where they are all equal."""
        if len(self.distances) <= MORE_THAN:
            return None
        apart = self.distances - self.distances.mean()
        kept = apart[np.abs(apart) < 3 * math.sqrt(float(apart @ apart) / len(apart))]
        try:
            return shapiro_wilk(kept)
        except ValueError:
            return None


class Prada:
    """1 - W of each account's distances; accounts with 101 queries or fewer are never scored."""

    name = "prada"
    published: float | None = 1 - DELTA

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def score(self, events: Iterable[Event]) -> Iterator[Score]:
        setting = self._setting
        sets: Recent[str, GrowingSet] = Recent(lambda: GrowingSet(setting.embed.dims), setting.max_accounts)
        for block in blocks(queries(events, setting.texts_per_day)):
            for query, vector in zip(block, setting.embed([query.text for query in block]), strict=True):
                growing = sets[query.account]
                growing.put(vector)
                w = growing.normality()
                if w is not None:
                    yield Score(query.account, query.ts, 1 - w)
