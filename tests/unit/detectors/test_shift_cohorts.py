"""Cohorts whose texts crowd where those of others do not, and groups that only share something."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from detectors.engine import FrameBuilder, Lane
from detectors.shift_cohorts import ShiftCohorts
from schemas.events import Client, Event
from tests.unit.detectors.traffic import HOUR, START, TICK, Stand, account, client, make_config, request, tune

# Words with vectors: of no one subject, and those of one.
SUBJECTS = """
sort list names table date birth letter landlord broken heating train harbour town sunday child sky red evening
week dinners meat family verb sentence language river music garden bread doctor school window market story travel
price winter engine paper friend coffee mountain colour animal history machine country kitchen summer phone street
"""
COUNTING = "apples pencils selling half each week april left after many total cost dollars"
PLAIN, SUMS = SUBJECTS.split(), COUNTING.split()
TEXTS = "какая погода будет завтра в городе", "明日の天気はどうですか"

Text = Callable[[random.Random], str]
PANE = 10  # ticks
LATER = START + 3 * PANE * TICK
HASHER = make_config().hasher


def ordinary(rng: random.Random) -> str:
    return " ".join(rng.sample(PLAIN, 9))


def sum_task(rng: random.Random) -> str:
    return " ".join(rng.sample(SUMS, 9))


def config(**more: Any) -> Any:
    hours = TICK / HOUR
    small = {"shadow": False, "min_accounts": 8, "deviations": 4.0, "window_tail": 0.01, "tail": 0.02, "sample": 128}
    times = {"pane_hours": PANE * hours, "period_hours": hours, "refresh_hours": 0.0, "capacity": 4096}
    return make_config(tune(shift=small | times | more))


def stand(*, vectors: bool = True, **more: Any) -> Stand:
    made = config(**more)
    return Stand(ShiftCohorts(made.params.shift, made.words if vectors else None, made.hasher), made)


def own_place(n: int) -> dict[str, Any]:
    return {"client": Client(ip=f"10.{n // 250}.{n % 250}.7", asn=n, user_agent=f"agent/{n}")}


def population(count: int = 600) -> list[list[Event]]:
    """Two panes and more of accounts that share nothing, each with one text."""
    rng = random.Random(3)
    ticks = 3 * PANE
    return [
        [request(f"u{n}", START + k * TICK + n, ordinary(rng), **own_place(n)) for n in range(k, count, ticks)]
        for k in range(ticks)
    ]


def live(one: Stand) -> Stand:
    for events in population():
        one.step(one.builder.build(events))
    assert one.detector.ready
    return one


def joined(names: Iterable[str], **shared: Any) -> list[Event]:
    return [account(name, LATER, **shared) for name in names]


def sent(names: Iterable[str], text: Text, *, at: int = LATER, seed: int = 5, **more: Any) -> list[Event]:
    rng = random.Random(seed)
    return [request(name, at + 1 + n, text(rng), **more) for n, name in enumerate(names)]


def told(one: Stand, *rounds: list[Event]) -> dict[str, dict[str, Any]]:
    """Who is told of after these ticks, with the evidence."""
    found: dict[str, dict[str, Any]] = {}
    for events in rounds:
        frame = one.tick(one.builder.build(events)).frame
        report = one.step(frame)
        who = frame.account[report.findings.row].tolist()
        found |= dict(zip(who, report.findings.evidence, strict=True))
    return found


POOL = [f"p{n}" for n in range(12)]
CARD = {"payment": "card"}


class TestPositive:
    def test_a_pool_on_one_card_is_told_with_its_next_requests(self) -> None:
        one = live(stand())
        first = joined(POOL, **CARD) + sent(POOL, sum_task)
        assert told(one, first) == {}, "it is judged when the tick is over"
        found = told(one, sent(POOL, sum_task, at=LATER + TICK, seed=6))
        assert len(found) >= 10
        assert set(found) <= set(POOL)
        evidence = found[POOL[0]] if POOL[0] in found else next(iter(found.values()))
        assert evidence["shared"] == "payment"
        assert evidence["cohort"] == HASHER.show("payment", HASHER("payment", "card"))
        assert (evidence["accounts"], evidence["accounts_compared"]) == (12, 128)
        assert evidence["deviations"] >= 4
        assert 0 < evidence["own_share"] <= 0.02

    def test_each_is_told_once(self) -> None:
        one = live(stand())
        told(one, joined(POOL, **CARD) + sent(POOL, sum_task))
        once = told(one, sent(POOL, sum_task, at=LATER + TICK, seed=6))
        again = told(one, sent(POOL, sum_task, at=LATER + 2 * TICK, seed=7))
        assert once
        assert not set(once) & set(again)

    def test_of_a_mixture_only_the_crowd_is_told(self) -> None:
        one = live(stand())
        others = [f"o{n}" for n in range(20)]
        place: dict[str, Any] = {"client": client(7)}
        first = sent(POOL, sum_task, **place) + sent(others, ordinary, at=LATER + 100, **place)
        found = told(one, first, sent([*POOL, *others], ordinary, at=LATER + TICK, **place))
        assert len(set(found) & set(POOL)) >= 8
        assert len(set(found) & set(others)) <= 1


class TestLookAlikes:
    """Twice: the second round is when something would be told."""

    def rounds(self, one: Stand, names: list[str], text: Text, first: list[Event], **more: Any) -> dict[str, Any]:
        return told(one, first + sent(names, text, **more), sent(names, text, at=LATER + TICK, seed=6, **more))

    def test_a_class_of_pupils_with_one_task(self) -> None:
        pupils = [f"pupil{n}" for n in range(28)]
        school = joined(pupils, email_domain="school.example", signup_ip="10.9.9.0/24")
        found = self.rounds(live(stand()), pupils, lambda _: " ".join(SUMS), school, client=client(9))
        assert found == {}

    def test_a_company_with_one_framework_and_all_sorts_of_questions(self) -> None:
        staff = [f"staff{n}" for n in range(40)]
        office = joined(staff, payment="firm", email_domain="firm.example")
        found = self.rounds(live(stand()), staff, ordinary, office, client=client(9), system="you are our assistant")
        assert len(found) <= 1

    def test_a_harness_that_walks_a_benchmark_through_one_account(self) -> None:
        one = live(stand())
        harness = ["harness"] * 200
        events = sent(harness, sum_task, client=client(9))
        assert told(one, joined(["harness"], **CARD) + events, sent(["harness"], sum_task, at=LATER + TICK)) == {}

    def test_strangers_behind_a_public_mail_domain(self) -> None:
        one = live(stand())
        many = [f"m{n}" for n in range(60)]
        first = joined(many, email_domain="mail.example") + sent(many, sum_task)
        assert told(one, first, sent(many, sum_task, at=LATER + TICK, seed=6)) == {}

    def test_a_language_without_vectors_is_no_evidence(self) -> None:
        one = live(stand())
        found = self.rounds(one, POOL, lambda rng: rng.choice(TEXTS), joined(POOL, **CARD))
        assert found == {}

    def test_chance_marks_few(self) -> None:
        """Forty groups of twelve like everybody else: at one in a hundred groups, hardly one."""
        one = live(stand())
        groups = [[f"g{k}-{n}" for n in range(12)] for k in range(40)]
        everybody = [name for group in groups for name in group]
        first = [event for k, group in enumerate(groups) for event in joined(group, payment=f"card{k}")]
        found = told(one, first + sent(everybody, ordinary), sent(everybody, ordinary, at=LATER + TICK, seed=6))
        assert len(found) <= 5


class TestSample:
    def test_says_nothing_before_a_pane_is_over(self) -> None:
        one = stand()
        for events in population()[:PANE]:
            one.step(one.builder.build(events))
        assert not one.detector.ready

    def test_neither_suspects_nor_those_found_become_usual(self) -> None:
        one = live(stand())
        told(one, joined(POOL, **CARD) + sent(POOL, sum_task))
        frame = one.builder.build(sent(["bad"], sum_task, at=LATER + TICK))
        tick = one.tick(frame)
        one.accounts["elicit_strong"][tick.slot] = 1
        one.detector.learn(tick)
        for k in range(2, 3 * PANE):
            one.step(one.builder.build(sent([f"later{k}"], ordinary, at=LATER + k * TICK)))
        assert isinstance(one.detector, ShiftCohorts)
        rows = one.detector._baseline._rows
        usual = set(rows["account"].tolist())
        hashes = one.builder.build(sent([*POOL, "bad"], sum_task)).account_hash.tolist()
        marks = one.detector._recent.take(np.array(one.detector._recent.places(hashes[:-1])))["mark"]
        assert (marks > 0).sum() >= 10
        assert hashes[-1] not in usual
        assert not {account for account, mark in zip(hashes, marks.tolist(), strict=False) if mark} & usual


def test_an_account_is_read_once_in_a_while() -> None:
    one = stand(refresh_hours=3 * TICK / HOUR)
    assert isinstance(one.detector, ShiftCohorts)
    (account_hash,) = one.builder.build(sent(["a"], ordinary)).account_hash.tolist()
    times = []
    for k in range(7):
        one.step(one.builder.build(sent(["a"], ordinary, at=LATER + k * TICK)))
        place = np.array(one.detector._recent.places([account_hash]))
        times.append((int(one.detector._recent.times(place)[0]) - LATER) // TICK)
    assert times == [0, 0, 0, 3, 3, 3, 6]


def test_blind_without_vectors() -> None:
    one = stand(vectors=False)
    for events in population(90):
        assert not len(one.step(one.builder.build(events)).findings.row)
    assert not one.detector.ready
    assert one.detector.nbytes < 10_000


@pytest.mark.parametrize("shadow", [True, False])
def test_in_a_lane_it_reports_signals_and_names_nobody(shadow: bool) -> None:
    made = config(shadow=shadow)
    lane, builder = Lane(0, made), FrameBuilder(made)
    for events in population():
        lane.offer(builder.build(events))
    first = joined(POOL, **CARD) + sent(POOL, sum_task)
    lane.offer(builder.build(first + sent(POOL, sum_task, at=LATER + TICK, seed=6)))
    outputs = list(lane.flush())
    found = {s.account for output in outputs for s in output.signals if s.detector == "shift"}
    assert len(found & set(POOL)) >= 10
    assert len(found - set(POOL)) <= 2
    assert not [alert for output in outputs for alert in output.alerts]
