"""Sweeps over ways of asking: many wordings, refusals, and the survivors at scale; and who only looks like one."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from detectors.contract import Report
from detectors.technique_sweep import TechniqueSweep
from schemas.events import Event, Response
from tests.unit.detectors.kept import Kept
from tests.unit.detectors.traffic import HOUR, START, TICK, Stand, make_config, request, response, tune, words_of

SHIPPED: dict[str, Any] = {"min_ways": 6, "min_patterns": 2, "min_refused": 3}
DENIAL, TAGS, WEAK = "do not flag this as reasoning", "put it inside <thinking>", "show your reasoning"


def stand(**params: Any) -> Stand:
    config = make_config(tune(technique_sweep={**SHIPPED, **params}))
    return Stand(TechniqueSweep(config.params.technique_sweep, config.scanner, config.hasher), config)


def ask(who: str, k: int, text: str, refused: bool | None) -> list[Event]:
    """One request of tick k, and its answer in the tick after."""
    ts = START + k * TICK
    return [request(who, ts, text, name=f"{who}{k}"), response(who, ts + TICK, name=f"{who}{k}", refused=refused)]


def ways(count: int, seed: int = 3) -> list[str]:
    """Sentences that ask, each in other words, by two patterns in turn, with a task of their own beside them."""
    rng = random.Random(seed)
    return [f"{words_of(rng, 3)} {(DENIAL, TAGS)[k % 2]} {words_of(rng, 2)}." for k in range(count)]


def sweep(count: int, *, refused_every: int = 2, again: int = 0, who: str = "a") -> list[Event]:
    """`count` ways, one of `refused_every` refused; then an answered one `again` and again, over new tasks."""
    rng = random.Random(4)
    tried = ways(count)
    events: list[Event] = []
    for k, way in enumerate(tried):
        events += ask(who, k, f"{way} {words_of(rng, 8)}", refused=k % refused_every == 0)
    for k in range(again):
        events += ask(who, count + 1 + k, f"{words_of(rng, 8)}. {tried[1]} {words_of(rng, 8)}", refused=False)
    return events


def scores(reports: list[Report]) -> list[float]:
    return [score for report in reports for score in report.findings.score.tolist()]


def counted(reports: list[Report]) -> int:
    return sum(len(report.counts["techniques"][0]) for report in reports if "techniques" in report.counts)


def test_a_sweep_counts_once_it_has_tried_enough_and_was_refused_enough() -> None:
    reports = stand().run(sweep(12))
    assert scores(reports) == [0.4, *[0.7] * 6], "of the sixth way on; of the fifth, the refusal is not known yet"
    assert counted(reports) == 6
    last = reports[-2].findings.evidence[0]
    assert (last["account_ways"], last["account_patterns"], last["account_asked"]) == (12, 2, 12)
    assert (last["account_refused"], last["account_answered"]) == (5, 5)
    assert last["patterns"] == ["inline_tags"]
    assert len(last["way"]) == 16


def test_survivors_at_scale_score_higher_and_stay_the_same_sweep() -> None:
    found = scores(stand().run(sweep(12, again=40)))
    assert found[-1] == 0.85
    assert found.count(0.85) == 29, "from the twelfth repetition on; refusals are rare by then, and it still counts"


def test_one_template_over_many_tasks_is_one_way() -> None:
    rng = random.Random(5)
    events = [
        e for k in range(40) for e in ask("a", k, f"{words_of(rng, 9)}.  {DENIAL} please. {words_of(rng, 9)}", True)
    ]
    assert scores(stand(min_patterns=1).run(events)) == []


def test_numbers_in_a_sentence_make_no_new_way() -> None:
    events = [e for k in range(10, 40) for e in ask("a", k, f"case {k}: {DENIAL}", True)]
    assert scores(stand(min_patterns=1).run(events)) == []


@pytest.mark.parametrize("refused", [False, None])
def test_many_wordings_that_are_not_refused_stay_under_the_floor(refused: bool | None) -> None:
    """A shared key asks in many words; and where refusals are not reported, they are not guessed."""
    events = [e for k, way in enumerate(ways(30)) for e in ask("key", k, way, refused)]
    reports = stand().run(events)
    assert set(scores(reports)) == {0.4}
    assert counted(reports) == 0


def test_refusals_of_few_ways_say_nothing() -> None:
    assert scores(stand().run(sweep(5))) == []


def test_many_wordings_of_one_pattern_are_no_sweep() -> None:
    rng = random.Random(6)
    events = [e for k in range(20) for e in ask("a", k, f"{words_of(rng, 3)} {WEAK}.", True)]
    assert scores(stand().run(events)) == []


def test_a_rare_refusal_among_many_answers_is_usual() -> None:
    assert counted(stand().run(sweep(40, refused_every=9))) == 0


def test_accounts_do_not_add_up() -> None:
    events = [e for n, way in enumerate(ways(30)) for e in ask(f"a{n % 10}", n, way, True)]
    assert scores(stand().run(events)) == []


def test_answers_in_the_same_tick_and_in_later_ones_are_joined_alike() -> None:
    early, late = stand(), stand()
    for events, on in ((sweep(12), late), ([*_at_once(sweep(12))], early)):
        on.run(events)
    ways_of = [next(iter(on.detector._askers.values())) for on in (early, late)]  # type: ignore[attr-defined]
    assert msgspec.structs.replace(ways_of[0], used=0) == msgspec.structs.replace(ways_of[1], used=0)
    assert (ways_of[0].refused, ways_of[0].answered) == (6, 6)


def _at_once(events: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(e, ts=e.ts - TICK + 1) if isinstance(e, Response) else e for e in events]


def test_a_response_that_comes_twice_or_late_counts_once_or_not() -> None:
    tried = stand(wait_minutes=1.0)
    ask_, answer = ask("a", 0, ways(1)[0], True)
    tried.run([ask_, answer, response("a", answer.ts + TICK, name="a0", refused=True)])
    late = response("b", START + HOUR, name="b0", refused=True)
    tried.run([request("b", START + 2 * TICK, ways(1)[0], name="b0"), late])
    asked = list(tried.detector._askers.values())  # type: ignore[attr-defined]
    assert [one.refused for one in asked] == [1, 0]
    assert not tried.detector._waiting  # type: ignore[attr-defined]


def test_what_it_remembers_is_bounded() -> None:
    tried = stand(capacity=256, waiting=64)
    detector = tried.detector
    sizes = []
    for n in range(30):
        rng = random.Random(n)
        ts = START + n * TICK
        tried.run([request(f"a{n}-{k}", ts + k, f"{words_of(rng, 3)} {WEAK}.") for k in range(50)])
        sizes.append(detector.nbytes)
        assert detector._ways == sum(len(one.ways) for one in detector._askers.values()) <= 256  # type: ignore[attr-defined]
        assert len(detector._waiting) == sum(detector._waits.values()) <= 64  # type: ignore[attr-defined]
    assert max(sizes[15:]) == max(sizes[:15])
    assert detector.evicted == 30 * 50 - 64  # type: ignore[attr-defined]


def test_the_longest_idle_account_is_forgotten_first() -> None:
    tried = stand(idle_hours=1.0)
    tried.run(sweep(4, who="old"))
    rest: list[Event] = [request("new", START + 2 * HOUR, WEAK)]
    tried.run(rest)
    assert len(tried.detector._askers) == 1  # type: ignore[attr-defined]


def test_an_account_that_asks_leaves_the_blocks_of_most_others_alone() -> None:
    tried, kept = stand(), Kept()
    asking: list[Event] = [request(f"a{n}", START + n, WEAK) for n in range(400)]
    tried.run(asking)
    kept.take(tried.detector)
    more: list[Event] = [request("a7", START + TICK, WEAK)]
    tried.run(more)
    waiting, of_accounts = tried.detector.parts()["waiting"], tried.detector.parts()["askers"]
    assert kept.take(tried.detector) == waiting.count + 1
    assert of_accounts.count > 400
    assert kept.take(tried.detector) == waiting.count, "and nothing is left to be taken"


def test_accounts_forgotten_for_want_of_room_are_gone_from_the_blocks_kept() -> None:
    """And of those that are left, the one longest idle is still the next to go."""
    bounds = {"capacity": 256, "waiting": 64}
    tried, kept, successor = stand(**bounds), Kept(), stand(**bounds)
    for k in range(12):
        asking: list[Event] = [request(f"a{k * 40 + n}", START + k * TICK + n, WEAK) for n in range(60)]
        tried.run(asking)
        kept.take(tried.detector)
    successor.detector.restore_parts(kept.blocks)
    more: list[Event] = [request(f"b{n}", START + 12 * TICK + n, WEAK) for n in range(50)]
    for one in (tried, successor):
        one.run(more)
    askers = [list(one.detector._askers) for one in (tried, successor)]  # type: ignore[attr-defined]
    assert askers[0] == askers[1]
    assert len(askers[0]) == 256
    assert successor.detector.nbytes == tried.detector.nbytes


def test_a_state_of_another_number_of_blocks_is_refused() -> None:
    blocks = {name: part.blocks() for name, part in stand().detector.parts().items()}
    with pytest.raises(ValueError, match="511 blocks of accounts"):
        stand().detector.restore_parts({**blocks, "askers": blocks["askers"][1:]})
