"""Steady novelty: work lists through one account, and accounts that come back to what they did."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from detectors.contract import Report
from detectors.coverage import Coverage
from detectors.sketches import AccountCounter
from detectors.text import sampled_words, words
from schemas.events import Params
from tests.unit.detectors.traffic import START, TICK, Stand, make_config, request, tune

Task = Callable[[random.Random, int], str]

TEMPLATE = "you are a patient expert who answers each of the tasks below with great care and in full"


def vocabulary(size: int = 6000, seed: int = 5) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(size)]


WORDS = vocabulary()


OWN = [random.Random(number).sample(WORDS, 40) for number in range(4)]


def habit(rng: random.Random, k: int) -> str:
    """A person's or a program's own ground: forty words, over and over."""
    return " ".join(rng.sample(OWN[0], 12))


def work_list(rng: random.Random, k: int) -> str:
    """The next task of a list that covers everything."""
    return " ".join(rng.choices(WORDS, k=24))


def swept(rng: random.Random, k: int) -> str:
    return f"{TEMPLATE} {work_list(rng, k)}"


def table_rows(rng: random.Random, k: int) -> str:
    """A template over rows of one kind, with a number of each customer's own."""
    return f"sort this message {' '.join(rng.sample(OWN[3], 12))} order{rng.randrange(10**9):x}"


def one_text(rng: random.Random, k: int) -> str:
    return "what is new in the world today, in five sentences and without any jargon"


def one_long_text(rng: random.Random, k: int) -> str:
    """New once, and a lot at that: a book in the middle of small talk."""
    return " ".join(WORDS[:3000]) if k == 40 else habit(rng, k)


def stand(**params: Any) -> Stand:
    config = make_config(tune(coverage={"min_requests": 32, "tail": 0.05, "common_accounts": 3, **params}))
    return Stand(Coverage(config.params.coverage), config)


def send(one: Stand, casts: dict[str, Task], count: int = 64, start: int = START) -> Iterator[Report]:
    """Each account of `casts` sends `count` requests of its own, four a tick."""
    rngs = {who: random.Random(number) for number, who in enumerate(casts)}
    for first in range(0, count, 4):
        at = start + first // 4 * TICK
        yield one.step(
            one.builder.build(
                [
                    request(who, at + k * 1000 + n, task(rngs[who], first + k), params=Params())
                    for n, (who, task) in enumerate(casts.items())
                    for k in range(4)
                ]
            )
        )


def known(one: Stand, honest: int = 60) -> None:
    """A population that shares the words and keeps to ground of its own."""
    at = START - 40 * TICK
    for group in range(3):
        # Everybody's words, from three accounts that use them all.
        texts = [" ".join([*WORDS[i : i + 200], *TEMPLATE.split()]) for i in range(0, len(WORDS), 200)]
        one.step(one.builder.build([request(f"all{group}", at + n, text) for n, text in enumerate(texts)]))
        at += TICK
    list(send(one, {f"h{n}": habit for n in range(honest)}, start=at))


def found(one: Stand, task: Task, count: int = 64) -> list[dict[str, Any]]:
    reports = list(send(one, {"x": task}, count, start=START + 100 * TICK))
    covered = sum(len(report.counts["covered"][0]) for report in reports if "covered" in report.counts)
    evidence = [one for report in reports for one in report.findings.evidence]
    assert covered == len(evidence)
    return evidence


class TestHarvests:
    @pytest.mark.parametrize("task", [work_list, swept])
    def test_a_work_list_is_found_at_each_doubling(self, task: Task) -> None:
        one = stand()
        known(one)
        evidence = found(one, task)
        assert [e["account_requests"] for e in evidence] == [32, 64]
        assert all(e["share"] > 0.6 and e["accounts_compared"] >= 60 for e in evidence)

    def test_the_p_value_is_the_share_of_benign_accounts_as_steady(self) -> None:
        one = stand()
        known(one)
        reports = [r for r in send(one, {"x": work_list}, start=START + 100 * TICK) if len(r.findings.row)]
        assert [float(r.findings.p_value[0]) for r in reports] == [pytest.approx(1 / 61)] * 2
        assert float(reports[0].findings.score[0]) == pytest.approx(1 - 1 / 61 / 0.1)


class TestLookAlikes:
    @pytest.mark.parametrize(
        "task",
        [
            pytest.param(habit, id="a program on its own ground"),
            pytest.param(table_rows, id="a template over rows with numbers of their own"),
            pytest.param(one_text, id="one text again and again"),
            pytest.param(one_long_text, id="a book among small talk"),
        ],
    )
    def test_is_not_found(self, task: Task) -> None:
        one = stand()
        known(one)
        assert found(one, task, 128) == []

    def test_few_requests_say_nothing(self) -> None:
        one = stand()
        known(one)
        assert found(one, work_list, 28) == []

    def test_nobody_is_found_while_too_few_are_known(self) -> None:
        one = stand()
        known(one, honest=15)
        assert found(one, work_list) == []

    def test_where_everybody_is_as_new_nobody_stands_out(self) -> None:
        one = stand()
        known(one, honest=0)
        list(send(one, {f"w{n}": work_list for n in range(40)}))
        assert found(one, work_list) == []


@pytest.mark.parametrize("column", ["alerted", "elicit_strong", "banned"])
def test_accounts_under_alert_do_not_teach(column: str) -> None:
    one = stand()
    known(one, honest=40)
    before = [tail.accounts for tail in one.detector._tails]  # type: ignore[attr-defined]
    casts: dict[str, Task] = {f"w{n}": work_list for n in range(10)}
    reports = send(one, casts, start=START + 100 * TICK)
    next(reports)
    slots = [slot for who in casts if (slot := one.accounts.slot(who)) is not None]
    one.accounts[column][slots] = 1
    list(reports)
    assert [tail.accounts for tail in one.detector._tails] == before  # type: ignore[attr-defined]
    assert len(slots) == 10


def test_the_cells_are_the_same_words_in_every_text() -> None:
    texts = [" ".join(WORDS[:400]), " ".join(reversed(WORDS[:400])), "", "7 8 9"]
    rows = sampled_words(words(texts))
    first, second = (set(rows.values[rows.offsets[k] : rows.offsets[k + 1]].tolist()) for k in (0, 1))
    assert first == second
    assert 20 < len(first) < 90
    assert rows.lengths.tolist()[2:] == [0, 0], "numbers are no words"


def test_a_counter_knows_whose_items_it_counted() -> None:
    counter = AccountCounter(14, TICK)
    items, accounts = np.arange(1, 4, dtype=np.uint64), np.full(3, 9, np.uint64)
    counter.turn(START)
    counter.add(items, accounts)
    assert counter.holds(items, accounts).all()
    assert not counter.holds(items, accounts + np.uint64(1)).any()
    counter.turn(START + 2 * TICK)
    assert not counter.holds(items, accounts).any(), "forgotten after two panes"
