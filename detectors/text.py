"""Text to word and shingle hashes, a whole batch at a time, on bytes with numpy.

Words are runs of letters and digits, lower-cased and NFKC-normalised; every digit counts as the same
digit, so that numbered slots do not split a family; in scripts without spaces (kana, Han, Hangul) every
character is a word. A shingle is `width` consecutive words (Broder, 1997).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import U64, mix

I64 = NDArray[np.int64]

_MULTIPLIER: Final = 0x9FB21C651E98DF25  # odd, from xxHash3's mixing constants
_BLOCK: Final = 32_768  # characters: the temporaries of a block are some thirty times as large
_SAMPLED: Final = np.uint64(7)  # one word in eight, by its hash
_LONGEST_WORD: Final = 64  # bytes of a word that count: longer ones are blobs, told apart well enough by these


class Ragged(NamedTuple):
    """Rows of varying length: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: U64
    offsets: I64

    @property
    def rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> I64:
        return np.diff(self.offsets)

    def row_ids(self) -> I64:
        """The row of each value; shape (len(values),)."""
        return np.repeat(np.arange(self.rows), self.lengths)

    def take(self, indices: I64) -> Ragged:
        """The given rows, in that order."""
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        offsets = _offsets(lengths)
        if not offsets[-1]:
            return Ragged(self.values[:0], offsets)
        where = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Ragged(self.values[where], offsets)


def empty_ragged(rows: int) -> Ragged:
    """`rows` empty rows."""
    return Ragged(np.empty(0, np.uint64), np.zeros(rows + 1, np.int64))


def concat_ragged(parts: Sequence[Ragged]) -> Ragged:
    """The rows of all parts, one after the other."""
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), _offsets(lengths))


def _offsets(lengths: I64) -> I64:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _byte_tables() -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    value = np.arange(256, dtype=np.uint64) + np.uint64(1)
    word = np.zeros(256, np.bool_)
    for code in range(256):
        word[code] = code >= 0x80 or chr(code).isalnum() or code == ord("_")
    value[ord("0") : ord("9") + 1] = ord("0") + 1
    return value, word


def _powers() -> U64:
    powers = np.empty(_LONGEST_WORD, np.uint64)
    power = 1
    for i in range(_LONGEST_WORD):
        powers[i] = power
        power = power * _MULTIPLIER % 2**64
    return powers


_INVISIBLE: Final = dict.fromkeys(
    # Soft hyphen, zero-width and bidirectional marks, word joiners, variation selectors, byte order mark.
    (
        *(0xAD, 0x61C, 0x180E, 0xFEFF),
        *(
            code
            for span in ((0x200B, 0x2010), (0x202A, 0x202F), (0x2060, 0x2070), (0xFE00, 0xFE10))
            for code in range(*span)
        ),
    )
)
_LAID_OUT: Final = re.compile(r"[\n\r\t\f\v]|  ")
_BLANK_LINE: Final = re.compile(r"\n\s*\n")

_VALUE, _IS_WORD = _byte_tables()
_DIGIT: Final = _VALUE[ord("0")]
_POWERS: Final = _powers()


def normalise(text: str, max_chars: int) -> str:
    """How a text is read: lower case, NFKC, one line a paragraph, and no characters that nobody sees.

    Of more than `max_chars` characters, half are taken from the head and half from the tail.

    >>> normalise("Wrapped\\n  lines,\\twide  spaces.\\n\\nNext paragraph", 1000)
    'wrapped lines, wide spaces.\\nnext paragraph'
    """
    if len(text) > max_chars:
        half = max_chars // 2
        text = f"{text[:half]}\n\n{text[-half:]}"
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_INVISIBLE)
    if _LAID_OUT.search(text):
        text = "\n".join(" ".join(paragraph.split()) for paragraph in _BLANK_LINE.split(text))
    return text.lower()


class Words(NamedTuple):
    """Word hashes per text, whether each word has a letter, and where it stands in the joined bytes."""

    hashes: Ragged
    lettered: NDArray[np.bool_]
    starts: I64
    ends: I64
    data: bytes


class Shingles(NamedTuple):
    """Shingle hashes per text, and for each the place of its first word among all words."""

    hashes: Ragged
    place: I64


def words(texts: Sequence[str]) -> Words:
    """Hash the words of normalised texts.

    Args:
        texts: normalised by :func:`normalise`.

    Returns:
        Hashes as rows (one a text), and the byte span of each word in ``data``, the joined texts.
    """
    encoded = [text.encode() for text in texts]
    data = b"\0".join(encoded)
    row_starts = _offsets(np.fromiter((len(e) + 1 for e in encoded), np.int64, len(encoded)))
    raw = np.frombuffer(data, np.uint8)
    if not len(raw):
        return _no_words(len(encoded), data)
    is_word = _IS_WORD[raw]
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    if not data.isascii():
        # Punctuation and symbols: U+0080 to U+00BF (lead byte C2; its three letters are gone by NFKC), quotes,
        # dashes and arrows of U+2000 to U+2FFF (E2), and ideographic marks of U+3000 to U+303F (E3 80).
        lead = np.append(raw[:-1] == 0xE3, False) & np.append(raw[1:] == 0x80, False)
        for first_byte, width in ((raw == 0xC2, 2), (raw == 0xE2, 3), (lead, 3)):
            symbol = np.flatnonzero(first_byte)
            for k in range(width):
                is_word[symbol + k] = False
        begins = is_word.copy()
        begins[1:] &= ~is_word[:-1]
        ideograph = np.flatnonzero((raw >= 0xE3) & (raw <= 0xED))
        begins[ideograph] = is_word[ideograph]
        after = ideograph + 3
        after = after[after < len(raw)]
        begins[after] |= is_word[after]
    at = np.flatnonzero(is_word)
    if not len(at):
        return _no_words(len(encoded), data)
    first = np.flatnonzero(begins[at])
    lengths = np.diff(np.append(first, len(at)))
    place = np.arange(len(at)) - np.repeat(first, lengths)
    weight = _POWERS[np.minimum(place, _LONGEST_WORD - 1)]
    weight[place >= _LONGEST_WORD] = 0
    hashes = mix(np.add.reduceat(_VALUE[raw[at]] * weight, first))
    starts = at[first]
    counts = np.diff(np.searchsorted(starts, row_starts))
    lettered = np.logical_or.reduceat(_VALUE[raw[at]] != _DIGIT, first)
    return Words(Ragged(hashes, _offsets(counts)), lettered, starts, starts + lengths, data)


def text_features(texts: Sequence[str], width: int, limit: int, *, sample: bool) -> tuple[Ragged, Ragged]:
    """Shingle hashes and a sample of the words of normalised texts, in blocks that fit the processor's cache.

    Args:
        sample: without it the second has no words.
    """
    parts: list[Ragged] = []
    sampled: list[Ragged] = []
    start = size = 0
    for i, text in enumerate((*texts, "")):
        size += len(text)
        if size >= _BLOCK or i == len(texts):
            found = words(texts[start : i + 1])
            parts.append(shingles(found, width, limit).hashes)
            sampled.append(sampled_words(found) if sample else empty_ragged(found.hashes.rows))
            start, size = i + 1, 0
    return concat_ragged(parts), concat_ragged(sampled)


def sampled_words(found: Words) -> Ragged:
    """The words of each text whose hash falls into one eighth: the same words in every text (Broder, 1997).

    Words without a letter are left out. A word that a text repeats stays repeated.
    """
    values = found.hashes.values
    if not len(values):
        return empty_ragged(found.hashes.rows)
    kept = np.flatnonzero(((values & _SAMPLED) == 0) & found.lettered)
    return Ragged(values[kept], np.searchsorted(kept, found.hashes.offsets))


def _no_words(texts: int, data: bytes) -> Words:
    nothing = np.empty(0, np.int64)
    return Words(empty_ragged(texts), np.empty(0, np.bool_), nothing, nothing, data)


def shingles(found: Words, width: int, limit: int) -> Shingles:
    """Hashes of `width` consecutive words, at most `limit` a text: half from its head, half from its tail.

    A text with fewer words than `width` has none: short texts are shared by everybody. Nor has a run of
    numbers any: tables and lists of digits would make strangers look alike.
    """
    tokens = found.hashes.values
    total = len(tokens) - width + 1
    if total <= 0:
        return Shingles(empty_ragged(found.hashes.rows), np.empty(0, np.int64))
    acc = tokens[:total].copy()
    letters = found.lettered[:total].astype(np.int8)
    for k in range(1, width):
        acc *= np.uint64(_MULTIPLIER)
        acc += tokens[k : total + k]
        letters += found.lettered[k : total + k]
    row = found.hashes.row_ids()
    place = np.flatnonzero((row[:total] == row[width - 1 :]) & (2 * letters > width))
    counts = np.bincount(row[place], minlength=found.hashes.rows)
    kept = np.minimum(counts, limit)
    offsets = _offsets(kept)
    rank = np.arange(offsets[-1]) - np.repeat(offsets[:-1], kept)
    skip = np.where(rank >= np.repeat((kept + 1) // 2, kept), np.repeat(counts - kept, kept), 0)
    place = place[np.repeat(_offsets(counts)[:-1], kept) + rank + skip]
    return Shingles(Ragged(mix(acc[place]), offsets), place)
