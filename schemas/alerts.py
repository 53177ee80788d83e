"""Alerts, signals and verdicts: what distillwatch tells its users."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.events import Id, Label, Ts

Share = Annotated[float, Meta(ge=0, le=1)]
Total = Annotated[int, Meta(ge=0)]

MAX_ACCOUNTS_PER_MESSAGE: Final = 1000


class SignalShare(Struct, kw_only=True, frozen=True):
    """One reason for an alert: the share of the score it contributed, and what a human can check."""

    name: Label
    contribution: Share
    evidence: dict[str, Any]


class Alert(Struct, kw_only=True, frozen=True):
    """One message about an account or a campaign. The highest `version` of an `alert_id` holds."""

    alert_id: Id
    version: Annotated[int, Meta(ge=1)]
    kind: Literal["account", "campaign"]
    campaign_id: Id | None
    status: Literal["new", "updated", "closed"]
    ts: Ts
    first_seen: Ts
    last_seen: Ts
    accounts: Annotated[list[Id], Meta(max_length=MAX_ACCOUNTS_PER_MESSAGE)]
    accounts_total: Total
    requests_total: Total
    score: Share
    severity: Literal["low", "medium", "high", "critical"]
    confidence: Share
    signals: list[SignalShare]
    blind: list[Label]
    atlas: list[Label]
    runbook: Label
    config_version: Label
    shadow: bool


class Signal(Struct, kw_only=True, frozen=True):
    """One finding of one detector above its reporting floor."""

    ts: Ts
    request_id: Id | None
    account: Id | None
    cohort: Id | None
    detector: Label
    score: Share
    p_value: Share
    evidence: dict[str, Any]


class Verdict(Struct, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An analyst's word on an alert; `accounts` limits it to some of the alert's accounts.

    Unknown fields are refused: a misspelt `accounts` would widen the verdict to all of them.
    """

    alert_id: Id
    ts: Ts
    verdict: Literal["confirmed", "false_alarm", "unclear"]
    analyst: Label
    accounts: list[Id] | None = None
    reason: str | None = None


ALERT_DECODER: Final = msgspec.json.Decoder(Alert)
SIGNAL_DECODER: Final = msgspec.json.Decoder(Signal)
VERDICT_DECODER: Final = msgspec.json.Decoder(Verdict)
ENCODER: Final = msgspec.json.Encoder()
