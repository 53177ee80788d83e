"""Campaigns as alerts."""

from __future__ import annotations

import pytest

from detectors.account_alerts import alert_id
from detectors.campaign_alerts import alerts, record
from detectors.campaign_state import SHARDS, Campaign, shard_of
from detectors.coordination import Test as Evidence
from detectors.judgement import Judgement
from detectors.params import CampaignParams

PARAMS = CampaignParams(total_bits=8.0)


def campaign(**more: float) -> Campaign:
    one = Campaign(id="c-1", founded=5, cohorts=["template:k"])
    one.requests = {f"a{n}": 2 for n in range(int(more.get("accounts", 3)))}
    one.requests_total = sum(one.requests.values())
    return one


def judged(harvest: float, sharing: float, even: float = 0.0, blind: int = 0) -> Campaign:
    one = campaign()
    verdict = Judgement(
        {"template_family": Evidence(harvest, {"cohort": "k"})},
        {"shared_infrastructure": Evidence(sharing, {}), "even_shares": Evidence(even, {})},
        None,
        [f"field{n}" for n in range(blind)],
    )
    record(one, verdict, PARAMS)
    return one


def test_the_score_is_a_half_at_the_threshold_and_goes_on_towards_one() -> None:
    scores = [judged(4.0, 4.0 + more).score for more in (0, 2, 4, 20)]
    assert scores == [0.5, 0.75, 0.875, pytest.approx(1, abs=0.001)]
    assert max(scores) <= 1


def test_each_missing_field_takes_from_the_confidence() -> None:
    assert judged(4.0, 6.0).confidence == judged(4.0, 6.0).score
    assert judged(4.0, 6.0, blind=2).confidence == pytest.approx(0.9 * judged(4.0, 6.0).score)
    assert judged(4.0, 6.0, blind=2).blind == ["field0", "field1"]


def test_reasons_come_by_weight_and_what_says_nothing_is_no_reason() -> None:
    (alert,) = alerts(judged(3.0, 6.0), ["a0"], 99, "v1")
    assert [(share.name, share.contribution) for share in alert.signals] == [
        ("shared_infrastructure", 0.6667),
        ("template_family", 0.3333),
    ]
    assert alert.signals[1].evidence == {"bits": 3.0, "cohort": "k"}
    assert alert.atlas == ["AML.T0005.001", "AML.T0021", "AML.T0024.002"]


@pytest.mark.parametrize(("accounts", "severity"), [(12, "medium"), (100, "high"), (1000, "critical")])
def test_severity_goes_by_the_number_of_accounts(accounts: int, severity: str) -> None:
    (alert,) = alerts(campaign(accounts=accounts), ["a0"], 99, "v1")
    assert alert.severity == severity


def test_versions_count_messages() -> None:
    one = campaign(accounts=2500)
    first = alerts(one, [f"a{n}" for n in range(2500)], 99, "v1")
    more = alerts(one, [], 100, "v1")
    assert [alert.version for alert in (*first, *more)] == [1, 2, 3, 4]
    assert [alert.status for alert in (*first, *more)] == ["new", "updated", "updated", "updated"]
    assert {alert.accounts_total for alert in (*first, *more)} == {2500}


def test_ids_are_the_same_in_every_run_and_of_each_finding_its_own() -> None:
    assert alert_id("campaign", "c-1") == alert_id("campaign", "c-1")
    assert len({alert_id("campaign", "c-1"), alert_id("campaign", "c-2"), alert_id("elicitation", "c-1")}) == 3
    assert alert_id("ab", "c") != alert_id("a", "bc")


def test_shards_are_even() -> None:
    counts = [0] * SHARDS
    for n in range(1600):
        counts[shard_of(f"account-{n}")] += 1
    assert 60 < min(counts) <= max(counts) < 150
