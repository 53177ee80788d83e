"""What is usual, learned online: rates and scores over accounts, each account counting once."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from river import drift, stats


class AccountRate:
    """The share of accounts with some property, and whether that share is drifting.

    A running mean over accounts (river `stats.Mean`) with a Page-Hinkley test beside it (Page, 1954;
    river `drift.PageHinkley`). On a drift the mean starts afresh from what it has, at a lower weight, so
    that the new level wins within some hundred accounts.

    Args:
        prior: share assumed before anything is known, in the weight of `weight` accounts.
    """

    _REMEMBERED = 200.0  # accounts whose weight survives a drift

    def __init__(self, prior: float, weight: float = 100.0) -> None:
        self._mean = stats.Mean._from_state(n=weight, mean=prior)
        # The test's unit is the share itself: a lasting rise by 0.05 over 100 accounts sums to 5.
        self._test = drift.PageHinkley(min_instances=100, delta=0.01, threshold=5.0, mode="up")
        self.drifts = 0

    def learn(self, hits: int, accounts: int) -> None:
        """Count `hits` of `accounts` new accounts."""
        for i in range(accounts):
            # Hits spread evenly: all of them first would look like a drift.
            value = float((i + 1) * hits // accounts - i * hits // accounts)
            self._mean.update(value)
            self._test.update(value)
            if self._test.drift_detected:
                self.drifts += 1
                self._mean = stats.Mean._from_state(n=min(self._mean.n, self._REMEMBERED), mean=self._mean.get())

    @property
    def rate(self) -> float:
        """The share; the prior keeps it above 0, since absence of a hit is no proof of impossibility."""
        return float(self._mean.get())

    def snapshot(self) -> bytes:
        test = self._test
        return msgspec.msgpack.encode(
            [
                float(self._mean.n),
                float(self._mean.get()),
                self.drifts,
                bool(test.drift_detected),
                float(test._x_mean.n),
                float(test._x_mean.get()),
                float(test._sum_increase),
                float(test._sum_decrease),
                float(test._min_increase),
                float(test._max_decrease),
            ]
        )

    def restore(self, data: bytes) -> None:
        n, mean, drifts, detected, test_n, test_mean, up, down, least, most = msgspec.msgpack.decode(data)
        self._mean = stats.Mean._from_state(n=n, mean=mean)
        self.drifts = drifts
        test = self._test
        test._drift_detected = detected
        test._x_mean = stats.Mean._from_state(n=test_n, mean=test_mean)
        test._sum_increase, test._sum_decrease = up, down
        test._min_increase, test._max_decrease = least, most


class ScoreTail:
    """How many accounts score at least as high: a histogram of log odds, so bounded, mergeable and exact to a bin.

    When it has :data:`_REMEMBERED` accounts all counts are halved, so that it follows what changes.

    Args:
        prior: share assumed of any score before anything is known, in the weight of `weight` accounts.
    """

    _LOWEST: Final = -32.0
    _STEP: Final = 0.25
    _BINS: Final = 256
    _REMEMBERED: Final = 100_000.0

    def __init__(self, prior: float, weight: float = 100.0) -> None:
        self._prior = prior * weight
        self._weight = weight
        self._counts = np.zeros(self._BINS)

    @property
    def nbytes(self) -> int:
        return self._counts.nbytes

    @property
    def accounts(self) -> int:
        """Accounts remembered."""
        return int(self._counts.sum())

    def learn(self, odds: NDArray[np.float64]) -> None:
        """Count the log odds of new accounts, one each."""
        self._counts += np.bincount(self._bins(odds), minlength=self._BINS)
        if self._counts.sum() >= self._REMEMBERED:
            self._counts /= 2

    def at_least(self, odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of accounts with at least these log odds, above 0; the shape of `odds`."""
        above = np.cumsum(self._counts[::-1])[::-1]
        return np.asarray((self._prior + above[self._bins(odds)]) / (self._weight + above[0]))

    def _bins(self, odds: NDArray[np.float64]) -> NDArray[np.int64]:
        place = np.floor((odds - self._LOWEST) / self._STEP)
        return np.clip(place, 0, self._BINS - 1).astype(np.int64)

    def snapshot(self) -> bytes:
        return self._counts.astype("<f8").tobytes()

    def restore(self, data: bytes) -> None:
        self._counts = np.frombuffer(data, "<f8").astype(np.float64)
