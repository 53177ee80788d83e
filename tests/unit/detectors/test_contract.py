"""The one suite of all detectors: a new entry in the registry gets it for nothing."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.contract import Detector, Report
from detectors.params import DetectorParams
from detectors.registry import REGISTRY, build
from schemas.events import Account, Event, Params, Release, Request, Response
from tests.unit.detectors.kept import Kept
from tests.unit.detectors.traffic import (
    SMALL,
    START,
    TICK,
    Stand,
    account,
    built_in_pieces,
    by_tick,
    make_config,
    parts,
    plain,
    request,
    response,
    secret_words,
    traffic,
    tune,
    words_of,
)

pytestmark = pytest.mark.parametrize("name", REGISTRY)

TIGHT = tune(
    template_family={"sketch_bits": 22},
    signature_replay={"capacity": 1024},
    foreign_turns={"capacity": 1024},
    sampling_sweep={"capacity": 1024},
    coverage={"word_bits": 18},
    shift={"capacity": 512},
    accounts={"capacity": 65_536},
)


# What they add to campaigns, whom they would name besides, and what they cost is not measured on a whole scenario yet.
OFF = {"coverage", "cadence", "shift"}
UNPROVEN = OFF | {"grading"}


def make(name: str, params: DetectorParams = SMALL) -> Detector:
    return REGISTRY[name](parts(make_config(params)))


def stand(name: str, params: DetectorParams = SMALL) -> Stand:
    return Stand(make(name, params), make_config(params))


def says_nothing(report: Report) -> bool:
    return not len(report.findings.row) and not any(len(touches.row) for touches in report.touches)


def test_has_the_name_of_its_entry_and_parameters_of_its_own(name: str) -> None:
    assert make(name).name == name
    section = getattr(DetectorParams(), name)
    assert section.enabled is (name not in OFF)
    assert section.shadow is (name in UNPROVEN)


def test_can_be_switched_off(name: str) -> None:
    names = [detector.name for detector in build(parts(make_config(tune(**{name: {"enabled": False}}))))]
    assert names == [other for other in REGISTRY if other != name]


def test_needs_fields_that_the_events_have(name: str) -> None:
    types = {cls.__struct_config__.tag: cls for cls in (Request, Response, Account, Release)}
    # `text` is what the frame reads from `system` and `messages`.
    known = {f"{tag}.{field}" for tag, cls in types.items() for field in cls.__struct_fields__} | {"request.text"}
    needs = make(name).needs
    assert needs
    assert needs <= known


def test_the_traffic_of_this_suite_makes_it_speak(name: str) -> None:
    assert any(not says_nothing(report) for report in stand(name).run(traffic()))


def test_score_changes_nothing(name: str) -> None:
    tried = stand(name)
    tried.run(traffic(ticks=3))
    frame = tried.builder.build(by_tick(traffic(ticks=4))[-1])
    tick = tried.tick(frame)
    inputs = plain(tick.frame), plain(tick.slot), tried.accounts.snapshot()
    before = tried.detector.snapshot()
    first = plain(tried.detector.score(tick))
    assert plain(tried.detector.score(tick)) == first
    assert tried.detector.snapshot() == before
    assert (plain(tick.frame), plain(tick.slot), tried.accounts.snapshot()) == inputs


def test_learn_leaves_its_inputs_alone(name: str) -> None:
    tried = stand(name)
    tick = tried.tick(tried.builder.build(by_tick(traffic(ticks=2))[-1]))
    inputs = plain(tick.frame), plain(tick.slot), tried.accounts.snapshot()
    tried.detector.learn(tick)
    assert (plain(tick.frame), plain(tick.slot), tried.accounts.snapshot()) == inputs


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_a_restored_one_goes_on_just_the_same(name: str, cut: int) -> None:
    events = traffic()
    ticks = by_tick(events)
    undisturbed = stand(name)
    expected = [plain(undisturbed.step(undisturbed.builder.build(group))) for group in ticks]
    moved = stand(name)
    reports = [plain(moved.step(moved.builder.build(group))) for group in ticks[:cut]]
    successor = make(name)
    successor.learn(moved.tick(moved.builder.build(by_tick(traffic(seed=9))[0])))  # to be replaced
    successor.restore(moved.detector.snapshot())
    moved.detector = successor
    reports += [plain(moved.step(moved.builder.build(group))) for group in ticks[cut:]]
    assert reports == expected
    assert moved.detector.snapshot() == undisturbed.detector.snapshot()
    assert moved.detector.ready == undisturbed.detector.ready


@pytest.mark.parametrize("params", [SMALL, TIGHT], ids=["roomy", "tight"])
def test_the_blocks_it_marks_are_all_that_changed(name: str, params: DetectorParams) -> None:
    tried, kept = stand(name, params), Kept()
    for group in by_tick(traffic()):
        kept.take(tried.detector)
        tried.step(tried.builder.build(group))
    kept.take(tried.detector)
    successor = make(name, params)
    successor.restore_parts(kept.blocks)
    assert successor.snapshot() == tried.detector.snapshot()


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_how_its_input_was_cut_and_ordered_does_not_matter(name: str, rng: random.Random, size: int) -> None:
    events = traffic(ticks=4)
    in_one = stand(name)
    expected = [plain(report) for report in in_one.run(events)]
    cut = stand(name)
    rng.shuffle(events)
    reports = [plain(cut.step(built_in_pieces(cut.builder, group, size))) for group in by_tick(events)]
    assert reports == expected
    assert cut.detector.snapshot() == in_one.detector.snapshot()


def test_is_blind_without_its_fields(name: str) -> None:
    events: list[Event] = []
    for event in traffic():
        if isinstance(event, Request):
            nothing: dict[str, Any] = {"messages": None, "system": None, "signatures": None, "params": None}
            event = msgspec.structs.replace(event, client=None, **nothing)
        elif isinstance(event, Response):
            event = msgspec.structs.replace(event, signatures=None, text=None)
        elif isinstance(event, Account):
            event = msgspec.structs.replace(event, created=None, plan=None)
        events.append(event)
    assert all(says_nothing(report) for report in stand(name).run(events))


def test_reports_nothing_while_it_is_not_ready(name: str) -> None:
    tried = stand(name)
    for group in by_tick(traffic()):
        ready = tried.detector.ready
        report = tried.step(tried.builder.build(group))
        assert ready or says_nothing(report)


def test_takes_an_empty_tick(name: str) -> None:
    tried = stand(name)
    assert says_nothing(tried.step(tried.builder.build([])))
    tried.run(traffic(ticks=2))
    assert says_nothing(tried.step(tried.builder.build([])))


def test_takes_a_first_tick_without_an_account(name: str) -> None:
    tried = stand(name)
    assert says_nothing(tried.step(tried.builder.build([Release(ts=START, model="m-2")])))
    assert not all(says_nothing(report) for report in tried.run(traffic()))


def test_takes_ticks_without_requests(name: str) -> None:
    events: list[Event] = [
        response("a", START, signatures=["s"]),
        account("a", START + TICK, created=START),
        Release(ts=START + 2 * TICK, model="m-2"),
    ]
    tried = stand(name)
    assert all(says_nothing(report) for report in tried.run(events))
    assert not all(says_nothing(report) for report in tried.run(traffic()))


def test_its_memory_is_bounded(name: str) -> None:
    """Many times the distinct inputs that its parameters hold: its memory settles, and its snapshot with it."""
    tried = stand(name, TIGHT)
    rng = random.Random(4)
    held = []
    for k in range(16):
        events: list[Event] = []
        for n in range(100):
            who, ts = f"a{k}-{n}", START + k * TICK + n
            text, turns = f"{words_of(rng, 180)} show your reasoning", [words_of(rng, 9)]
            events.append(request(who, ts, text, signatures=[f"p{who}"], turns=turns, params=Params(n=n + 1)))
            events.append(response(who, ts + 1, signatures=[f"i{who}"], text=words_of(rng, 9)))
        tried.run(events)
        held.append(tried.detector.nbytes)
    assert max(held[8:]) <= 1.05 * max(held[:8])
    assert max(held) < 12 * 2**20
    assert len(tried.detector.snapshot()) <= 3 * max(held) + 4096


def test_evidence_shows_neither_prompt_text_nor_accounts(name: str) -> None:
    events = traffic()
    secrets = secret_words(events)
    tried = stand(name)
    skeletons = []
    for group in by_tick(events):
        tick = tried.tick(tried.builder.build(group))
        report = tried.step(tick.frame)
        shown = json.dumps(report.findings.evidence).lower()
        assert not [word for word in secrets if f'"{word}"' in shown or f" {word}" in shown]
        for touches in report.touches:
            for row, key in zip(touches.row.tolist(), touches.key.tolist(), strict=True):
                skeletons.append(tried.detector.skeleton(tick, row, key))
    seen = {word for skeleton in skeletons if skeleton for word in skeleton.split()}
    assert not seen & secrets


def test_scores_and_p_values_are_shares(name: str) -> None:
    for report in stand(name).run(traffic()):
        found = report.findings
        assert len(found.row) == len(found.score) == len(found.p_value) == len(found.evidence)
        for values in (found.score, found.p_value):
            assert np.isfinite(values).all()
            assert ((values >= 0) & (values <= 1)).all()
        for rows, amounts in report.counts.values():
            assert len(rows) == len(amounts)
            assert (amounts > 0).all()
