"""Maximum mean discrepancy between a window of queries and benign ones, over sentence embeddings.

"An Embarrassingly Simple Detector for Model Extraction Attacks in Large Language Model API Traffic"
(arXiv 2606.05725, 2026): embed the queries, compare windows of them with benign traffic by MMD, set the
threshold from benign against benign. Kernel and estimator after Gretton et al., "A Kernel Two-Sample Test"
(JMLR 2012): Gaussian, as wide as the median distance, unbiased (their equation 3).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.events import Event
from tests.benchmarks.peers.contract import F32, F64, Recent, Ring, Score, Setting, reference_vectors
from tests.benchmarks.peers.queries import blocks, queries

_REFERENCE: Final = 1_000
_BANDWIDTH_SAMPLE: Final = 500


def squared_distances(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.floating]:
    """(left rows, right rows), never below 0."""
    norms = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1)[None, :]
    out: NDArray[np.floating] = np.maximum(norms - 2 * (left @ right.T), 0)
    return out


def median_gamma(vectors: NDArray[np.floating]) -> float:
    """1 / (2 s²), where s is the median distance between two different vectors.

    Raises:
        ValueError: fewer than two vectors, or most of them are the same.
    """
    if len(vectors) < 2:
        raise ValueError("the width of the kernel needs two vectors or more")
    sample = vectors[:_BANDWIDTH_SAMPLE].astype(np.float64)
    median = float(np.median(squared_distances(sample, sample)[np.triu_indices(len(sample), 1)]))
    if median == 0:
        raise ValueError("most reference vectors are the same")
    return 1 / (2 * median)


def kernel(left: NDArray[np.floating], right: NDArray[np.floating], gamma: float) -> NDArray[np.floating]:
    """exp(-gamma |x - y|²) for every pair of rows."""
    out: NDArray[np.floating] = np.exp(-gamma * squared_distances(left, right))
    return out


def mean_off_diagonal(square: NDArray[np.floating]) -> float:
    """Mean over all pairs of two different rows."""
    count = len(square)
    return float((square.sum(dtype=np.float64) - np.trace(square, dtype=np.float64)) / (count * (count - 1)))


def mmd2(left: NDArray[np.floating], right: NDArray[np.floating], gamma: float) -> float:
    """The unbiased estimate of the squared discrepancy; below 0 as often as above where there is none.

    Raises:
        ValueError: one side has fewer than two rows.
    """
    if min(len(left), len(right)) < 2:
        raise ValueError("both samples need two rows or more")
    within = mean_off_diagonal(kernel(left, left, gamma)) + mean_off_diagonal(kernel(right, right, gamma))
    return within - 2 * float(kernel(left, right, gamma).mean(dtype=np.float64))


class Reference:
    """Benign vectors, and what windows are compared with them by.

    Attributes:
        vectors: (at most 1,000, dims).
        gamma: of the kernel.
        within: mean kernel of two different benign vectors.
    """

    def __init__(self, vectors: F32) -> None:
        self.vectors = vectors[:_REFERENCE]
        self.gamma = median_gamma(self.vectors)
        self.within = mean_off_diagonal(kernel(self.vectors, self.vectors, self.gamma))

    def cross(self, vectors: F32) -> F64:
        """(vectors,) mean kernel of each with the benign ones."""
        out: F64 = kernel(vectors, self.vectors, self.gamma).mean(axis=1, dtype=np.float64)
        return out


class _Window:
    """The last vectors of an account, and the sums of their kernels, kept up as they come and go."""

    def __init__(self, limit: int, dims: int) -> None:
        self.ring = Ring(limit, dims)
        self.cross = np.zeros(limit)
        self.within = 0.0  # over ordered pairs of two different vectors

    def put(self, vector: F32, cross: float, gamma: float) -> None:
        if not len(self.ring):
            self.cross[self.ring.put(vector)] = cross
            return
        kernels = np.exp(-gamma * self.ring.squared_distances(vector).astype(np.float64))
        if (oldest := self.ring.oldest) is not None:
            leaving = np.exp(-gamma * self.ring.squared_distances(self.ring[oldest]).astype(np.float64))
            # A vector's kernel with itself does not count, nor does the new one's with the one it replaces.
            leaving[oldest] = kernels[oldest] = 0
            self.within -= 2 * float(leaving.sum())
        self.within += 2 * float(kernels.sum())
        self.cross[self.ring.put(vector)] = cross

    def mmd2(self, reference_within: float) -> float:
        count = len(self.ring)
        return self.within / (count * (count - 1)) - 2 * float(self.cross[:count].mean()) + reference_within


class AccountMMD:
    """MMD of the last queries of each account against the benign reference.

    The score is n m / (n + m) times the unbiased MMD², whose distribution under no difference does not depend
    on n (Gretton et al., theorem 12), so short and full windows share one threshold. The authors' windows have
    100 to 1,500 queries; few accounts of a campaign send that many.

    Args:
        window: queries compared at most; the score moves with each query.
        least: queries before the first score; 4, because that is what an account of the smallest reported
            campaigns sends, and a peer that never looks finds nothing.
    """

    name = "mmd_account"
    published: float | None = None

    def __init__(self, setting: Setting, *, window: int = 100, least: int = 4) -> None:
        if not 2 <= least <= window:
            raise ValueError(f"2 <= least <= window, not {least} and {window}")
        self._setting = setting
        self._reference = Reference(reference_vectors(setting))
        self._window = window
        self._least = least

    def score(self, events: Iterable[Event]) -> Iterator[Score]:
        setting, reference = self._setting, self._reference
        dims, other = setting.embed.dims, len(reference.vectors)
        windows: Recent[str, _Window] = Recent(lambda: _Window(self._window, dims), setting.max_accounts)
        for block in blocks(queries(events, setting.texts_per_day)):
            vectors = setting.embed([query.text for query in block])
            for query, vector, cross in zip(block, vectors, reference.cross(vectors), strict=True):
                window = windows[query.account]
                window.put(vector, float(cross), reference.gamma)
                count = len(window.ring)
                if count >= self._least:
                    scale = count * other / (count + other)
                    yield Score(query.account, query.ts, scale * window.mmd2(reference.within))


class StreamMMD:
    """MMD of windows over everybody's queries, shared out to the accounts in them.

    The authors flag a window, not an account. MMD² is the mean over the window's queries of a witness (how
    much denser the window is than benign traffic around the query), less a constant; an account's score is
    what its own queries contribute to it a query: their mean witness. Scores fall at the window's end.

    Args:
        window: queries of a window; windows do not overlap.
        least: queries that the last, unfinished window must have.
    """

    name = "mmd_stream"
    published: float | None = None

    def __init__(self, setting: Setting, *, window: int = 1_500, least: int = 100) -> None:
        if not 2 <= least <= window:
            raise ValueError(f"2 <= least <= window, not {least} and {window}")
        self._setting = setting
        self._reference = Reference(reference_vectors(setting))
        self._window = window
        self._least = least

    def score(self, events: Iterable[Event]) -> Iterator[Score]:
        for block in blocks(queries(events, self._setting.texts_per_day), self._window):
            if len(block) < self._least:
                return
            per_account: dict[str, list[float]] = {}
            for query, value in zip(block, self.witness([query.text for query in block]), strict=True):
                per_account.setdefault(query.account, []).append(float(value))
            end = block[-1].ts
            for account, values in per_account.items():
                yield Score(account, end, math.fsum(values) / len(values))

    def witness(self, texts: list[str]) -> F64:
        """(texts,) contributions of a window's texts; their mean is the unbiased MMD² of the window."""
        vectors = self._setting.embed(texts)
        reference = self._reference
        own = kernel(vectors, vectors, reference.gamma)
        among = (own.sum(axis=1, dtype=np.float64) - np.diagonal(own)) / (len(texts) - 1)
        out: F64 = among - 2 * reference.cross(vectors) + reference.within
        return out
