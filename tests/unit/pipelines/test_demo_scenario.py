"""The demo's simulated accounts and times, around made-up prompts."""

from __future__ import annotations

import ipaddress
import statistics
from collections import Counter, defaultdict
from itertools import pairwise
from random import Random

import pytest

from pipelines.demo.campaign import BEGIN_MS, KIND, PUBLISHED_PROMPT, SPAN_MS, campaign
from pipelines.demo.lookalikes import COMPANY_SYSTEM, FRAMEWORK_SYSTEM, HARNESS_WRAPPER
from pipelines.demo.people import DAY, HOUR
from pipelines.demo.prompts import Dialogue, Prompt, PromptSets
from pipelines.demo.scenario import DAYS, START, DemoTraffic, Plan, build_demo_events, split_tasks
from pipelines.demo.traffic import Deck, times
from schemas.events import Account, Request, Response, decode_event, encode_event

SCALE = 0.12
# The campaign works through its span; a last request may be retried, and answers take their time.
LATEST = START + DAYS * DAY + 2 * HOUR


def made_up(count: int) -> PromptSets:
    return PromptSets(
        live=tuple(
            Prompt(text=f"look up order {n} of customer {n * 7}", app=f"app{n // 5}", tools=(f"tool{n // 5}",))
            for n in range(count)
        ),
        curated=tuple(Prompt(text=f"area of shape {n} with side {n + 3}", app=f"own{n}") for n in range(count // 2)),
        dialogues=tuple(Dialogue(turns=(f"open file {n}", f"sort it by column {n}", "thanks")) for n in range(20)),
        code=tuple(f'def f{n}(x):\n    """Add {n} to x."""\n' for n in range(12)),
    )


@pytest.fixture(scope="module")
def traffic() -> DemoTraffic:
    return build_demo_events(made_up(600), seed=5, scale=SCALE)


@pytest.fixture(scope="module")
def requests(traffic: DemoTraffic) -> dict[str, list[Request]]:
    """Requests by kind, in order."""
    by_kind: dict[str, list[Request]] = defaultdict(list)
    for event in traffic:
        if isinstance(event, Request):
            by_kind[traffic.labels[event.account]].append(event)
    return by_kind


def user_text(request: Request) -> str:
    assert request.messages is not None
    content = request.messages[-1].content
    assert isinstance(content, str)
    return content


def test_events_come_in_order_and_meet_the_contract(traffic: DemoTraffic) -> None:
    events = list(traffic)
    assert len(events) == len(traffic)
    assert all(earlier.ts <= later.ts for earlier, later in pairwise(events))
    assert events[0].ts >= START
    assert events[-1].ts < LATEST
    for event in events:
        assert encode_event(decode_event(encode_event(event))) == encode_event(event)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(traffic: DemoTraffic) -> None:
    first = [encode_event(event) for event in traffic]
    again = build_demo_events(made_up(600), seed=5, scale=SCALE)
    other = build_demo_events(made_up(600), seed=6, scale=SCALE)
    assert [encode_event(event) for event in again] == first
    assert again.labels == traffic.labels
    assert not set(other.labels) & set(traffic.labels)


def test_every_account_has_a_label_and_every_kind_its_size(traffic: DemoTraffic) -> None:
    plan = Plan().scaled(SCALE)
    counted = Counter(traffic.labels.values())
    assert counted.total() == plan.accounts == len(traffic.accounts)
    assert {event.account for event in traffic if isinstance(event, Request)} == set(traffic.labels)
    assert counted["evaluation_harness"] == counted["batch_template"] == 1
    assert counted[KIND] == plan.campaign == 29
    assert counted["school_class"] == plan.school_class == 3


def test_names_tell_nothing_of_the_kind(traffic: DemoTraffic) -> None:
    for account, kind in traffic.labels.items():
        assert account.startswith("acct_")
        assert int(account.removeprefix("acct_"), 16) >= 0
        assert kind not in account


def test_requests_and_responses_match_and_ids_are_unique(traffic: DemoTraffic) -> None:
    sent = {event.id: event for event in traffic if isinstance(event, Request)}
    answers = [event for event in traffic if isinstance(event, Response)]
    assert len(sent) == len(answers) == sum(isinstance(event, Request) for event in traffic)
    for answer in answers:
        request = sent[answer.request_id]
        assert answer.account == request.account
        assert answer.ts > request.ts
        if answer.status == 200:
            assert answer.usage is not None
            assert answer.usage.output is not None
            assert answer.usage.output > 0
        else:
            assert answer.text is None
            assert answer.usage is None
    assert any(answer.refused for answer in answers)
    assert any(answer.status != 200 for answer in answers)


def test_carried_signatures_were_issued_to_the_same_account(traffic: DemoTraffic) -> None:
    issued: dict[str, set[str]] = defaultdict(set)
    carried = 0
    for event in traffic:
        if isinstance(event, Response):
            issued[event.account].update(event.signatures or ())
        if isinstance(event, Request) and event.signatures:
            carried += len(event.signatures)
            assert set(event.signatures) <= issued[event.account]
    assert carried > 20


def test_addresses_and_domains_are_synthetic(traffic: DemoTraffic) -> None:
    ranges = (ipaddress.ip_network("198.18.0.0/15"), ipaddress.ip_network("2001:db8::/32"))
    for event in traffic:
        if isinstance(event, Request):
            assert event.client is not None
            assert event.client.ip is not None
            address = ipaddress.ip_address(event.client.ip)
            assert any(address in network for network in ranges)
            assert event.client.asn is not None
            assert 64_512 <= event.client.asn <= 65_534
        if isinstance(event, Account):
            assert event.email_domain is None or event.email_domain.endswith(".example")
            assert event.signup_ip is not None
            assert any(ipaddress.ip_network(event.signup_ip).network_address in network for network in ranges)


def test_campaign_has_its_published_shape(traffic: DemoTraffic, requests: dict[str, list[Request]]) -> None:
    sent = requests[KIND]
    tasks = []
    for request in sent:
        fixed, _, task = user_text(request).partition("\n\n")
        assert fixed == PUBLISHED_PROMPT
        tasks.append(task)
    members = [account for account, kind in traffic.labels.items() if kind == KIND]
    per_account = Counter(request.account for request in sent)
    # A retry after a failure repeats the task; a repeat for any other reason would be a bug.
    failed = {event.request_id for event in traffic if isinstance(event, Response) and event.status != 200}
    fresh = [task for task, request in zip(tasks, sent, strict=True) if request.id not in failed]
    assert len(set(fresh)) == len(fresh)
    assert min(per_account.values()) >= 3
    assert max(per_account.values()) <= 6 + 3
    starts = sorted(min(r.ts for r in sent if r.account == account) for account in members)
    assert starts[0] >= START + BEGIN_MS
    assert sent[-1].ts <= START + BEGIN_MS + SPAN_MS + 8 * HOUR
    # First requests spread over the campaign: no tenth of it brings half of the accounts.
    tenths = Counter((start - starts[0]) * 10 // (starts[-1] - starts[0] + 1) for start in starts)
    assert max(tenths.values()) < len(members) / 2
    hours = {request.ts // HOUR % 24 for request in sent}
    assert len(hours) >= 20
    created = [e.created for a in members for e in traffic.accounts[a] if isinstance(e, Account) and e.created]
    assert created
    assert all(START + BEGIN_MS - 14 * DAY <= when <= START + BEGIN_MS + SPAN_MS for when in created)


def test_campaign_tasks_are_nobody_elses(traffic: DemoTraffic, requests: dict[str, list[Request]]) -> None:
    tasks = {user_text(request).partition("\n\n")[2] for request in requests[KIND]}
    benign = " ".join(user_text(r) for kind, sent in requests.items() if kind != KIND for r in sent)
    assert len(tasks) > 50
    assert not [task for task in tasks if f"{task} " in benign]


def test_ordinary_use_is_heavy_tailed_and_has_a_night() -> None:
    traffic = build_demo_events(made_up(900), seed=5, scale=0.5)
    counts = Counter(
        event.account
        for event in traffic
        if isinstance(event, Request) and traffic.labels[event.account] in {"ordinary", "framework_prompt"}
    )
    spread = statistics.pstdev(counts.values()) / statistics.mean(counts.values())
    assert 1.5 < spread < 6
    moments = times(Random(1), 4000, offset=0, start=START, end=START + DAYS * DAY)
    by_hour = Counter(ts // HOUR % 24 for ts in moments)
    assert sum(by_hour[hour] for hour in (1, 2, 3, 4)) < sum(by_hour[hour] for hour in (9, 10, 11, 13)) / 8


def test_lookalikes_keep_to_their_descriptions(traffic: DemoTraffic, requests: dict[str, list[Request]]) -> None:
    harness = requests["evaluation_harness"]
    head = HARNESS_WRAPPER.partition("{")[0]
    assert all(user_text(request).startswith(head) for request in harness)
    assert max(Counter(user_text(request) for request in harness).values()) >= 2
    framework = requests["framework_prompt"]
    assert {request.system for request in framework} == {FRAMEWORK_SYSTEM}
    staff = requests["company_rollout"]
    assert {request.system for request in staff} == {COMPANY_SYSTEM}
    enrichment = [
        event
        for account, kind in traffic.labels.items()
        if kind == "company_rollout"
        for event in traffic.accounts[account]
        if isinstance(event, Account)
    ]
    assert len({(event.payment, event.email_domain, event.signup_ip) for event in enrichment}) == 1
    pupils = requests["school_class"]
    assert pupils[-1].ts - pupils[0].ts < 3 * HOUR
    assert len({request.client.ip for request in pupils if request.client}) == 1
    assert all("show" in user_text(r).lower() or "explain" in user_text(r).lower() for r in pupils)


def test_split_keeps_every_app_on_one_side() -> None:
    tasks, others = split_tasks(made_up(200), 40, Random(2))
    assert len(tasks) == 40
    assert not {prompt.app for prompt in tasks} & {prompt.app for prompt in others}


def test_too_few_prompts_or_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 500 prompts"):
        split_tasks(made_up(200), 500, Random(2))
    with pytest.raises(ValueError, match="needs 9 tasks, got 1"):
        list(campaign(1, [4, 5], [Prompt(text="t", app="a")], start=START))
    with pytest.raises(ValueError, match="at least one prompt"):
        Deck([], Random(1))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_scale_must_be_positive(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be above 0"):
        build_demo_events(made_up(200), scale=scale)


def test_deck_deals_every_prompt_before_it_repeats_one() -> None:
    prompts = [Prompt(text=str(n), app=str(n // 3)) for n in range(12)]
    deck = Deck(prompts, Random(3))
    first, second = deck.deal(12), deck.deal(12)
    assert sorted(p.text for p in first) == sorted(p.text for p in second) == sorted(p.text for p in prompts)
    # One app's prompts come one after the other.
    assert sum(a.app != b.app for a, b in pairwise(first)) == 3


def test_progress_is_reported_for_every_account() -> None:
    seen: list[str] = []
    traffic = build_demo_events(made_up(300), seed=1, scale=0.02, on_account=seen.append)
    assert Counter(seen) == Counter(traffic.labels.values())
