"""Cheap text features for the mean shift: hashed n-grams in 256 dimensions, and ten of style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.peers.embeddings import HashedNgrams

F64 = NDArray[np.float64]

DIMENSIONS: Final = 256
STYLE: Final = 10

_FUNCTION_WORDS: Final = frozenset(
    (
        "the",
        "of",
        "to",
        "and",
        "a",
        "in",
        "is",
        "it",
        "for",
        "that",
        "this",
        "with",
        "are",
        "on",
        "be",
        "as",
        "at",
        "by",
    )
)
_QUESTIONS: Final = frozenset(
    ("what", "how", "why", "who", "when", "where", "which", "is", "are", "can", "could", "do", "does", "should", "will")
)
_PERSONS: Final = frozenset(("i", "my", "me", "we", "our", "you", "your", "us"))


def features(texts: Sequence[str]) -> F64:
    """Shape (texts, 266): hashed words, word pairs and 4-grams as unit vectors, then the style features."""
    return np.hstack([HashedNgrams(DIMENSIONS)(texts).astype(np.float64), style(texts)])


def style(texts: Sequence[str]) -> F64:
    """Shape (texts, 10): how a text is written, whatever it is about."""
    table = np.zeros((len(texts), STYLE))
    for row, text in enumerate(texts):
        tokens = text.lower().split()
        if not tokens:
            continue
        count = len(tokens)
        table[row] = (
            np.log1p(count),
            np.log1p(len(text)),
            sum(map(len, tokens)) / count,
            sum(len(token) > 8 for token in tokens) / count,
            len(set(tokens)) / count,
            sum(token in _FUNCTION_WORDS for token in tokens) / count,
            sum(token in _PERSONS for token in tokens) / count,
            tokens[0] in _QUESTIONS,
            sum(map(str.isdigit, text)) / len(text),
            sum(not (letter.isalnum() or letter.isspace()) for letter in text) / len(text),
        )
    return table
