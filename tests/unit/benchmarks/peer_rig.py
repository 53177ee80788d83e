"""Events and an embedder for the tests of peers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.events import Event, Message, Request
from tests.benchmarks.peers.contract import F32, Setting
from tests.scenarios import START


class Numbers:
    """A text is the vector that its numbers spell: `"1 0.5"` is (1, 0.5)."""

    name = "numbers"

    def __init__(self, dims: int) -> None:
        self.dims = dims
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> F32:
        self.calls += 1
        rows = [[float(number) for number in text.split()] for text in texts]
        return np.array(rows, np.float32).reshape(len(texts), self.dims)


def spell(vector: Sequence[float]) -> str:
    return " ".join(map(str, vector))


def ask(account: str, second: float, text: str = "", model: str = "m-large") -> Request:
    """A request so many seconds after the start."""
    ts = START + round(second * 1_000)
    messages = [Message(role="user", content=text)] if text else None
    return Request(id=f"{account}-{ts}-{model}", ts=ts, account=account, model=model, messages=messages)


def in_order(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.ts)


def setting(reference: Sequence[Sequence[float]], *, texts_per_day: int = 500, max_accounts: int = 1_000) -> Setting:
    """Peers that read numbers, with this for normal."""
    return Setting(
        embed=Numbers(len(reference[0])),
        reference=[spell(row) for row in reference],
        texts_per_day=texts_per_day,
        max_accounts=max_accounts,
    )
