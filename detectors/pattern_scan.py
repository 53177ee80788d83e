"""Requests that ask for hidden reasoning: patterns, compiled once and scanned over whole batches, and the
classifier and the marks beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import U64, hash_string
from detectors.mark_scan import JUDGED, JUDGING, THOUGHT, MarkScanner
from detectors.params import ParaphraseParams
from detectors.paraphrase import NAME, Paraphrase, log_odds_of
from detectors.patterns import Hints, Mark, Pattern, PatternFile
from detectors.text import normalise

if TYPE_CHECKING:
    import hyperscan


PARAPHRASE_BIT: Final = 63
NO_ODDS: Final = -100.0
"""The log odds of what the classifier did not see."""


_AROUND: Final = 400  # bytes to either side of a match that its sentence may reach
_STOP: Final = re.compile("\n|[?!]|[.] |。|।".encode())  # of normalised text, so NFKC
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")


class Masks(NamedTuple):
    """Bit i of a text's mask is set where pattern i of the file matched; shape (texts,) each.

    The highest bit of `strong` is the classifier's, whose log odds are in `odds`. `hints` tells which texts are worth a
    search for marks (see :mod:`detectors.mark_scan`). `wordings` is a hash of the sentence in which a text first
    matches a pattern, digits alike, or 0: the task beside the sentence is not in it, so one way of asking is one.
    """

    strong: U64
    weak: U64
    hints: U64
    wordings: U64
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
        marks: whether a detector reads the marks; without, no text is searched for them.

    Raises:
        ValueError: too many patterns, or an expression that hyperscan cannot compile, by pattern and place.
    """

    def __init__(self, patterns: PatternFile, classifier: Classifier | None = None, *, marks: bool = True) -> None:
        self.patterns: tuple[Pattern, ...] = tuple(patterns.pattern)
        self.classifier = classifier
        if len(self.patterns) > PARAPHRASE_BIT + (classifier is None):
            raise ValueError(f"{len(self.patterns)} patterns are more than there are bits")
        self._strong = sum(1 << i for i, p in enumerate(self.patterns) if p.strength == "strong")
        self.marks = MarkScanner(patterns.mark if marks else [])
        hints = patterns.hints if self.marks.marks else Hints()
        words = ((JUDGING, hints.judging), (JUDGED, hints.judged), (THOUGHT, hints.thought))
        self.by_pattern = (1 << len(self.patterns)) - 1  # the bits of the patterns, without the classifier's
        self._database = _compile(self.patterns, [(hint, word) for hint, group in words for word in group])

    def scan(self, texts: Sequence[str]) -> Masks:
        """Which patterns occur in each normalised text, and what the classifier makes of it."""
        found, hints, wordings = (np.zeros(len(texts), np.uint64) for _ in range(3))
        mask, at, first_hint = 0, 0, len(self.patterns)
        only_patterns = (1 << first_hint) - 1

        def on_match(pattern: int, start: int, end: int, flags: int, context: object) -> None:
            nonlocal mask, at
            mask |= 1 << pattern
            if pattern < first_hint and not at:
                at = end

        for i, text in enumerate(texts):
            mask, at = 0, 0
            data = text.encode()
            self._database.scan(data, match_event_handler=on_match)
            if mask:
                found[i], hints[i] = mask & only_patterns, mask >> first_hint
            if at:
                wordings[i] = hash_string(_sentence(data, at))
        strong = np.uint64(self._strong)
        weak = found & ~strong
        found &= strong
        if self.classifier is None:
            return Masks(found, weak, hints, wordings, np.full(len(texts), NO_ODDS))
        odds = self.classifier.log_odds(texts)
        if not self.classifier.shadow:
            found[odds >= self.classifier.threshold] |= np.uint64(1 << PARAPHRASE_BIT)
        return Masks(found, weak, hints, wordings, odds)

    def names(self, mask: int) -> list[str]:
        """The names of the patterns in a mask, in file order, and the classifier's at the end."""
        names = [p.name for i, p in enumerate(self.patterns) if mask >> i & 1]
        return [*names, NAME] if self.classifier is not None and mask >> PARAPHRASE_BIT & 1 else names


def _sentence(data: bytes, end: int) -> str:
    """The sentence of a text (UTF-8) in which a match ends."""
    last = end - 1
    start = max(0, last - _AROUND)
    for stop in _STOP.finditer(data, start, last):
        start = stop.end()
    after = _STOP.search(data, end, end + _AROUND)
    sentence = data[start : after.start() if after else end + _AROUND]
    return sentence.strip(b" .:,").translate(_DIGITS).decode(errors="ignore")


def _compile(patterns: Sequence[Pattern], hints: Iterable[tuple[int, str]]) -> hyperscan.Database:
    import hyperscan as hs

    # Without UCP: Unicode character classes would make each bounded repeat thousands of states.
    flags = hs.HS_FLAG_CASELESS | hs.HS_FLAG_UTF8
    expressions = [(i, pattern.name, expression) for i, pattern in enumerate(patterns) for expression in pattern.any]
    words = [(len(patterns) + hint.bit_length() - 1, "hints", re.escape(word)) for hint, word in hints]
    return compile_any(expressions, words, flags=flags)


def compile_any(
    expressions: Sequence[tuple[int, str, str]], plain: Sequence[tuple[int, str, str]] = (), *, flags: int = 0
) -> hyperscan.Database:
    """A database of `expressions`, under `flags`, and of `plain` words: number, name and expression of each.

    A number is reported once a text.

    Raises:
        ValueError: an expression that does not compile, with its name.
    """
    import hyperscan as hs

    once = hs.HS_FLAG_DOTALL | hs.HS_FLAG_SINGLEMATCH
    parts = [(*one, flags | once) for one in expressions] + [(*one, once) for one in plain]
    database = hs.Database()
    try:
        database.compile(
            expressions=[expression.encode() for _, _, expression, _ in parts],
            ids=[number for number, *_ in parts],
            flags=[flag for *_, flag in parts],
        )
    except hs.error:
        for number, name, expression, flag in parts:  # one by one, to name the culprit
            try:
                hs.Database().compile(expressions=[expression.encode()], ids=[number], flags=[flag])
            except hs.error as error:
                raise ValueError(f"pattern {name}: {expression!r} does not compile: {error}") from None
        raise
    return database


def check_cases(patterns: PatternFile) -> list[str]:
    """Run the cases that stand beside the patterns and marks; one line for each that fails."""
    scanner = PatternScanner(patterns)

    def patterns_in(text: str) -> int:
        masks = scanner.scan([text])
        return int(masks.strong[0] | masks.weak[0])

    def marks_in(text: str) -> int:
        return int(scanner.marks.scan([text])[0])

    problems = []
    tables: tuple[tuple[Sequence[Pattern | Mark], Callable[[str], int]], ...] = (
        (scanner.patterns, patterns_in),
        (scanner.marks.marks, marks_in),
    )
    for entries, look in tables:
        for i, entry in enumerate(entries):
            for expected, cases in ((True, entry.cases.match), (False, entry.cases.leave)):
                for case in cases:
                    if bool(look(normalise(case, 1_000_000)) >> i & 1) != expected:
                        verb = "does not match" if expected else "matches, but should leave"
                        problems.append(f"pattern {entry.name} {verb}: {case!r}")
    return problems
