"""The arena's figures on a case worked by hand (its table is in arena_tables)."""

from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from schemas.alerts import Signal, SignalShare
from tests.benchmarks.arena import intervals, metrics, spread, tables
from tests.unit.benchmarks import arena_tables as case

REACH = spread.load()


def figures() -> dict[str, metrics.CampaignFigures]:
    namings = tables.as_namings(case.alerts())
    return {found.name: found for found in metrics.campaigns(case.traffic(), namings)}


def test_a_found_campaign() -> None:
    alpha = figures()["alpha"]
    assert (alpha.shape, alpha.evasive, alpha.accounts, alpha.requests) == ("template", None, 3, 8)
    # a1: 0 and 1 of four; a2: both; a3: both, as it was never named.
    assert alpha.exposure == pytest.approx(6 / 8)
    assert alpha.exposure_interval == REACH.around("exposure", 6 / 8)
    assert (alpha.detected, alpha.accounts_named) == (True, 2)
    # At hour 1, a1 had sent two requests and a2 one.
    assert (alpha.first_alert_requests, alpha.first_alert_hours) == (3, 1.0)
    assert alpha.accounts_named_interval == tuple(3 * bound for bound in REACH.around("share_named", 2 / 3))
    assert alpha.purity == pytest.approx(2 / 3)
    assert alpha.purity_interval == REACH.around("purity", 2 / 3)


def test_intervals_over_campaigns() -> None:
    found = metrics.over_campaigns(list(figures().values()))
    assert found["mean_exposure"] == pytest.approx(7 / 8)
    # Both drawn from two campaigns: 3/4, 7/8 or 1.
    assert found["mean_exposure_interval"] == [0.75, 1.0]
    assert found["detected"] == 1
    assert found["detected_interval"] == pytest.approx([2 * 0.0126, 2 * 0.9874], abs=1e-3)
    assert metrics.over_campaigns([])["mean_exposure"] is None
    assert metrics.over_campaigns(list(figures().values())[:1])["mean_exposure_interval"] is None


def test_a_campaign_that_only_a_shadow_detector_saw_is_served_in_full() -> None:
    beta = figures()["beta"]
    assert (beta.evasive, beta.exposure) == ("mixture_25", 1.0)
    assert beta.exposure_interval == REACH.around("exposure", 1.0)
    assert (beta.detected, beta.accounts_named, beta.purity) == (False, 0, None)
    assert (beta.first_alert_requests, beta.first_alert_hours) == (None, None)


def test_one_account_of_three_is_no_detection() -> None:
    found = {row.name: row for row in metrics.campaigns(case.traffic(), case.namings(("a3", 5)))}
    assert (found["alpha"].detected, found["alpha"].accounts_named) == (False, 1)
    # Only a3's second request came after it was named.
    assert found["alpha"].exposure == pytest.approx(7 / 8)


def test_an_account_named_before_its_first_request_is_not_exposed() -> None:
    found = {row.name: row for row in metrics.campaigns(case.traffic(), case.namings(("b1", 9)))}
    assert (found["beta"].exposure, found["beta"].first_alert_requests) == (0.0, 0)
    assert found["beta"].first_alert_hours == -1.0


def test_the_earliest_of_several_namings_counts() -> None:
    named = metrics.first_named(case.namings(("a1", 3), ("a1", 1)))
    assert named.to_dict() == {"a1": case.START + case.HOUR}


def test_an_alert_on_a_crowd_is_not_about_the_campaign_in_it() -> None:
    rows = case.namings(("b1", 12), ("class1", 12), ("class2", 12))
    alerts = metrics.owners_of_alerts(rows, case.traffic().labels)
    assert alerts.to_dict("records") == [{"group": "c-1", "accounts": 3, "owner": "", "own": 2}]
    assert {row.name: row.purity for row in metrics.campaigns(case.traffic(), rows)} == {"alpha": None, "beta": None}
    assert metrics.purity(rows, case.traffic().labels) == pytest.approx(1 / 3)


def test_purity_without_campaign_alerts_is_unknown() -> None:
    assert metrics.purity(case.namings(), case.traffic().labels) is None


def test_account_days_are_days_with_a_request() -> None:
    assert metrics.account_days(case.traffic()).to_dict() == {"campaign": 4, "ordinary": 4, "class": 3}


def test_benign_accounts_named() -> None:
    found = metrics.benign(case.traffic(), tables.as_namings(case.alerts()))
    assert (found["accounts"], found["account_days"], found["accounts_named"]) == (5, 7, 2)
    assert found["per_10k_account_days"] == pytest.approx(2 / 7 * 10_000)
    low, high = found["per_10k_interval"]
    assert low == pytest.approx(0.2422 / 7 * 10_000, rel=1e-3)
    # 7.22 by the same tables, but there are only five of them.
    assert high == pytest.approx(5 / 7 * 10_000)
    assert {kind: row["accounts_named"] for kind, row in found["by_kind"].items()} == {"class": 1, "ordinary": 1}


def test_accounts_of_one_group_are_named_in_clumps() -> None:
    traffic, namings = case.traffic(), tables.as_namings(case.alerts())
    alone = metrics.benign(traffic, namings)["by_kind"]["class"]
    assert (alone["clump"], alone["accounts_named"]) == (1.0, 1)
    traffic.labels.loc[traffic.labels["kind"] == "class", "group"] = "class-0"
    more = pd.concat([namings, namings[namings["account"] == "class1"].assign(account="class2")])
    found = metrics.benign(traffic, more)
    # One clump of two: Garwood's interval of one, twice; the upper bound is cut at the three there are.
    assert found["by_kind"]["class"]["clump"] == 2
    assert found["by_kind"]["class"]["per_10k_interval"] == pytest.approx([2 * 0.0253 / 3 * 1e4, 1e4], rel=1e-2)
    # In all: two of three named accounts in the clump of two, one for itself.
    assert found["clump"] == pytest.approx((2 * 2 + 1 * 1) / 3)


def test_a_whole_group_without_an_alert_says_little_about_such_groups() -> None:
    traffic = case.traffic()
    traffic.labels.loc[traffic.labels["kind"] == "class", "group"] = "class-0"
    found = metrics.benign(traffic, case.namings())
    assert found["by_kind"]["class"]["per_10k_interval"] == [0, 10_000]
    assert found["by_kind"]["ordinary"]["per_10k_interval"] == [0, 2 / 4 * 10_000]


def test_alerts_a_day() -> None:
    assert metrics.alerts_a_day(case.alerts(), 2.0) == {"messages": 1.5, "new_campaign": 0.5, "new_account": 0.5}


def test_what_a_signal_sees_is_counted_by_account() -> None:
    def signal(detector: str, account: str | None) -> Signal:
        return Signal(
            ts=1, request_id=None, account=account, cohort=None, detector=detector, score=1, p_value=0, evidence={}
        )

    signals = [signal("sweep", "a1"), signal("sweep", "a1"), signal("sweep", "class1")]
    signals += [signal("replay", "b1"), signal("replay", None), signal("replay", "stranger")]
    share = SignalShare(name="sweep", contribution=0.4, evidence={})
    alerts = [msgspec.structs.replace(alert, signals=[share]) for alert in case.alerts() if not alert.shadow]
    assert metrics.findings(signals, alerts, case.traffic().labels) == {
        "replay": {"beta": 1},
        "sweep": {"alpha": 2, "class": 1, "ordinary": 1},
    }


def test_the_curve_ends_at_the_exposure() -> None:
    harvest = case.traffic().requests.query("campaign == 'alpha'")
    found = metrics.curve(harvest, metrics.first_named(tables.as_namings(case.alerts())), points=7)
    assert found["hours"] == [0, 1, 2, 3, 4, 5, 6]
    assert found["sent"] == [0.125, 0.375, 0.625, 0.75, 0.75, 0.875, 1.0]
    assert found["exposed"] == [0.125, 0.375, 0.5, 0.5, 0.5, 0.625, 0.75]


def test_roc_counts_each_campaign_once_and_ties_together() -> None:
    scores = pd.Series({"a1": 0.9, "crowd2": 0.9, "b1": 0.6, "class1": 0.5, "stranger": 1.0})
    points = metrics.roc(scores, case.traffic(), most=3_000)
    assert [point["threshold"] for point in points] == [0.9, 0.6, 0.5]
    assert [point["per_10k_account_days"] for point in points] == pytest.approx([1e4 / 7, 1e4 / 7, 2e4 / 7])
    assert [point["accounts_named"] for point in points] == pytest.approx([1 / 6, 4 / 6, 4 / 6])
    assert metrics.roc(pd.Series(dtype=float), case.traffic()) == []


def test_roc_leaves_out_what_nobody_would_run_and_points_that_gain_nothing() -> None:
    scores = pd.Series({"a1": 0.9, "crowd": 0.8, "crowd2": 0.7, "b1": 0.6, "class1": 0.5})
    points = metrics.roc(scores, case.traffic(), most=3_000)
    assert [point["threshold"] for point in points] == [0.9, 0.6]
    assert [point["threshold"] for point in metrics.roc(scores, case.traffic(), most=2_000)] == [0.9, 0.8]


@pytest.mark.parametrize("allowed", [0, 1, 2, 5])
def test_a_threshold_keeps_the_budget(allowed: int) -> None:
    scores = np.array([0.2, 0.7, 0.7, 0.1])
    threshold = metrics.threshold_for(scores, allowed)
    assert (scores > threshold).sum() <= allowed
    lower = [score for score in scores if score < threshold]
    assert all((scores > score).sum() > allowed for score in lower)


def test_an_alert_gives_its_accounts_the_highest_score_it_ever_has() -> None:
    namings = tables.as_namings(case.alerts())
    assert namings.set_index("account")["score"].to_dict() == {"a1": 0.9, "a2": 0.9, "crowd2": 0.9, "class1": 0.5}
    assert namings.set_index("account")["kind"].to_dict()["class1"] == "account"


def test_requests_are_read_in_order_of_time_whatever_the_events_order() -> None:
    traffic = case.traffic()
    assert traffic.requests["ts"].is_monotonic_increasing
    assert (traffic.events, len(traffic.requests), traffic.days) == (18, 18, 30 / 24)
    assert traffic.requests["campaign"].notna().sum() == 10


def test_labels_and_harvest_that_do_not_fit_are_refused() -> None:
    stray = {"nobody": "alpha"}
    with pytest.raises(ValueError, match="only 0 of them are events"):
        tables.as_traffic(case.events(), lambda: (case.labels(), stray))
    with pytest.raises(ValueError, match="1 accounts have requests and no label, a1 among them"):
        tables.as_traffic(case.events(), lambda: (case.labels().slice(1), case.harvest()))
    with pytest.raises(ValueError, match="no events"):
        tables.as_traffic([], lambda: (case.labels(), case.harvest()))
    with pytest.raises(ValueError, match="stands twice"):
        tables.as_labels(pa.concat_tables([case.labels(), case.labels()]))
    with pytest.raises(ValueError, match="lack the columns"):
        tables.as_labels(case.labels().drop_columns(["shape"]))
    with pytest.raises(ValueError, match="belong to a campaign"):
        tables.as_labels(case.labels().set_column(1, "kind", pa.array(["campaign"] * 9)))


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.3085), (3, 0.0667, 0.6525), (10, 0.6915, 1.0)])
def test_clopper_pearson_against_published_values(hits: int, low: float, high: float) -> None:
    assert intervals.share_interval(hits, 10) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)])
def test_garwood_against_published_values(count: int, low: float, high: float) -> None:
    assert intervals.count_interval(count) == pytest.approx((low, high), abs=1e-4)


def test_intervals_refuse_impossible_counts() -> None:
    with pytest.raises(ValueError, match="between 0 and 3"):
        intervals.share_interval(4, 3)
    with pytest.raises(ValueError, match="at least 0"):
        intervals.count_interval(-1)
    with pytest.raises(ValueError, match="at least 1"):
        intervals.count_interval(3, clump=0.5)
    assert intervals.share_interval(0, 0) == (0.0, 1.0)
