"""The shingles of the latest requests, to find who carried a family before it was known."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.contract import Carrier
from detectors.family_index import FamilyIndex
from detectors.hashing import U64
from detectors.text import Ragged

_CARRIER_BYTES: Final = 200  # a tuple of an account and four numbers, about
_LEAST_ROOM: Final = 2**12

Who = tuple[str, int, int, int, int]
"""Account, time, strong and weak patterns, and the text's identity: the fields of a :class:`Carrier`."""


class Batch(msgspec.Struct, array_like=True):
    """The texts of one tick, as a snapshot holds them."""

    values: list[int]
    lengths: list[int]
    carriers: list[Who]


class RecentTexts:
    """Shingles of texts and who sent them; the oldest ticks go first.

    Args:
        limit: shingles and texts held at most, together; the latest tick is held whatever its size.
        overlap: share of a signature that a text must carry to belong to the family.
    """

    def __init__(self, limit: int, overlap: float) -> None:
        self._limit = limit
        self._overlap = overlap
        self._clear()

    def _clear(self) -> None:
        self._values = np.empty(_LEAST_ROOM, np.uint64)
        self._text = np.empty(_LEAST_ROOM, np.int64)
        # The low bits of each shingle: most of them are told from a signature's by these alone.
        self._low = np.empty(_LEAST_ROOM, np.uint16)
        self._begin = self._end = 0
        self._who: dict[int, Who] = {}
        self._batches: deque[tuple[int, int]] = deque()
        self._first = self._next = 0

    @property
    def nbytes(self) -> int:
        """Memory, about."""
        return self._values.nbytes + self._text.nbytes + self._low.nbytes + len(self._who) * _CARRIER_BYTES

    def add(self, texts: Ragged, carriers: Sequence[Who]) -> None:
        """Remember the texts of a tick: one row and one carrier each."""
        if not texts.rows:
            return
        count = len(texts.values)
        self._make_room(count)
        held = slice(self._end, self._end + count)
        self._values[held] = texts.values
        self._text[held] = texts.row_ids() + self._next
        self._low[held] = texts.values.astype(np.uint16)
        self._end += count
        self._who.update(enumerate(carriers, self._next))
        self._next += texts.rows
        self._batches.append((count, texts.rows))
        while len(self._batches) > 1 and self._end - self._begin + len(self._who) > self._limit:
            values, rows = self._batches.popleft()
            self._begin += values
            for number in range(self._first, self._first + rows):
                del self._who[number]
            self._first += rows

    def _make_room(self, count: int) -> None:
        if self._end + count <= len(self._values):
            return
        held = slice(self._begin, self._end)
        # Room to spare, so that moving what is held costs little for each shingle added.
        need = self._end - self._begin + count
        room = max(need, min(2 * need, self._limit * 5 // 4), _LEAST_ROOM)
        for name in ("_values", "_text", "_low"):
            before: NDArray[np.generic] = getattr(self, name)
            after = np.empty(room, before.dtype)
            after[: self._end - self._begin] = before[held]
            setattr(self, name, after)
        self._begin, self._end = 0, self._end - self._begin

    def carriers(self, families: Mapping[int, U64]) -> dict[int, list[Carrier]]:
        """For each new family (key and signature), the remembered texts that belong to it, oldest first."""
        if not families or not self._batches:
            return {}
        wanted = np.zeros(2**16, np.bool_)
        index = FamilyIndex(len(families), self._overlap)
        for key, signature in families.items():
            index.add(key, signature)
            wanted[signature.astype(np.uint16)] = True
        held = slice(self._begin, self._end)
        near = np.flatnonzero(wanted[self._low[held]])
        out: dict[int, list[Carrier]] = {}
        texts, keys = index.match(self._values[held][near], self._text[held][near], len(families))
        for text, key in zip(texts.tolist(), keys.tolist(), strict=True):
            out.setdefault(key, []).append(Carrier(*self._who[text]))
        return out

    def snapshot(self) -> list[Batch]:
        """What is held, tick by tick."""
        out = []
        begin, first = self._begin, self._first
        for count, rows in self._batches:
            held = slice(begin, begin + count)
            lengths = np.bincount(self._text[held] - first, minlength=rows)
            who = [self._who[number] for number in range(first, first + rows)]
            out.append(Batch(self._values[held].tolist(), lengths.tolist(), who))
            begin, first = begin + count, first + rows
        return out

    def restore(self, batches: Sequence[Batch]) -> None:
        """Hold what a snapshot holds, and nothing else."""
        self._clear()
        for batch in batches:
            offsets = np.concatenate([[0], np.cumsum(np.array(batch.lengths, np.int64))])
            self.add(Ragged(np.array(batch.values, np.uint64), offsets), batch.carriers)
