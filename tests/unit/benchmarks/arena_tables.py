"""A small case worked by hand: two campaigns, five benign accounts, three alerts.

| account | requests at (hours) | named at |
|---|---|---|
| a1 (alpha) | 0, 1, 2, 3 harvest; 4 its own | 1 |
| a2 (alpha) | 1, 2 | 2 |
| a3 (alpha) | 5, 6 | never |
| b1 (beta)  | 10, 20 | never |
| crowd, crowd2 | 0, 30 each | crowd2 at 2, in the alert on alpha |
| class1..3 | 12 each | class1 at 12, alone |
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from schemas.alerts import Alert
from schemas.events import Event, Request
from tests.benchmarks.arena import metrics, runner
from tests.benchmarks.arena.tables import Traffic, as_namings, as_traffic

HOUR = 3_600_000
START = 1_784_851_200_000  # midnight UTC

TIMES: dict[str, list[int]] = {
    "a1": [0, 1, 2, 3, 4],
    "a2": [1, 2],
    "a3": [5, 6],
    "b1": [10, 20],
    "crowd": [0, 30],
    "crowd2": [0, 30],
    "class1": [12],
    "class2": [12],
    "class3": [12],
}
CAMPAIGNS = {"a1": "alpha", "a2": "alpha", "a3": "alpha", "b1": "beta"}
KINDS = {"crowd": "ordinary", "crowd2": "ordinary", "class1": "class", "class2": "class", "class3": "class"}


def labels() -> pa.Table:
    rows = [
        {
            "account": account,
            "kind": KINDS.get(account, "campaign"),
            "campaign": CAMPAIGNS.get(account),
            "shape": {"alpha": "template", "beta": "relay"}.get(CAMPAIGNS.get(account, "")),
            "evasion": "mixture_25" if account == "b1" else None,
            "group": None,
        }
        for account in TIMES
    ]
    return pa.Table.from_pylist(rows)


def events() -> list[Event]:
    """In no particular order."""
    return [
        Request(id=f"{account}-{hour}", ts=START + hour * HOUR, account=account, model="m")
        for account, hours in TIMES.items()
        for hour in hours
    ]


def harvest() -> dict[str, str]:
    """Request id to campaign: everything the campaigns' accounts send, but a1's last request."""
    return {
        f"{account}-{hour}": campaign
        for account, campaign in CAMPAIGNS.items()
        for hour in TIMES[account]
        if (account, hour) != ("a1", 4)
    }


def traffic() -> Traffic:
    return as_traffic(events(), lambda: (labels(), harvest()))


def alert(
    ident: str, hour: float, accounts: list[str], *, campaign: bool = True, score: float = 0.6, version: int = 1,
    shadow: bool = False,
) -> Alert:  # fmt: skip
    ts = START + int(hour * HOUR)
    return Alert(
        alert_id=ident, version=version, kind="campaign" if campaign else "account",
        campaign_id=ident if campaign else None, status="new" if version == 1 else "updated", ts=ts, first_seen=START,
        last_seen=ts, accounts=accounts, accounts_total=len(accounts), requests_total=1, score=score,
        severity="medium", confidence=score, signals=[], blind=[], atlas=[], runbook="", config_version="v",
        shadow=shadow,
    )  # fmt: skip


def alerts() -> list[Alert]:
    return [
        alert("c-1", 1, ["a1"], score=0.6),
        alert("c-1", 2, ["a2", "crowd2"], score=0.9, version=2),
        alert("c-2", 0, ["b1", "crowd"], shadow=True),
        alert("single", 12, ["class1"], campaign=False, score=0.5),
    ]


def namings(*rows: tuple[str, float]) -> pd.DataFrame:
    """Accounts named by one campaign alert, at these hours."""
    return pd.DataFrame(
        [(account, START + int(hour * HOUR), "campaign", "c-1", 0.6) for account, hour in rows],
        columns=["account", "ts", "kind", "group", "score"],
    )


def whole_report() -> dict[str, Any]:
    """A report with every part that a run may have, from the case worked by hand."""
    requests = traffic()
    found = as_namings(alerts())
    records = pd.DataFrame({"account": ["a1", "class1"], "ts": [START, START], "value": [0.9, 0.2]})
    scores = records.set_index("account")["value"]
    decided = {
        **metrics.over_campaigns(metrics.campaigns(requests, found)[1:]),
        "benign_accounts_named": 0,
        "seconds": 3.0,
    }
    out = {
        "scenario": "by <hand>",
        "seed": 1,
        "config_version": "0123456789ab",
        "synthetic": runner.SYNTHETIC,
        "events": requests.events,
        "days": requests.days,
        "seconds": 1.0,
        "timings": {"simulate": 0.25, "replay": 0.75},
        **runner.figures(requests, found),
        "alerts": metrics.alerts_a_day(alerts(), requests.days),
        "findings": {"elicitation": {"alpha": 2}},
        "peers": {"rule": {**runner.beside(records, requests, 1), "seconds": 2.0}},
        "ablation": {"elicitation": decided},
        "alone": {"elicitation": decided},
        "text_only": {
            "accuracy": 0.5,
            "chance": 0.5,
            "sources": {"chat": {"tested": 4, "recognised": 2}},
            **runner.beside(records, requests, 1),
        },
        "shift": {
            "ours": None,
            "mmd": {"100": {"0": 0.01, "5": 0.25}, "fpr": 0.01},
            "cost_us_per_query": {"mmd": {"all": 12.0}},
            "text_only": {"normalised": {"accuracy": 0.5}},
            "detail": {
                "mmd": {"100": {"5": {"tpr": 0.25, "interval": [0.2, 0.3]}}},
                "disjoint_windows": {"100": 7},
            },
        },
        "grid": {"none": {"relay": 0.25}, "jittered": {"relay": 1.0}},
        "grid_intervals": {"none": {"relay": [0.2, 0.3]}, "jittered": {"relay": [0.7, 1.0]}},
        "absent": {"shift, ours": "no detector"},
    }
    out["roc"]["rule"] = metrics.roc(scores, requests)
    return out
