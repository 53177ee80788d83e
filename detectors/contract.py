"""The contract of every detector, and what passes between detectors and the lane.

In the spirit of river: :meth:`Detector.score` reads, :meth:`Detector.learn` writes. The lane calls both
once a tick, score first, with all events of the tick in event order.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.accounts import AccountTable
from detectors.blocks import Blocks, Part
from detectors.frame import REQUEST, EventFrame
from detectors.hashing import U64

I64 = NDArray[np.int64]


class Tick(NamedTuple):
    """All events of one tick, and the accounts they belong to.

    Attributes:
        end: end of the tick, epoch ms; no event in it is later.
        frame: n events in event order.
        slot: (n,) row of each event's account in `accounts`; ABSENT for events without one.
        accounts: the account table, with enrichment and without this tick's requests.
    """

    end: int
    frame: EventFrame
    slot: I64
    accounts: AccountTable

    def requests(self) -> I64:
        """Indices of the requests of the tick."""
        return np.flatnonzero(self.frame.rank == REQUEST)


class Findings(NamedTuple):
    """m requests that a detector has something to say about.

    Attributes:
        row: (m,) index into the tick's frame. score: (m,) 0 to 1. p_value: (m,) 0 to 1.
        evidence: m small dicts that a human can check, free of prompt text and of plain identifiers.
    """

    row: I64
    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    evidence: list[dict[str, Any]]


class Carrier(NamedTuple):
    """An earlier request that belongs to a cohort which was not known at its time."""

    account: str
    ts: int
    strong: int
    weak: int
    variant: int


class Touches(NamedTuple):
    """m times that a request belongs to a cohort.

    Attributes:
        kind: the kind of cohort.
        row: (m,) index into the tick's frame. key: (m,) the cohort.
        variant: (m,) hash of what varies between the cohort's requests, or 0.
        carriers: for keys seen for the first time, earlier requests that belong to them.
    """

    kind: str
    row: I64
    key: U64
    variant: U64
    carriers: Mapping[int, list[Carrier]]


class Report(NamedTuple):
    """What a detector saw in one tick.

    `counts` adds to account columns: column to (rows, amounts). `sets` replaces values of columns that the detector
    alone reads: column to (rows, values), one row an account.
    """

    findings: Findings
    touches: list[Touches]
    counts: Mapping[str, tuple[I64, I64]]
    sets: Mapping[str, tuple[I64, NDArray[Any]]] = MappingProxyType({})


class Detector(Protocol):
    """One detector of one lane."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    """Fields of the contract's events without which it is blind: `request.text`, `request.signatures`, …"""

    @property
    def ready(self) -> bool:
        """False while it warms up: it then reports nothing, rather than zeros."""

    @property
    def nbytes(self) -> int:
        """Memory of its state, bounded by its parameters."""

    def score(self, tick: Tick) -> Report:
        """Judge the tick by what was learned before it; changes nothing."""

    def learn(self, tick: Tick) -> None:
        """Take the tick in."""

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        """What a cohort's requests have in common, in words that many accounts sent; None if not text."""

    def parts(self) -> dict[str, Part]:
        """The whole state (:class:`detectors.blocks.Blocked`); one of the same parameters goes on from it just so."""

    def restore_parts(self, parts: Blocks) -> None:
        """Replace the state by that of another."""

    def snapshot(self) -> bytes:
        """The whole state in one piece."""

    def restore(self, data: bytes) -> None:
        """Replace the state by a snapshot."""


def no_findings() -> Findings:
    """Nothing to say."""
    return Findings(np.empty(0, np.int64), np.empty(0), np.empty(0), [])


def no_touches(kind: str) -> Touches:
    """No cohort touched."""
    return Touches(kind, np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.uint64), {})
