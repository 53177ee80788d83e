"""The concepts of ``concepts.toml``, and the keys under which the classifier finds their words."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.concepts import WIDTH, unspaced
from detectors.paraphrase import features
from detectors.text import normalise

_PREFIXES: Final = ((12, 3), (9, 2), (6, 1))  # bytes of a prefix, and the kind of its key
_LEAST: Final = _PREFIXES[-1][0]
_MOST: Final = 4  # concepts of one key
_ENDINGS: Final = (*string.ascii_lowercase, "en", "er", "es")
_ARABIC: Final = ("", "ال", "و", "وال", "ب", "بال", "ل", "لل", "ف")  # articles and particles written with the word


class Lexicon(NamedTuple):
    """Names of the concepts, sorted keys, and the concepts of each key; see :class:`detectors.concepts.Concepts`."""

    names: tuple[str, ...]
    keys: NDArray[np.uint64]
    members: NDArray[np.uint8]


def read_concepts() -> dict[str, dict[str, list[str]]]:
    """By language the terms of each concept."""
    data = tomllib.loads(resources.files("infra.elicitation.fit").joinpath("concepts.toml").read_text("utf-8"))
    return {language: {name: terms.split("|") for name, terms in of.items()} for language, of in data.items()}


def build() -> Lexicon:
    """The lexicon of all languages."""
    concepts = read_concepts()
    names = tuple(next(iter(concepts.values())))
    rows = [
        (names.index(name), *place)
        for language, of in concepts.items()
        for name, terms in of.items()
        for term in terms
        for place in places_of(term, language)
    ]
    found: dict[int, list[int]] = {}
    for (concept, _, kind), of_place in zip(rows, _keys_at([text for _, text, _ in rows]), strict=True):
        meant = found.setdefault(int(of_place[kind]), [])
        if concept not in meant:
            meant.append(concept)
    keys = np.array(sorted(found), np.uint64)
    members = np.full((len(keys), _MOST), WIDTH - 1, np.uint8)
    for row, key in enumerate(keys.tolist()):
        some = found[key][:_MOST]
        members[row, : len(some)] = some
    return Lexicon(names, keys, members)


def places_of(term: str, language: str) -> Iterator[tuple[str, int]]:
    """Texts at whose beginning a term is found, and the kind of the key it has there.

    >>> [len(list(places_of(term, "en"))) for term in ("show", "reveal*", "word for word", "think*")]
    [1, 1, 1, 30]
    """
    stem = term.endswith("*")
    text = normalise(term.removesuffix("*"), 1000).lstrip("<#-\"'(")
    if text:
        for before in _ARABIC if language == "ar" else ("",):
            yield from _places(before + text, stem=stem)


def _places(text: str, *, stem: bool) -> Iterator[tuple[str, int]]:
    data = text.encode()
    if unspaced(np.array([data[0]], np.uint8))[0]:
        yield (text, 0) if len(data) < _LEAST else _longest(text)
        return
    phrase = not all(byte >= 0x80 or chr(byte).isalnum() or byte == ord("_") for byte in data)
    if not (stem or phrase):
        yield text, 0
    elif len(data) >= _LEAST:
        yield _longest(text)
    elif phrase:
        yield _longest(text + " " * (_LEAST - len(data)))
    else:
        yield text, 0
        for ending in _ENDINGS:
            yield (text + ending, 0) if len((text + ending).encode()) < _LEAST else _longest(text + ending)


def _longest(text: str) -> tuple[str, int]:
    size = len(text.encode())
    return text, next(kind for least, kind in _PREFIXES if size >= least)


def _keys_at(texts: Sequence[str]) -> NDArray[np.uint64]:
    """The keys of all kinds at the beginning of each text; shape (len(texts), KINDS)."""
    found = features(texts, 8)
    text = found.term_cell // 2  # each of these texts has one cell, and its padding
    # Of the places of a text its first comes first: the words, and after all words the single characters.
    _, first = np.unique(text, return_index=True)
    return np.stack([of[first] for of in found.terms], axis=1)
