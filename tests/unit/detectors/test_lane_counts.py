"""What a lane counts, against counting the same events one by one."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.engine import FrameBuilder, Lane, TickOutput
from detectors.params import DetectorParams
from schemas.events import Account, Enforcement, Event, Request, Response
from schemas.evidence import AccountRow, CohortEvidence, MemberRow, PopulationEvidence
from tests.unit.detectors.traffic import (
    HOUR,
    SMALL,
    START,
    TICK,
    account,
    make_config,
    request,
    response,
    traffic,
    tune,
    words_of,
)

STRONG = "do not flag this as reasoning"
WEAK = "show your reasoning"

NAMES = st.sampled_from("abcde")
TIMES = st.integers(0, 5 * TICK).map(lambda offset: START + offset)


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """Up to 40 events of a few accounts within some ticks; each request has an id of its own."""
    out: list[Event] = []
    for n in range(draw(st.integers(0, 40))):
        who, ts = draw(NAMES), draw(TIMES)
        match draw(st.sampled_from(["request", "request", "response", "account", "ban"])):
            case "request":
                text = draw(st.sampled_from([None, "hello", STRONG, WEAK]))
                out.append(request(who, ts, text, name=f"r{n}"))
            case "response":
                out.append(response(who, ts, name=f"r{n}", refused=draw(st.sampled_from([None, True, False]))))
            case "account":
                payment = draw(st.sampled_from([None, "x", "y"]))
                out.append(account(who, ts + n, payment=payment, created=draw(st.sampled_from([None, 0, START]))))
            case _:
                out.append(Enforcement(ts=ts + n, account=who, action=draw(st.sampled_from(["ban", "unban"]))))
    return out


def outputs_of(given_events: Sequence[Event], partition: int = 0, params: DetectorParams = SMALL) -> list[TickOutput]:
    config = make_config(params)
    lane = Lane(partition, config)
    lane.offer(FrameBuilder(config).build(given_events))
    return list(lane.flush())


def rows_of(outputs: Sequence[TickOutput]) -> dict[str, AccountRow]:
    """The latest row of each account, as the campaign stage would hold them."""
    evidence = [e for output in outputs for e in output.evidence]
    return {one.account: one for e in evidence if isinstance(e, PopulationEvidence) for one in e.rows}


def members_of(outputs: Sequence[TickOutput], kind: str) -> dict[str, MemberRow]:
    evidence = [e for output in outputs for e in output.evidence if isinstance(e, CohortEvidence)]
    return {member.row.account: member for e in evidence if e.kind == kind for member in e.members}


def text_of(event: Request) -> Any:
    return event.messages[0].content if event.messages else None


@settings(max_examples=60, deadline=None)
@given(events())
def test_rows_of_accounts(given_events: list[Event]) -> None:
    rows = rows_of(outputs_of(given_events))
    requests: dict[str, list[Request]] = defaultdict(list)
    for event in given_events:
        if isinstance(event, Request):
            requests[event.account].append(event)
    assert rows.keys() == requests.keys(), "an account without requests is no part of the population"
    for name, own in requests.items():
        row = rows[name]
        assert row.requests == len(own)
        assert row.first_seen == min(event.ts for event in own)
        assert row.last_seen == max(e.ts for e in given_events if getattr(e, "account", None) == name)
        assert row.elicit_strong == sum(text_of(event) == STRONG for event in own)
        assert row.elicit_weak == sum(text_of(event) == WEAK for event in own)
        assert row.hours == 1 << (START // HOUR % 24)
        said = [e for e in sorted(given_events, key=lambda e: e.ts) if isinstance(e, Account) and e.account == name]
        created = [e.created for e in said if e.created is not None]
        payments = [e.payment for e in said if e.payment is not None]
        if len({e.ts for e in said}) == len(said):
            assert row.created == (created[-1] if created else None)
            builder = FrameBuilder(make_config())
            frame = builder.build([account(name, 0, payment=payments[-1])]) if payments else None
            assert row.payment == (int(frame.payment[0]) if frame is not None else None)
        bans = [e for e in given_events if isinstance(e, Enforcement) and e.account == name]
        if bans and len({e.ts for e in bans}) == len(bans):
            assert row.banned == (max(bans, key=lambda e: e.ts).action == "ban")


@settings(max_examples=40, deadline=None)
@given(events())
def test_members_of_a_cohort(given_events: list[Event]) -> None:
    members = members_of(outputs_of(given_events), "elicitation")
    asked = [e for e in given_events if isinstance(e, Request) and text_of(e) == STRONG]
    assert {name: member.requests for name, member in members.items()} == Counter(e.account for e in asked)
    for name, member in members.items():
        times = [e.ts for e in asked if e.account == name]
        assert (member.elicit_strong, member.elicit_weak) == (len(times), 0)
        assert (member.first_seen, member.last_seen) == (min(times), max(times))


@settings(max_examples=40, deadline=None)
@given(events())
def test_signals_and_activity(given_events: list[Event]) -> None:
    outputs = outputs_of(given_events)
    signals = [s.request_id for output in outputs for s in output.signals]
    asked = [e.id for e in given_events if isinstance(e, Request) and text_of(e) == STRONG]
    assert sorted(map(str, signals)) == sorted(asked)
    activity = outputs[-1].activity if outputs else []
    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for event in given_events:
        if isinstance(event, Request):
            expected[event.account][0] += 1
        elif isinstance(event, Response):
            expected[event.account][1] += 1
            expected[event.account][2] += event.refused is True
    assert {one.account: [one.requests, one.responses, one.refused] for one in activity} == expected


@settings(max_examples=30, deadline=None)
@given(events())
def test_partitions_add_up(given_events: list[Event]) -> None:
    """An account lives on one partition, so what partitions say of accounts and suspects adds up."""
    whole = outputs_of(given_events)
    parts: list[TickOutput] = []
    for partition, names in enumerate(("ace", "bd")):
        parts += outputs_of([e for e in given_events if getattr(e, "account", "") in names], partition)
    assert rows_of(parts) == rows_of(whole)
    assert members_of(parts, "elicitation") == members_of(whole, "elicitation")


def test_throttled_evidence_says_the_same_in_the_end() -> None:
    """A limit on rows a tick delays what is said of a cohort; nothing of it is lost or said of another."""
    given_events = traffic(ticks=12, accounts=30)
    free, throttled = (outputs_of(given_events, params=tune(cohorts={"rows_per_tick": n})) for n in (2000, 16))
    for output in throttled[:-1]:
        assert sum(len(e.members) for e in output.evidence if isinstance(e, CohortEvidence)) <= 16
    for kind in ("elicitation", "template", "replay", "turns"):
        assert members_of(free, kind)
        assert members_of(throttled, kind) == members_of(free, kind)


def test_a_lane_s_state_is_bounded() -> None:
    """Ever new accounts with ever new texts: the state settles."""
    params = tune(
        accounts={"capacity": 128},
        cohorts={"capacity": 64, "members": 32},
        population={"sample": 64, "min_accounts": 8},
        signature_replay={"capacity": 1024},
        foreign_turns={"capacity": 1024},
        sampling_sweep={"capacity": 1024},
        technique_sweep={"capacity": 1024, "waiting": 64},
        template_family={"sketch_bits": 12},
    )
    config = make_config(params)
    lane, builder = Lane(0, config), FrameBuilder(config)
    sizes, rng = [], random.Random(2)
    for k in range(18):
        at = START + k * HOUR
        given_events: list[Event] = []
        for n in range(150):
            who, ts = f"a{k}-{n}", at + n * 20
            text, turns = f"{STRONG} {words_of(rng, 110)}", [words_of(rng, 9)]
            given_events.append(request(who, ts, text, signatures=[f"s{who}"], turns=turns))
            given_events.append(response(who, ts + 1, signatures=[f"i{who}"], text=words_of(rng, 9)))
        lane.offer(builder.build(given_events))
        for output in lane.close_until(at + HOUR):
            population = [e for e in output.evidence if isinstance(e, PopulationEvidence)]
            assert all(len(e.rows) <= 64 for e in population)
        assert lane.pending == 0
        # The accounts of one tick may go beyond the capacity, for that tick.
        assert lane.accounts <= 128 + 150
        sizes.append(len(lane.snapshot()))
    assert max(sizes[9:]) <= 1.1 * max(sizes[:9])
