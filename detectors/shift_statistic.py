"""Is a window of requests drawn like benign ones, or does a share of it crowd somewhere else?

A harvest's prompts resemble each other more than benign prompts do, in places where benign prompts are rare. So a
text becomes a point on a sphere, and two points count as a pair where the cosine between them is large. The
statistic is the excess of pairs inside a window over what a benign reference has, each pair weighted by how rare it
is around its points: an unbiased squared maximum mean discrepancy (Gretton et al., JMLR 2012, equation 3) with a
kernel that is no wider than a subject, and flat where points nearly coincide. Both matter at small shares: a wide
kernel drowns them in the variance of benign subjects, and one that rewards near-copies finds copies, which benign
traffic is full of. The weights make the statistic one of the chi-square kind, as in a density-ratio test (Sugiyama
et al., "Density Ratio Estimation in Machine Learning", 2012).

What is kept of a window is a bounded sample of points (:class:`Summary`), 96 bytes a request, and no text. Summaries
merge over workers in any order, and what arrives twice counts once.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import U64, mix
from detectors.text import words

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I8 = NDArray[np.int8]
I64 = NDArray[np.int64]

DIMENSIONS: Final = 96
RIDGE: Final = 0.3  # of the mean variance, added to each axis: what hardly varies in few texts is not blown up
ALIKE: Final = 0.3  # cosine from which two points are a pair, in part: of benign pairs, about one in a hundred
SURELY_ALIKE: Final = 0.5  # cosine from which they are a whole pair
_SCALE: Final = 127
_BLOCK: Final = 256  # texts: the rows gathered from the table then fit the processor's cache


class WordVectors:
    """Word vectors of any origin; a text is their weighted sum.

    Frequent words weigh less: a word's weight grows with the logarithm of its rank (in the spirit of Arora, Liang
    and Ma, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", ICLR 2017). Words are hashed as
    :func:`detectors.text.words` hashes them, so all numbers of as many digits are one word. Unknown words count
    for nothing, unless there is no table: then each word has a vector of its own, made from its hash.

    Args:
        vocabulary: words, frequent ones first, normalised; none for vectors from hashes.
        table: shape (len(vocabulary), dims).
        dims: of the vectors from hashes.

    Raises:
        ValueError: there is not one vector a word.
    """

    def __init__(self, vocabulary: Sequence[str] = (), table: F32 | None = None, *, dims: int = 192) -> None:
        if len(vocabulary) != (0 if table is None else len(table)):
            raise ValueError("as many vectors as words are needed")
        found = words(list(vocabulary))
        single = np.flatnonzero(found.hashes.lengths == 1)
        hashes = found.hashes.values[found.hashes.offsets[single]]
        self._hashes, first = np.unique(hashes, return_index=True)
        self.dims = dims if table is None else int(table.shape[1])
        self._table: F32 | None = None
        if table is not None:
            rank = single[first] + 1
            weight = np.log1p(rank) / np.log1p(len(vocabulary))
            self._table = (table[single[first]] * weight[:, None]).astype(np.float32)

    def __call__(self, texts: Sequence[str]) -> F32:
        """Shape (texts, dims): unit vectors of normalised texts; 0 for a text without a known word."""
        out = np.zeros((len(texts), self.dims), np.float32)
        for start in range(0, len(texts), _BLOCK):
            some = texts[start : start + _BLOCK]
            out[start : start + len(some)] = self._sums(some)
        lengths = np.linalg.norm(out, axis=1, keepdims=True)
        np.divide(out, lengths, out=out, where=lengths > 0)
        return out

    def _sums(self, texts: Sequence[str]) -> F32:
        found = words(texts).hashes
        rows, values = found.row_ids(), found.values
        if self._table is None:
            gathered = self._from_hashes(values)
        else:
            place = np.searchsorted(self._hashes, values)
            place[place == len(self._hashes)] = 0
            known = self._hashes[place] == values if len(self._hashes) else np.zeros(len(values), np.bool_)
            rows, gathered = rows[known], self._table[place[known]]
        out = np.zeros((len(texts), self.dims), np.float32)
        if len(rows):
            first = np.flatnonzero(np.diff(rows, prepend=-1))
            out[rows[first]] = np.add.reduceat(gathered, first, axis=0)
        return out

    def _from_hashes(self, values: U64) -> F32:
        """A random sign a dimension, 64 of them from one hash."""
        pieces = [mix(values ^ np.uint64(number)) for number in range(-(-self.dims // 64))]
        bits = np.unpackbits(np.stack(pieces, axis=1).astype("<u8").view(np.uint8), axis=1, bitorder="little")
        return bits[:, : self.dims].astype(np.float32) * 2 - 1


class Axes(NamedTuple):
    """How vectors become points: fitted once on benign texts, then fixed, so that points can be compared.

    Attributes:
        centre: (vector dims,) mean benign vector.
        turn: (vector dims, dims) principal axes, each divided by the benign spread along it.
    """

    centre: F32
    turn: F32

    @classmethod
    def fit(cls, vectors: F32, dims: int = DIMENSIONS, ridge: float = RIDGE) -> Axes:
        """The `dims` axes of the largest variance, whitened.

        Args:
            vectors: (benign texts, vector dims), two or more.
            ridge: times the mean variance of the axes kept, added to the variance of each.

        Raises:
            ValueError: fewer than two vectors, or all the same.
        """
        if len(vectors) < 2:
            raise ValueError("axes need two vectors or more")
        centre = vectors.mean(axis=0, dtype=np.float64)
        variance, axes = np.linalg.eigh(np.cov(vectors.astype(np.float64).T))
        variance, axes = np.maximum(variance[::-1][:dims], 0), axes[:, ::-1][:, :dims]
        if not variance[0] > 0:
            raise ValueError("all vectors are the same")
        # The sign of an axis is arbitrary; cosines do not depend on it, goldens do.
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
        turn = axes / np.sqrt(variance + ridge * variance.mean())
        return cls(centre.astype(np.float32), turn.astype(np.float32))

    def points(self, vectors: F32) -> I8:
        """Shape (texts, dims): directions from the centre, in steps of 1/127. A zero vector stays zero."""
        turned = (vectors - self.centre) @ self.turn
        turned[~vectors.any(axis=1)] = 0
        lengths = np.linalg.norm(turned, axis=1, keepdims=True)
        np.divide(turned, lengths, out=turned, where=lengths > 0)
        return np.rint(turned * _SCALE).astype(np.int8)


class Summary:
    """The points of a window: of more requests than `limit`, a uniform sample, those of the smallest keys.

    Union is the `limit` smallest keys of both, so summaries merge in any order and what comes twice counts once
    (bottom-k: Cohen and Kaplan, PODC 2007).

    Args:
        limit: requests kept.
        dims: of a point.
    """

    def __init__(self, limit: int = 1_500, dims: int = DIMENSIONS) -> None:
        if limit < 2:
            raise ValueError("a summary holds two requests or more")
        self.limit = limit
        self.keys: U64 = np.empty(0, np.uint64)
        self.points: I8 = np.empty((0, dims), np.int8)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.points.nbytes

    def add(self, keys: U64, points: I8) -> None:
        """Take requests in: (n,) hashes of their ids, uniform over 0 to 2**64, and (n, dims) points."""
        if points.shape != (len(keys), self.points.shape[1]):
            raise ValueError(f"points of shape ({len(keys)}, {self.points.shape[1]}) are needed, not {points.shape}")
        kept, first = np.unique(np.concatenate([self.keys, keys]), return_index=True)
        self.keys = kept[: self.limit]
        self.points = np.concatenate([self.points, points])[first[: self.limit]]

    def merge(self, other: Summary) -> None:
        """Take in what another summary of the same limit holds.

        Raises:
            ValueError: the other one's limit or dimensions differ.
        """
        if other.limit != self.limit:
            raise ValueError(f"summaries of {self.limit} and of {other.limit} requests do not merge")
        self.add(other.keys, other.points)

    def snapshot(self) -> bytes:
        """Everything, packed; the inverse of :meth:`restore`."""
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, keys=self.keys, points=self.points, limit=np.array(self.limit))
        return out.getvalue()

    @classmethod
    def restore(cls, data: bytes) -> Summary:
        with np.load(io.BytesIO(data), allow_pickle=False) as state:
            out = cls(int(state["limit"]), int(state["points"].shape[1]))
            out.keys, out.points = state["keys"].copy(), state["points"].copy()
        return out


def pairs(left: I8, right: I8) -> F32:
    """How much of a pair each two points are, 0 to 1; shape (left rows, right rows)."""
    cosines = left.astype(np.float32) @ right.astype(np.float32).T
    cosines *= np.float32(1 / (_SCALE * _SCALE * (SURELY_ALIKE - ALIKE)))
    cosines -= np.float32(ALIKE / (SURELY_ALIKE - ALIKE))
    out: F32 = np.clip(cosines, 0, 1, out=cosines)
    return out


def rarity(density: F64, usual: float) -> F64:
    """Weight of a point by the share of reference points that it makes a pair with; `usual`: their mean share."""
    out: F64 = 1 / np.sqrt(density + max(usual, 1e-9))
    return out


class Reference:
    """A benign summary, and what windows are compared with it by.

    Args:
        summary: of benign requests, two or more.

    Raises:
        ValueError: it has fewer.
    """

    def __init__(self, summary: Summary) -> None:
        if len(summary) < 2:
            raise ValueError("a reference needs two requests or more")
        self._points = summary.points
        among = pairs(self._points, self._points)
        np.fill_diagonal(among, 0)
        count = len(summary)
        density = among.sum(axis=1, dtype=np.float64) / (count - 1)
        self._usual = float(density.mean())
        self._weight = rarity(density, self._usual)
        self._within = float(self._weight @ among @ self._weight) / (count * (count - 1))

    def statistic(self, window: Summary) -> float:
        """Excess of weighted pairs; 0 on average where the window is drawn like the reference, and larger otherwise.

        Raises:
            ValueError: the window has fewer than two requests.
        """
        return float(self.shares(window).mean())

    def shares(self, window: Summary) -> F64:
        """What each request of the window contributes, in the order of its keys; their mean is the statistic.

        High ones are in the crowd. Over the requests of an account they say how much of the excess is its.

        Raises:
            ValueError: the window has fewer than two requests.
        """
        count = len(window)
        if count < 2:
            raise ValueError("a window needs two requests or more")
        across = pairs(window.points, self._points)
        weight = rarity(across.mean(axis=1, dtype=np.float64), self._usual)
        among = pairs(window.points, window.points)
        np.fill_diagonal(among, 0)
        out: F64 = weight * ((among @ weight) / (count - 1) - 2 * (across @ self._weight) / len(self._points))
        return out + self._within


def p_value(score: float, benign: F64) -> float:
    """Share of exchangeable benign windows that score as high, this one counted in (Vovk et al., 2005).

    >>> p_value(3.0, np.array([1.0, 2.0, 4.0]))
    0.5
    """
    return float((1 + np.count_nonzero(benign >= score)) / (1 + len(benign)))
