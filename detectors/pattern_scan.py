"""Requests that ask for hidden reasoning: patterns, compiled once and scanned over whole batches, and the
classifier beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import U64
from detectors.params import ParaphraseParams
from detectors.paraphrase import NAME, Paraphrase, log_odds_of
from detectors.patterns import Pattern, PatternFile
from detectors.text import normalise

if TYPE_CHECKING:
    import hyperscan


PARAPHRASE_BIT: Final = 63
NO_ODDS: Final = -100.0
"""The log odds of what the classifier did not see."""


class Masks(NamedTuple):
    """Bit i of a text's mask is set where pattern i of the file matched; shape (texts,) each.

    The highest bit of `strong` is the classifier's, whose log odds are in `odds`.
    """

    strong: U64
    weak: U64
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
        self._strong = sum(1 << i for i, p in enumerate(self.patterns) if p.strength == "strong")
        self._database = _compile(self.patterns)

    def scan(self, texts: Sequence[str]) -> Masks:
        """Which patterns occur in each normalised text, and what the classifier makes of it."""
        found = np.zeros(len(texts), np.uint64)
        mask = 0

        def on_match(pattern: int, start: int, end: int, flags: int, context: object) -> None:
            nonlocal mask
            mask |= 1 << pattern

        for i, text in enumerate(texts):
            mask = 0
            self._database.scan(text.encode(), match_event_handler=on_match)
            if mask:
                found[i] = mask
        strong = np.uint64(self._strong)
        weak = found & ~strong
        found &= strong
        if self.classifier is None:
            return Masks(found, weak, np.full(len(texts), NO_ODDS))
        odds = self.classifier.log_odds(texts)
        if not self.classifier.shadow:
            found[odds >= self.classifier.threshold] |= np.uint64(1 << PARAPHRASE_BIT)
        return Masks(found, weak, odds)

    def names(self, mask: int) -> list[str]:
        """The names of the patterns in a mask, in file order, and the classifier's at the end."""
        names = [p.name for i, p in enumerate(self.patterns) if mask >> i & 1]
        return [*names, NAME] if self.classifier is not None and mask >> PARAPHRASE_BIT & 1 else names


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
                if bool(int(masks.strong[0] | masks.weak[0]) >> i & 1) != expected:
                    verb = "does not match" if expected else "matches, but should leave"
                    problems.append(f"pattern {pattern.name} {verb}: {case!r}")
    return problems
