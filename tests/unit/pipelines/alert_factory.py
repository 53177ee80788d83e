"""Alerts for tests, every field of which can be set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from schemas.alerts import Alert, SignalShare

BASE = Alert(
    alert_id="campaign-1",
    version=1,
    kind="campaign",
    campaign_id="cmp-1",
    status="new",
    ts=1_784_887_800_000,
    first_seen=1_784_887_200_000,
    last_seen=1_784_887_800_000,
    accounts=["a1", "a2"],
    accounts_total=2,
    requests_total=1234,
    score=0.93,
    severity="high",
    confidence=0.88,
    signals=[
        SignalShare(name="shared_infrastructure", contribution=0.25, evidence={"expected": 0.0213}),
        SignalShare(name="template_family", contribution=0.75, evidence={"skeleton": "you are an expert … <1>"}),
    ],
    blind=["payment"],
    atlas=["AML.T0024.002"],
    runbook="docs/runbook.md#campaign",
    config_version="0c1d2e3f4a5b",
    shadow=False,
)


def make_alert(**changes: Any) -> Alert:
    return msgspec.structs.replace(BASE, **changes)


def write_alerts(path: Path, *alerts: Alert) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(alert) + b"\n" for alert in alerts))
    return path
