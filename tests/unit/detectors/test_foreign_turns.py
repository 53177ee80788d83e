"""Assistant turns that another provider wrote, and the honest histories that look like them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from detectors.contract import Report
from detectors.foreign_turns import FOREIGN, ForeignTurns
from schemas.events import Event, Response
from tests.unit.detectors.traffic import (
    HOUR,
    START,
    TICK,
    Stand,
    account,
    make_config,
    request,
    response,
    tune,
    words_of,
)

LATER = START + 2 * TICK


def text(key: str, words: int = 30) -> str:
    """A text that only `key` stands for."""
    return words_of(random.Random(key), words)


def stand(**params: Any) -> Stand:
    config = make_config(tune(foreign_turns={"warmup_hours": 24.0, **params}))
    return Stand(ForeignTurns(config.params.foreign_turns, config.hasher), config)


def answer(who: str, at: int, *keys: str, **more: Any) -> list[Event]:
    return [response(who, at + n, text=text(key), **more) for n, key in enumerate(keys)]


def ask(who: str, at: int, *keys: str) -> Event:
    return request(who, at, "And then?", turns=[text(key) for key in keys])


def step(one: Stand, events: Sequence[Event]) -> tuple[dict[str, int], Report]:
    """New foreign turns an account, and the report."""
    frame = one.tick(one.builder.build(events)).frame
    report = one.step(one.builder.build(events))
    out: dict[str, int] = {}
    for row, evidence in zip(report.findings.row.tolist(), report.findings.evidence, strict=True):
        out[frame.account[row]] = out.get(frame.account[row], 0) + evidence["foreign"]
    return out, report


def foreign(one: Stand, events: Sequence[Event]) -> dict[str, int]:
    return step(one, events)[0]


def watched(**params: Any) -> Stand:
    """A stand in its third tick: `a` and `b` were created under its eyes and got an answer each."""
    one = stand(**params)
    foreign(one, [response("x", START), *(account(who, START + 5, created=START + 5) for who in "ab")])
    foreign(one, [*(request(who, START + TICK, "?") for who in "ab"), *answer("a", START + TICK + 1, "A")])
    foreign(one, answer("b", START + TICK + 5, "B"))
    return one


def marks(report: Report) -> int:
    """Requests that the detector counts for the account and the campaign stage."""
    (touches,) = report.touches
    assert set(touches.key.tolist()) <= {int(FOREIGN)}
    if "foreign_turns" in report.counts:
        assert touches.row.tolist() == report.counts["foreign_turns"][0].tolist()
    return len(touches.row)


class TestOwnHistory:
    def test_the_own_answer_is_never_foreign(self) -> None:
        one = watched()
        for k in range(20):
            assert foreign(one, [ask("a", LATER + k * TICK, "A"), ask("b", LATER + k * TICK + 1, "B")]) == {}

    def test_an_answer_of_this_very_tick_is_the_own(self) -> None:
        one = watched()
        events = [*answer("a", LATER, "new"), ask("a", LATER + 1, "new"), ask("b", LATER + 2, "new")]
        assert foreign(one, events) == {"b": 1}

    @pytest.mark.parametrize(
        "edit", [str.upper, lambda s: s.replace(" ", "\n"), lambda s: s[:200], lambda s: s[60:], lambda s: f"<b>{s}"]
    )
    def test_trimmed_and_edited_it_is_still_the_own(self, edit: Any) -> None:
        one = watched()
        assert foreign(one, [request("a", LATER, "And then?", turns=[edit(text("A"))])]) == {}

    def test_an_answer_that_the_gateway_cut_off_is_known_by_its_beginning(self) -> None:
        one = watched()
        foreign(one, [request("a", LATER, "?"), response("a", LATER + 1, text=text("cut", 90)[:300])])
        assert foreign(one, [request("a", LATER + TICK, "?", turns=[text("cut", 90)])]) == {}

    def test_it_is_remembered_while_the_conversation_goes_on(self) -> None:
        one = watched(pane_hours=48.0)
        for hours in (47, 94, 141):
            at = START + hours * HOUR
            assert foreign(one, [ask("a", at, "A"), response("a", at + 1, text="Hi")]) == {}
        foreign(one, [response("x", START + 240 * HOUR)])
        assert foreign(one, [ask("a", START + 240 * HOUR + TICK, "A")]) == {"a": 1}


class TestReplayedSessions:
    """The positive: histories that another model answered."""

    def sessions(self, one: Stand, count: int) -> list[Report]:
        reports = []
        for k in range(count):
            at = LATER + k * TICK
            reports.append(step(one, [ask("a", at, f"f{k}", f"g{k}"), *answer("a", at + 9, f"mine{k}")])[1])
        return reports

    def test_each_request_is_found_and_the_account_counts_from_its_third_one(self) -> None:
        reports = self.sessions(watched(), 5)
        assert [len(report.findings.row) for report in reports] == [1] * 5
        assert [marks(report) for report in reports] == [0, 0, 1, 1, 1]
        scores = [float(report.findings.score[0]) for report in reports]
        assert scores == sorted(scores)
        assert scores[0] < 0.5 < scores[1], "a lone request is under the reporting floor"

    def test_the_evidence_can_be_checked(self) -> None:
        (evidence,) = self.sessions(watched(), 4)[-1].findings.evidence
        assert (evidence["foreign"], evidence["turns"]) == (2, 2)
        assert (evidence["account_foreign"], evidence["account_own"]) == (8, 0)
        assert 0 < evidence["accounts_like_it"] < 0.1
        assert len(evidence["turn"]) == 16

    def test_a_foreign_turn_is_news_once(self) -> None:
        one = watched()
        assert foreign(one, [ask("a", LATER, "f", "f"), ask("a", LATER + 5, "f")]) == {"a": 1}
        assert (
            foreign(one, [ask("a", LATER + TICK, "f"), *(response("a", LATER + TICK + n, text="Hi") for n in (1, 2))])
            == {}
        )
        assert foreign(one, [ask("a", LATER + 2 * TICK, "f", "g")]) == {"a": 1}
        assert foreign(one, [ask("b", LATER + 3 * TICK, "g")]) == {"b": 1}, "to another account it is news"

    def test_what_another_account_was_answered_is_foreign(self) -> None:
        assert foreign(watched(), [ask("b", LATER, "A")]) == {"b": 1}


class TestLookAlikes:
    """Each of them sends turns that were not answers to it; none may count."""

    def test_a_router_between_providers_has_as_many_answers_of_ours(self) -> None:
        one, history = watched(), []
        for k in range(40):
            key = f"{'theirs' if k % 2 else 'ours'}{k}"
            at = LATER + k * TICK
            own = answer("a", at + 1, key) if not k % 2 else []
            _, report = step(one, [ask("a", at, *history[-6:]), *own, response("a", at + 2, text="Hi")])
            history.append(key)
            assert marks(report) == 0
            assert (report.findings.score < 0.5).all(), "nor are they reported"

    def test_a_fixed_example_in_every_request(self) -> None:
        one = watched()
        for k in range(20):
            at = LATER + k * TICK
            _, report = step(one, [ask("a", at, "example 1", "example 2"), *answer("a", at + 1, f"mine{k}")])
            assert marks(report) == 0

    def test_the_examples_of_a_framework_are_many_accounts_own(self) -> None:
        """Three accounts of a partition show what is an example; from then on it is foreign to nobody."""
        one = watched()
        foreign(one, [account(f"u{n}", LATER, created=LATER) for n in range(9)])
        found = {}
        for n in range(9):
            found |= foreign(one, [ask(f"u{n}", LATER + (n + 1) * TICK, "example 1", "example 2")])
        assert found == {"u0": 2, "u1": 2, "u2": 2}

    def test_one_import_of_a_long_conversation(self) -> None:
        one = watched()
        _, report = step(one, [ask("a", LATER, *(f"f{n}" for n in range(30)))])
        assert report.findings.evidence[0]["foreign"] == 8, "its last turns are read"
        assert marks(report) == 0

    def test_a_tenth_of_the_answers_was_lost(self) -> None:
        one, history = watched(), []
        for k in range(60):
            at = LATER + k * TICK
            lost = k % 10 == 9
            _, report = step(one, [ask("a", at, *history[-4:]), *([] if lost else answer("a", at + 1, f"t{k}"))])
            history.append(f"t{k}")
            assert marks(report) == 0


class TestBlind:
    """Without the texts of responses nothing can be called foreign: absent is not zero."""

    def test_where_no_response_ever_had_a_text(self) -> None:
        one = stand(warmup_hours=0)
        for k in range(9):
            at = START + k * TICK
            found, report = step(one, [ask("a", at, f"f{k}"), response("a", at + 1)])
            assert (found, marks(report), one.detector.ready) == ({}, 0, False)

    @pytest.mark.parametrize("hidden", ["mute", "none"])
    def test_an_account_whose_answers_come_without_text(self, hidden: str) -> None:
        """Others have texts; this one's are withheld, or its responses are not reported at all."""
        one = watched()
        history: list[str] = []
        for k in range(30):
            at = LATER + k * TICK
            more = [response("a", at + 1)] if hidden == "mute" else []
            _, report = step(one, [ask("a", at, *history[-4:]), *more, *answer("b", at, f"b{k}")])
            history.append(f"t{k}")
            assert marks(report) == 0
            assert k < 4 or not len(report.findings.row)

    @pytest.mark.parametrize(
        "silent", [{"status": 429}, {"refused": True}, {"finish_reason": "tool_use"}, {"finish_reason": "tool_calls"}]
    )
    def test_a_response_that_had_nothing_to_say_hides_nothing(self, silent: dict[str, Any]) -> None:
        one = watched()
        for k in range(9):
            events: list[Event] = [request("a", LATER + k * TICK, "?"), response("a", LATER + k * TICK + 1, **silent)]
            foreign(one, events)
        assert foreign(one, [ask("a", LATER + 9 * TICK, "f")]) == {"a": 1}

    def test_an_empty_text_is_a_text(self) -> None:
        one = watched()
        for k in range(9):
            foreign(one, [request("a", LATER + k * TICK, "?"), response("a", LATER + k * TICK + 1, text="")])
        assert foreign(one, [ask("a", LATER + 9 * TICK, "f")]) == {"a": 1}


class TestWarmUp:
    """What was answered before the detector started is not known to it."""

    def test_an_account_from_before_the_start_is_given_the_benefit_of_the_doubt(self) -> None:
        one = watched()
        foreign(one, [account("old", LATER, created=START - HOUR)])
        for who in ("old", "unknown"):
            assert foreign(one, [ask(who, LATER + TICK, "f")]) == {}
        assert foreign(one, [ask("old", START + 25 * HOUR, "f")]) == {}, "what it showed meanwhile is its own"
        assert foreign(one, [ask("old", START + 26 * HOUR, "g"), ask("unknown", START + 26 * HOUR, "h")]) == {
            "old": 1,
            "unknown": 1,
        }

    def test_an_account_that_was_watched_from_its_first_day_is_judged_at_once(self) -> None:
        one = watched()
        assert foreign(one, [account("new", LATER, created=LATER), ask("new", LATER + 1, "A")]) == {"new": 1}

    def test_the_start_is_part_of_the_snapshot(self) -> None:
        one = watched()
        successor = ForeignTurns(one.config.params.foreign_turns, one.config.hasher)
        successor.restore(one.detector.snapshot())
        one.detector = successor
        assert successor.ready
        assert foreign(one, [ask("a", LATER, "B")]) == {"a": 1}


@pytest.mark.parametrize("rate", [0.05, 0.001])
def test_a_foreign_turn_passes_with_no_more_than_the_stated_rate(rate: float) -> None:
    config = make_config(
        tune(foreign_turns={"capacity": 2000, "false_positive_rate": rate}, features={"max_turns": 1000})
    )
    one = Stand(ForeignTurns(config.params.foreign_turns, config.hasher), config)
    given: list[Event] = [
        Response(request_id=f"r{n}", ts=START, account="a", model="m", text=text(f"own{n}")) for n in range(2000)
    ]
    foreign(one, given)
    asked = [ask("b", START + TICK + k, *(f"own{n}" for n in range(k * 1000, k * 1000 + 1000))) for k in range(2)]
    passed = 2000 - foreign(one, asked)["b"]
    assert passed <= 2000 * rate + 5 * (2000 * rate) ** 0.5


def test_the_share_of_accounts_that_bring_foreign_turns_is_learned_each_account_once() -> None:
    one = watched()
    for k in range(400):
        who, at = f"n{k}", LATER + k * TICK
        foreign(one, [account(who, at, created=at), *answer(who, at + 1, f"{who}")])
        more = [f"f{k}"] if k % 4 == 0 else []
        events = [ask(who, at + 5000 + n, who, *more) for n in range(3)]
        foreign(one, events)
    (evidence,) = step(one, [ask("a", LATER + 500 * TICK, "A", "f")])[1].findings.evidence
    assert evidence["accounts_like_it"] == pytest.approx(0.2, abs=0.06), "a quarter of 400, after 2 % of 100"
