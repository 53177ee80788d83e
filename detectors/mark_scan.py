"""Marks of work on training data, searched for only in the few texts that hold a hint of it.

Marks are many expressions in many languages, too many to run over all traffic; a handful of words that every such
text has, found together with the elicitation patterns, tells where they are worth running. Whether a request is
searched depends on its own texts alone, so the cut into batches changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import U64
from detectors.patterns import Mark

if TYPE_CHECKING:
    import hyperscan

I64 = NDArray[np.int64]

JUDGING, JUDGED, THOUGHT = 1, 2, 4
_BOTH: Final = np.uint64(JUDGING | JUDGED)


class MarkScanner:
    """All marks of a pattern file, compiled when the first text is searched.

    Args:
        marks: at most 64, one bit each.
    """

    def __init__(self, marks: Sequence[Mark]) -> None:
        self.marks: tuple[Mark, ...] = tuple(marks)

    def mask(self, *kinds: str) -> int:
        """The bits of the marks of some kinds."""
        return sum(1 << i for i, mark in enumerate(self.marks) if mark.kind in kinds)

    def names(self, mask: int) -> list[str]:
        """The names of the marks in a mask, in file order."""
        return [mark.name for i, mark in enumerate(self.marks) if mask >> i & 1]

    @cached_property
    def database(self) -> hyperscan.Database:
        """Byte by byte, without UTF-8 and case: a tenth of the time to compile, and texts are in lower case.

        Raises:
            ValueError: an expression that hyperscan cannot compile, by mark.
        """
        from detectors.pattern_scan import compile_any

        return compile_any([(i, mark.name, expression) for i, mark in enumerate(self.marks) for expression in mark.any])

    def scan(self, texts: Sequence[str]) -> U64:
        """Bit i of a normalised text's mask is set where mark i occurs; shape (texts,)."""
        found = np.zeros(len(texts), np.uint64)
        if not self.marks or not len(texts):
            return found
        mask = 0

        def on_match(mark: int, start: int, end: int, flags: int, context: object) -> None:
            nonlocal mask
            mask |= 1 << mark

        database = self.database
        for i, text in enumerate(texts):
            mask = 0
            database.scan(text.encode(), match_event_handler=on_match)
            found[i] = mask
        return found

    def of_requests(
        self, texts: Sequence[str], hints: U64, codes: tuple[I64, I64], tags: NDArray[np.int8], min_chars: int
    ) -> U64:
        """The marks of n events, over both texts of each.

        Args:
            texts: m distinct normalised texts. hints: (m,) JUDGING, JUDGED and THOUGHT of each.
            codes: two (n,) rows of `texts`, ABSENT without.
            tags: (n,) 1 where an event's texts name a tag for reasoning.
            min_chars: a request without a text of this length holds no trace.

        Returns:
            (n,), 0 for events that are not worth a look.
        """
        marks = np.zeros(len(tags), np.uint64)
        if not self.marks or not (hints.any() or (tags == 1).any()):
            return marks
        padded = np.append(hints, np.uint64(0))
        hinted = padded[codes[0]] | padded[codes[1]]
        worth = (hinted & _BOTH) == _BOTH
        traces = np.flatnonzero(~worth & (((hinted & np.uint64(THOUGHT)) != 0) | (tags == 1)))
        for row in traces.tolist():
            worth[row] = any(code[row] >= 0 and len(texts[code[row]]) >= min_chars for code in codes)
        rows = np.flatnonzero(worth)
        if not len(rows):
            return marks
        used = np.unique(np.concatenate([code[rows] for code in codes]))
        used = used[used >= 0]
        found = np.zeros(len(texts) + 1, np.uint64)
        found[used] = self.scan([texts[code] for code in used.tolist()])
        marks[rows] = found[codes[0][rows]] | found[codes[1][rows]]
        return marks
