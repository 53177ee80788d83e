"""Producers whose clocks are wrong, and bursts of records that are no events."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.detect.topic_clock import TopicClock
from tests.unit.pipelines.detect_fakes import TICK_MS, Rig, drain, fill, request, response

HOURS_AHEAD = 9_000_000


def wrong_clock(rig: Rig, name: str, ts: int) -> None:
    """A producer sends a request and its response with a clock of its own."""
    rig.source.event("requests", 0, request(name, ts))
    rig.source.event("responses", 0, response(name, ts + 50))


def ids_by_tick(rig: Rig) -> dict[int, list[str]]:
    ticks: dict[int, list[str]] = {}
    for _, end, ids in rig.entries("tick"):
        ticks.setdefault(end, []).extend(ids)
    return {end: sorted(ids) for end, ids in ticks.items() if ids}


@pytest.mark.parametrize("at_once", [10_000, 64, 7])
def test_a_clock_hours_ahead_makes_nobody_late(at_once: int) -> None:
    rig = Rig()
    fill(rig, 100)
    wrong_clock(rig, "tomorrow", HOURS_AHEAD)
    fill(rig, 200, start=100)
    rig.source.unread_at_once = at_once
    rig.source.assign(0)
    drain(rig)
    ticks = ids_by_tick(rig)
    assert rig.lanes[0].late == []
    assert ticks.pop(HOURS_AHEAD + TICK_MS) == ["re-tomorrow", "tomorrow"], "it is decided on, in its own tick"
    assert sorted(ticks) == list(range(TICK_MS, 30 * TICK_MS + 1, TICK_MS))
    assert all(len(ids) == 20 for ids in ticks.values())


def test_one_record_in_ten_with_a_wrong_clock_makes_nobody_late() -> None:
    rig = Rig()
    for number in range(30):
        fill(rig, 9, start=9 * number)
        wrong_clock(rig, f"wrong{number}", HOURS_AHEAD + number)
    rig.source.unread_at_once = 50
    rig.source.assign(0)
    drain(rig)
    assert rig.lanes[0].late == []
    assert len(rig.ids) == len(set(rig.ids)) == 600


def test_after_a_pause_of_the_topic_its_clock_is_believed() -> None:
    rig = Rig()
    fill(rig, 100)
    fill(rig, 100, start=36_000)
    rig.source.assign(0)
    rig.step()
    assert rig.loop.pending <= 20, "the ticks after the pause close while the topics are read"
    assert rig.lanes[0].late == []


def test_a_restart_does_not_believe_the_record_that_holds_its_offsets() -> None:
    rig = Rig()
    wrong_clock(rig, "tomorrow", HOURS_AHEAD)
    fill(rig, 100)
    rig.source.assign(0)
    rig.step()
    assert rig.source.stored == {}, "the offset of the open tick is the first"
    assert rig.changelog.state
    rig.restart()
    fill(rig, 100, start=100)
    rig.source.unread_at_once = 3
    rig.source.assign(0)
    drain(rig)
    assert rig.lanes[1].late == []
    assert len(rig.ids) == len(set(rig.ids)) == 402


def test_a_clock_hours_behind_moves_no_watermark_back_and_loses_nothing() -> None:
    rig = Rig()
    fill(rig, 100, start=36_000)
    rig.source.assign(0)
    rig.step()
    closed = rig.lanes[0].closed
    wrong_clock(rig, "yesterday", 1_000)
    fill(rig, 20, start=36_100)
    rig.step()
    assert rig.lanes[0].closed >= closed > HOURS_AHEAD - 6_000_000
    drain(rig)
    # A real lane counts it in the first open tick; this one tells that it came late.
    assert rig.lanes[0].late == ["yesterday", "re-yesterday"]
    assert len(rig.ids) == 240


@given(
    st.lists(st.tuples(st.integers(0, 59), st.integers(200_000, 9_000_000)), max_size=6),
    st.integers(10, 60),
)
@settings(max_examples=20, deadline=None)
def test_what_few_wrong_clocks_say_changes_no_tick_however_the_input_is_cut(
    wrong: list[tuple[int, int]], at_once: int
) -> None:
    ahead = dict(wrong)
    runs = []
    for cut in (10_000, at_once):
        rig = Rig()
        fill(rig, 64)
        for number in range(60):
            fill(rig, 1, start=64 + number)
            if number in ahead:
                wrong_clock(rig, f"wrong{number}", ahead[number])
        rig.source.unread_at_once = cut
        rig.source.assign(0)
        drain(rig)
        assert rig.lanes[0].late == []
        runs.append(ids_by_tick(rig))
    assert runs[0] == runs[1]


@given(st.lists(st.lists(st.integers(0, 10**13), max_size=200), max_size=20), st.integers(1_000, 10**6))
def test_a_topics_clock_never_goes_back_and_is_never_ahead_of_all_it_saw(batches: list[list[int]], jump: int) -> None:
    clock = TopicClock(jump)
    seen: list[int] = []
    before = None
    for times in batches:
        clock.saw(times)
        seen += times
        assert (clock.newest is None) == (not seen)
        assert before is None or (clock.newest or 0) >= before
        assert clock.newest is None or clock.newest in seen
        before = clock.newest


def test_a_burst_of_bad_records_is_kept_whole_and_in_bounded_memory() -> None:
    rig = Rig(checkpoint_ms=600_000)
    fill(rig, 10)
    burst = 900
    for number in range(burst):
        rig.source.append("requests", 0, b"%d" % number + b"x" * 90_000)
    fill(rig, 10, start=10)
    rig.source.unread_at_once = 100
    rig.source.assign(0)
    most = 0
    for _ in range(15):
        rig.step()
        most = max(most, sum(len(letter.raw) for state in rig.loop.shares for letter in state.letters))
    # The bound, and what one more poll brings.
    assert most < 32 * 1024 * 1024 + 100 * 91_000
    drain(rig)
    letters = [entry[1] for entry in rig.entries("letter")]
    assert [letter.offset for letter in letters] == list(range(10, 10 + burst))
    assert all(letter.raw.startswith(b"%d" % (letter.offset - 10)) for letter in letters)
    assert len(rig.ids) == 40
