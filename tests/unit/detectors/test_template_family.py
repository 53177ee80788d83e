"""Template families: one skeleton, many accounts, varying slots."""

from __future__ import annotations

import random

from detectors.contract import Report
from detectors.engine import Lane
from detectors.template_family import TemplateFamily
from schemas.events import Event, Request
from schemas.evidence import CohortEvidence
from tests.unit.detectors.test_text import shingled
from tests.unit.detectors.traffic import (
    SKELETON,
    START,
    TICK,
    Stand,
    by_tick,
    make_config,
    request,
    run_lane,
    words_of,
)

FRAMEWORK = "this assistant was made with the example framework and answers politely in the language of its user"


def stand() -> Stand:
    config = make_config()
    return Stand(TemplateFamily(config.params.template_family, config.params.features), config)


def families(one: Stand, group: list[Event]) -> tuple[Report, dict[int, set[str]]]:
    """The report of a tick, and the accounts that touched each family."""
    frame = one.tick(one.builder.build(group)).frame
    report = one.step(one.builder.build(group))
    out: dict[int, set[str]] = {}
    for touches in report.touches:
        for row, key in zip(touches.row.tolist(), touches.key.tolist(), strict=True):
            out.setdefault(key, set()).add(frame.account[row])
    return report, out


def sweep(accounts: int, ticks: int, seed: int = 1, skeleton: str = SKELETON, prefix: str = "a") -> list[Event]:
    rng = random.Random(seed)
    return [
        request(f"{prefix}{n}", START + k * TICK + n, f"{skeleton} {words_of(rng, 12)}")
        for k in range(ticks)
        for n in range(accounts)
    ]


def test_one_skeleton_over_accounts_with_varying_slots_is_a_family() -> None:
    one = stand()
    first, second = by_tick(sweep(6, 2))
    assert families(one, first)[1] == {}, "judged by what was learned before"
    report, found = families(one, second)
    assert list(found.values()) == [{f"a{n}" for n in range(6)}]
    (touches,) = report.touches
    assert touches.kind == "template"
    assert len(set(touches.variant.tolist())) == 6, "the slots differ"
    assert not len(report.findings.row), "a family is evidence of a cohort, never of a request"


def test_the_same_text_over_and_over_has_one_variant() -> None:
    one = stand()
    text = f"{SKELETON} {words_of(random.Random(1), 12)}"
    for k in range(3):
        report, found = families(one, [request(f"a{n}", START + k * TICK + n, text) for n in range(6)])
    assert found
    (touches,) = report.touches
    assert len(set(touches.variant.tolist())) == 1


def test_the_user_turn_varies_under_a_fixed_system_prompt() -> None:
    one, rng = stand(), random.Random(1)
    for k in range(3):
        group: list[Event] = [
            request(f"a{n}", START + k * TICK + n, words_of(rng, 12), system=SKELETON) for n in range(6)
        ]
        report, found = families(one, group)
    assert list(found.values()) == [{f"a{n}" for n in range(6)}]
    assert len(set(report.touches[0].variant.tolist())) == 6


def test_a_batch_job_of_one_account_is_no_family() -> None:
    one, rng = stand(), random.Random(2)
    for k in range(6):
        group: list[Event] = [
            request("batch", START + k * TICK + n, f"{SKELETON} {words_of(rng, 9)}") for n in range(40)
        ]
        assert families(one, group)[1] == {}


def test_fewer_accounts_than_the_floor_are_no_family() -> None:
    one = stand()
    assert one.config.params.template_family.min_accounts == 3
    assert all(not families(one, group)[1] for group in by_tick(sweep(2, 5)))


def test_a_turn_of_phrase_is_no_skeleton() -> None:
    """Six words in a row give two shingles; a family needs three."""
    one = stand()
    for group in by_tick(sweep(10, 4, skeleton="please write a short story about")):
        assert families(one, group)[1] == {}


def test_a_repeated_phrase_is_one_phrase() -> None:
    """A single account that says five shared words over and over is no family, nor part of one."""
    one, rng = stand(), random.Random(9)
    for group in by_tick(sweep(6, 4)):
        families(one, group)
    shared = SKELETON.split()
    for start in range(len(shared) - 4):
        phrase = " ".join(shared[start : start + 5])
        text = " ".join(f"{phrase} {words_of(rng, 4)}" for _ in range(20))
        assert families(one, [request(f"b{start}", START + (50 + start) * TICK, text)])[1] == {}


def test_skeletons_that_share_a_phrase_are_two_families() -> None:
    """Also where the phrase's shingle is the least of both, by which a family is named."""
    one, rng = stand(), random.Random(1)
    phrases = [f"you are an expert {words_of(rng, 1)}" for _ in range(300)]
    phrase = min(phrases, key=lambda text: shingled([text], 5)[0][0])
    first, second = (f"{words_of(rng, 6)} {phrase} {words_of(rng, 8)}" for _ in range(2))
    assert min(shingled([first], 5)[0]) == min(shingled([second], 5)[0])
    for k in range(8):
        skeletons = {"a": first} if k < 4 else {"a": first, "b": second}
        group: list[Event] = [
            request(f"{prefix}{n}", START + k * TICK + n, f"{skeleton} {words_of(rng, 9)}")
            for prefix, skeleton in skeletons.items()
            for n in range(6)
        ]
        _, found = families(one, group)
    assert sorted(map(sorted, found.values())) == [[f"{prefix}{n}" for n in range(6)] for prefix in "ab"]


def test_texts_of_strangers_make_no_family() -> None:
    one, rng = stand(), random.Random(3)
    for k in range(4):
        group: list[Event] = [request(f"a{n}", START + k * TICK + n, words_of(rng, 40)) for n in range(20)]
        assert families(one, group)[1] == {}


def test_a_wide_and_a_narrow_skeleton_in_one_text_are_two_families() -> None:
    """A campaign that works through a framework's prompt is not drowned in the framework's users."""
    one, rng = stand(), random.Random(4)
    for k in range(4):
        group: list[Event] = [
            *(request(f"user{n}", START + k * TICK + n, f"{FRAMEWORK} {words_of(rng, 9)}") for n in range(40)),
            *(
                request(f"bad{n}", START + k * TICK + 100 + n, f"{FRAMEWORK} {words_of(rng, 9)} {SKELETON}")
                for n in range(4)
            ),
        ]
        _, found = families(one, group)
    members = sorted(found.values(), key=len)
    assert members == [{f"bad{n}" for n in range(4)}, {f"user{n}" for n in range(40)} | {f"bad{n}" for n in range(4)}]


def test_a_family_keeps_its_name_when_it_grows() -> None:
    one = stand()
    early = by_tick(sweep(4, 3))
    late = by_tick([e for e in sweep(30, 6, seed=9) if e.ts >= START + 3 * TICK])
    names = [set(families(one, group)[1]) for group in [*early, *late]]
    assert names[1]
    assert all(found == names[1] for found in names[1:])


def test_the_first_carriers_are_taken_in_afterwards() -> None:
    """Accounts that never came back after their one request belong to the cohort all the same."""
    config = make_config()
    events: list[Event] = [*sweep(5, 1, prefix="once"), *(e for e in sweep(5, 2) if e.ts >= START + TICK)]
    lane = Lane(0, config)
    evidence = [e for output in run_lane(lane, events, config=config) for e in output.evidence]
    cohorts = [e for e in evidence if isinstance(e, CohortEvidence) and e.kind == "template"]
    assert {e.key for e in cohorts} == {cohorts[0].key}
    members = {member.row.account: member.requests for e in cohorts for member in e.members}
    assert members == {**{f"once{n}": 1 for n in range(5)}, **{f"a{n}": 1 for n in range(5)}}


def test_a_skeleton_shows_only_words_that_several_accounts_sent() -> None:
    config = make_config()
    rng = random.Random(5)
    events: list[Request] = []
    for k in range(6):
        for n in range(8):
            # The slot stands at the head, in the middle and at the tail.
            text = f"{words_of(rng, 4)} {SKELETON} {words_of(rng, 6)} {FRAMEWORK} {words_of(rng, 3)}"
            events.append(request(f"a{n}", START + k * TICK + n, text))
        # One account that says the same private thing each time: often sent, but by nobody else.
        events.append(request("private", START + k * TICK + 50, f"{SKELETON} my secret project is called bluebird"))
    outputs = run_lane(Lane(0, config), events, config=config)
    skeletons = {
        e.skeleton for output in outputs for e in output.evidence if isinstance(e, CohortEvidence) and e.skeleton
    }
    assert skeletons
    shared = {*SKELETON.split(), *FRAMEWORK.split(), "⟨…⟩"}
    for skeleton in skeletons:
        assert set(skeleton.split()) <= shared
        assert SKELETON in skeleton
    assert any("⟨…⟩" in skeleton for skeleton in skeletons)


def test_a_family_is_forgotten_with_its_pane() -> None:
    """After two panes without it, the skeleton has to be earned again by several accounts."""
    one = stand()
    pane = int(one.config.params.template_family.pane_hours * 3_600_000)
    for group in by_tick(sweep(6, 3)):
        families(one, group)
    one.run([request("other", START + 3 * pane, "hello")])
    rng = random.Random(6)
    late: list[Event] = [request("a0", START + 3 * pane + TICK, f"{SKELETON} {words_of(rng, 9)}")]
    assert families(one, late)[1] == {}
