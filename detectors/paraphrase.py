"""Wishes for hidden reasoning in other words than the patterns know: hashed n-grams, and concepts.

Features are two runs of UTF-8 that begin at a character, of 4 to 12 bytes by its script, and pairs of neighbouring
words, each word by its first 16 bytes; all are hashed into one table of small integers. A text is cut into cells of
:data:`CELL` bytes; its score is that of its best window of a few neighbouring cells, so that a sentence
inside a long task is still seen. What n-grams make of a window is joined to the concepts that it has words of
(:mod:`detectors.concepts`). Sums are of integers: neither order nor neighbours change them.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.array_file import packed
from detectors.concepts import Concepts, Joined, Network, keys, unspaced, word_hash

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

CELL: Final = 128
"""Bytes of a cell: about twenty English words, or forty Chinese characters."""
NAME: Final = "paraphrase"
"""What evidence calls the classifier's verdict, beside the patterns' names."""

_LENGTH: Final = 8.0  # the root of a short sentence's characters
_BLOCK: Final = 65_536  # bytes worked on at once: the temporaries then stay in the processor's cache
_PAD: Final = 16  # zero bytes after each text, so that no feature reads into the next one
_FOUR: Final = np.uint64(0xFFFF_FFFF)
_SIX: Final = np.uint64(0xFFFF_FFFF_FFFF)
_K1: Final = np.uint64(0x9FB21C651E98DF25)
_K2: Final = np.uint64(0xD6E8FEB86659FD93)
_K3: Final = np.uint64(0xC2B2AE3D27D4EB4F)


def _word_bytes() -> NDArray[np.bool_]:
    word = np.zeros(256, np.bool_)
    for code in range(256):
        word[code] = code >= 0x80 or chr(code).isalnum() or chr(code) == "_"
    return word


_IS_WORD: Final = _word_bytes()
_LOG: Final = np.array([0.0, *(math.log(n) for n in range(1, 1025))])
_MARKS: Final = tuple(mark.encode() for mark in "،؛؟۔।॥“”‘’„«»¿¡…–—")  # of punctuation beyond ASCII


def _run_masks() -> tuple[U64, U64, NDArray[np.bool_]]:
    """Bytes of the two runs by the byte that a character begins with, and where the long one goes on to twelve.

    So that runs are about as many letters in each script: four and six of Latin, three and six of those of two
    bytes, one and two Chinese, Japanese or Korean characters, three and four of an Indic script.
    """
    short, long = np.full(256, _FOUR), np.full(256, _SIX)
    short[0xCD:0xE1], long[0xCD:0xE1] = _SIX, ~np.uint64(0)
    short[0xE0] = ~np.uint64(0)
    further = np.zeros(256, np.bool_)
    further[0xCD:0xE1] = True
    return short, long, further


_SHORT, _LONG, _FURTHER = _run_masks()


class Features(NamedTuple):
    """Buckets of the features of t texts, and the cell that each stands in; bucket 0 is none.

    Attributes:
        chars: (2, p) buckets of the two runs at each of p characters.
        bounds: (cells + t,) first of the p characters of each cell, and after a text's cells of its padding.
        pairs: (q,) buckets of the pairs that begin at each of q words. pair_cell: (q,) its place in `bounds`.
        cells: (t,) cells of each text, at least one.
        terms: keys of each kind, (r,), of the r places at which a word may stand. term_cell: (r,) as `pair_cell`.
    """

    chars: I64
    bounds: I64
    pairs: I64
    pair_cell: I64
    cells: I64
    terms: tuple[U64, ...]
    term_cell: I64


def features(texts: Sequence[str], bits: int) -> Features:
    """The features of texts; those of one do not depend on the others."""
    encoded = [text.encode() for text in texts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    data = bytes(_PAD).join(encoded) + bytes(_PAD + 8)
    plain = data.isascii()
    if not plain:
        for mark in _MARKS:
            data = data.replace(mark, b" " * len(mark))
    raw = np.frombuffer(data, np.uint8)
    # Every eight neighbouring bytes as one number, whatever the machine's byte order.
    eight = np.ndarray((len(raw) - 7,), "<u8", raw, 0, (1,)).astype(np.uint64)
    starts = np.cumsum(lengths + _PAD) - lengths - _PAD
    cells = np.maximum(-(-lengths // CELL), 1)
    first = np.cumsum(cells + 1) - cells - 1
    bounds = np.arange(int(cells.sum()) + len(cells)) * CELL + np.repeat(starts - first * CELL, cells + 1)
    bounds[first + cells] = starts + lengths
    used = len(raw) - _PAD
    near = eight[:used]
    at: I64 | None = None
    if not plain:
        at = np.flatnonzero((raw[:used] & 0xC0) != 0x80)
        near = eight[at]
        bounds = np.searchsorted(at, bounds)
    shift = np.uint64(64 - bits)
    chars = np.empty((2, len(near)), np.uint64)
    if at is None:
        np.bitwise_and(near, _FOUR, out=chars[0])
        np.bitwise_and(near, _SIX, out=chars[1])
    else:
        lead = raw.take(at)
        np.bitwise_and(near, _SHORT.take(lead), out=chars[0])
        np.bitwise_and(near, _LONG.take(lead), out=chars[1])
        further = np.flatnonzero(_FURTHER.take(lead))
        chars[1, further] += (eight[at[further] + 8] & _FOUR) * _K3
    chars[0] *= _K1
    chars[1] *= _K2
    chars >>= shift
    line = np.flatnonzero(near[1:] == near[:-1]) + 1
    if len(line):
        chars[:, line] = 0  # a drawn line says nothing, however long it is
    word = _IS_WORD.take(raw[:used])
    edge = np.flatnonzero(word[1:] != word[:-1]) + 1
    if word[0]:
        edge = np.concatenate([[0], edge])
    begin, end = edge[::2], edge[1::2]  # texts end in zero bytes, so every word ends
    counts = np.diff(np.searchsorted(begin, starts), append=len(begin))
    pair_cell = (begin - np.repeat(starts, counts)) // CELL + np.repeat(first, counts)
    length = end - begin
    low, high = eight[begin], eight[np.minimum(begin + 8, used)]
    prefix = word_hash(low, high, length)
    terms, term_cell = keys(low, high, prefix, ascii_only=plain), pair_cell
    if at is not None:
        single = at[unspaced(raw.take(at))]
        text = np.searchsorted(starts, single, "right") - 1
        low, high = eight[single], eight[np.minimum(single + 8, used)]
        more = keys(low, high, np.zeros(len(single), np.uint64), ascii_only=False)
        spaced = np.flatnonzero(~unspaced(raw.take(begin)))
        terms = tuple(np.concatenate([of[spaced], single]) for of, single in zip(terms, more, strict=True))
        term_cell = np.concatenate([pair_cell[spaced], (single - starts[text]) // CELL + first[text]])
    prefix = prefix ^ (prefix >> np.uint64(31))
    pairs = np.zeros(len(begin), np.uint64)
    np.multiply(prefix[:-1], _K3, out=pairs[:-1])
    pairs[:-1] += prefix[1:]
    pairs *= _K1
    pairs >>= shift
    pairs[(np.cumsum(counts) - 1)[counts > 0]] = 0  # the last word of a text has none to go with
    return Features(chars.view(np.int64), bounds, pairs.view(np.int64), pair_cell, cells, terms, term_cell)


class Paraphrase:
    """The fitted classifier.

    Args:
        data: what :func:`pack` wrote.

    Attributes:
        version: names the weights in evidence.

    Raises:
        ValueError: `data` is not that.
    """

    def __init__(self, data: bytes) -> None:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                weights = stored["weights"]
                self._concepts = Concepts(stored["lexicon"], stored["members"])
                self._scale, unit, direct, bias, self._long = (float(value) for value in stored["scales"])
                score, start, out = stored["units"]
                self._joined = Joined(Network(stored["first"], unit, score, start, out, direct, bias))
                self.version = str(stored["version"])
                self._window = int(stored["window"])
        except (KeyError, OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"the weights of the paraphrase classifier cannot be read: {error!r}") from None
        self.bits = int(weights.size).bit_length() - 1
        if weights.dtype != np.int8 or weights.shape != (2**self.bits,) or not 8 <= self.bits <= 18 or weights[0]:
            raise ValueError("the weights of the paraphrase classifier have another shape")
        self._weights = weights.astype(np.int32)
        self._weights.flags.writeable = False

    def log_odds(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Natural log odds that each normalised text asks for hidden reasoning; shape (len(texts),)."""
        out = np.empty(len(texts))
        for block in _blocks(texts):
            found = features([texts[i] for i in block], self.bits)
            out[block] = self._best_window(found)
        return out

    def _best_window(self, found: Features) -> NDArray[np.float64]:
        score = self._weights.take(found.chars[0])
        score += self._weights.take(found.chars[1])
        pair = self._weights.take(found.pairs)
        cell = np.add.reduceat(score, found.bounds) + np.bincount(found.pair_cell, pair, len(found.bounds))
        start = np.cumsum(found.cells + 1) - found.cells - 1
        cell[start + found.cells] = 0  # the padding reads into the next text
        sums = np.zeros(len(cell) + 1)
        np.cumsum(cell, out=sums[1:])
        # A window of fewer cells than it may have only where the text has no more.
        span = np.minimum(found.cells, self._window)
        windows = found.cells - span + 1
        first = np.cumsum(windows) - windows
        begin = np.arange(int(windows.sum())) + np.repeat(start - first, windows)
        span = np.repeat(span, windows)
        held = np.append(found.bounds, found.chars.shape[1])
        length = held[begin + span] - held[begin]
        score = (sums[begin + span] - sums[begin]) * (damping(length) * self._scale)
        present = self._concepts.present(found.terms, found.term_cell, len(cell))
        odds = self._joined.log_odds(windowed(present, begin, span), score)
        return np.maximum.reduceat(odds, first) - _LOG.take(np.minimum(windows, len(_LOG) - 1)) * self._long


def windowed(present: NDArray[np.bool_], begin: I64, window: I64) -> NDArray[np.bool_]:
    """What the rows of each window have; a row of the result for each `begin`."""
    out = present[begin]
    for step in range(1, int(window.max(initial=1))):
        out |= present[begin + np.minimum(step, window - 1)]
    return out


def damping(characters: I64) -> NDArray[np.float64]:
    """What the sum of a window is multiplied by: a long one, or one in a wordy script, has more features."""
    return np.asarray(_LENGTH / np.sqrt(np.maximum(characters, 16)))


def _blocks(texts: Sequence[str]) -> Iterator[list[int]]:
    """Indices of texts, ASCII apart from the others, in blocks that fit the processor's cache."""
    for plain in (True, False):
        block: list[int] = []
        size = 0
        for i, text in enumerate(texts):
            if text.isascii() is plain:
                block.append(i)
                size += len(text)
                if size >= _BLOCK:
                    yield block
                    block, size = [], 0
        if block:
            yield block


class Fitted(NamedTuple):
    """What a fit gives.

    Attributes:
        weights: (2**bits,) of the buckets, bucket 0 zero. scale: what one of them adds to the score of n-grams.
        lexicon, members: see :class:`detectors.concepts.Concepts`. network: joins concepts and score.
        long: log odds that a text loses for each natural logarithm of its windows: the best of many is high by chance.
        window: cells of a window. version: names all of it.
    """

    weights: NDArray[np.int8]
    scale: float
    lexicon: U64
    members: NDArray[np.uint8]
    network: Network
    long: float
    window: int
    version: str


def pack(fitted: Fitted) -> bytes:
    """The classifier as bytes; equal arguments give equal bytes."""
    net = fitted.network
    arrays: dict[str, NDArray[Any]] = {
        "weights": fitted.weights,
        "lexicon": fitted.lexicon,
        "members": fitted.members,
        "first": net.first,
        "units": np.array([net.score, net.start, net.out]),
        "scales": np.array([fitted.scale, net.unit, net.direct, net.bias, fitted.long]),
        "window": np.array(fitted.window),
        "version": np.array(fitted.version),
    }
    return packed(arrays)


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds as a share between 0 and 1.

    >>> probability(np.array([0.0, 800.0, -800.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)))


def log_odds_of(share: float) -> float:
    """The log odds of a probability between 0 and 1, both excluded."""
    return math.log(share / (1 - share))
