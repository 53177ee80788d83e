"""The coverage audit: no detector, shape or look-alike goes untested by the arena; and its tolerances."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from detectors.registry import REGISTRY
from pipelines.simulate import load_scenario
from pipelines.simulate.scenario import LookAlikeKind, Shape
from tests.benchmarks.arena import tolerances
from tests.benchmarks.arena.coverage import COVERED, EXCLUSIONS


def test_every_detector_is_in_a_scenario_or_in_an_exclusion_with_a_reason() -> None:
    assert COVERED.keys() | EXCLUSIONS.keys() == REGISTRY.keys()
    assert not COVERED.keys() & EXCLUSIONS.keys()
    assert all(len(reason.split()) >= 5 for reason in EXCLUSIONS.values())
    shapes = {campaign.shape for campaign in load_scenario("standard").campaign}
    assert all(shapes.issuperset(named) and named for named in COVERED.values())


def test_the_small_arena_holds_what_every_detector_finds() -> None:
    stored = tolerances.load().findings_at_least
    shapes = {campaign.name: campaign.shape for campaign in load_scenario("small").campaign}
    for detector, named in COVERED.items():
        assert stored[detector], detector
        assert {shapes[name] for name in stored[detector]} <= set(named), detector
    assert stored.keys() == COVERED.keys()


def test_the_standard_scenario_has_every_shape_plain_and_evasive() -> None:
    campaigns = load_scenario("standard").campaign
    assert {campaign.shape for campaign in campaigns if not campaign.evasion} == set(get_args(Shape))
    assert {campaign.shape for campaign in campaigns if campaign.evasion} == set(get_args(Shape))


def test_the_standard_scenario_has_every_look_alike_and_ten_thousand_ordinary_accounts() -> None:
    scenario = load_scenario("standard")
    assert {look.kind for look in scenario.lookalike} == set(get_args(LookAlikeKind))
    assert scenario.population.accounts >= 10_000
    assert scenario.days >= 7


def test_scored_scenarios_use_seeds_of_their_own() -> None:
    seeds = [load_scenario(name).seed for name in ("small", "standard")]
    assert len(set(seeds)) == 2


def report(**campaign: Any) -> dict[str, Any]:
    row = {"name": "pool", "exposure": 0.4, "accounts_named": 10, "purity": 1.0} | campaign
    kinds = {"class": {"accounts_named": 2}, "ordinary": {"accounts_named": 0}}
    found = {"elicitation": {"pool": 3, "class": 1}}
    return {"scenarios": [row], "benign": {"accounts_named": 2, "by_kind": kinds}, "findings": found}


ALLOWED = tolerances.Tolerances(
    benign_named_at_most=2,
    campaign={"pool": tolerances.CampaignTolerance(0.5, accounts_named_at_least=10, purity_at_least=0.9)},
    findings_at_least={"elicitation": {"pool": 3}},
)


def test_figures_within_the_tolerances() -> None:
    assert tolerances.worse(report(), ALLOWED) == []


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"exposure": 0.51}, "pool: exposure 0.510, at most 0.5 is allowed"),
        ({"accounts_named": 9}, "pool: 9 accounts named, at least 10 are wanted"),
        ({"purity": 0.8}, "pool: purity 0.8, at least 0.9 is wanted"),
        ({"purity": None}, "pool: purity None, at least 0.9 is wanted"),
    ],
)
def test_a_worse_figure_is_told(figures: dict[str, Any], told: str) -> None:
    assert tolerances.worse(report(**figures), ALLOWED) == [told]


def test_a_benign_account_too_many_is_told_by_kind() -> None:
    found = tolerances.worse(report(), msgspec.structs.replace(ALLOWED, benign_named_at_most=1))
    assert found == ["2 benign accounts named ({'class': 2}), at most 1 are allowed"]


def test_a_detector_that_sees_less_is_told() -> None:
    more = {"elicitation": {"pool": 4}, "sweep": {"pool": 1}}
    assert tolerances.worse(report(), msgspec.structs.replace(ALLOWED, findings_at_least=more)) == [
        "pool: elicitation sees 3 accounts, at least 4 are wanted",
        "pool: sweep sees 0 accounts, at least 1 are wanted",
    ]


def test_campaigns_and_tolerances_have_to_match() -> None:
    assert tolerances.worse(report(name="other"), ALLOWED) == [
        "other is not in the tolerances",
        "pool is no campaign of the scenario",
    ]


def test_the_stored_tolerances_are_of_the_small_scenario() -> None:
    stored = tolerances.load()
    assert stored.campaign.keys() == {campaign.name for campaign in load_scenario("small").campaign}
