"""Lines on what a long run does."""

from __future__ import annotations

import pickle
import time

import pytest

from tests.benchmarks.arena import progress


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)


def test_lines_say_how_far_it_is() -> None:
    lines: list[str] = []
    assert list(progress.told(range(2_500), "counting", lines.append, 2_500)) == list(range(2_500))
    assert lines == ["counting: 1,000 of 2,500", "counting: 2,000 of 2,500"]


def test_bars_become_lines() -> None:
    lines: list[str] = []
    with progress.Lines("replay", lines.append) as bars, bars.bar("reading", None) as advance:
        advance(4_096)
    assert lines == ["replay: reading: 4,096"]


def test_a_clock_goes_to_other_processes_and_tells_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    pickle.loads(pickle.dumps(progress.Clock(time.time() - 125)))("at work")  # noqa: S301 - our own
    assert capsys.readouterr().err == "[  2:05] at work\n"
