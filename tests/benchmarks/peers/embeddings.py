"""Texts to vectors, cheaply: hashed word and character n-grams; and a cache for whatever costs more.

The default of the benchmark, because a sentence model costs a thousand times as much (README beside this
file). See :mod:`tests.benchmarks.peers.minilm` for the real one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import combine, mix
from detectors.text import normalise, words
from tests.benchmarks.peers.contract import F32, Embedder

_GRAM: Final = 4
_CHARS: Final = 2_000
_BLOCK: Final = 64  # texts: temporaries then fit the processor's cache
_FAMILIES: Final = tuple(np.uint64(value) for value in (0x51ED270B, 0xB492B66F, 0x9AE16A3B))


class HashedNgrams:
    """Words, pairs of words and 4-grams of bytes, each hashed to a place and a sign (Weinberger et al., 2009).

    Sums are replaced by their signed square roots, lest frequent n-grams are all that counts (Perronnin et al.,
    2010), and scaled to length 1. Reads the first and last 1,000 characters of longer texts.

    Args:
        dims: numbers in a vector, a power of two.
    """

    name = "hashed_ngrams"

    def __init__(self, dims: int = 256) -> None:
        if dims < 2 or dims & (dims - 1):
            raise ValueError(f"dims must be a power of two, not {dims}")
        self.dims = dims

    def __call__(self, texts: Sequence[str]) -> F32:
        out = np.zeros((len(texts), self.dims), np.float32)
        for start in range(0, len(texts), _BLOCK):
            block = [normalise(text, _CHARS) for text in texts[start : start + _BLOCK]]
            out[start : start + len(block)] = self._embed(block)
        return out

    def _embed(self, texts: list[str]) -> NDArray[np.float64]:
        found = words(texts)
        rows = found.hashes.row_ids()
        hashes = found.hashes.values
        paired = rows[1:] == rows[:-1]
        grams, gram_rows = _byte_grams(texts, found.data)
        parts = (
            (hashes, rows),
            (combine(hashes[:-1][paired], hashes[1:][paired]), rows[1:][paired]),
            (grams, gram_rows),
        )
        sums = np.zeros(len(texts) * self.dims)
        for family, (values, row) in zip(_FAMILIES, parts, strict=True):
            scattered = mix(values ^ family)
            place = row * self.dims + (scattered & np.uint64(self.dims - 1)).astype(np.int64)
            sign = 1.0 - 2.0 * (scattered >> np.uint64(63)).astype(np.float64)
            sums += np.bincount(place, weights=sign, minlength=len(sums))
        table = sums.reshape(len(texts), self.dims)
        table = np.sign(table) * np.sqrt(np.abs(table))
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        return table


def _byte_grams(texts: list[str], data: bytes) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Every run of four bytes inside a text, and the text it is of; `data` is the texts with a byte between."""
    raw = np.frombuffer(data, np.uint8)
    lengths = np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts))
    inside = np.maximum(lengths - _GRAM + 1, 0)
    rows = np.repeat(np.arange(len(texts)), inside)
    starts = np.cumsum(lengths + 1) - lengths - 1
    at = np.arange(len(rows)) + np.repeat(starts - np.cumsum(inside) + inside, inside)
    grams = np.zeros(len(rows), np.uint64)
    for k in range(_GRAM):
        grams = grams << np.uint64(8) | raw[at + k].astype(np.uint64)
    return grams, rows


class Cached:
    """An embedder that remembers the vectors of the texts seen last, for several peers over the same events.

    Args:
        limit: texts kept.
    """

    def __init__(self, embed: Embedder, limit: int = 100_000) -> None:
        if limit < 1:
            raise ValueError(f"at least one text must be kept, not {limit}")
        self._embed = embed
        self._limit = limit
        self._known: OrderedDict[str, F32] = OrderedDict()
        self.name = embed.name
        self.dims = embed.dims

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, texts: Sequence[str]) -> F32:
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        fresh = dict(zip(new, self._embed(new), strict=True)) if new else {}
        out = np.empty((len(texts), self.dims), np.float32)
        for row, text in enumerate(texts):
            vector = fresh.get(text)
            if vector is None:
                vector = self._known[text]
                self._known.move_to_end(text)
            out[row] = vector
        for text, vector in fresh.items():
            self._known[text] = vector.copy()  # a view would keep the whole batch alive
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        return out
