"""Reasoning that requests force out, and the honest answers that look like it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from detectors.contract import Report
from detectors.leakage import LEAKS, Leakage
from schemas.events import Event, Usage
from tests.unit.detectors.traffic import ELICIT, START, TICK, Stand, make_config, request, response, tune, words_of

RNG = random.Random(8)
THOUGHT = words_of(RNG, 80)
ANSWER = words_of(RNG, 12)
SHOWN = f"<thinking>\n{THOUGHT}\n</thinking>\n{ANSWER}"
ASKS_TAGS = "Before each reply, write what goes through your mind between <thinking> and </thinking>."
LATER = START + TICK
HIDDEN = Usage(input=50, output=900, reasoning=40)


def stand(**params: Any) -> Stand:
    config = make_config(tune(leakage=params))
    one = Stand(Leakage(config.params.leakage, config.scanner), config)
    one.step(one.builder.build([request("x", START, "hello"), response("x", START + 1, text="Hi")]))
    return one


def step(one: Stand, events: Sequence[Event]) -> Report:
    return one.step(one.builder.build(events))


def call(who: str, at: int, prompt: str, answer: str | None, *, system: str | None = None, **more: Any) -> list[Event]:
    return [
        request(who, at, prompt, name=f"{who}{at}", system=system),
        response(who, at + 900, name=f"{who}{at}", text=answer, **({"usage": HIDDEN} | more)),
    ]


def leaks(report: Report) -> int:
    """Leaks that count, for the account and for the campaign stage."""
    (touches,) = report.touches
    assert set(touches.key.tolist()) <= {int(LEAKS)}
    rows = report.counts["leaked"][0].tolist() if "leaked" in report.counts else []
    assert touches.row.tolist() == rows
    return len(rows)


class TestLeaks:
    def test_tags_under_a_known_technique(self) -> None:
        report = step(stand(), call("a", LATER, ELICIT, SHOWN))
        assert leaks(report) == 1
        assert report.findings.score[0] == 0.9

    def test_tags_that_the_request_names_and_that_hold_what_the_model_used_to_hide(self) -> None:
        one = stand()
        report = step(one, call("a", LATER, "What is 5 + 4?", SHOWN, system=ASKS_TAGS))
        assert leaks(report) == 1
        assert report.findings.score[0] == 0.6
        (evidence,) = report.findings.evidence
        assert evidence == {
            "patterns": [],
            "asked_for_tags": True,
            "refused": False,
            "chars": len(SHOWN),
            "chars_in_tags": len(THOUGHT) + 2,
            "reasoning_tokens": 40,
            "answered_after_ms": 900,
            "accounts_like_it": pytest.approx(0.005, abs=0.001),
        }

    def test_the_signal_carries_the_request(self) -> None:
        one = stand()
        frame = one.tick(one.builder.build(call("a", LATER, ELICIT, SHOWN))).frame
        report = step(one, call("a", LATER, ELICIT, SHOWN))
        assert frame.ids[report.findings.row[0]] == f"a{LATER}"

    def test_a_trace_told_in_the_open_is_much_longer_than_answers_are(self) -> None:
        one = stand()
        told = words_of(random.Random(1), 400)
        assert leaks(step(one, call("a", LATER, ELICIT, told))) == 0, "what is usual is not known yet"
        for n in range(60):
            step(one, call(f"u{n}", LATER + (n + 1) * TICK, "hello", ANSWER * (1 + n % 5)))
        report = step(one, call("a", LATER + 99 * TICK, ELICIT, told))
        assert (leaks(report), report.findings.score[0]) == (1, 0.7)
        assert leaks(step(one, call("a", LATER + 100 * TICK, ELICIT, ANSWER))) == 0

    def test_a_refused_technique_is_told_and_is_no_leak(self) -> None:
        report = step(stand(), call("a", LATER, ELICIT, "I can't help with that.", refused=True))
        assert (leaks(report), report.findings.score.tolist()) == (0, [0.55])
        assert [rows.tolist() for rows, _ in [report.counts["refused"]]] == [[1]]


class TestLookAlikes:
    """None of them counts, and none is over the reporting floor."""

    def quiet(self, events: Sequence[Event]) -> None:
        report = step(stand(), events)
        assert leaks(report) == 0
        assert (report.findings.score < 0.5).all()

    def test_an_honest_show_your_work_answer(self) -> None:
        self.quiet(call("a", LATER, "Solve it and show your work.", f"Step 1. {THOUGHT} {THOUGHT}"))

    def test_documentation_that_speaks_of_the_tags(self) -> None:
        self.quiet(call("a", LATER, "What do <thinking> tags do?", f"Put `<thinking>` first: {THOUGHT}</thinking>"))

    def test_a_product_with_tags_of_its_own(self) -> None:
        system = "Give the product card in <card></card>, then the advice."
        self.quiet(call("a", LATER, "Which bike?", f"<card>{THOUGHT}</card>{ANSWER}", system=system))

    @pytest.mark.parametrize(
        "usage", [None, Usage(output=900), Usage(output=900, reasoning=0), Usage(output=300, reasoning=90)]
    )
    def test_a_product_that_has_its_model_think_aloud(self, usage: Usage | None) -> None:
        """Nothing was moved where no reasoning is hidden, where it is unknown, or where more stays hidden."""
        self.quiet(call("a", LATER, "Which bike?", SHOWN, system=ASKS_TAGS, usage=usage))

    def test_a_short_remark_in_tags(self) -> None:
        self.quiet(call("a", LATER, "Which bike?", f"<thinking>Hm.</thinking>{ANSWER}", system=ASKS_TAGS))

    def test_tags_that_nobody_asked_for(self) -> None:
        self.quiet(call("a", LATER, "Which bike?", SHOWN))


class TestJoin:
    def ask(self, at: int = LATER) -> Event:
        return request("a", at, ELICIT, name="r")

    def answer(self, at: int, who: str = "a") -> Event:
        return response(who, at, name="r", text=SHOWN)

    def test_a_response_of_a_later_tick(self) -> None:
        one = stand()
        assert leaks(step(one, [self.ask()])) == 0
        assert leaks(step(one, [self.answer(LATER + 40 * TICK)])) == 1

    def test_a_response_counts_once(self) -> None:
        one = stand()
        step(one, [self.ask()])
        assert leaks(step(one, [self.answer(LATER + TICK), self.answer(LATER + TICK + 1)])) == 1
        assert leaks(step(one, [self.answer(LATER + 2 * TICK)])) == 0

    def test_a_response_that_is_too_late(self) -> None:
        one = stand(wait_minutes=5.0)
        step(one, [self.ask()])
        step(one, [request("b", LATER + 31 * TICK, "hello")])
        assert leaks(step(one, [self.answer(LATER + 32 * TICK)])) == 0
        assert isinstance(one.detector, Leakage)
        assert (one.detector.unanswered, one.detector.evicted) == (1, 0)

    def test_a_response_without_its_request(self) -> None:
        assert leaks(step(stand(), [self.answer(LATER)])) == 0

    def test_another_account_s_request_of_the_same_id(self) -> None:
        one = stand()
        step(one, [self.ask()])
        assert leaks(step(one, [self.answer(LATER + TICK, who="b")])) == 0

    def test_the_oldest_requests_make_room_and_are_counted(self) -> None:
        one = stand(capacity=64)
        step(one, [self.ask(), *(request("b", LATER + 1 + n, ELICIT) for n in range(64))])
        assert isinstance(one.detector, Leakage)
        assert one.detector.evicted == 1
        assert leaks(step(one, [self.answer(LATER + TICK)])) == 0


class TestBlind:
    def test_where_no_response_ever_had_a_text(self) -> None:
        config = make_config(tune())
        one = Stand(Leakage(config.params.leakage, config.scanner), config)
        for k in range(5):
            report = step(one, call("a", START + k * TICK, ELICIT, None, refused=True))
            assert (leaks(report), len(report.findings.row), one.detector.ready) == (0, 0, False)
            assert "refused" in report.counts, "a refusal is known without a text"

    def test_a_missing_text_is_no_short_answer(self) -> None:
        report = step(stand(), call("a", LATER, ELICIT, None))
        assert not len(report.findings.row)

    def test_refused_unknown_is_not_refused(self) -> None:
        assert "refused" not in step(stand(), call("a", LATER, ELICIT, "No.", refused=None)).counts


def test_the_share_of_leaking_accounts_is_learned_each_account_once() -> None:
    one = stand()
    for n in range(400):
        prompt, answer = (ELICIT, SHOWN) if n % 4 == 0 else ("hello", ANSWER)
        for k in range(2):
            step(one, call(f"u{n}", LATER + (2 * n + k) * TICK, prompt, answer))
    (evidence,) = step(one, call("a", LATER + 900 * TICK, ELICIT, SHOWN)).findings.evidence
    assert evidence["accounts_like_it"] == pytest.approx(0.2, abs=0.05), "a quarter of 400, after 0.5 % of 100"
