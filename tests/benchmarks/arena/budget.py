"""Other methods at our benign budget: whom they name once they may name no more benign accounts than we do.

A peer gives scores per account over time (`account`, `ts`, `value`). Its threshold is the lowest one at which
no more benign accounts exceed it than our alerts named on the same events; an account is named at its first
score above it. The threshold is picked with hindsight on the very events it is judged on, which is more than
any operator has: the figures of the peers are upper bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import pandas as pd

from tests.benchmarks.arena import metrics
from tests.benchmarks.arena.tables import CAMPAIGN, NAMINGS, Traffic


class Score(Protocol):
    """How suspicious an account is from `ts` (epoch ms) on; more is worse."""

    @property
    def account(self) -> str: ...

    @property
    def ts(self) -> int: ...

    @property
    def value(self) -> float: ...


def records(scores: Iterable[Score]) -> pd.DataFrame:
    """The scores that exceed every earlier one of their account: `account`, `ts`, `value`, in order of time.

    No other score can be the first above a threshold, so memory is bounded by the accounts' records.

    Raises:
        ValueError: a score is NaN.
    """
    best: dict[str, float] = {}
    rows: list[tuple[str, int, float]] = []
    for score in scores:
        if math.isnan(score.value):
            raise ValueError(f"the score of {score.account} at {score.ts} is NaN")
        if score.value > best.get(score.account, -math.inf):
            best[score.account] = score.value
            rows.append((score.account, score.ts, score.value))
    frame = pd.DataFrame(rows, columns=["account", "ts", "value"]).astype({"ts": np.int64, "value": np.float64})
    return frame.sort_values("ts", kind="stable", ignore_index=True)


def highest(found: pd.DataFrame) -> pd.Series[float]:
    """Account to its highest score."""
    return found.groupby("account")["value"].max()


def threshold_at(found: pd.DataFrame, labels: pd.DataFrame, allowed: int) -> float:
    """The lowest threshold at which at most `allowed` benign accounts are named."""
    innocent = labels.loc[labels["kind"] != CAMPAIGN, "account"]
    best = highest(found)
    return metrics.threshold_for(best[best.index.isin(innocent)].to_numpy(), allowed)


def namings_above(found: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Each account at its first score above the threshold, as if by an alert on it alone."""
    first = found[found["value"] > threshold].drop_duplicates("account")
    frame = pd.DataFrame({"account": first["account"], "ts": first["ts"], "kind": "account"})
    frame["group"], frame["score"] = frame["account"], first["value"]
    return frame[list(NAMINGS)].reset_index(drop=True)


def compare(found: pd.DataFrame, traffic: Traffic, allowed: int) -> dict[str, Any]:
    """A peer's figures when it may name `allowed` benign accounts, for the report."""
    return figures_at(found, traffic, threshold_at(found, traffic.labels, allowed))


def figures_at(found: pd.DataFrame, traffic: Traffic, threshold: float) -> dict[str, Any]:
    """A peer's figures at a threshold, for the report."""
    namings = namings_above(found, threshold)
    figures = metrics.campaigns(traffic, namings)
    innocent = metrics.benign(traffic, namings)
    return {
        **metrics.over_campaigns(figures),
        "per_10k_account_days": innocent["per_10k_account_days"],
        "per_10k_interval": innocent["per_10k_interval"],
        "benign_accounts_named": innocent["accounts_named"],
        "threshold": threshold if math.isfinite(threshold) else None,
        "accounts_scored": int(found["account"].nunique()),
        "exposure": {row.name: row.exposure for row in figures},
    }
