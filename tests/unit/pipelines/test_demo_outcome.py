"""The demo's verdict on its own alerts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipelines.demo.outcome import evaluate
from schemas.alerts import Alert

LABELS = {"c1": "campaign", "c2": "campaign", "c3": "campaign", "o1": "ordinary", "o2": "ordinary", "h1": "harness"}
REQUESTS = {"c1": [100, 200, 300], "c2": [150, 250], "c3": [400], "o1": [120], "h1": [10, 20]}


def alert(ts: int, accounts: list[str], **changes: Any) -> Alert:
    base = Alert(
        alert_id="a-1",
        version=1,
        kind="campaign",
        campaign_id="camp-1",
        status="new",
        ts=ts,
        first_seen=0,
        last_seen=ts,
        accounts=accounts,
        accounts_total=len(accounts),
        requests_total=1,
        score=0.9,
        severity="high",
        confidence=0.9,
        signals=[],
        blind=[],
        atlas=[],
        runbook="docs/runbook.md#campaign",
        config_version="0",
        shadow=False,
    )
    return msgspec.structs.replace(base, **changes)


def test_exposure_counts_requests_up_to_the_alert_that_names_their_account() -> None:
    outcome = evaluate(LABELS, [alert(200, ["c1", "c2"])], REQUESTS)
    # c1: 100 and 200 were served, c2: 150; c3 was never named and counts in full.
    assert (outcome.served, outcome.campaign_requests) == (2 + 1 + 1, 6)
    assert outcome.exposure == pytest.approx(4 / 6)
    assert (outcome.named, outcome.campaign_accounts) == (2, 3)
    assert (outcome.first_request, outcome.first_alert, outcome.requests_before) == (100, 200, 3)
    # c2 was named before its second request, c1 after it.
    assert outcome.on_first_request == 1
    assert outcome.found
    assert outcome.problems == []


def test_no_alert_means_full_exposure_and_a_problem() -> None:
    outcome = evaluate(LABELS, [], REQUESTS)
    assert outcome.exposure == 1.0
    assert outcome.first_alert is None
    assert outcome.requests_before == 0
    assert not outcome.found
    assert outcome.problems == ["the campaign was not found: 0 of 3 accounts named"]


def test_less_than_half_of_the_accounts_is_not_found() -> None:
    assert not evaluate(LABELS, [alert(200, ["c1"])], REQUESTS).found


def test_benign_accounts_are_problems_by_kind_and_count_once() -> None:
    alerts = [
        alert(200, ["c1", "c2", "c3", "o1"]),
        alert(210, ["h1"], alert_id="a-2", kind="account", campaign_id=None),
        alert(220, ["o1", "stranger"], version=2, status="updated"),
    ]
    outcome = evaluate(LABELS, alerts, REQUESTS)
    assert outcome.benign_named == {"ordinary": ["o1"], "harness": ["h1"], "unknown": ["stranger"]}
    assert outcome.benign_accounts == {"ordinary": 2, "harness": 1}
    assert outcome.found
    assert len(outcome.problems) == 3


def test_an_account_alert_lowers_exposure_but_does_not_find_the_campaign() -> None:
    outcome = evaluate(
        LABELS, [alert(200, [name], alert_id=name, kind="account", campaign_id=None) for name in REQUESTS], REQUESTS
    )
    assert outcome.served < outcome.campaign_requests
    assert outcome.named == 0
    assert not outcome.found


def test_shadow_alerts_count_for_nothing() -> None:
    outcome = evaluate(LABELS, [alert(200, ["c1", "c2", "c3", "o1"], shadow=True)], REQUESTS)
    assert outcome.exposure == 1.0
    assert outcome.benign_named == {}
    assert outcome.alerts == []


def test_the_newest_version_of_each_campaign_alert_is_kept_largest_first() -> None:
    alerts = [
        alert(200, ["c1"]),
        alert(300, ["c2"], version=2, status="updated", accounts_total=2),
        alert(310, [], version=3, status="closed", accounts_total=2),
        alert(320, ["c3"], alert_id="a-9", campaign_id="camp-9"),
        alert(330, ["o1"], alert_id="a-7", campaign_id="camp-7"),
    ]
    outcome = evaluate(LABELS, alerts, REQUESTS)
    assert [(found.alert_id, found.version) for found in outcome.alerts] == [("a-1", 3), ("a-9", 1)]
    assert outcome.campaign_ids == ["camp-1", "camp-9"]
