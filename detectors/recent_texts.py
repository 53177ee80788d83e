"""The shingles of the latest requests, to find who carried a family before it was known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.contract import Carrier
from detectors.family_index import FamilyIndex
from detectors.hashing import U64
from detectors.text import Ragged

_CARRIER_BYTES: Final = 200  # a tuple of an account and four numbers, about
_LEAST_ROOM: Final = 2**12
_VALUES: Final = 4096  # shingles in a block of a state
_TEXTS: Final = 64

Who = tuple[str, int, int, int, int]
"""Account, time, strong and weak patterns, and the text's identity: the fields of a :class:`Carrier`."""


class RecentTexts(Blocked):
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
        # Shingles have numbers that never change: this one is the first held.
        self._passed = 0
        self._unmarked_values = self._unmarked_texts = 0

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
            self._passed += values
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

    def parts(self) -> dict[str, Part]:
        """Shingles and texts by their numbers: new ones at the end, the oldest go in front, and none changes."""
        values, texts = self._passed + self._end - self._begin, self._next
        state = (list(self._batches), self._passed, values, self._first, texts)
        return {
            "ticks": whole(msgspec.msgpack.encode(state)),
            "shingles": _queue(self._passed, values, _VALUES, self._value_block, self._changed_values),
            "texts": _queue(self._first, texts, _TEXTS, self._text_block, self._changed_texts),
        }

    def _value_block(self, number: int) -> bytes:
        shift = self._begin - self._passed
        held = slice(max(number * _VALUES + shift, self._begin), min((number + 1) * _VALUES + shift, self._end))
        return self._values[held].tobytes()

    def _text_block(self, number: int) -> bytes:
        texts = range(max(number * _TEXTS, self._first), min((number + 1) * _TEXTS, self._next))
        bounds = np.searchsorted(self._text[self._begin : self._end], np.arange(texts.start, texts.stop + 1))
        lengths = np.diff(bounds).tolist()
        return msgspec.msgpack.encode([(n, self._who[text]) for n, text in zip(lengths, texts, strict=True)])

    def _changed_values(self) -> list[int]:
        end = self._passed + self._end - self._begin
        begin, self._unmarked_values = max(self._unmarked_values, self._passed), end
        return list(range(begin // _VALUES, -(-end // _VALUES))) if begin < end else []

    def _changed_texts(self) -> list[int]:
        begin, self._unmarked_texts = max(self._unmarked_texts, self._first), self._next
        return list(range(begin // _TEXTS, -(-self._next // _TEXTS))) if begin < self._next else []

    def restore_parts(self, parts: Blocks) -> None:
        self._clear()
        batches, passed, values_end, first, texts_end = msgspec.msgpack.decode(
            whole_of(parts["ticks"]), type=tuple[list[tuple[int, int]], int, int, int, int]
        )
        values = np.frombuffer(b"".join(parts["shingles"]), np.uint64)
        texts = [one for b in parts["texts"] for one in msgspec.msgpack.decode(b, type=list[tuple[int, Who]])]
        if len(values) < values_end - passed or len(texts) < texts_end - first:
            raise ValueError(f"{len(values)} shingles of {len(texts)} recent texts are too few")
        # The first blocks may be from before their first ones were dropped.
        values, texts = values[len(values) - (values_end - passed) :], texts[len(texts) - (texts_end - first) :]
        if len(values) != sum(length for length, _ in texts):
            raise ValueError("the shingles of recent texts are not those of the texts")
        self._passed = passed
        self._first = self._next = first
        begin, row = 0, 0
        for count, rows in batches:
            here = texts[row : row + rows]
            offsets = np.concatenate([[0], np.cumsum(np.array([length for length, _ in here], np.int64))])
            self.add(Ragged(values[begin : begin + count], offsets), [who for _, who in here])
            begin, row = begin + count, row + rows


def _queue(first: int, end: int, size: int, read: Callable[[int], bytes], changed: Callable[[], list[int]]) -> Part:
    begin = first // size
    return Part(begin, -(-end // size) - begin if end > first else 0, read, changed)
