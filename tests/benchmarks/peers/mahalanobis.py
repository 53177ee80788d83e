"""Marginal Mahalanobis distance of queries from benign ones.

One Gaussian without classes (Kamoi and Kobayashi, "Why is the Mahalanobis Distance Effective for Anomaly
Detection?", 2020), for embedded texts as in Podolskiy et al. (AAAI 2021); a window's score is the mean over
its queries, as in the comparison of arXiv 2606.05725. Mean and covariance are from one half of the reference,
what is usual from the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from schemas.events import Event
from tests.benchmarks.peers.contract import F64, Recent, Score, Setting, reference_vectors
from tests.benchmarks.peers.queries import blocks, queries


class Gaussian:
    """Mean and covariance of vectors.

    Args:
        vectors: (at least 2, dims).
        ridge: times the mean variance is added to every variance, so that few vectors do.

    Raises:
        ValueError: fewer than two vectors, or the covariance is singular.
    """

    def __init__(self, vectors: NDArray[np.floating], ridge: float = 0.01) -> None:
        if len(vectors) < 2:
            raise ValueError("a covariance needs two vectors or more")
        table = vectors.astype(np.float64)
        self.mean: F64 = table.mean(axis=0)
        covariance = np.atleast_2d(np.cov(table, rowvar=False))
        covariance += ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        try:
            self._whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        except np.linalg.LinAlgError:
            raise ValueError("the covariance is singular; give more vectors, or a ridge above 0") from None

    def squared(self, vectors: NDArray[np.floating]) -> F64:
        """(vectors,) squared distances from the mean."""
        white = (vectors.astype(np.float64) - self.mean) @ self._whiten.T
        out: F64 = np.einsum("ij,ij->i", white, white)
        return out


class _Sums:
    """The last distances of an account, and their sum."""

    def __init__(self, limit: int) -> None:
        self._values = np.zeros(limit)
        self._put = 0
        self._sum = 0.0

    def put(self, value: float) -> None:
        row = self._put % len(self._values)
        self._sum += value - self._values[row]
        self._values[row] = value
        self._put += 1

    def standardised(self, mean: float, deviation: float) -> float:
        count = min(self._put, len(self._values))
        return (self._sum / count - mean) * math.sqrt(count) / deviation


class Mahalanobis:
    """Mean squared distance of an account's last queries, in standard errors above that of benign ones.

    Args:
        window: queries averaged at most.
    """

    name = "mahalanobis"
    published: float | None = None

    def __init__(self, setting: Setting, *, window: int = 100) -> None:
        vectors = reference_vectors(setting)
        self._setting = setting
        self._window = window
        self._gaussian = Gaussian(vectors[::2])
        usual = self._gaussian.squared(vectors[1::2])
        self._mean, self._deviation = float(usual.mean()), float(usual.std())
        if not self._deviation > 0:
            raise ValueError("the reference texts are all at one distance; give more of them")

    def score(self, events: Iterable[Event]) -> Iterator[Score]:
        setting = self._setting
        accounts: Recent[str, _Sums] = Recent(lambda: _Sums(self._window), setting.max_accounts)
        for block in blocks(queries(events, setting.texts_per_day)):
            distances = self._gaussian.squared(setting.embed([query.text for query in block]))
            for query, distance in zip(block, distances, strict=True):
                sums = accounts[query.account]
                sums.put(float(distance))
                yield Score(query.account, query.ts, sums.standardised(self._mean, self._deviation))
