"""How often the campaign stage writes its state: at once while that is cheap, and to a small share of the time else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.correlate.pace import LONGEST_S, SHARE, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_writing_may_happen_at_once() -> None:
    assert Pace(Clock()).wait() == 0


@given(st.lists(st.floats(0.0001, LONGEST_S * SHARE), min_size=1, max_size=60))
def test_writing_takes_its_share_of_the_time_at_most(costs: list[float]) -> None:
    clock = Clock()
    pace, began, spent = Pace(clock), clock.now, 0.0
    for took in costs:
        clock.now += pace.wait()
        assert pace.wait() == pytest.approx(0, abs=1e-9)
        clock.now += took
        pace.wrote(took)
        spent += took
    assert spent <= SHARE * (clock.now + pace.wait() - began) * 1.0001


def test_what_takes_long_still_happens_once_a_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.wrote(600.0)
    assert pace.wait() == LONGEST_S
    clock.now += LONGEST_S
    assert pace.wait() == 0


def test_after_a_rebalance_nothing_is_known_of_what_it_takes() -> None:
    pace = Pace(Clock())
    pace.wrote(1.0)
    assert pace.wait() > 0
    pace.again()
    assert pace.wait() == 0
