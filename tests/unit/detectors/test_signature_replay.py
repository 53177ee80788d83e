"""Reasoning signatures that were issued to another account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from detectors.signature_replay import FOREIGN, SignatureReplay
from schemas.events import Event
from tests.unit.detectors.traffic import HOUR, START, TICK, Stand, account, make_config, request, response, tune


def stand(**params: Any) -> Stand:
    config = make_config(tune(signature_replay={"warmup_hours": 24.0, **params}))
    return Stand(SignatureReplay(config.params.signature_replay, config.hasher), config)


def issued(who: str, at: int, *signatures: str) -> Event:
    return response(who, at, signatures=list(signatures))


def shown(who: str, at: int, *signatures: str) -> Event:
    return request(who, at, signatures=list(signatures))


def foreign(one: Stand, events: Sequence[Event]) -> dict[str, int]:
    """Foreign signatures an account, as the account table would count them."""
    out: dict[str, int] = {}
    frame = one.tick(one.builder.build(events)).frame
    report = one.step(one.builder.build(events))
    for rows, amounts in report.counts.values():
        for row, amount in zip(rows.tolist(), amounts.tolist(), strict=True):
            out[frame.account[row]] = out.get(frame.account[row], 0) + amount
    (touches,) = report.touches
    assert touches.row.tolist() == report.findings.row.tolist()
    assert set(touches.key.tolist()) <= {int(FOREIGN)}
    return out


def watched(**params: Any) -> Stand:
    """A stand in its second tick: accounts `a` and `b` were created under its eyes, and signatures were issued."""
    one = stand(**params)
    foreign(one, [response("x", START), *(account(who, START + 5, created=START + 5) for who in "ab")])
    foreign(one, [issued("a", START + TICK, "sa"), issued("b", START + TICK + 1, "sb")])
    return one


LATER = START + 2 * TICK


def test_the_own_signature_is_never_foreign() -> None:
    one = watched()
    for k in range(20):
        assert foreign(one, [shown("a", LATER + k * TICK, "sa"), shown("b", LATER + k * TICK + 1, "sb")]) == {}


def test_a_foreign_one_is_found_at_its_first_presentation() -> None:
    one = watched()
    assert foreign(one, [shown("a", LATER, "sb"), shown("b", LATER + 1, "sb")]) == {"a": 1}


def test_a_signature_issued_and_presented_within_a_tick_is_the_own() -> None:
    one = watched()
    assert foreign(one, [issued("a", LATER, "new"), shown("a", LATER + 1, "new"), shown("b", LATER + 2, "new")]) == {
        "b": 1
    }


def test_the_history_of_a_conversation_carries_many_of_them() -> None:
    one = watched()
    found = one.detector.score(one.tick(one.builder.build([shown("a", LATER, "sa", "sb", "sc", "sa")]))).findings
    (evidence,) = found.evidence
    assert (evidence["foreign"], evidence["presented"]) == (2, 4), "sb and sc; sa is the own"
    single = one.detector.score(one.tick(one.builder.build([shown("a", LATER, "sb")]))).findings
    assert single.score[0] < found.score[0] < 1, "the second foreign one makes a lost record less likely"
    assert evidence["signature"] not in {"sa", "sb", "sc"}


def test_a_foreign_signature_is_news_once() -> None:
    """A conversation carries its history: one copied signature must not count again with each turn."""
    one = watched()
    assert foreign(one, [shown("a", LATER, "sb", "sb"), shown("a", LATER + 5, "sb")]) == {"a": 1}
    assert foreign(one, [shown("a", LATER + TICK, "sb")]) == {}
    assert foreign(one, [shown("a", LATER + 2 * TICK, "sb", "sc")]) == {"a": 1}
    assert foreign(one, [shown("b", LATER + 3 * TICK, "sc")]) == {"b": 1}, "to another account it is news"


def test_nothing_is_foreign_where_no_response_ever_carried_a_signature() -> None:
    one = stand(warmup_hours=0)
    foreign(one, [response("x", START), account("a", START + 5, created=START + 5)])
    for k in range(1, 5):
        assert foreign(one, [shown("a", START + k * TICK, "s"), response("a", START + k * TICK)]) == {}
        assert not one.detector.ready


def test_nothing_is_foreign_before_a_signature_was_issued() -> None:
    """In the tick of the first one it is not ready yet: what came before may have been issued unseen."""
    one = stand(warmup_hours=0)
    foreign(one, [response("x", START), account("a", START + 5, created=START + 5)])
    first: list[Event] = [issued("b", START + TICK, "sb"), shown("a", START + TICK + 1, "sb")]
    assert foreign(one, first) == {}
    assert one.detector.ready
    assert foreign(one, [shown("a", LATER, "sb")]) == {}, "and stays given"
    assert foreign(one, [shown("a", LATER + TICK, "sc")]) == {"a": 1}


class TestWarmUp:
    """What was issued before the detector started is not known to it."""

    def test_an_account_from_before_the_start_is_given_the_benefit_of_the_doubt(self) -> None:
        one = watched()
        foreign(one, [account("old", LATER, created=START - HOUR)])
        for who in ("old", "unknown"):
            assert foreign(one, [shown(who, LATER + TICK, "sb")]) == {}
            assert foreign(one, [shown(who, START + 23 * HOUR, "sb")]) == {}

    def test_after_the_warm_up_it_is_judged_like_others(self) -> None:
        one = watched()
        foreign(one, [account("old", LATER, created=START - HOUR)])
        assert foreign(one, [shown("old", START + 25 * HOUR, "sb"), shown("unknown", START + 25 * HOUR, "sb")]) == {
            "old": 1,
            "unknown": 1,
        }

    def test_an_account_that_was_watched_from_its_first_day_is_judged_at_once(self) -> None:
        one = watched()
        assert foreign(one, [account("new", LATER, created=LATER), shown("new", LATER + 1, "sa")]) == {"new": 1}

    def test_the_start_is_part_of_the_snapshot(self) -> None:
        one = watched()
        successor = SignatureReplay(one.config.params.signature_replay, one.config.hasher)
        successor.restore(one.detector.snapshot())
        one.detector = successor
        assert successor.ready
        assert foreign(one, [shown("a", LATER, "sb")]) == {"a": 1}

    def test_after_loss_of_the_state_it_starts_anew(self) -> None:
        one = watched()
        one.detector = SignatureReplay(one.config.params.signature_replay, one.config.hasher)
        foreign(one, [issued("x", LATER, "sx")])
        assert foreign(one, [shown("a", LATER + TICK, "sa")]) == {}, "it was issued before the loss"


def test_a_signature_is_remembered_for_a_pane_after_it_was_last_seen() -> None:
    one = watched(pane_hours=48.0)
    for hours in (47, 94, 141):
        assert foreign(one, [shown("a", START + hours * HOUR, "sa")]) == {}
    foreign(one, [response("x", START + 240 * HOUR)])
    assert foreign(one, [shown("a", START + 240 * HOUR + TICK, "sa")]) == {"a": 1}


@pytest.mark.parametrize("rate", [0.05, 0.001])
def test_a_foreign_signature_passes_with_no_more_than_the_stated_rate(rate: float) -> None:
    one = watched(capacity=2000, false_positive_rate=rate)
    foreign(one, [issued("a", LATER, *(f"own{n}" for n in range(2000)))])
    found = foreign(one, [shown("b", LATER + TICK, *(f"own{n}" for n in range(2000)))])
    passed = 2000 - found["b"]
    assert passed <= 2000 * rate + 5 * (2000 * rate) ** 0.5


def test_a_signature_takes_a_few_bytes_of_state() -> None:
    capacity = 500_000
    assert stand(capacity=capacity).detector.nbytes / capacity <= 64


@pytest.mark.slow
def test_a_million_benign_requests_with_signatures_raise_nothing_and_a_stolen_one_is_found_at_once() -> None:
    """Three weeks of 1,000 accounts, each answering with the signature that it was given; then one is copied."""
    one, rounds, accounts = watched(capacity=500_000), 1000, [f"u{n:03d}" for n in range(1000)]
    step = 21 * 24 * HOUR // rounds // TICK * TICK
    for turn in range(rounds):
        at = LATER + turn * step
        given = [issued(who, at, f"{who}-{turn}") for who in accounts]
        returned = [shown(who, at + TICK, f"{who}-{turn}", f"{who}-{max(turn - 5, 0)}") for who in accounts]
        for events in (given, returned):
            report = one.step(one.builder.build(events))
            assert not len(report.findings.row), report.findings.evidence
    assert foreign(one, [shown("u000", LATER + rounds * step, f"u001-{rounds - 1}")]) == {"u000": 1}
