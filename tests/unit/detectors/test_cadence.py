"""Cadence: accounts that are unusual in several ways at once, and honest ones that are in one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.accounts import AccountTable
from detectors.cadence import ATLAS, Cadence
from detectors.cadence_state import RECORD, Sent, advance, distinct
from detectors.cadence_tails import BINS, Tails
from detectors.contract import I64
from detectors.engine import FrameBuilder, Lane
from detectors.hashing import U64
from pipelines.explanations import ATLAS as ATLAS_NAMES
from schemas.events import Account, Client, Event, Params, Request
from tests.unit.detectors.kept import Kept
from tests.unit.detectors.traffic import DAY, HOUR, START, Stand, account, make_config, request, tune

MINUTE = 60_000
STEP = 30 * MINUTE  # of the stand: hundreds of ticks for days
DAYS = 2
OPENING = START + 9 * HOUR

Times = Iterator[tuple[int, int]]
"""When a request is sent, and from which of an account's places."""
Habit = Callable[[random.Random], Times]


def person(rng: random.Random, *, per_day: int = 24, hours: int = 9) -> Times:
    """Some hours of the day, in a few bursts, from one place."""
    for day in range(DAYS + 1):
        for _ in range(per_day // 6):
            at = START + day * DAY + 9 * HOUR + rng.randrange(hours * HOUR)
            for _ in range(6):
                at += rng.randrange(5_000, 3 * MINUTE)
                yield at, 0


def clockwork(rng: random.Random, *, every: int, places: int = 1) -> Times:
    """Around the clock, with the jitter of a queue."""
    for at in range(OPENING, START + (DAYS + 1) * DAY, every):
        yield at + rng.randrange(every // 5), rng.randrange(places)


def harvest(rng: random.Random) -> Times:
    return clockwork(rng, every=100_000)


def rotating(rng: random.Random) -> Times:
    """A hundred requests a day through proxies, from the first day on."""
    return clockwork(rng, every=300_000, places=500)


def editor_plugin(rng: random.Random) -> Times:
    """A person whose editor asks with every pause in typing."""
    return person(rng, per_day=240)


def cron(rng: random.Random) -> Times:
    """One program on a timer, at a modest pace."""
    return ((at, 0) for at in range(OPENING, START + (DAYS + 1) * DAY, HOUR))


def batch(rng: random.Random) -> Times:
    """A thousand rows each night, one after the other."""
    return ((START + day * DAY + 23 * HOUR + k * 3_000, 0) for day in range(DAYS + 1) for k in range(1000))


def ci_agent(rng: random.Random) -> Times:
    """Runs that follow pushes, at any hour, from the runners of one host."""
    for _ in range(12 * DAYS):
        at = OPENING + rng.randrange(DAYS * DAY)
        for _ in range(5):
            at += rng.randrange(1_000, 20_000)
            yield at, rng.randrange(2)
    yield START + DAYS * DAY + 10 * HOUR, 0


def office(rng: random.Random) -> Times:
    """Thirty people with one key between them."""
    for place in range(30):
        yield from ((at, place) for at, _ in person(rng, per_day=18))


def reseller(rng: random.Random) -> Times:
    """Customers in every zone behind one key."""
    return ((at, place) for place in range(60) for at, _ in clockwork(rng, every=3 * HOUR))


def events_of(
    who: str, habit: Habit, *, created: int | None, plan: str | None = "paid", seed: int = 0, located: bool = True
) -> list[Event]:
    rng = random.Random(f"{who}{seed}")
    home = rng.randrange(2**20)
    out: list[Event] = [account(who, START, created=created, plan=plan)]
    for n, (at, place) in enumerate(sorted(habit(rng))):
        where = home + 7919 * place
        client = Client(ip=f"10.{where >> 8 & 255}.{where & 255}.9", tls=f"t{where}", user_agent="app/1")
        out.append(request(who, at, None, name=f"{who}-{n}", client=client if located else None, params=Params()))
    return out


def sent_of(begin: I64, end: I64, ts: I64, places: U64) -> Sent:
    return Sent(begin, end, np.repeat(np.arange(len(begin)), end - begin + 1), ts.astype(np.uint32), places)


def stand(**params: Any) -> Stand:
    config = make_config(tune(cadence={**DEFAULTS, **params}))
    return Stand(Cadence(config.params.cadence), config)


DEFAULTS = {"tail": 0.05, "period_hours": 24.0, "min_requests": 8, "min_gaps": 20, "min_accounts": 50}


def run(one: Stand, events: Iterable[Event]) -> list[dict[str, Any]]:
    groups: dict[int, list[Event]] = {}
    for event in events:
        groups.setdefault(event.ts // STEP, []).append(event)
    return [e for number in sorted(groups) for e in one.step(one.builder.build(groups[number])).findings.evidence]


@cache
def learned() -> tuple[bytes, bytes]:
    """What 120 people of every volume teach in two days."""
    one = stand()
    events: list[Event] = []
    for n in range(120):
        habit = partial(person, per_day=6 * (2 + n % 12), hours=9 + n % 7)
        events += events_of(f"p{n}", habit, created=START - 200 * DAY)
    assert run(one, events) == []
    return one.detector.snapshot(), one.accounts.snapshot()


def known(**params: Any) -> Stand:
    """A stand whose population is known; times begin again, as the accounts of the tests are others."""
    one = stand(**params)
    detector, accounts = learned()
    one.detector.restore(detector)
    one.accounts.restore(accounts)
    return one


def found(habit: Habit, *, age_days: float = 200, **more: Any) -> list[dict[str, Any]]:
    first = min(at for at, _ in habit(random.Random(0)))
    return run(known(), events_of("x", habit, created=int(first - age_days * DAY), **more))


class TestHarvests:
    def test_a_new_account_at_its_full_rate_around_the_clock(self) -> None:
        day, two_days = found(harvest, age_days=0.1)
        assert day["kinds"] == ["clock", "volume"]
        assert day["blind"] == two_days["blind"] == []
        assert two_days["kinds"] == ["clock", "onset", "volume"]
        assert two_days["window_hours"] == 24
        assert two_days["hours"]["of_day"] == 24
        assert two_days["hours"]["of_window"] in (24, 25)
        assert two_days["onset"]["hours_from_creation"] == pytest.approx(2.4, abs=0.1)
        assert two_days["onset"]["first_period"] == two_days["onset"]["fullest_period"] == 864
        assert two_days["volume"]["requests_a_day_and_place"] == 864
        assert two_days["rhythm"]["share"] == 1.0
        assert two_days["rhythm"]["seconds"][0] <= 100 <= two_days["rhythm"]["seconds"][1]
        assert two_days["places"]["share_as_high"] == 1.0

    def test_a_new_account_through_many_proxies(self) -> None:
        evidence = found(rotating, age_days=1)[-1]
        assert {"onset", "places"} <= set(evidence["kinds"])
        assert evidence["places"]["prefixes"] > 6
        assert "hours" not in evidence, "many places explain why it never rests"

    def test_what_is_shown_is_beyond_what_the_tail_begins_with(self) -> None:
        for evidence in found(harvest, age_days=0.1):
            assert evidence["volume"]["requests_a_day_and_place"] > evidence["volume"]["tail_from"] > 24
            assert evidence["hours"]["of_day"] >= evidence["hours"]["tail_from"] > 8
            assert 100 <= evidence["accounts_compared"] <= 120
            assert evidence["volume"]["share_as_high"] == pytest.approx(
                1 / (1 + evidence["accounts_compared"]), abs=1e-6
            )

    def test_names_what_it_may_be(self) -> None:
        evidence = found(harvest, age_days=0.1)[0]
        assert tuple(evidence["atlas"]) == ATLAS
        assert set(ATLAS) <= ATLAS_NAMES.keys()

    def test_the_p_value_is_the_share_of_accounts_that_combine_as_much(self) -> None:
        one = known()
        groups: dict[int, list[Event]] = {}
        for event in events_of("x", harvest, created=OPENING - HOUR):
            groups.setdefault(event.ts // STEP, []).append(event)
        reports = [one.step(one.builder.build(groups[number])).findings for number in sorted(groups)]
        spoken = [found for found in reports if len(found.row)]
        assert len(spoken) == 2
        for report in spoken:
            assert report.p_value.tolist() == [pytest.approx(1 / (1 + report.evidence[0]["accounts_compared"]))]
            assert report.score.tolist() == [pytest.approx(1 - report.p_value[0] / 0.1)]


class TestLookAlikes:
    @pytest.mark.parametrize("habit", [person, editor_plugin, cron, batch, ci_agent, office, reseller])
    def test_is_not_found(self, habit: Habit) -> None:
        assert found(habit) == []

    def test_neither_is_a_new_customer(self) -> None:
        """Sign-ups after a launch, a class on its first day: young, and nothing else."""
        assert found(person, age_days=0.05) == []

    def test_a_new_customer_whose_program_runs_from_the_first_day_looks_just_like_it(self) -> None:
        """Why it is in the shadow: two kinds, and still nothing but a timer in a fresh account."""
        assert [e["kinds"] for e in found(cron, age_days=0.05)] == [["clock", "onset"]]

    def test_one_kind_alone_says_nothing_however_far_out(self) -> None:
        one = known(kinds=2)
        # Ten times the volume of anybody, from nine to six.
        assert run(one, events_of("x", lambda rng: person(rng, per_day=1200), created=START - 200 * DAY)) == []

    def test_where_everybody_does_it_nobody_stands_out(self) -> None:
        one = stand()
        events = [e for n in range(60) for e in events_of(f"h{n}", lambda r: clockwork(r, every=HOUR), created=START)]
        run(one, events)
        assert run(one, events_of("x", lambda rng: clockwork(rng, every=HOUR), created=START)) == []

    def test_few_requests_say_nothing(self) -> None:
        assert found(lambda rng: clockwork(rng, every=5 * HOUR), age_days=0.1) == []

    def test_nobody_is_found_while_too_few_are_known(self) -> None:
        assert run(stand(), events_of("x", harvest, created=OPENING - HOUR)) == []


class TestMissingFields:
    def test_without_a_plan_volume_is_not_judged(self) -> None:
        evidence = found(harvest, age_days=0.1, plan=None)
        assert [e["kinds"] for e in evidence] == [["clock", "onset"]]
        assert evidence[0]["plan"] == "unknown"
        assert evidence[0]["blind"] == ["account.plan"]
        assert "volume" not in evidence[0]

    def test_without_a_creation_the_onset_is_not_judged(self) -> None:
        events = events_of("x", harvest, created=None)
        evidence = run(known(), events)
        assert [e["kinds"] for e in evidence] == [["clock", "volume"]] * 2
        assert all(e["blind"] == ["account.created"] and "onset" not in e for e in evidence)

    def test_without_clients_places_are_not_judged(self) -> None:
        evidence = found(harvest, age_days=0.1, located=False)
        assert "request.client" in evidence[-1]["blind"]
        assert all("places" not in e for e in evidence)

    def test_with_times_alone_nothing_is_said(self) -> None:
        assert run(known(), events_of("x", harvest, created=None, plan=None, located=False)) == []


@pytest.mark.parametrize("column", ["alerted", "elicit_strong", "banned"])
def test_accounts_under_alert_do_not_teach(column: str) -> None:
    one = known()
    before = one.detector.snapshot()
    events = events_of("x", harvest, created=START)
    run(one, events[:1])
    slot = one.accounts.slot("x")
    one.accounts[column][slot] = 1
    assert run(one, events[1:])
    assert one.detector.snapshot() == before


def test_a_plan_is_compared_with_its_own_accounts() -> None:
    """Enterprise customers send by the thousand; a paid account that does is no customer of theirs."""
    one = known()
    heavy = lambda rng: clockwork(rng, every=100_000)  # noqa: E731
    crowd = [e for n in range(60) for e in events_of(f"e{n}", heavy, created=START - 300 * DAY, plan="enterprise")]
    run(one, crowd)
    old = START - 300 * DAY
    assert run(one, events_of("x", heavy, created=old, plan="enterprise")) == []
    assert [e["kinds"] for e in run(one, events_of("y", heavy, created=old))] != []


def test_it_ships_in_the_shadow_and_alerts_nobody() -> None:
    config = make_config(tune(cadence={**DEFAULTS, "shadow": True, "min_accounts": 1}))
    lane, builder = Lane(0, config), FrameBuilder(config)
    detector, _ = learned()
    held = next(one for one in lane._detectors if one.name == "cadence")
    held.restore(detector)
    lane.offer(builder.build(events_of("x", harvest, created=OPENING - HOUR)))
    outputs = list(lane.flush())
    assert [s.account for o in outputs for s in o.signals if s.detector == "cadence"] == ["x", "x"]
    assert not any(o.alerts for o in outputs)


class TestState:
    def test_an_account_takes_at_most_64_bytes(self) -> None:
        assert RECORD.itemsize <= 64
        assert AccountTable(16, DAY)["cadence"].dtype == RECORD

    def test_an_evicted_account_begins_anew(self) -> None:
        one = stand()
        one.accounts = AccountTable(16, 30 * DAY)
        run(one, events_of("x", cron, created=START))
        for n in range(40):
            run(one, [request(f"o{n}", START + 3 * DAY + n, None)])
        assert one.accounts.slot("x") is None
        run(one, [request("x", START + 4 * DAY, None)])
        held = one.accounts["cadence"][one.accounts.slot("x")]
        assert held["requests"].tolist() == [1, 1]
        assert held["start"] == (START + 4 * DAY) // 1000

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=60),
        st.lists(st.integers(1, 59), max_size=6),
    )
    def test_counts_are_those_of_a_plain_reading(self, sent: list[tuple[int, int, int]], cuts: list[int]) -> None:
        """Ticks of any cut count what a loop over the requests counts."""
        base = START // 1000
        ordered = sorted(sent)
        held = np.zeros(4, RECORD)
        for some in np.split(np.arange(len(ordered)), sorted({cut for cut in cuts if cut < len(ordered)})):
            group = sorted((ordered[i] for i in some.tolist()), key=lambda one: one[1])
            who = np.array([one[1] for one in group])
            begin = np.flatnonzero(np.diff(who, prepend=-1))
            end = np.append(begin[1:], len(who)) - 1
            places = np.array([[one[2] << 59, 0] for one in group], np.uint64)
            records = held[who[begin]]
            # One period, so that no window ends.
            ts = np.array([base + one[0] for one in group])
            advance(records, sent_of(begin, end, ts, places), 2**30)
            held[who[begin]] = records
        for name in range(4):
            ts = [one[0] for one in ordered if one[1] == name]
            gaps = [b - a for a, b in pairwise(ts) if b > a]
            assert held[name]["requests"].tolist() == [len(ts)] * 2
            assert held[name]["gaps"].sum() == len(gaps)
            for octave in range(16):
                assert held[name]["gaps"][octave] == sum(min(gap.bit_length() - 1, 15) == octave for gap in gaps)
            assert not held[name]["places"][1]

    def test_many_gaps_fade_by_halving(self) -> None:
        held = np.zeros(1, RECORD)
        ts = START // 1000 + 2 * np.arange(1, 2000)
        one = np.zeros(1, np.int64)
        advance(held, sent_of(one, one + len(ts) - 1, ts, np.zeros((len(ts), 2), np.uint64)), 2**30)
        assert 128 <= held["gaps"][0, 1] <= 255
        assert held["gaps"][0].sum() == held["gaps"][0, 1]

    def test_windows_end_after_doublings_of_a_period(self) -> None:
        held, one, day = np.zeros(1, RECORD), np.zeros(1, np.int64), 86_400
        ended = []
        for k in range(9 * 4):
            ts = np.array([START // 1000 + k * day // 4])
            closed = advance(held, sent_of(one, one, ts, np.ones((1, 2), np.uint64)), day)
            ended += (
                [(k, *(int(v[0]) for v in (closed.level, closed.periods, closed.last)))] if len(closed.which) else []
            )
            if len(closed.which):
                assert closed.held["requests"][0, 0] == 4 * closed.periods[0]
        assert ended == [(4, 0, 1, 4), (8, 1, 1, 4), (16, 2, 2, 4), (32, 3, 4, 4)]

    def test_a_late_request_moves_no_clock_back(self) -> None:
        held, one = np.zeros(1, RECORD), np.zeros(1, np.int64)
        for ts in (5000, 4000):
            advance(held, sent_of(one, one, np.array([ts]), np.zeros((1, 2), np.uint64)), 86_400)
        assert held["last"][0] == held["start"][0] == 5000
        assert held["requests"].tolist() == [[2, 2]]
        assert not held["gaps"].any()

    @pytest.mark.parametrize("places", [1, 3, 10, 30])
    def test_few_bits_tell_how_many_places(self, places: int) -> None:
        rng = random.Random(places)
        held, one = np.zeros(1, RECORD), np.zeros(1, np.int64)
        hashes = np.array([[rng.getrandbits(64), 0] for _ in range(places)], np.uint64)
        advance(held, sent_of(one, one + places - 1, np.full(places, 7), hashes), 86_400)
        assert float(distinct(held["most_places"][0, 0])) == pytest.approx(places, rel=0.35)

    def test_places_of_another_hour_do_not_add_up(self) -> None:
        held, one = np.zeros(1, RECORD), np.zeros(1, np.int64)
        for k in range(20):
            advance(held, sent_of(one, one, np.array([7 + 3600 * k]), np.array([[k << 59, 0]], np.uint64)), 10**6)
        assert held["most_places"].tolist() == [[1, 0]]


class TestTails:
    def test_an_account_is_one_of_those_it_is_compared_with(self) -> None:
        tails, zero = Tails(1, 2, 1), np.zeros(1, np.int64)
        assert tails.at_least(0, zero, zero, zero + 9).tolist() == [1.0]
        tails.learn(0, np.zeros(99, np.int64), np.zeros(99, np.int64), np.arange(99) % 50)
        assert tails.at_least(0, zero, zero, zero + 49).tolist() == [pytest.approx(2 / 100)]
        assert tails.at_least(0, zero, zero, zero + 63).tolist() == [pytest.approx(1 / 100)]
        assert tails.from_where(0, zero, zero, 0.02).tolist() == [49]
        assert tails.from_where(0, zero, zero, 0.001).tolist() == [BINS]

    def test_a_plan_counts_among_everybody_too(self) -> None:
        tails, one = Tails(1, 3, 1), np.ones(5, np.int64)
        tails.learn(0, 2 * one, 0 * one, 3 * one)
        assert [float(tails.accounts(0, one[:1] * k, one[:1] * 0)[0]) for k in range(3)] == [5, 0, 5]

    def test_it_forgets_by_halves_and_stays_the_same_size(self) -> None:
        tails, many = Tails(1, 1, 1), np.zeros(60_000, np.int64)
        size = tails.nbytes
        for _ in range(5):
            tails.learn(0, many, many, many + 5)
        assert float(tails.accounts(0, many[:1], many[:1])[0]) < 100_000
        assert tails.nbytes == size

    def test_a_checkpoint_finds_what_changed(self) -> None:
        tails, kept = Tails(6, 4, 10), Kept()
        for n in range(5):
            kept.take(tails)
            tails.learn(n, np.array([n % 4]), np.array([n]), np.array([7]))
        kept.take(tails)
        other = Tails(6, 4, 10)
        other.restore_parts(kept.blocks)
        assert other.snapshot() == tails.snapshot()


def test_events_carry_what_it_needs() -> None:
    kinds = {"request": Request, "account": Account}
    for field in Cadence.needs:
        kind, name = field.split(".")
        assert name in kinds[kind].__struct_fields__
