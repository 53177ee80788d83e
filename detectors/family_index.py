"""Known template families, found by the shingles of their signatures."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.hashing import U64

I64 = NDArray[np.int64]

_BLOCK: Final = 32  # families in a block of a state
_RECENT: Final = 2_048  # entries sorted again at each change; the others wait in a larger sorted part


class _Part(NamedTuple):
    """Entries by shingle: `entries[bounds[i]:bounds[i + 1]]` are the families of the i-th distinct shingle."""

    distinct: U64
    bounds: I64
    shingles: U64
    entries: I64


def _part(shingles: U64, families: I64) -> _Part:
    order = np.argsort(shingles, kind="stable")
    shingles = shingles[order]
    new = np.ones(len(shingles), np.bool_)
    new[1:] = shingles[1:] != shingles[:-1]
    first = np.flatnonzero(new)
    return _Part(shingles[first], np.append(first, len(shingles)), shingles, families[order])


def _nothing() -> _Part:
    return _part(np.empty(0, np.uint64), np.empty(0, np.int64))


class FamilyIndex(Blocked):
    """An inverted index from shingles to the families whose signature holds them; the oldest go first.

    Args:
        capacity: families held at most.
        overlap: share of a signature that a text must carry to belong to the family.
    """

    def __init__(self, capacity: int, overlap: float) -> None:
        self._capacity = capacity
        self._overlap = overlap
        self._signatures: OrderedDict[int, U64] = OrderedDict()
        self._numbers: dict[int, int] = {}
        self._keys: list[int] = []
        self._sizes: list[int] = []
        self._old = self._new = _nothing()
        self._first = 0  # families dropped; the others are numbered from here on in a state
        self._unmarked = 0

    def __contains__(self, key: int) -> bool:
        return key in self._signatures

    def __len__(self) -> int:
        return len(self._signatures)

    @property
    def nbytes(self) -> int:
        entries = len(self._old.shingles) + len(self._new.shingles)
        return 16 * entries + sum(signature.nbytes for signature in self._signatures.values())

    def signature(self, key: int) -> U64 | None:
        """The signature of a family, if it is known."""
        return self._signatures.get(key)

    def add(self, key: int, signature: U64) -> None:
        """Remember a family; the oldest makes room."""
        self._signatures[key] = signature
        if len(self._signatures) > self._capacity:
            # Rare enough to build afresh, and to drop an eighth at once.
            for _ in range(self._capacity // 8 + 1):
                self._signatures.popitem(last=False)
                self._first += 1
            self._rebuild()
            return
        number = self._number(key, signature)
        self._new = _part(
            np.concatenate([self._new.shingles, signature]),
            np.concatenate([self._new.entries, np.full(len(signature), number)]),
        )
        if len(self._new.shingles) > _RECENT:
            self._merge()

    def _number(self, key: int, signature: U64) -> int:
        self._numbers[key] = len(self._keys)
        self._keys.append(key)
        self._sizes.append(len(signature))
        return self._numbers[key]

    def _merge(self) -> None:
        self._old = _part(
            np.concatenate([self._old.shingles, self._new.shingles]),
            np.concatenate([self._old.entries, self._new.entries]),
        )
        self._new = _nothing()

    def _rebuild(self) -> None:
        self._numbers, self._keys, self._sizes = {}, [], []
        numbers = [np.full(len(s), self._number(key, s)) for key, s in self._signatures.items()]
        self._old = self._new = _nothing()
        if numbers:
            self._old = _part(np.concatenate(list(self._signatures.values())), np.concatenate(numbers))

    def match(self, shingles: U64, owner: I64, most: int) -> tuple[I64, U64]:
        """The families of texts.

        Args:
            shingles: (n,). owner: (n,) the text of each; a shingle that a text repeats counts once.
            most: families of one text at most, the oldest of them.

        Returns:
            Pairs (text, family key), by text.
        """
        texts, numbers, places = [], [], []
        for part in (self._old, self._new):
            if not len(part.distinct):
                continue
            at = np.minimum(np.searchsorted(part.distinct, shingles), len(part.distinct) - 1)
            hit = np.flatnonzero(part.distinct[at] == shingles)
            left = part.bounds[at[hit]]
            total = part.bounds[at[hit] + 1] - left
            where = np.repeat(left - np.cumsum(total) + total, total) + np.arange(total.sum())
            texts.append(np.repeat(owner[hit], total))
            numbers.append(part.entries[where])
            # An entry of the index stands for one shingle of one family.
            places.append(where + len(self._old.shingles) * (part is self._new))
        if not any(map(len, texts)):
            return np.empty(0, np.int64), np.empty(0, np.uint64)
        text, number, place = np.concatenate(texts), np.concatenate(numbers), np.concatenate(places)
        order = np.lexsort((place, number, text))
        text, number, place = text[order], number[order], place[order]
        pair = np.ones(len(text), np.bool_)
        pair[1:] = (text[1:] != text[:-1]) | (number[1:] != number[:-1])
        distinct = pair.copy()
        distinct[1:] |= place[1:] != place[:-1]
        hits = np.add.reduceat(distinct, np.flatnonzero(pair), dtype=np.int64)
        text, number = text[pair], number[pair]
        enough = hits >= self._overlap * np.array(self._sizes, np.int64)[number]
        text, number = text[enough], number[enough]
        first = np.searchsorted(text, text, "left")
        kept = np.arange(len(text)) - first < most
        keys = np.array([self._keys[i] for i in number[kept].tolist()], np.uint64)
        return text[kept], keys

    def parts(self) -> dict[str, Part]:
        """Families in the order in which they came, which never change: new ones at the end, old ones go in front."""
        begin, end = self._first // _BLOCK, -(-(self._first + len(self._keys)) // _BLOCK)
        return {
            "first": whole(msgspec.msgpack.encode((self._first, len(self._keys)))),
            "families": Part(begin, end - begin, self._block, self._changed),
        }

    def _block(self, number: int) -> bytes:
        held = slice(max(number * _BLOCK - self._first, 0), (number + 1) * _BLOCK - self._first)
        return msgspec.msgpack.encode([(key, self._signatures[key].tobytes()) for key in self._keys[held]])

    def _changed(self) -> list[int]:
        end = self._first + len(self._keys)
        begin, self._unmarked = max(self._unmarked, self._first), end
        return list(range(begin // _BLOCK, -(-end // _BLOCK))) if begin < end else []

    def restore_parts(self, parts: Blocks) -> None:
        self._first, count = msgspec.msgpack.decode(whole_of(parts["first"]), type=tuple[int, int])
        families = [one for b in parts["families"] for one in msgspec.msgpack.decode(b, type=list[tuple[int, bytes]])]
        if len(families) < count:
            raise ValueError(f"{len(families)} template families, {count} are needed")
        # The first block may be from before its first families were dropped.
        held = families[len(families) - count :]
        self._signatures = OrderedDict((key, np.frombuffer(signature, np.uint64)) for key, signature in held)
        self._unmarked = 0
        self._rebuild()
