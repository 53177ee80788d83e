"""Requests that ask for hidden reasoning: patterns, compiled once and scanned over whole batches, and the
classifier beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import U64, hash_strings
from detectors.params import ParaphraseParams
from detectors.paraphrase import NAME, Paraphrase, log_odds_of
from detectors.patterns import Pattern, PatternFile
from detectors.text import normalise

if TYPE_CHECKING:
    import hyperscan


PARAPHRASE_BIT: Final = 63
NO_ODDS: Final = -100.0
"""The log odds of what the classifier did not see."""

MATERIAL: Final = frozenset({"grading", "graded_material", "trace_cleaning", "pasted_trace"})
"""Techniques of patterns that ask for work on material, not for the model's own reasoning."""

_AROUND: Final = 400  # bytes to either side of a match that its sentence may reach
_STOP: Final = re.compile("\n|[?!]|[.] |。|।".encode())  # of normalised text, so NFKC
_DIGITS: Final = bytes.maketrans(b"0123456789", b"0000000000")


class Masks(NamedTuple):
    """Bit i of a text's mask is set where pattern i of the file matched; shape (texts,) each.

    The highest bit of `strong` is the classifier's, whose log odds are in `odds`. `marks` has the markers.
    `wording` is a hash of the sentence in which a text first asks for reasoning by a pattern, or 0.
    """

    strong: U64
    weak: U64
    marks: U64
    wording: U64
    odds: NDArray[np.float64]


class Classifier:
    """The fitted model with the parameters under which it speaks."""

    def __init__(self, model: Paraphrase, params: ParaphraseParams) -> None:
        self.version = model.version
        self.shadow = params.shadow
        self.threshold = log_odds_of(params.threshold)
        self.log_odds = model.log_odds


class PatternScanner:
    """All elicitation patterns in one hyperscan database.

    Args:
        patterns: at most 64, one bit each; at most 63 beside a classifier.
        classifier: reads the same texts.

    Raises:
        ValueError: too many patterns, or an expression that hyperscan cannot compile, by pattern and place.
    """

    def __init__(self, patterns: PatternFile, classifier: Classifier | None = None) -> None:
        self.patterns: tuple[Pattern, ...] = tuple(patterns.pattern)
        self.classifier = classifier
        if len(self.patterns) > PARAPHRASE_BIT + (classifier is None):
            raise ValueError(f"{len(self.patterns)} patterns are more than there are bits")
        self._strong = self._bits(lambda p: p.strength == "strong")
        self._marks = self._bits(lambda p: p.strength == "marker")
        self._asks = self._bits(lambda p: p.strength != "marker" and p.technique not in MATERIAL)
        self._database = _compile(self.patterns)

    def _bits(self, which: Callable[[Pattern], bool]) -> int:
        return sum(1 << i for i, pattern in enumerate(self.patterns) if which(pattern))

    def mask(self, technique: str) -> np.uint64:
        """The bits of a technique's patterns, of whatever strength."""
        return np.uint64(self._bits(lambda pattern: pattern.technique == technique))

    @property
    def asking(self) -> np.uint64:
        """The bits of the patterns that ask for reasoning."""
        return np.uint64(self._asks)

    def scan(self, texts: Sequence[str]) -> Masks:
        """Which patterns occur in each normalised text, and what the classifier makes of it."""
        found = np.zeros(len(texts), np.uint64)
        wording = np.zeros(len(texts), np.uint64)
        asks, mask, at = self._asks, 0, 0
        places: list[int] = []
        sentences: list[str] = []

        def on_match(pattern: int, start: int, end: int, flags: int, context: object) -> None:
            nonlocal mask, at
            mask |= 1 << pattern
            if not at and asks >> pattern & 1:
                at = end

        for i, text in enumerate(texts):
            mask = at = 0
            data = text.encode()
            self._database.scan(data, match_event_handler=on_match)
            if mask:
                found[i] = mask
            if at:
                places.append(i)
                sentences.append(_sentence(data, at))
        if places:
            wording[places] = hash_strings(sentences) | np.uint64(1)
        strong = np.uint64(self._strong)
        marks = found & np.uint64(self._marks)
        weak = found & ~(strong | marks)
        found &= strong
        if self.classifier is None:
            return Masks(found, weak, marks, wording, np.full(len(texts), NO_ODDS))
        odds = self.classifier.log_odds(texts)
        if not self.classifier.shadow:
            found[odds >= self.classifier.threshold] |= np.uint64(1 << PARAPHRASE_BIT)
        return Masks(found, weak, marks, wording, odds)

    def names(self, mask: int) -> list[str]:
        """The names of the patterns in a mask, in file order, and the classifier's at the end."""
        names = [p.name for i, p in enumerate(self.patterns) if mask >> i & 1]
        return [*names, NAME] if self.classifier is not None and mask >> PARAPHRASE_BIT & 1 else names


def _sentence(data: bytes, end: int) -> str:
    """The sentence of a text (UTF-8) in which a match ends, its digits alike: a request's task is not in it."""
    last = end - 1
    before = [stop.end() for stop in _STOP.finditer(data, max(0, last - _AROUND), last)]
    start = before[-1] if before else max(0, last - _AROUND)
    stop = _STOP.search(data, end, end + _AROUND)
    return (
        data[start : stop.start() if stop else end + _AROUND].strip(b" .:,").translate(_DIGITS).decode(errors="ignore")
    )


def _compile(patterns: Sequence[Pattern]) -> hyperscan.Database:
    import hyperscan as hs

    # Without UCP: Unicode character classes would make each bounded repeat thousands of states.
    flags = hs.HS_FLAG_CASELESS | hs.HS_FLAG_UTF8 | hs.HS_FLAG_DOTALL | hs.HS_FLAG_SINGLEMATCH
    expressions = [(i, expression) for i, pattern in enumerate(patterns) for expression in pattern.any]
    database = hs.Database()
    try:
        database.compile(
            expressions=[expression.encode() for _, expression in expressions],
            ids=[i for i, _ in expressions],
            flags=[flags] * len(expressions),
        )
    except hs.error:
        for i, expression in expressions:  # one by one, to name the culprit
            try:
                hs.Database().compile(expressions=[expression.encode()], ids=[i], flags=[flags])
            except hs.error as error:
                raise ValueError(f"pattern {patterns[i].name}: {expression!r} does not compile: {error}") from None
        raise
    return database


def check_cases(patterns: PatternFile) -> list[str]:
    """Run the cases that stand beside the patterns; one line for each that fails."""
    scanner = PatternScanner(patterns)
    problems = []
    for i, pattern in enumerate(scanner.patterns):
        for expected, cases in ((True, pattern.cases.match), (False, pattern.cases.leave)):
            for case in cases:
                masks = scanner.scan([normalise(case, 1_000_000)])
                if bool(int(masks.strong[0] | masks.weak[0] | masks.marks[0]) >> i & 1) != expected:
                    verb = "does not match" if expected else "matches, but should leave"
                    problems.append(f"pattern {pattern.name} {verb}: {case!r}")
    return problems
