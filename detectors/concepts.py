"""Concepts of which a text has words, and the score of their company: the classifier's second part.

A lexicon maps words of any language to a few concepts (thoughts, inner, reveal, verbatim, before, ...), so that what
concepts say about a wish together is learned once, from all languages. Words are looked up by hashes of what stands at
a place: the whole word, and three prefixes that may run over its end, so that stems and phrases are found. A small
network joins the concepts of a window to the score of its n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

WIDTH: Final = 32
"""Concepts there is room for; the last one stands for none."""
KINDS: Final = 4
"""Keys of a place: of its word (in scripts without spaces its character), its short, its middle and its long prefix."""

_FILTER_BITS: Final = 19
_SHIFT: Final = np.uint64(64 - _FILTER_BITS)
_K2: Final = np.uint64(0xD6E8FEB86659FD93)
_K3: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_KIND: Final = tuple(np.uint64(0x5851F42D4C957F2D * kind % 2**64) for kind in range(KINDS))
_SIX: Final = np.uint64(0xFFFF_FFFF_FFFF)
_FOUR: Final = np.uint64(0xFFFF_FFFF)
_ONE: Final = np.uint64(0xFF)
_THREE: Final = np.uint64(0xFF_FFFF)
FIRST_BYTES: Final = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_FIRST_UNSPACED: Final = 0xE3  # the byte that kana, Han and Hangul begin with, up to the next
_LAST_UNSPACED: Final = 0xED
_TWO_BYTES: Final = (0xCD, 0xDF)  # Greek, Cyrillic, Hebrew, Arabic: a middle prefix of four letters


def unspaced(lead: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which characters, by their first byte, are words by themselves."""
    return (lead >= _FIRST_UNSPACED) & (lead <= _LAST_UNSPACED)


def word_hash(low: U64, high: U64, length: I64) -> U64:
    """The hash of words by their first sixteen bytes: the first eight in `low`, the others in `high`."""
    first = (low & FIRST_BYTES.take(np.minimum(length, 8))) * _K2
    first += (high & FIRST_BYTES.take(np.clip(length - 8, 0, 8))) * _K3
    return first


def keys(low: U64, high: U64, words: U64, *, ascii_only: bool) -> tuple[U64, ...]:
    """The keys of p places, (p,) of each kind.

    Args:
        low: eight bytes from each place on. high: the next eight.
        words: what :func:`word_hash` gives for them; unused where a character is a word.
        ascii_only: that all are ASCII, which saves the look at each lead byte.
    """
    short = low & _SIX
    short *= _K2
    whole = low * _K2
    middle = high & _ONE
    middle *= _K3
    middle += whole
    long = high & _FOUR
    long *= _K3
    long += whole
    if not ascii_only:
        lead = (low & _ONE).astype(np.uint8)
        two = np.flatnonzero((lead >= _TWO_BYTES[0]) & (lead <= _TWO_BYTES[1]))
        middle[two] = whole[two]
        single = np.flatnonzero(unspaced(lead))
        words = words.copy()
        words[single] = (low[single] & _THREE) * _K2
    short += _KIND[1]
    middle += _KIND[2]
    long += _KIND[3]
    return words, short, middle, long


class Network(NamedTuple):
    """One hidden layer of h units between concepts, the score of n-grams, and the log odds of a window.

    Attributes:
        first: (WIDTH, h + 1) what each concept adds to each unit, and in the last column directly to the result;
            whole numbers, worth `unit` each, so that sums are exact in whatever order they are taken.
        score: (h,) what the score is multiplied by in each unit. start: (h,) of each unit. out: (h,) its weight.
        direct: what the score is multiplied by in the result. bias: of the result.
    """

    first: NDArray[np.int16]
    unit: float
    score: NDArray[np.float64]
    start: NDArray[np.float64]
    out: NDArray[np.float64]
    direct: float
    bias: float


class Concepts:
    """The lexicon: which concepts a text has words of.

    Args:
        lexicon: (n,) sorted keys. members: (n, m) concepts of each, WIDTH - 1 where it has fewer than m.

    Raises:
        ValueError: they do not fit together.
    """

    def __init__(self, lexicon: U64, members: NDArray[np.uint8]) -> None:
        if (
            lexicon.dtype != np.uint64
            or lexicon.ndim != 1
            or members.ndim != 2
            or members.shape[:1] != lexicon.shape
            or (len(members) and members.max() >= WIDTH)
            or bool(np.any(lexicon[1:] <= lexicon[:-1]))
        ):
            raise ValueError("the lexicon of the paraphrase classifier has another shape")
        self._lexicon = lexicon
        self._members = tuple(np.ascontiguousarray(members.T, np.int64))
        self._filter = np.zeros(2**_FILTER_BITS, np.bool_)
        self._filter[lexicon >> _SHIFT] = True

    def present(self, found: Sequence[U64], cell: I64, cells: int) -> NDArray[np.bool_]:
        """Which concepts each of `cells` cells has words of; shape (cells, WIDTH).

        Args:
            found: (p,) keys of each kind. cell: (p,) the cell of each place.
        """
        out = np.zeros((cells, WIDTH), np.bool_)
        if not len(self._lexicon):
            return out
        # Few keys are in the lexicon: the filter keeps most of the others from the search.
        near = [np.flatnonzero(self._filter.take((of >> _SHIFT).view(np.int64))) for of in found]
        key = np.concatenate([of.take(some) for of, some in zip(found, near, strict=True)])
        at = np.searchsorted(self._lexicon, key)
        np.minimum(at, len(self._lexicon) - 1, out=at)
        hit = np.flatnonzero(self._lexicon.take(at) == key)
        place = cell.take(np.concatenate(near).take(hit)) * WIDTH
        flat = out.reshape(-1)
        for members in self._members:
            flat[place + members.take(at.take(hit))] = True
        out[:, WIDTH - 1] = False
        return out


class Joined:
    """A network, ready for use.

    Raises:
        ValueError: its parts do not fit together.
    """

    def __init__(self, network: Network) -> None:
        units = len(network.out)
        shapes = network.first.shape, len(network.score), len(network.start)
        if not units or shapes != ((WIDTH, units + 1), units, units):
            raise ValueError("the network of the paraphrase classifier has another shape")
        self._network = network
        self._first = np.ascontiguousarray(network.first.T, np.float32)  # below 2**16 times WIDTH: sums are exact

    def log_odds(self, present: NDArray[np.bool_], score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of n windows, from the concepts (n, WIDTH) and the score (n,) of each; those of one depend on no other."""
        net = self._network
        sums = (self._first @ present.T.astype(np.float32)).astype(np.float64)
        sums *= net.unit
        value = score * net.score[:, None]
        value += net.start[:, None]
        value += sums[:-1]
        divisor = np.abs(value)
        divisor += 1
        value /= divisor
        value *= net.out[:, None]
        # One after the other: a product or a sum may add up in another order for another number of windows.
        np.cumsum(value, axis=0, out=value)
        return np.asarray(sums[-1] + (score * net.direct + net.bias) + value[-1])
