"""A baseline that sees nothing but the words of one prompt: from which data set is it?

Naive Bayes over hashed words and word pairs, presence only, equal priors. It knows neither accounts nor
times. Where it tells campaigns from customers, the arena's prompts differ in style, and a detector that reads
prompts may owe its success to that.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, Self

import numpy as np
from scipy import sparse

from detectors.frame import split_text
from pipelines.demo.prompts import normal
from pipelines.simulate import Prompts
from schemas.events import Event, Request

HARVEST: Final = "harvest: "
# What the simulation calls the chat sets of a data directory; every other ordinary prompt came with tools.
CHATS: Final = frozenset({"chat", "arena", "bench", "instructions", "apps", "roles", "abuse"})

_BITS: Final = 18
_MAX_CHARS: Final = 2_000
_SMOOTHING: Final = 0.1
_WORD: Final = re.compile(r"\w+|[^\w\s]")
_CLIP: Final = 8.0
_PRIOR_REQUESTS: Final = 3.0
_BLOCK: Final = 2_000
_MOST_KNOWN: Final = 1_000_000


def features(texts: Sequence[str]) -> sparse.csr_array:
    """(texts, 2**18) of 0 and 1: hashed words, marks and pairs of them, of the first 2,000 characters."""
    columns: list[np.ndarray] = []
    for text in texts:
        words = _WORD.findall(text[:_MAX_CHARS].casefold())
        tokens = {*words, *(f"{left} {right}" for left, right in pairwise(words))}
        columns.append(np.unique([zlib.crc32(token.encode()) >> (32 - _BITS) for token in tokens] or [0]))
    ends = np.cumsum([0, *map(len, columns)])
    indices = np.concatenate(columns) if columns else np.empty(0, np.int64)
    return sparse.csr_array((np.ones(len(indices)), indices, ends), shape=(len(texts), 1 << _BITS))


def labelled(prompts: Prompts) -> list[tuple[str, str]]:
    """(text, data set) of all texts that the simulation may send; sets of campaigns begin with :data:`HARVEST`.

    Texts that only fill templates of batch jobs are one set, however many jobs there are.
    """
    found: dict[str, str] = {}
    for name, tasks in prompts.attack.items():
        for prompt in tasks:
            found.setdefault(prompt.text, HARVEST + name)
    for prompt in prompts.ordinary:
        name, split, _ = prompt.app.partition(":")
        found.setdefault(prompt.text, name if split and name in CHATS else "tools")
    for talk in prompts.dialogues:
        for turn in talk.turns:
            found.setdefault(turn, "dialogues")
    for text in prompts.code:
        found.setdefault(text, "code benchmark")
    for rows in (*prompts.rows.values(), prompts.passages):
        for text in rows:
            found.setdefault(text, "batch rows")
    return list(found.items())


class SourceModel:
    """Which of several named sources is a text from? Built by :meth:`fit`."""

    def __init__(self, sources: list[str], weights: np.ndarray) -> None:
        self.sources = sources
        self._weights = weights  # (2**18, sources): log of the smoothed frequency

    @classmethod
    def fit(cls, texts: Sequence[str], sources: Sequence[str]) -> Self:
        """Learn from labelled texts.

        Raises:
            ValueError: fewer than two sources.
        """
        names = sorted(set(sources))
        if len(names) < 2:
            raise ValueError(f"two sources or more are told apart, got {names}")
        table = features(texts)
        code = {name: index for index, name in enumerate(names)}
        owner = np.array([code[name] for name in sources])
        counts = np.stack(
            [np.asarray(table[owner == index].sum(axis=0)).ravel() for index in range(len(names))], axis=1
        )
        smooth = counts + _SMOOTHING
        return cls(names, np.log(smooth / smooth.sum(axis=0)))

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, sources): log likelihood of each text under each source."""
        return np.asarray(features(texts) @ self._weights)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The likeliest source of each text."""
        return [self.sources[index] for index in self.scores(texts).argmax(axis=1)] if texts else []


def recognised(model: SourceModel, texts: Sequence[str], sources: Sequence[str]) -> dict[str, Any]:
    """How often a model tells the source of texts that it has not learned; a dictionary for the report.

    `accuracy` is the mean over sources of the share recognised (each source counts once), `chance` what
    guessing would give.
    """
    guesses = model.predict(texts)
    recall = {}
    for name in model.sources:
        hits = [guess == name for guess, source in zip(guesses, sources, strict=True) if source == name]
        recall[name] = {"tested": len(hits), "recognised": sum(hits)}
    shares = [row["recognised"] / row["tested"] for row in recall.values() if row["tested"]]
    return {"accuracy": float(np.mean(shares)), "chance": 1 / len(model.sources), "sources": recall}


def told_apart(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """:func:`recognised`, with a model that learned from one half of the (text, source) pairs, on the other half.

    The halves go by content, so that the same text is never in both.
    """
    halves: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    for pair in pairs:
        halves[zlib.crc32(normal(pair[0]).encode()) % 2].append(pair)
    learned, tested = halves
    model = SourceModel.fit([text for text, _ in learned], [source for _, source in learned])
    return recognised(model, [text for text, _ in tested], [source for _, source in tested])


class TextScore(NamedTuple):
    """A peer's score; see :mod:`tests.benchmarks.arena.budget`."""

    account: str
    ts: int
    value: float


class _Odds:
    """Log odds of texts: from a set of campaigns, or another one? Texts that come back are scored once."""

    def __init__(self, model: SourceModel) -> None:
        self._model = model
        self._wanted = np.array([name.startswith(HARVEST) for name in model.sources])
        self._known: dict[str, float] = {}

    def __call__(self, texts: Sequence[str]) -> list[float]:
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            scores = self._model.scores(new)
            left, right = scores[:, self._wanted], scores[:, ~self._wanted]
            odds = np.logaddexp.reduce(left, axis=1) - np.logaddexp.reduce(right, axis=1)
            self._known.update(zip(new, np.clip(odds, -_CLIP, _CLIP).tolist(), strict=True))
        return [self._known[text] for text in texts]


def suspicion(model: SourceModel, events: Iterable[Event]) -> Iterator[TextScore]:
    """Per account the mean log odds of its last user messages so far: from a set of campaigns, or another one?

    Every request adds its odds, bounded to a factor of e**8, and three even ones are added against chance.
    """
    odds = _Odds(model)
    totals: dict[str, tuple[float, int]] = {}
    block: list[tuple[Request, str]] = []
    for event in events:
        if isinstance(event, Request) and (text := split_text(event)[1]):
            block.append((event, text))
            if len(block) == _BLOCK:
                yield from _score_block(odds, block, totals)
                block.clear()
    yield from _score_block(odds, block, totals)


def _score_block(
    odds: _Odds, block: list[tuple[Request, str]], totals: dict[str, tuple[float, int]]
) -> Iterator[TextScore]:
    for (request, _), value in zip(block, odds([text for _, text in block]), strict=True):
        total, count = totals.get(request.account, (0.0, 0))
        total, count = total + value, count + 1
        totals[request.account] = (total, count)
        yield TextScore(request.account, request.ts, total / (count + _PRIOR_REQUESTS))
