"""Campaigns as alerts."""

from __future__ import annotations

from typing import Final, Literal

from detectors.account_alerts import alert_id
from detectors.campaign_state import Campaign
from detectors.judgement import Judgement
from detectors.newcomers import KNOWN_PAYER
from detectors.params import CampaignParams
from schemas.alerts import MAX_ACCOUNTS_PER_MESSAGE, Alert, SignalShare

JOINED: Final = "joined_campaign"
"""Not a reason for an alert, but where a closed campaign's accounts are now."""

RUNBOOK: Final = "docs/runbook.md#campaign"

_ATLAS: Final[dict[str, tuple[str, ...]]] = {
    "template_family": ("AML.T0024.002", "AML.T0005.001"),
    "elicitation": ("AML.T0024.002",),
    "signature_replay": ("AML.T0024.002", "AML.T0012"),
    "foreign_turns": ("AML.T0024.002", "AML.T0005.001"),
    "leakage": ("AML.T0024.002", "AML.T0054"),
    "coverage": ("AML.T0024.002", "AML.T0005.001"),
    "technique_sweep": ("AML.T0024.002", "AML.T0054"),
    "grading": ("AML.T0024.002", "AML.T0005.001"),
    "trace_cleaning": ("AML.T0005.001",),
    "even_shares": ("AML.T0040",),
    "shared_infrastructure": ("AML.T0021",),
    "young_accounts": ("AML.T0021",),
    JOINED: (),
    KNOWN_PAYER: ("AML.T0021",),
}
Severity = Literal["low", "medium", "high", "critical"]

_SEVERITIES: Final[tuple[tuple[int, Severity], ...]] = ((1000, "critical"), (100, "high"), (0, "medium"))


def record(campaign: Campaign, verdict: Judgement, params: CampaignParams) -> None:
    """Make a judgement the campaign's evidence.

    The score is one half at the threshold and halves its distance to 1 with every two bits beyond it; the
    confidence takes off for each field that the judgement had to do without.
    """
    tests = {**verdict.harvest, **verdict.coordination}
    total = verdict.total_bits
    excess = max(total - params.total_bits, 0.0)
    campaign.score = round(1 - 0.5 ** (1 + excess / 2), 6)
    campaign.confidence = round(campaign.score * (1 - 0.05 * len(verdict.blind)), 6)
    campaign.blind = verdict.blind
    campaign.signals = [
        {
            "name": name,
            "contribution": round(test.bits / total, 4),
            "evidence": {"bits": round(test.bits, 3), **test.evidence},
        }
        for name, test in sorted(tests.items(), key=lambda item: (-item[1].bits, item[0]))
        if test.bits > 0
    ]


def say_joined(campaign: Campaign, older: Campaign) -> None:
    """Let the last message of a campaign tell which one goes on with its accounts."""
    campaign.signals = [{"name": JOINED, "contribution": 0.0, "evidence": {"campaign": older.id}}, *campaign.signals]


def alerts(
    campaign: Campaign, named: list[str], now: int, config_version: str, *, closing: bool = False
) -> list[Alert]:
    """The messages that name `named`, at most 1,000 accounts each; one message where none is new."""
    out = []
    signals = list(campaign.signals)
    if campaign.by_payer:
        signals.append({"name": KNOWN_PAYER, "contribution": 0.0, "evidence": {"accounts": campaign.by_payer}})
    chunks = [named[i : i + MAX_ACCOUNTS_PER_MESSAGE] for i in range(0, len(named), MAX_ACCOUNTS_PER_MESSAGE)]
    for chunk in chunks or [[]]:
        campaign.version += 1
        campaign.status = "closed" if closing else "new" if campaign.version == 1 else "updated"
        out.append(
            Alert(
                alert_id=alert_id("campaign", campaign.id),
                version=campaign.version,
                kind="campaign",
                campaign_id=campaign.id,
                status=campaign.status,
                ts=now,
                first_seen=campaign.first_seen,
                last_seen=campaign.last_seen,
                accounts=chunk,
                accounts_total=len(campaign.requests),
                requests_total=campaign.requests_total,
                score=campaign.score,
                severity=next(name for least, name in _SEVERITIES if len(campaign.requests) >= least),
                confidence=campaign.confidence,
                signals=[SignalShare(**signal) for signal in signals],
                blind=campaign.blind,
                atlas=sorted({id_ for signal in signals for id_ in _ATLAS[signal["name"]]}),
                runbook=RUNBOOK,
                config_version=config_version,
                shadow=False,
            )
        )
    return out
