"""A peer's threshold, set to a benign budget in accounts named per 10,000 account-days.

Builds on :mod:`tests.benchmarks.arena.budget`, which works with numbers of accounts.
"""

from __future__ import annotations

import math

import pandas as pd

from tests.benchmarks.arena.budget import namings_above, threshold_at
from tests.benchmarks.arena.metrics import account_days
from tests.benchmarks.arena.tables import CAMPAIGN, Traffic

__all__ = ["allowed", "namings_above", "threshold"]


def allowed(traffic: Traffic, per_10k_account_days: float) -> int:
    """The benign accounts that a budget lets a method name on this traffic, rounded down.

    Raises:
        ValueError: the budget is below 0 or not a number.
    """
    if not per_10k_account_days >= 0:
        raise ValueError(f"a budget is a number from 0 on, not {per_10k_account_days}")
    days = int(account_days(traffic).drop(CAMPAIGN, errors="ignore").sum())
    # 25.000000000000004 accounts are 25, and 24.999999999999996 are as well.
    return math.floor(per_10k_account_days * days / 10_000 + 1e-9)


def threshold(found: pd.DataFrame, traffic: Traffic, per_10k_account_days: float) -> float:
    """The lowest threshold at which the budget holds on these events; name accounts above it by `namings_above`.

    Args:
        found: the records of a peer's scores (:func:`tests.benchmarks.arena.budget.records`).
    """
    return threshold_at(found, traffic.labels, allowed(traffic, per_10k_account_days))
