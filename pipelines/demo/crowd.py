"""Ordinary customers: the bulk of the demo's traffic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from pipelines.demo.people import HOUR, Person, ordinary
from pipelines.demo.prompts import Dialogue
from pipelines.demo.traffic import PLAIN, Deck, Style, ask, converse, in_order, times
from schemas.events import Event

# Lognormal with this spread has a coefficient of variation of 2.5 over accounts, median and mean as below.
MEDIAN_REQUESTS: Final = 2.6
SIGMA: Final = 1.4
MAX_REQUESTS: Final = 400

# Reasoning asked for in earnest, by people who want to follow the answer.
EARNEST: Final = (
    "Please show your work step by step.",
    "Explain your reasoning before you give the answer.",
    "Walk me through how you got there, I want to learn it.",
    "Think it through carefully and show each step of the calculation.",
    "We need the reasoning documented for our audit file.",
)
EXPLAINED: Final = Style(output=420.0, reasoning=350.0)


def volume(rng: Random) -> int:
    """Requests of one account in three days: most send a handful, few send hundreds."""
    return max(1, min(MAX_REQUESTS, round(rng.lognormvariate(math.log(MEDIAN_REQUESTS), SIGMA))))


def ordinary_account(
    person: Person,
    rng: Random,
    deck: Deck,
    dialogues: Sequence[Dialogue],
    *,
    start: int,
    end: int,
    earnest: float,
) -> Iterator[Event]:
    """The events of one ordinary customer.

    Args:
        deck: the single messages that benign accounts send.
        dialogues: conversations to draw from; may be empty.
        start: epoch ms of the first possible request; with `end`, the simulated span.
        earnest: share of the requests that ask for shown steps.
    """
    count = volume(rng)
    # Heavy users repeat themselves: distinct texts grow more slowly than requests.
    texts = deck.deal(max(1, round(count**0.75)))
    weights = [1 / (rank + 2) for rank in range(len(texts))]
    chatty = bool(dialogues) and rng.random() < 0.15
    joined = person.enrichment.created if person.enrichment is not None else None
    begin = min(max(start, joined or start), end - HOUR)
    if person.enrichment is not None:
        yield person.enrichment
    fresh = list(texts)
    for at in times(rng, count, offset=person.offset, start=begin, end=end):
        if chatty and rng.random() < 0.3:
            yield from converse(rng, person, at, rng.choice(dialogues))
            continue
        prompt = fresh.pop() if fresh else rng.choices(texts, weights=weights)[0]
        text, style = prompt.text, PLAIN
        if rng.random() < earnest:
            text, style = f"{text}\n{rng.choice(EARNEST)}", EXPLAINED
        yield from ask(rng, person, at, text, system=prompt.system, tools=prompt.tools, style=style)


def crowd(
    seed: int, kind: str, count: int, deck: Deck, dialogues: Sequence[Dialogue], *, start: int, end: int, earnest: float
) -> Iterator[tuple[str, list[Event]]]:
    """`count` ordinary accounts: (account, its events in order) one after the other."""
    for index in range(count):
        rng = Random(f"{seed}:{kind}:{index}")
        person = ordinary(seed, kind, index, rng, start)
        yield (
            person.account,
            in_order(list(ordinary_account(person, rng, deck, dialogues, start=start, end=end, earnest=earnest))),
        )
