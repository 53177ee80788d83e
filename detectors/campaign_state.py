"""What the campaign stage remembers, in entries small enough for one changelog record each."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from detectors.membership import Traits
from schemas.evidence import MemberRow

SHARDS: Final = 16


class Cohort(msgspec.Struct):
    """One cohort, merged over all sources. `members` is kept apart, in shards; `harvesting` counts in them.

    `owners`, `acts_as_one` and `traits` are of the last judgement (see :mod:`detectors.judgement`).
    """

    kind: str
    key: str
    variants: list[int] = []
    skeleton: str | None = None
    patterns: list[str] = []
    last_seen: int = 0
    order: int = 0
    owners: list[tuple[str, int]] = []
    acts_as_one: bool = False
    traits: Traits = Traits()
    judged_members: int = 0
    judged_harvest: int = 0
    judged_at: int = 0
    campaign: str | None = None
    generation: int = 0
    members: dict[str, MemberRow] = {}
    harvesting: int = 0

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.key}"


def harvests(member: MemberRow) -> bool:
    """Is there evidence of harvesting against a member itself?"""
    row = member.row
    return (
        member.elicit_strong + member.elicit_weak > 0
        or max(row.replayed, row.foreign_turns, row.leaked, row.techniques, row.cleaned) > 0
    )


class Campaign(msgspec.Struct):
    """One campaign and the evidence last told. `requests`, of each named account, is kept apart, in shards.

    `compared` is how many accounts it had when it was last compared with other campaigns, `by_payer` how many of them
    were named for their payer alone.
    """

    id: str
    founded: int
    cohorts: list[str]
    version: int = 0
    status: Literal["new", "updated", "closed"] = "new"
    requests: dict[str, int] = {}
    first_seen: int = 0
    last_seen: int = 0
    score: float = 0.0
    confidence: float = 0.0
    evidence_accounts: int = 0
    told_requests: int = 0
    requests_total: int = 0
    compared: int = 0
    by_payer: int = 0
    traits: Traits = Traits()
    signals: list[dict[str, Any]] = []
    blind: list[str] = []


class Changes:
    """Which entries changed or went since they were last asked for."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._gone: set[str] = set()

    def mark(self, key: str) -> None:
        """The entry is new or changed."""
        self._changed.add(key)
        self._gone.discard(key)

    def drop(self, key: str) -> None:
        """The entry is gone."""
        self._gone.add(key)
        self._changed.discard(key)

    def take(self) -> tuple[list[str], list[str]]:
        """Changed and gone entries, each sorted; forgets them."""
        out = sorted(self._changed), sorted(self._gone)
        self._changed, self._gone = set(), set()
        return out


def shard_of(account: str) -> int:
    """Which of a cohort's shards holds an account; the same in every process."""
    return hashlib.blake2b(account.encode(), digest_size=1).digest()[0] % SHARDS
