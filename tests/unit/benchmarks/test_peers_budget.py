"""Budgets in accounts per 10,000 account-days."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from tests.benchmarks.arena.budget import records
from tests.benchmarks.arena.tables import Traffic
from tests.benchmarks.peers import Score
from tests.benchmarks.peers.budget import allowed, namings_above, threshold

DAY = 86_400_000
BENIGN = [f"benign-{number}" for number in range(8)]


@pytest.fixture(name="traffic")
def _traffic() -> Traffic:
    """Eight benign accounts on five days each, 40 account-days, and two accounts of a campaign."""
    rows = [(name, day * DAY) for name in (*BENIGN, "bad-0", "bad-1") for day in range(5)]
    requests = pd.DataFrame(rows, columns=["account", "ts"])
    requests["request_id"] = [f"r{place}" for place in range(len(rows))]
    requests["campaign"] = [("c" if name.startswith("bad") else None) for name, _ in rows]
    accounts = [*BENIGN, "bad-0", "bad-1"]
    of = [("c" if name.startswith("bad") else None) for name in accounts]
    kinds = ["campaign" if name else "everyday" for name in of]
    labels = pd.DataFrame(
        {"account": accounts, "kind": kinds, "campaign": of, "shape": of, "evasion": None, "group": None}
    )
    return Traffic(labels, requests.sort_values("ts", kind="stable", ignore_index=True), len(rows), 0, 5 * DAY)


def test_a_budget_is_a_number_of_benign_accounts(traffic: Traffic) -> None:
    # 40 benign account-days: 250 per 10,000 is one account.
    assert [allowed(traffic, budget) for budget in (0, 249, 250, 499, 750)] == [0, 0, 1, 1, 3]
    for bad in (-1, math.nan):
        with pytest.raises(ValueError, match="budget"):
            allowed(traffic, bad)


def test_the_threshold_names_no_more_benign_accounts_than_the_budget_allows(traffic: Traffic) -> None:
    scores = [Score(name, place, place / 10) for place, name in enumerate(BENIGN)]
    scores += [Score("bad-0", 20, 0.45), Score("bad-0", 21, 0.9), Score("bad-0", 22, 0.8), Score("bad-1", 23, 0.62)]
    found = records(scores)
    for budget, level, innocent, guilty in (
        (0, 0.7, 0, 1),
        (250, 0.6, 1, 2),
        (500, 0.5, 2, 2),
        (2_000, -math.inf, 8, 2),
    ):
        assert threshold(found, traffic, budget) == level
        named = namings_above(found, level)["account"]
        assert named.isin(BENIGN).sum() == innocent
        assert named.isin(["bad-0", "bad-1"]).sum() == guilty


def test_accounts_are_named_at_their_first_score_above(traffic: Traffic) -> None:
    found = records([Score("bad-0", 1, 0.2), Score("bad-0", 5, 0.6), Score("bad-0", 9, 0.9), Score("bad-1", 7, 0.5)])
    named = namings_above(found, 0.5)
    assert named[["account", "ts"]].to_numpy().tolist() == [["bad-0", 5]]


def test_ties_are_not_named_beyond_the_budget(traffic: Traffic) -> None:
    found = records([Score(name, 1, 3.0) for name in BENIGN] + [Score("bad-0", 1, 4.0)])
    level = threshold(found, traffic, 250)
    assert namings_above(found, level)["account"].tolist() == ["bad-0"]
