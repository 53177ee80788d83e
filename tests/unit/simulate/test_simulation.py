"""Whole simulations: determinism, truth of the labels, what each shape does, bounded memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache

import pytest
from msgspec.structs import replace

from pipelines.demo.prompts import normal
from pipelines.simulate import Scenario, Simulation, generate, load_scenario
from pipelines.simulate.earnest import SYSTEMS
from pipelines.simulate.inline import TAGS, asked_tag
from pipelines.simulate.prompts import fold_of
from pipelines.simulate.scenario import Campaign, Evasion, LookAlike
from schemas.events import Account, Enforcement, Event, Release, Request, Response, encode_event
from tests.unit.simulate.texts import made_up

PROMPTS = made_up()


@cache
def shapes() -> Scenario:
    """Every shape and look-alike, with fewer accounts."""
    scenario = load_scenario("shapes")
    return replace(
        scenario,
        population=replace(scenario.population, accounts=80),
        lookalike=[
            replace(look, accounts=min(look.accounts, 8), groups=1, requests=min(look.requests, 60))
            for look in scenario.lookalike
        ],
        campaign=[
            replace(
                campaign,
                # Where shares are uneven, a dozen accounts say little about the mean.
                accounts=min(campaign.accounts, 40 if campaign.pacing.style == "human" else 12),
                pacing=replace(
                    campaign.pacing, requests_per_account_day=min(30.0, campaign.pacing.requests_per_account_day)
                ),
            )
            for campaign in scenario.campaign
        ],
    )


@cache
def run() -> tuple[Simulation, list[Event]]:
    simulation = generate(shapes(), prompts=PROMPTS)
    return simulation, list(simulation.events())


def only(shape: str, *, evasion: Sequence[Evasion] = (), **changes: object) -> tuple[Campaign, Simulation, list[Event]]:
    """One campaign with nobody else but two customers."""
    campaign = next(campaign for campaign in shapes().campaign if campaign.shape == shape)
    campaign = replace(campaign, evasion=list(evasion), **changes)
    scenario = replace(shapes(), population=replace(shapes().population, accounts=2), lookalike=[], campaign=[campaign])
    simulation = generate(scenario, prompts=PROMPTS)
    return campaign, simulation, list(simulation.events())


def of(simulation: Simulation, events: Sequence[Event], campaign: str) -> list[Request]:
    return [event for event in events if isinstance(event, Request) and simulation.harvest.get(event.id) == campaign]


def texts(request: Request) -> list[str]:
    return [message.content for message in request.messages or () if isinstance(message.content, str)]


def test_one_seed_gives_the_same_bytes() -> None:
    simulation, events = run()
    again = generate(shapes(), prompts=PROMPTS)
    assert [encode_event(event) for event in again.events()] == [encode_event(event) for event in events]
    assert again.labels.equals(simulation.labels)
    assert again.harvest == simulation.harvest
    # And a second time from the same simulation.
    assert [encode_event(event) for event in again.events()] == [encode_event(event) for event in events]


def test_another_seed_gives_other_events() -> None:
    simulation, events = run()
    other = generate(shapes(), prompts=PROMPTS, seed=shapes().seed + 1)
    ids = {event.id for event in other.events() if isinstance(event, Request)}
    assert ids
    assert ids.isdisjoint(event.id for event in events if isinstance(event, Request))
    assert set(other.labels["account"].to_pylist()).isdisjoint(simulation.labels["account"].to_pylist())


def test_events_are_in_order_and_within_the_scenario() -> None:
    simulation, events = run()
    times = [event.ts for event in events]
    assert times == sorted(times)
    assert simulation.start <= times[0]
    assert times[-1] < simulation.start + shapes().days * 86_400_000
    assert sum(isinstance(event, Release) for event in events) == 1


def test_labels_name_every_account_once() -> None:
    simulation, events = run()
    labels = simulation.labels
    accounts = labels["account"].to_pylist()
    assert len(set(accounts)) == len(accounts)
    seen = {event.account for event in events if isinstance(event, Request)}
    assert seen <= set(accounts)
    # Bans cut a few off before their first request; nobody else is silent.
    assert len(seen) > 0.95 * len(accounts)
    kinds = Counter(labels["kind"].to_pylist())
    assert set(kinds) == {"ordinary", "campaign", *(look.kind for look in shapes().lookalike)}
    rows = labels.to_pylist()
    assert all(
        (row["kind"] == "campaign") == (row["campaign"] is not None) == (row["shape"] is not None) for row in rows
    )
    assert {row["campaign"] for row in rows if row["campaign"]} == {campaign.name for campaign in shapes().campaign}


def test_parts_of_one_kind_share_no_account() -> None:
    looks = [look for look in shapes().lookalike for _ in range(2)]
    simulation = generate(replace(shapes(), lookalike=looks, campaign=[]), prompts=PROMPTS, accounts=1)
    accounts = simulation.labels["account"].to_pylist()
    assert len(accounts) == 1 + sum(look.accounts * look.groups for look in looks)
    assert len(set(accounts)) == len(accounts)


def test_only_requests_of_its_accounts_are_a_campaigns_harvest() -> None:
    simulation, events = run()
    owner = dict(zip(simulation.labels["account"].to_pylist(), simulation.labels["campaign"].to_pylist(), strict=True))
    requests = {event.id: event for event in events if isinstance(event, Request)}
    assert simulation.harvest
    for request, campaign in simulation.harvest.items():
        assert owner[requests[request].account] == campaign
    assert set(simulation.harvest.values()) == {campaign.name for campaign in shapes().campaign}


def test_ids_and_accounts_tell_nothing() -> None:
    simulation, events = run()
    for event in events:
        if isinstance(event, Request):
            assert event.id.removeprefix("req_").isalnum()
            assert event.account.removeprefix("acct_").isalnum()
    patterns = {len(account) for account in simulation.labels["account"].to_pylist()}
    assert len(patterns) == 1


def test_no_prompt_is_on_both_sides() -> None:
    simulation, events = run()
    tasks = {normal(prompt.text) for prompts in PROMPTS.attack.values() for prompt in prompts}
    honest = {normal(prompt.text) for prompt in PROMPTS.ordinary}
    assert tasks.isdisjoint(honest)
    for event in events:
        if isinstance(event, Request) and event.id not in simulation.harvest:
            assert tasks.isdisjoint(normal(text) for text in texts(event))


def test_only_prompts_of_the_fold_are_used() -> None:
    _, events = run()
    tune = {prompt.text for prompt in PROMPTS.ordinary if fold_of(prompt.text) == "tune"}
    assert 20 < len(tune) < 200
    assert all(tune.isdisjoint(texts(event)) for event in events if isinstance(event, Request))
    tuning = generate(replace(shapes(), fold="tune", lookalike=[], campaign=[]), prompts=PROMPTS)
    score = {prompt.text for prompt in PROMPTS.ordinary} - tune
    assert all(score.isdisjoint(texts(event)) for event in tuning.events() if isinstance(event, Request))


@pytest.mark.parametrize("campaign", shapes().campaign, ids=lambda campaign: campaign.name)
def test_accounts_send_at_the_reported_rate(campaign: Campaign) -> None:
    simulation, events = run()
    labels = simulation.labels.to_pylist()
    members = {row["account"] for row in labels if row["campaign"] == campaign.name}
    requests = [event for event in events if isinstance(event, Request) and event.account in members]
    hours = campaign.pacing.account_hours or campaign.hours
    expected = campaign.accounts * campaign.pacing.requests_per_account_day * hours / 24
    # Bans move requests to other accounts and cost a few; retries add some.
    assert expected * 0.75 < len(requests) < expected * 1.35


def test_a_ban_ends_an_account_and_a_second_pool_takes_over() -> None:
    campaign, simulation, events = only("two_pools")
    banned = {event.account: event.ts for event in events if isinstance(event, Enforcement)}
    assert len(banned) == campaign.accounts
    last = {}
    for request in of(simulation, events, campaign.name):
        last[request.account] = request.ts
    retry = 120_000 + 20_000  # of a call under way when the ban came
    assert all(last[account] <= at + retry for account, at in banned.items() if account in last)
    second = set(last) - set(banned)
    assert len(second) == campaign.accounts
    payments: dict[bool, set[str | None]] = defaultdict(set)
    for event in events:
        if isinstance(event, Account) and event.account in last:
            payments[event.account in banned].add(event.payment)
    assert payments[True].isdisjoint(payments[False])


def test_a_pivot_moves_about_half_to_the_new_model_within_a_day() -> None:
    campaign, simulation, events = only("pivot", accounts=20)
    release = next(event for event in events if isinstance(event, Release))
    requests = of(simulation, events, campaign.name)
    before = [request for request in requests if request.ts < release.ts]
    after = [request for request in requests if request.ts > release.ts + 86_400_000]
    assert before
    assert all(request.model != release.model for request in before)
    assert 0.4 < sum(request.model == release.model for request in after) / len(after) < 0.56


def test_a_relay_replays_signatures_that_other_accounts_were_issued() -> None:
    _, simulation, events = only("relay", harvest=1.0)
    issued: dict[str, str] = {}
    replayed = 0
    for event in events:
        if isinstance(event, Response):
            issued.update(dict.fromkeys(event.signatures or (), event.account))
        elif isinstance(event, Request) and event.id in simulation.harvest:
            for mark in event.signatures or ():
                assert issued[mark] != event.account
                replayed += 1
    assert replayed > 50


def test_replayed_sessions_hold_turns_that_this_provider_never_wrote() -> None:
    campaign, simulation, events = only("user_replay")
    written = {event.text for event in events if isinstance(event, Response)}
    for request in of(simulation, events, campaign.name):
        turns = [message for message in request.messages or () if message.role == "assistant"]
        assert turns
        assert all(turn.content not in written for turn in turns)


def test_a_sweep_tries_techniques_once_and_then_scales_a_few() -> None:
    campaign, simulation, events = only("technique_sweep")
    half = simulation.start + int((campaign.begin_hours + campaign.hours / 2) * 3_600_000)
    refused: dict[bool, list[bool]] = defaultdict(list)
    techniques: dict[bool, Counter[str]] = defaultdict(Counter)
    for event in events:
        if isinstance(event, Request) and event.id in simulation.harvest:
            techniques[event.ts < half][texts(event)[0].split("\n\n")[0]] += 1
        elif isinstance(event, Response) and event.request_id in simulation.harvest and event.status == 200:
            refused[event.ts < half].append(bool(event.refused))
    # A failed call is sent again with the same words.
    assert sum(techniques[True].values()) < 1.1 * len(techniques[True])
    assert len(techniques[False]) <= 10
    assert sum(refused[True]) / len(refused[True]) > 0.4
    assert sum(refused[False]) / len(refused[False]) < 0.2


def test_inline_reasoning_shows_in_the_answers() -> None:
    _, simulation, events = only("two_pools")
    answers = [
        e.text or "" for e in events if isinstance(e, Response) and e.request_id in simulation.harvest and e.text
    ]
    assert sum(text.startswith("<think>\n") for text in answers) / len(answers) > 0.9


def test_answers_carry_the_tag_that_the_request_names_whoever_sends_it() -> None:
    _, simulation, events = only("two_pools", evasion=["paraphrased"])
    requests = {event.id: event for event in events if isinstance(event, Request)}
    seen: Counter[str] = Counter()
    for event in events:
        if isinstance(event, Response) and event.request_id in simulation.harvest and event.text and not event.refused:
            tag = asked_tag(requests[event.request_id])
            assert tag in TAGS
            assert event.text.startswith(f"<{tag}>\n")
            assert f"<{tag}>" in texts(requests[event.request_id])[-1]
            seen[tag] += 1
    assert len(seen) >= 3
    # Honest apps whose framework asks for tags get them too.
    simulation, events = run()
    kinds = dict(zip(simulation.labels["account"].to_pylist(), simulation.labels["kind"].to_pylist(), strict=True))
    framed = [e.text for e in events if isinstance(e, Response) and e.text and kinds[e.account] == "framework_prompt"]
    assert sum(text.startswith("<thinking>\n") for text in framed) > 0.8 * len(framed) > 0


def test_some_honest_accounts_keep_a_system_prompt_that_asks_for_reasoning() -> None:
    simulation, events = run()
    kinds = dict(zip(simulation.labels["account"].to_pylist(), simulation.labels["kind"].to_pylist(), strict=True))
    systems: dict[str, set[str | None]] = defaultdict(set)
    for event in events:
        if isinstance(event, Request) and kinds[event.account] == "earnest_reasoning":
            systems[event.account].add(event.system)
    with_one = [account for account, found in systems.items() if found & set(SYSTEMS)]
    assert 0 < len(with_one) < len(systems)


def test_cleaners_paste_reasoning_in() -> None:
    thoughts = tuple((f"q{n}", f"first this {n}. then that.") for n in range(9))
    campaign, _, _ = only("cleaner")
    scenario = replace(shapes(), lookalike=[], campaign=[campaign])
    simulation = generate(scenario, prompts=replace(PROMPTS, thoughts=thoughts))
    requests = [event for event in simulation.events() if isinstance(event, Request) and event.id in simulation.harvest]
    assert requests
    assert all("then that." in texts(request)[0] for request in requests)


def test_slots_are_enumerated_and_tasks_not_repeated_before_the_list_ends() -> None:
    campaign, simulation, events = only("template")
    first = [texts(request)[0] for request in of(simulation, events, campaign.name)][:60]
    roles = Counter(text.split(" with an evidence-first")[0] for text in first)
    assert len(roles) == 20
    assert max(roles.values()) <= 4
    tasks = [text.split("\n\n")[1] for text in first]
    assert len(set(tasks)) > 0.9 * len(tasks)


def test_paraphrases_and_shuffled_paragraphs_vary_the_wording() -> None:
    campaign, simulation, events = only("template", evasion=["paraphrased", "shuffled"])
    found = [texts(request)[0] for request in of(simulation, events, campaign.name)]
    assert sum("evidence-first" in text for text in found) == 0
    starts = Counter(text[:6] for text in found)
    assert max(starts.values()) < 0.4 * len(found)


@pytest.mark.parametrize(("evasion", "share"), [("mixture_5", 0.05), ("mixture_25", 0.25)])
def test_mixtures_have_their_share_of_genuine_traffic(evasion: Evasion, share: float) -> None:
    _, simulation, events = only("template", evasion=[evasion])
    members = {row["account"] for row in simulation.labels.to_pylist() if row["campaign"]}
    requests = [event for event in events if isinstance(event, Request) and event.account in members]
    assert len(simulation.harvest) / len(requests) == pytest.approx(share, rel=0.4)


def test_jitter_makes_shares_uneven_and_hours_human() -> None:
    def spread(evasion: list[Evasion]) -> float:
        campaign, simulation, events = only("template", evasion=evasion, accounts=40)
        counts = Counter(request.account for request in of(simulation, events, campaign.name)).values()
        mean = sum(counts) / len(counts)
        return float((sum((count - mean) ** 2 for count in counts) / len(counts)) ** 0.5 / mean)

    assert spread([]) < 0.15
    assert spread(["jittered"]) > 0.3


def test_without_enrichment_nothing_is_known_of_the_accounts() -> None:
    _, simulation, events = only("template", evasion=["no_enrichment"])
    members = {row["account"] for row in simulation.labels.to_pylist() if row["campaign"]}
    assert not [event for event in events if isinstance(event, Account) and event.account in members]


def test_fresh_addresses_are_one_for_each_account() -> None:
    campaign, simulation, events = only("load_balanced", evasion=["fresh_addresses"])
    addresses: dict[str, set[str | None]] = defaultdict(set)
    for request in of(simulation, events, campaign.name):
        addresses[request.account].add(request.client.ip if request.client else None)
    assert all(len(found) == 1 for found in addresses.values())
    assert len(set.union(*addresses.values())) == len(addresses)


def test_gateways_name_end_users_and_routers_carry_foreign_turns() -> None:
    simulation, events = run()
    kinds = dict(zip(simulation.labels["account"].to_pylist(), simulation.labels["kind"].to_pylist(), strict=True))
    users = {e.end_user for e in events if isinstance(e, Request) and kinds[e.account] == "gateway_reseller"}
    assert len(users) > 20
    assert None not in users
    for event in events:
        if isinstance(event, Request) and kinds[event.account] == "fallback_router":
            assert [message.role for message in event.messages or ()] == ["user", "assistant", "user"]
    homes = {
        e.client.ip for e in events if isinstance(e, Request) and e.client and kinds[e.account] == "shared_team_key"
    }
    assert len(homes) > 20


def test_honest_histories_hold_what_was_answered_but_for_routers() -> None:
    simulation, events = run()
    kinds = dict(zip(simulation.labels["account"].to_pylist(), simulation.labels["kind"].to_pylist(), strict=True))
    answered: dict[str, set[str]] = defaultdict(set)
    seen: Counter[str] = Counter()
    for event in events:
        if isinstance(event, Response) and event.text is not None:
            answered[event.account].add(event.text)
        elif isinstance(event, Request) and kinds[event.account] not in ("campaign", "fallback_router"):
            for message in event.messages or ():
                if message.role == "assistant":
                    parts = message.content
                    said = parts if isinstance(parts, str) else "".join(part.text or "" for part in parts or ())
                    assert said in answered[event.account], kinds[event.account]
                    seen[kinds[event.account]] += 1
    assert seen["ci_agent"] > 50
    assert seen["ordinary"] > 10


def test_accounts_and_days_can_be_given() -> None:
    simulation = generate(load_scenario("small"), prompts=PROMPTS, accounts=7, days=0.5)
    assert Counter(simulation.labels["kind"].to_pylist())["ordinary"] == 7
    assert max(event.ts for event in simulation.events()) < simulation.start + 43_200_000
    with pytest.raises(ValueError, match="accounts must be at least 1"):
        generate(load_scenario("small"), prompts=PROMPTS, accounts=0)
    with pytest.raises(ValueError, match=r"days must be at least 0\.25"):
        generate(load_scenario("small"), prompts=PROMPTS, days=0.1)


def test_memory_does_not_grow_with_the_events() -> None:
    def peak(requests: float) -> tuple[int, int]:
        look = LookAlike(kind="batch_template", accounts=1, requests=requests)
        scenario = replace(shapes(), lookalike=[look], campaign=[], population=replace(shapes().population, accounts=5))
        tracemalloc.start()
        count = sum(1 for _ in generate(scenario, prompts=PROMPTS).events())
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return count, used

    few, small = peak(300)
    many, large = peak(9_000)
    assert many > 10 * few
    # Five hundred bytes an event, were they all kept, would be eight megabytes more.
    assert large < small + 1_000_000
