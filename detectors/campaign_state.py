"""What the campaign stage remembers, in entries small enough for one changelog record each."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from schemas.evidence import MemberRow

SHARDS: Final = 16


class Cohort(msgspec.Struct):
    """One cohort, merged over all sources. `members` is kept apart, in shards."""

    kind: str
    key: str
    variants: list[int] = []
    skeleton: str | None = None
    patterns: list[str] = []
    last_seen: int = 0
    judged_members: int = 0
    judged_harvest: int = 0
    judged_at: int = 0
    campaign: str | None = None
    members: dict[str, MemberRow] = {}

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.key}"


class Campaign(msgspec.Struct):
    """One campaign: its accounts with the requests known of each, and the evidence last told."""

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
    values: dict[str, list[int]] = {}
    signals: list[dict[str, Any]] = []
    blind: list[str] = []


def shard_of(account: str) -> int:
    """Which of a cohort's shards holds an account; the same in every process."""
    return hashlib.blake2b(account.encode(), digest_size=1).digest()[0] % SHARDS
