"""The arena's report and page, from the case worked by hand."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pandas as pd
import pytest

from tests.benchmarks.arena import metrics, page, runner, tables
from tests.unit.benchmarks import arena_tables as case

# The least that a report has for each campaign; readers of build/arena.json rely on these names.
CAMPAIGN = {
    *("name", "shape", "evasive", "accounts", "requests", "detected", "exposure", "first_alert_requests"),
    *("first_alert_hours", "accounts_named", "purity"),
}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    traffic = case.traffic()
    found = tables.as_namings(case.alerts())
    records = pd.DataFrame({"account": ["a1", "class1"], "ts": [case.START, case.START], "value": [0.9, 0.2]})
    scores = records.set_index("account")["value"]
    out = {
        "scenario": "by <hand>",
        "seed": 1,
        "config_version": "0123456789ab",
        "synthetic": runner.SYNTHETIC,
        "events": traffic.events,
        "days": traffic.days,
        "seconds": 1.0,
        **runner.figures(traffic, found),
        "alerts": metrics.alerts_a_day(case.alerts(), traffic.days),
        "findings": {"elicitation": {"alpha": 2}},
        "peers": {"rule": {**runner.beside(records, traffic, 1), "seconds": 2.0}},
        "ablation": {"elicitation": {"mean_exposure": 0.95, "detected": 1, "benign_accounts_named": 0}},
        "text_only": {
            "accuracy": 0.5,
            "chance": 0.5,
            "sources": {"chat": {"tested": 4, "recognised": 2}},
            **runner.beside(records, traffic, 1),
        },
        "shift": {"ours": None, "mmd": {"100": {"5": 0.25}, "fpr": 0.01}},
        "absent": {"shift, ours": "no detector"},
    }
    out["roc"]["rule"] = metrics.roc(scores, traffic)
    return out


def test_the_report_has_the_agreed_keys_and_is_json(report: dict[str, Any]) -> None:
    read = msgspec.json.decode(msgspec.json.encode(report))
    assert [row["name"] for row in read["scenarios"]] == ["alpha", "beta"]
    assert all(row.keys() >= CAMPAIGN for row in read["scenarios"])
    assert {"accounts", "account_days", "accounts_named", "per_10k_account_days", "by_kind"} <= read["benign"].keys()
    assert {"mean_exposure", "detected", "per_10k_account_days"} <= read["peers"]["rule"].keys()
    assert read["overall"]["mean_exposure"] == pytest.approx((6 / 8 + 1) / 2)
    assert read["overall"]["pooled_exposure"] == pytest.approx(8 / 10)


def test_larger_budgets_are_told_beside_ours(report: dict[str, Any]) -> None:
    # Seven account-days: one benign account in 10,000 of them is none.
    row = report["peers"]["rule"]
    assert (row["benign_accounts_named"], row["at_1_per_10k_account_days"]["benign_accounts_named"]) == (1, 0)
    assert row["at_10_per_10k_account_days"]["threshold"] == 0.2


def test_the_page_tells_every_figure_and_fetches_nothing(report: dict[str, Any]) -> None:
    text = page.render(report)
    assert not re.search(r"https?:|<script|<link|@import|url\((?!#)", text)
    for expected in ("alpha", "mixture_25", "by &lt;hand&gt;", "no detector", "rule", "1 of 2", "2857.14", "0.250"):
        assert expected in text, expected
    assert text.count("<svg") == text.count("</svg>") == 3


def test_the_same_report_gives_the_same_page(report: dict[str, Any]) -> None:
    assert page.render(report) == page.render(report)


def test_a_report_without_comparisons_has_a_page_too(report: dict[str, Any]) -> None:
    bare = {**report, "peers": {}, "ablation": {}, "shift": {"ours": None, "mmd": None}}
    del bare["text_only"]
    text = page.render(bare)
    assert "Other methods" not in text
    assert "Ablation" not in text
    assert "Distribution shift" not in text


def test_cells_say_what_is_unknown() -> None:
    rows = page.table(("a<b", "c"), [(None, 1234), (False, 0.5)])
    assert "<th>a&lt;b</th>" in rows
    assert "<td>–</td><td>1,234</td>" in rows
    assert "<td class='bad'>no</td><td>0.500</td>" in rows
