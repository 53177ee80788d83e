"""The arena's report and page, from the case worked by hand."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import msgspec
import pytest

from tests.benchmarks.arena import contract, page
from tests.unit.benchmarks import arena_tables as case

# The least that a report has for each campaign; readers of build/arena.json rely on these names.
CAMPAIGN = {
    *("name", "shape", "evasive", "accounts", "requests", "detected", "exposure", "first_alert_requests"),
    *("first_alert_hours", "accounts_named", "purity"),
}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return case.whole_report()


def test_the_report_has_the_agreed_keys_and_is_json(report: dict[str, Any]) -> None:
    read = msgspec.json.decode(msgspec.json.encode(report))
    assert [row["name"] for row in read["scenarios"]] == ["alpha", "beta"]
    assert all(row.keys() >= CAMPAIGN for row in read["scenarios"])
    assert {"accounts", "account_days", "accounts_named", "per_10k_account_days", "by_kind"} <= read["benign"].keys()
    assert {"mean_exposure", "detected", "per_10k_account_days"} <= read["peers"]["rule"].keys()
    assert read["overall"]["mean_exposure"] == pytest.approx((6 / 8 + 1) / 2)
    assert read["overall"]["pooled_exposure"] == pytest.approx(8 / 10)


def test_the_report_is_as_the_schema_promises(report: dict[str, Any]) -> None:
    assert contract.broken(contract.written(report)) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("scenarios", 0, "exposure"), 1.5, "$.scenarios[0].exposure: 1.5 is greater than the maximum of 1"),
        (
            ("scenarios", 0, "note"),
            "x",
            "$.scenarios[0]: Additional properties are not allowed ('note' was unexpected)",
        ),
        (("seed",), None, "$.seed: None is not of type 'integer'"),
        (("benign", "by_kind", "class", "accounts"), -1, "$.benign.by_kind.class.accounts: -1 is less than"),
        (("peers", "rule", "detected"), 0.5, "$.peers.rule.detected: 0.5 is not of type 'integer'"),
        (("shift", "mmd", "100", "5"), "much", "$.shift.mmd['100']['5']: 'much' is not of type"),
        (("grid", "none", "relay"), -0.5, "$.grid.none.relay: -0.5 is less than"),
    ],
)
def test_what_breaks_the_promise_is_found(
    report: dict[str, Any], path: tuple[str | int, ...], value: object, message: str
) -> None:
    changed = copy.deepcopy(report)
    part: Any = changed
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    found = contract.broken(contract.written(changed))
    assert len(found) == 1
    assert found[0].startswith(message)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_written(report: dict[str, Any], value: float) -> None:
    changed = {**report, "curves": {"alpha": {"sent": [0.0, value]}}}
    with pytest.raises(ValueError, match=re.escape(f"$.curves.alpha.sent[1] is {value}")):
        contract.written(changed)


def test_larger_budgets_are_told_beside_ours(report: dict[str, Any]) -> None:
    # Seven account-days: one benign account in 10,000 of them is none.
    row = report["peers"]["rule"]
    assert (row["benign_accounts_named"], row["at_1_per_10k_account_days"]["benign_accounts_named"]) == (1, 0)
    assert row["at_10_per_10k_account_days"]["threshold"] == 0.2


def test_the_page_tells_every_figure_and_fetches_nothing(report: dict[str, Any]) -> None:
    text = page.render(report)
    assert not re.search(r"https?:|<script|<link|@import|url\((?!#)", text)
    for expected in ("alpha", "mixture_25", "by &lt;hand&gt;", "no detector", "rule", "1 of 2", "2,857.143", "0.250"):
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
