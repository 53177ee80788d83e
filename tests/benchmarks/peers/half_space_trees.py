"""Half-space trees over what an account did in an hour: what a user of river would build in an afternoon.

Tan, Ting and Liu, "Fast Anomaly Detection for Streaming Data" (IJCAI 2011), in river's implementation and in
the pipeline of its documentation: `MinMaxScaler() | HalfSpaceTrees()`. The trees learn from every hour of every
account, campaigns included, as an unsupervised detector must.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from detectors.frame import split_text
from schemas.events import Account, Event, Request, Response
from tests.benchmarks.peers.contract import Recent, Score
from tests.benchmarks.peers.rates import HOUR_MS

if TYPE_CHECKING:
    from river.compose import Pipeline

_DISTINCT: Final = 1_000  # values that are told apart: bounds the memory of an account's hour


class Hour:
    """What one account did within an hour of event time."""

    __slots__ = (
        "addresses",
        "agents",
        "chars",
        "chars_squared",
        "first",
        "gap_squares",
        "gaps",
        "last",
        "output",
        "reasoning",
        "refused",
        "requests",
        "responses",
        "texts",
    )

    def __init__(self) -> None:
        self.requests = self.responses = self.refused = 0
        self.chars = self.chars_squared = self.output = self.reasoning = 0
        self.gaps = self.gap_squares = 0.0
        self.first = self.last = -1
        self.addresses: set[str] = set()
        self.agents: set[str] = set()
        self.texts: set[int] = set()

    def request(self, event: Request) -> None:
        if self.requests:
            gap = (event.ts - self.last) / 1_000
            self.gaps += gap
            self.gap_squares += gap * gap
        else:
            self.first = event.ts
        self.last = event.ts
        self.requests += 1
        text = split_text(event)[1]
        self.chars += len(text)
        self.chars_squared += len(text) ** 2
        if len(self.texts) < _DISTINCT:
            self.texts.add(hash(text))
        client = event.client
        if client is not None and client.ip is not None and len(self.addresses) < _DISTINCT:
            self.addresses.add(client.ip)
        if client is not None and client.user_agent is not None and len(self.agents) < _DISTINCT:
            self.agents.add(client.user_agent)

    def response(self, event: Response) -> None:
        self.responses += 1
        self.refused += bool(event.refused)
        if event.usage is not None:
            self.output += event.usage.output or 0
            self.reasoning += event.usage.reasoning or 0

    def features(self, created: int | None) -> dict[str, float]:
        """The hour as numbers, all finite; what is heavy-tailed as its logarithm.

        Args:
            created: when the account was, epoch ms; None where the enrichment does not say.
        """
        gaps = max(self.requests - 1, 1)
        mean_gap = self.gaps / gaps
        spread = math.sqrt(max(self.gap_squares / gaps - mean_gap**2, 0.0))
        mean_chars = self.chars / self.requests
        answers = max(self.responses, 1)
        return {
            "requests": math.log1p(self.requests),
            "mean_gap": math.log1p(mean_gap),
            "gap_variation": spread / mean_gap if mean_gap > 0 else 0.0,
            "mean_chars": math.log1p(mean_chars),
            "chars_spread": math.log1p(math.sqrt(max(self.chars_squared / self.requests - mean_chars**2, 0.0))),
            "distinct_texts": len(self.texts) / min(self.requests, _DISTINCT),
            "addresses": math.log1p(len(self.addresses)),
            "user_agents": math.log1p(len(self.agents)),
            "output_tokens": math.log1p(self.output / answers),
            "reasoning_tokens": math.log1p(self.reasoning / answers),
            "refused": self.refused / answers,
            "age_hours": -1.0 if created is None else math.log1p(max(self.first - created, 0) / HOUR_MS),
        }


def pipeline(trees: int = 10, height: int = 8, window: int = 250, seed: int = 42) -> Pipeline:
    """river's pipeline, with its own defaults; it scores 0 until it has learnt `window` observations."""
    from river import anomaly, compose, preprocessing

    return compose.Pipeline(
        preprocessing.MinMaxScaler(),
        anomaly.HalfSpaceTrees(n_trees=trees, height=height, window_size=window, seed=seed),
    )


class _Created:
    """When an account was made, as far as is known."""

    __slots__ = ("ts",)

    def __init__(self) -> None:
        self.ts: int | None = None


class HalfSpaceTrees:
    """The anomaly score of each account's last hour, given at the hour's end; 1 is the most anomalous.

    Args:
        max_accounts: accounts whose age is remembered, and that an hour tells apart.
    """

    name = "half_space_trees"
    published: float | None = None

    def __init__(self, max_accounts: int, *, seed: int = 42) -> None:
        self._max_accounts = max_accounts
        self._seed = seed

    def score(self, events: Iterable[Event]) -> Iterator[Score]:
        model = pipeline(seed=self._seed)
        created: Recent[str, _Created] = Recent(_Created, self._max_accounts)
        hours: dict[str, Hour] = {}
        end = 0
        for event in events:
            if isinstance(event, Account):
                created[event.account].ts = event.created
                continue
            if not isinstance(event, Request | Response):
                continue
            if event.ts >= end:
                yield from _close(model, hours, created, end)
                hours.clear()
                end = (event.ts // HOUR_MS + 1) * HOUR_MS
            hour = hours.get(event.account)
            if hour is None:
                if len(hours) >= self._max_accounts:
                    continue
                hour = hours[event.account] = Hour()
            if isinstance(event, Request):
                hour.request(event)
            else:
                hour.response(event)
        yield from _close(model, hours, created, end)


def _close(model: Pipeline, hours: dict[str, Hour], created: Recent[str, _Created], end: int) -> Iterator[Score]:
    """Score all accounts of an hour before any of them is learnt from, so that their order does not matter."""
    rows = [(name, hour.features(created[name].ts)) for name, hour in sorted(hours.items()) if hour.requests]
    for account, row in rows:
        yield Score(account, end, float(model.score_one(row)))
    for _, row in rows:
        model.learn_one(row)
