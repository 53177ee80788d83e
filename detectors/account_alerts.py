"""Alerts on one account alone: only where its own harvest evidence is strong.

Sharing and coordination are the campaign stage's; most campaign accounts never come near these.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import numpy as np

from detectors.accounts import AccountTable
from detectors.config import DetectConfig
from detectors.contract import Tick
from detectors.habits import SHARE
from detectors.population import FIELDS
from schemas.alerts import Alert, SignalShare

RUNBOOK: Final = "docs/runbook.md#account"

_LEVEL_BITS: Final = 6  # of `alerted`, an int32 with room for five rules
_STEP: Final = 10  # a tenfold count is worth a new version


class _Rule(NamedTuple):
    """`share` is what the counted requests must be of all of the account's when it is alerted on."""

    detector: str
    column: str
    place: int
    atlas: list[str]
    share: float = 0.0


_RULES: Final = (
    _Rule("elicitation", "elicit_strong", 0, ["AML.T0024.002"]),
    _Rule("signature_replay", "replayed", 1, ["AML.T0024.002", "AML.T0012"]),
    _Rule("sampling_sweep", "swept", 2, ["AML.T0024.002"]),
    _Rule("technique_sweep", "techniques", 3, ["AML.T0024.002", "AML.T0054"]),
    _Rule("trace_cleaning", "cleaned", 4, ["AML.T0005.001"], share=SHARE),
)
COLUMNS: Final = frozenset(rule.column for rule in _RULES)
"""Columns of the account table that alert on an account alone."""


def alert_id(detector: str, entity: str) -> str:
    """Deterministic: the same finding on the same entity has the same id in every run."""
    return hashlib.blake2b(f"{detector}\0{entity}".encode(), digest_size=12).hexdigest()


def due(tick: Tick, accounts: AccountTable, config: DetectConfig) -> list[Alert]:
    """Alerts of the accounts with requests in this tick that crossed a threshold."""
    slots = np.unique(tick.slot[tick.requests()])
    out: list[Alert] = []
    thresholds = {
        "elicitation": config.params.elicitation.account_requests,
        "signature_replay": config.params.signature_replay.account_signatures,
        "sampling_sweep": config.params.sampling_sweep.account_requests,
        "technique_sweep": config.params.technique_sweep.account_requests,
        "trace_cleaning": config.params.trace_cleaning.account_requests,
    }
    for rule in _RULES:
        threshold = thresholds[rule.detector]
        counts = accounts[rule.column][slots]
        crossed = (counts >= threshold) & (counts >= rule.share * accounts["requests"][slots])
        for slot, count in zip(slots[crossed].tolist(), counts[crossed].tolist(), strict=True):
            level = 1 + int(np.log(count / threshold) / np.log(_STEP))
            shift = rule.place * _LEVEL_BITS
            before = int(accounts["alerted"][slot]) >> shift & (2**_LEVEL_BITS - 1)
            if level > before:
                accounts["alerted"][slot] += (level - before) << shift
                out.append(_alert(rule, slot, count, before + 1, int(tick.frame.ts[-1]), accounts, config))
    return out


def _alert(
    rule: _Rule, slot: int, count: int, version: int, now: int, accounts: AccountTable, config: DetectConfig
) -> Alert:
    row = accounts.row(slot)
    evidence: dict[str, Any] = {"count": count, "requests": row.requests, "share": round(count / row.requests, 4)}
    absent = {name: getattr(row, name) is None for name in FIELDS}
    return Alert(
        alert_id=alert_id(rule.detector, row.account),
        version=version,
        kind="account",
        campaign_id=None,
        status="new" if version == 1 else "updated",
        ts=now,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        accounts=[row.account] if version == 1 else [],
        accounts_total=1,
        requests_total=row.requests,
        score=round(min(0.99, 0.8 + 0.05 * version), 6),
        severity="medium" if version == 1 else "high",
        confidence=round(0.7 * (1 - sum(absent.values()) / (2 * len(absent))), 6),
        signals=[SignalShare(name=rule.detector, contribution=1.0, evidence=evidence)],
        blind=[name for name, is_absent in absent.items() if is_absent],
        atlas=rule.atlas,
        runbook=RUNBOOK,
        config_version=config.config_version,
        shadow=False,
    )
