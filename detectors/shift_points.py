"""A text as a point on a sphere: the sum of its words' vectors, along benign axes, cut to length 1.

The vectors and axes are fitted once, elsewhere, and never change, so points of any two times can be compared.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.array_file import packed
from detectors.hashing import U64
from detectors.text import words

F32 = NDArray[np.float32]
I8 = NDArray[np.int8]

SCALE: Final = 127
"""Length of a point: its numbers are bytes."""
_CHARS: Final = 400  # of a text that are read: some 64 words say what it is about, and bound what it costs
_MIN_WORDS: Final = 3  # known words of a text that gives a point
_KNOWN: Final = 0.5  # of the words have to be known: a text in a script or language without vectors has no point
_BLOCK: Final = 256  # texts: the rows gathered from the table then fit the processor's cache


class WordPoints:
    """The fitted table of words.

    Args:
        data: what :func:`pack` wrote.

    Attributes:
        dims: of a point. version: names the table in evidence.

    Raises:
        ValueError: `data` is not that.
    """

    def __init__(self, data: bytes) -> None:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                self._hashes: U64 = stored["hashes"]
                table, scale = stored["table"], float(stored["scale"])
                self._centre, self._turn = stored["centre"], stored["turn"]
                self.version = str(stored["version"])
        except (KeyError, OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"the word vectors cannot be read: {error!r}") from None
        self.dims = int(self._turn.shape[-1])
        shapes = (table.shape, self._centre.shape, self._turn.shape)
        if shapes != ((len(self._hashes), self.dims), (self.dims,), (self.dims, self.dims)) or not len(table):
            raise ValueError("the word vectors have another shape")
        self._table = table.astype(np.float32) * np.float32(scale)

    def __call__(self, texts: Sequence[str]) -> tuple[I8, NDArray[np.bool_]]:
        """Points of normalised texts, shape (texts, dims), and which of them have one; the others' rows are 0."""
        points = np.zeros((len(texts), self.dims), np.int8)
        has = np.zeros(len(texts), np.bool_)
        for start in range(0, len(texts), _BLOCK):
            some = [text[:_CHARS] for text in texts[start : start + _BLOCK]]
            points[start : start + len(some)], has[start : start + len(some)] = self._block(some)
        return points, has

    def _block(self, texts: Sequence[str]) -> tuple[I8, NDArray[np.bool_]]:
        found = words(texts).hashes
        place = np.searchsorted(self._hashes, found.values)
        place[place == len(self._hashes)] = 0
        known = self._hashes[place] == found.values
        rows = found.row_ids()[known]
        count = np.bincount(rows, minlength=len(texts))
        has = (count >= _MIN_WORDS) & (count >= _KNOWN * found.lengths)
        sums = np.zeros((len(texts), self.dims), np.float32)
        if len(rows):
            first = np.flatnonzero(np.diff(rows, prepend=-1))
            sums[rows[first]] = np.add.reduceat(self._table[place[known]], first, axis=0)
        # A row at a time (einsum, not a matrix product): the last bit must not depend on who else is in the block.
        turned = np.einsum("ij,jk->ik", _unit(sums) - self._centre, self._turn)
        turned[~has] = 0
        return np.rint(_unit(turned) * SCALE).astype(np.int8), has


def _unit(vectors: F32) -> F32:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    out = np.zeros_like(vectors)
    np.divide(vectors, lengths, out=out, where=lengths > 0)
    return out


class Fitted(NamedTuple):
    """Of w words and d dimensions: sorted hashes (w,), vectors (w, d), centre (d,), axes as columns (d, d)."""

    hashes: U64
    table: F32
    centre: F32
    turn: F32


def pack(fitted: Fitted, *, version: str) -> bytes:
    """The table as bytes, a byte a number; equal arguments give equal bytes."""
    scale = float(np.abs(fitted.table).max()) / SCALE
    arrays = {
        "hashes": fitted.hashes,
        "table": np.rint(fitted.table / scale).astype(np.int8),
        "scale": np.array(scale),
        "centre": fitted.centre.astype(np.float32),
        "turn": fitted.turn.astype(np.float32),
        "version": np.array(version),
    }
    return packed(arrays)
