"""Bounded sketches: a rotating Bloom filter, a rotating account counter, and bottom-k samples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Marks, Part, under, whole, whole_of, within, words, words_of
from detectors.hashing import U64, combine, mix

_PROBES: Final = 4
_ONE: Final = np.uint64(1)
_SIX_BITS: Final = np.uint64(63)
_LOW: Final = np.uint64(0xFFFFFFFF)
_THIRTY_TWO: Final = np.uint64(32)
# Hashes scatter, so blocks are small: 16 KiB, of which a record's overhead is half a percent.
_WORDS: Final = 2048
_CELLS: Final = 4096


class PanedBloom(Blocked):
    """A set of 64-bit hashes that forgets: two Bloom filters, the older dropped at each turn of the pane.

    A member added during the last pane is found for certain; one that was never added is found with about
    the stated chance while a pane holds no more than `capacity` members. All bits of a member lie in one
    word, so a look-up touches memory once (Bloom, 1970; blocked: Putze, Sanders and Singler, 2007).

    Args:
        bits: log2 of the bits of one pane, at least 6.
        pane_ms: length of a pane, event time.
    """

    def __init__(self, bits: int, pane_ms: int) -> None:
        self._mask = np.uint64(2 ** (bits - 6) - 1)
        self._pane_ms = pane_ms
        self._pane: int | None = None
        self._current = np.zeros(2 ** (bits - 6), np.uint64)
        self._previous = np.zeros_like(self._current)
        # The panes take turns in two places, so that in a state the one that stays is where it was.
        self._place = 0
        self._marks = (Marks(_WORDS), Marks(_WORDS))
        for marks in self._marks:
            marks.grow(len(self._current))

    @staticmethod
    def bits_for(capacity: int, false_positive_rate: float) -> int:
        """log2 of the bits that keep the false positives of two full panes under the rate."""
        bits = 10
        while 2 * _blocked_rate(capacity / 2 ** (bits - 6)) > false_positive_rate:
            bits += 1
        return bits

    @property
    def nbytes(self) -> int:
        return self._current.nbytes + self._previous.nbytes

    def turn(self, now: int) -> int:
        """Move to the pane of event time `now`; the number of panes turned (0 mostly)."""
        pane = now // self._pane_ms
        if self._pane is None or pane <= self._pane:
            self._pane = pane if self._pane is None else self._pane
            return 0
        turned = pane - self._pane
        self.turn_early()
        if turned > 1:
            self._previous = np.zeros_like(self._current)
            self._marks[1 - self._place].mark_from(0, len(self._current))
        self._pane = pane
        return turned

    def turn_early(self) -> None:
        """Start a new current pane before its time; the next turn by time comes when it was due."""
        self._previous, self._current = self._current, np.zeros_like(self._current)
        self._place = 1 - self._place
        self._marks[self._place].mark_from(0, len(self._current))

    def _word_and_bits(self, hashes: U64) -> tuple[NDArray[np.int64], U64]:
        scattered = mix(hashes)
        bits = np.zeros(len(hashes), np.uint64)
        for probe in range(_PROBES):
            bits |= _ONE << ((scattered >> np.uint64(6 * probe)) & _SIX_BITS)
        # The word comes from the upper bits, which the probes leave alone.
        return ((scattered >> np.uint64(6 * _PROBES)) & self._mask).astype(np.int64), bits

    def contains(self, hashes: U64) -> NDArray[np.bool_]:
        """Membership of each hash in either pane; shape (n,)."""
        now, before = self.in_panes(hashes)
        return now | before

    def in_panes(self, hashes: U64) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Membership of each hash in the current and in the previous pane; shapes (n,)."""
        word, bits = self._word_and_bits(hashes)
        return (self._current[word] & bits) == bits, (self._previous[word] & bits) == bits

    def add_new(self, hashes: U64) -> NDArray[np.bool_]:
        """Add distinct hashes to the current pane; True for each that was not in it. Shape (n,)."""
        word, bits = self._word_and_bits(hashes)
        fresh = (self._current[word] & bits) != bits
        np.bitwise_or.at(self._current, word[fresh], bits[fresh])
        self._marks[self._place].mark(word[fresh])
        return np.asarray(fresh)

    def add(self, hashes: U64) -> None:
        """Add hashes to the current pane."""
        self.add_new(hashes)

    def parts(self) -> dict[str, Part]:
        panes = (self._current, self._previous)
        return {
            "pane": whole(msgspec.msgpack.encode((self._pane, self._place))),
            **{f"bits-{place}": words(panes[place != self._place], self._marks[place]) for place in (0, 1)},
        }

    def restore_parts(self, parts: Blocks) -> None:
        self._pane, self._place = msgspec.msgpack.decode(whole_of(parts["pane"]), type=tuple[int | None, int])
        panes = [words_of(parts[f"bits-{place}"], self._current, _WORDS) for place in (0, 1)]
        self._current, self._previous = panes[self._place], panes[1 - self._place]


def _blocked_rate(load: float) -> float:
    """False positives of one pane with `load` members a word: Poisson over the members of a word."""
    if load > _PROBES * 16:
        return 1.0  # every word is full
    rate, chance = 0.0, math.exp(-load)
    for members in range(1, int(load + 12 * math.sqrt(load)) + 20):
        chance *= load / members
        rate += chance * (1 - (1 - 1 / 64) ** (_PROBES * members)) ** _PROBES
    return rate


class AccountCounter(Blocked):
    """How many distinct accounts carried each item lately, within bounded memory.

    Three filters in a row, each for what the one before lets through: a Bloom filter of (item, account)
    pairs, so that an account counts once a pane; a Bloom filter of items, so that the many items of one
    account end there; and a count-min sketch of two rows with conservative update (Cormode and
    Muthukrishnan, 2005; Estan and Varghese, 2002) for the few that several accounts carry. The larger of
    the current and the previous pane is the answer. A pane that is full turns early, so the error stays
    bounded and the memory of the counter gets shorter instead.

    Args:
        bits: log2 of the bits of one Bloom filter; a pane holds a tenth as many pairs, at which point about
            one pair in fifty is mistaken for one counted before.
        pane_ms: length of a pane, event time.
    """

    _ROWS: Final = 2
    _BITS_PER_PAIR: Final = 10

    def __init__(self, bits: int, pane_ms: int) -> None:
        self._pairs = PanedBloom(bits, pane_ms)
        self._items = PanedBloom(bits, pane_ms)
        self._cells = np.uint64(2 ** max(bits - 6, 8) - 1)
        self._current = np.zeros((self._ROWS, int(self._cells) + 1), np.uint32)
        self._previous = np.zeros_like(self._current)
        self._capacity = 2**bits // self._BITS_PER_PAIR
        self._held = 0
        self.early_turns = 0
        self._place = 0
        self._marks = (Marks(_CELLS), Marks(_CELLS))
        for marks in self._marks:
            marks.grow(self._current.size)

    @property
    def nbytes(self) -> int:
        return self._pairs.nbytes + self._items.nbytes + self._current.nbytes + self._previous.nbytes

    def turn(self, now: int) -> None:
        """Move to the pane of event time `now`, or to a new one if the current one is full."""
        turned = self._pairs.turn(now)
        self._items.turn(now)
        if not turned and self._held >= self._capacity:
            self._pairs.turn_early()
            self._items.turn_early()
            self.early_turns += 1
            turned = 1
        if turned:
            self._place = 1 - self._place
            self._marks[self._place].mark_from(0, self._current.size)
            if turned > 1:
                self._marks[1 - self._place].mark_from(0, self._current.size)
            self._previous = self._current if turned == 1 else np.zeros_like(self._current)
            self._current = np.zeros_like(self._current)
            self._held = 0

    def add(self, items: U64, accounts: U64) -> None:
        """Count each account (n,) once for each of its items (n,)."""
        pairs, first = np.unique(combine(items, accounts), return_index=True)
        fresh = self._pairs.add_new(pairs)
        self._held += int(fresh.sum())
        item, more = np.unique(items[first[fresh]], return_counts=True)
        # The first account of an item is remembered by the filter, only the further ones are counted.
        more = more - self._items.add_new(item)
        item, more = item[more > 0], more[more > 0]
        cells = self._places(item)
        total = self._least(self._current, cells) + more
        for row, cell in enumerate(cells):
            np.maximum.at(self._current[row], cell, total.astype(np.uint32))
            self._marks[self._place].mark(cell + row * self._current.shape[1])

    def holds(self, items: U64, accounts: U64) -> NDArray[np.bool_]:
        """Whether each account (n,) was counted for its item (n,) in either pane; shape (n,)."""
        return self._pairs.contains(combine(items, accounts))

    def counts(self, items: U64) -> NDArray[np.int64]:
        """Estimated distinct accounts of each item; shape (n,)."""
        out = np.zeros(len(items), np.int64)
        for pane, seen in zip((self._current, self._previous), self._items.in_panes(items), strict=True):
            known = np.flatnonzero(seen)
            out[known] = np.maximum(out[known], 1 + self._least(pane, self._places(items[known])))
        return out

    @staticmethod
    def _least(pane: NDArray[np.uint32], cells: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.asarray(np.minimum(pane[0][cells[0]], pane[1][cells[1]]), np.int64)

    def _places(self, items: U64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        scattered = mix(items)
        return (
            ((scattered & _LOW) & self._cells).astype(np.int64),
            ((scattered >> _THIRTY_TWO) & self._cells).astype(np.int64),
        )

    def parts(self) -> dict[str, Part]:
        panes = (self._current, self._previous)
        return {
            "counts": whole(msgspec.msgpack.encode((self._place, self._held, self.early_turns))),
            **{f"cells-{place}": words(panes[place != self._place], self._marks[place]) for place in (0, 1)},
            **within("pairs", self._pairs.parts()),
            **within("items", self._items.parts()),
        }

    def restore_parts(self, parts: Blocks) -> None:
        self._place, self._held, self.early_turns = msgspec.msgpack.decode(
            whole_of(parts["counts"]), type=tuple[int, int, int]
        )
        panes = [words_of(parts[f"cells-{place}"], self._current, _CELLS) for place in (0, 1)]
        self._current, self._previous = panes[self._place], panes[1 - self._place]
        self._pairs.restore_parts(under("pairs", parts))
        self._items.restore_parts(under("items", parts))


class BottomK:
    """The k smallest distinct hashes seen: a uniform sample of distinct items, and their number.

    Union is the k smallest of both, so sketches merge in any order (KMV: Bar-Yossef et al., RANDOM 2002).

    >>> a, b = BottomK(64), BottomK(64)
    >>> a.update(range(0, 40)); b.update(range(20, 60)); a.update(b.values); a.estimate()
    60.0
    """

    def __init__(self, k: int, values: Iterable[int] = ()) -> None:
        self._k = k
        self._values = sorted(set(values))[:k]

    @property
    def values(self) -> list[int]:
        """The kept hashes, ascending."""
        return list(self._values)

    def update(self, values: Iterable[int]) -> None:
        """Offer hashes (uniform over 0 to 2**64)."""
        # A set of both and one sort are in C, and several times as fast as a heap.
        self._values = sorted({*self._values, *values})[: self._k]

    def estimate(self) -> float:
        """Estimated number of distinct items; exact below k."""
        if len(self._values) < self._k:
            return float(len(self._values))
        return (self._k - 1) / (self._values[-1] / 2**64)
