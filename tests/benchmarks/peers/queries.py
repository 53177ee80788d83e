"""The texts that embedding peers look at: what the user said last, without the system prompt.

The published methods read queries to a model; what an application puts around them is not part of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from random import Random
from typing import Final, NamedTuple

from detectors.frame import split_text
from schemas.events import Event, Request

DAY_MS: Final = 86_400_000
BLOCK: Final = 1_024
"""Queries that are embedded at once: enough for matrix products, and no score waits for them in event time."""


class Query(NamedTuple):
    """One text of an account; `ts` in epoch ms."""

    account: str
    ts: int
    text: str


def queries(events: Iterable[Event], per_day: int) -> Iterator[Query]:
    """The requests that have a text, at most `per_day` of an account and UTC day.

    Raises:
        ValueError: the events are not in order of time.
    """
    seen: Counter[str] = Counter()
    day = last = -1
    for event in events:
        if not isinstance(event, Request):
            continue
        if event.ts < last:
            raise ValueError(f"events are not in order of time: {event.ts} after {last}")
        last = event.ts
        if event.ts // DAY_MS != day:
            day = event.ts // DAY_MS
            seen.clear()
        text = split_text(event)[1]
        if not text.strip():
            continue
        seen[event.account] += 1
        if seen[event.account] <= per_day:
            yield Query(event.account, event.ts, text)


def blocks(found: Iterable[Query], size: int = BLOCK) -> Iterator[list[Query]]:
    """Lists of `size` queries, the last one shorter."""
    block: list[Query] = []
    for query in found:
        block.append(query)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def benign_reference(
    events: Iterable[Event], benign: Collection[str], *, size: int = 2_000, per_account: int = 5, seed: int = 0
) -> list[str]:
    """A random sample of distinct texts of benign accounts, for peers to learn what is normal.

    A peer is given labels here that no operator has, and never a campaign's text.

    Args:
        benign: the accounts to draw from.
        size: texts wanted; fewer if there are not as many.
        per_account: first texts of an account that may be drawn, so that no big customer is the norm.
    """
    rng = Random(seed)
    taken: Counter[str] = Counter()
    known: set[str] = set()
    sample: list[str] = []
    for query in queries(events, per_day=per_account):
        if query.account not in benign or taken[query.account] >= per_account or query.text in known:
            continue
        taken[query.account] += 1
        known.add(query.text)
        if len(sample) < size:
            sample.append(query.text)
        elif (place := rng.randrange(len(known))) < size:
            sample[place] = query.text
    return sample
