"""A newcomer's own traffic: campaigns of other shapes than the demo's are found, honest crowds are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas.alerts import Alert
from schemas.events import Event, encode_event
from tests.scenarios import (
    benign,
    campaign,
    everyday,
    in_order,
    plain,
    strong_elicitation,
    template,
)
from tests.unit.pipelines.replay_rig import quick_config, run, write_lines

pytestmark = pytest.mark.slow

ANALYST = (
    "You are an expert data analyst combining statistical rigor with deep domain knowledge. Your goal is to deliver "
    "data-driven insights grounded in real data and supported by complete and transparent reasoning."
)
TRANSLATOR = (
    "Act as a senior engineer who plans every change in small steps, names the files it touches, and then writes the "
    "patch; think aloud about each alternative before you reject it."
)


def alerts_of(events: Sequence[Event], folder: Path) -> list[Alert]:
    folder.mkdir(exist_ok=True)
    path = write_lines(folder / "events.jsonl", map(encode_event, in_order(events)))
    outcome = run([path], folder / "out", quick_config(folder / "config", sketch_bits=22))
    assert outcome.summary.bad == outcome.summary.late == 0
    return outcome.found


def campaigns(alerts: Sequence[Alert]) -> dict[str, set[str]]:
    """Accounts named by each campaign."""
    named: dict[str, set[str]] = {}
    for alert in alerts:
        if alert.kind == "campaign":
            assert alert.campaign_id is not None
            named.setdefault(alert.campaign_id, set()).update(alert.accounts)
    return named


def share(named: set[str], prefix: str, of: int) -> float:
    return sum(account.startswith(f"{prefix}-") for account in named) / of


def test_a_relay_that_replays_the_signatures_of_its_pool_is_found(tmp_path: Path) -> None:
    events = [*everyday(1, 300), *campaign(1, "relay", 60, plain, requests=(4, 8), replayed=True)]
    alerts = alerts_of(events, tmp_path / "relay")
    (named,) = campaigns(alerts).values()
    assert share(named, "relay", 60) >= 0.8
    assert all(account.startswith("relay-") for account in named)
    first = next(alert for alert in alerts if alert.kind == "campaign")
    assert "signature_replay" in {signal.name for signal in first.signals}


def test_elicitation_without_a_template_is_found_where_the_accounts_share_payments(tmp_path: Path) -> None:
    events = [*everyday(2, 300), *campaign(2, "sweep", 60, strong_elicitation)]
    alerts = alerts_of(events, tmp_path / "sweep")
    # Several campaigns may share the accounts out: each technique is a cohort of its own.
    named = set().union(*campaigns(alerts).values())
    assert share(named, "sweep", 60) >= 0.8
    assert all(account.startswith("sweep-") for account in named)
    first = next(alert for alert in alerts if alert.kind == "campaign")
    assert "elicitation" in {signal.name for signal in first.signals}


def test_unrelated_accounts_that_elicit_reasoning_are_no_campaign(tmp_path: Path) -> None:
    events = [*everyday(3, 300), *everyday(3, 60, name="curious", text=strong_elicitation)]
    assert campaigns(alerts_of(events, tmp_path / "curious")) == {}


def test_two_campaigns_of_different_owners_stay_apart(tmp_path: Path) -> None:
    events = [
        *everyday(4, 300),
        *campaign(4, "north", 50, template(ANALYST)),
        *campaign(4, "south", 50, template(TRANSLATOR)),
    ]
    found = campaigns(alerts_of(events, tmp_path / "two"))
    assert len(found) == 2
    first, second = found.values()
    assert not first & second
    owners = sorted({account.split("-")[0] for account in named} for named in (first, second))
    assert sorted(map(sorted, owners)) == [["north"], ["south"]]
    for named in (first, second):
        assert len(named) >= 35


@pytest.mark.parametrize("seed", range(5))
def test_honest_traffic_raises_no_alert(tmp_path: Path, seed: int) -> None:
    assert alerts_of(benign(seed), tmp_path / "benign") == []


@pytest.mark.parametrize("seed", range(5))
def test_a_class_that_is_told_to_show_its_work_raises_no_alert(tmp_path: Path, seed: int) -> None:
    # One network, one hour, one assignment, in words that earnest askers elsewhere use too.
    assert alerts_of(benign(seed, pupils=25), tmp_path / "class") == []
