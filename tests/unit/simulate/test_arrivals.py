"""Arrivals: what is fitted, and what is drawn from it."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median

import pytest
from msgspec.structs import replace

from pipelines.demo.people import DAY, HOUR
from pipelines.simulate import data_directory, load_scenario
from pipelines.simulate.arrivals import TRACES, Clock, fit, weibull_shape

ARRIVALS = load_scenario("small").arrivals
START = 1_793_577_600_000  # a midnight


def test_a_weibull_shape_gives_back_its_variation() -> None:
    for shape in (0.4, 1.0, 2.5):
        first, second = math.gamma(1 + 1 / shape), math.gamma(1 + 2 / shape)
        assert weibull_shape(math.sqrt(second / first**2 - 1)) == pytest.approx(shape, rel=1e-6)


def test_fit_reads_spread_hours_and_bursts(tmp_path: Path) -> None:
    path = tmp_path / TRACES
    path.parent.mkdir()
    lines = ["client_id,window_start_s,rate_per_s,cv,dist,param1,param2"]
    for client, rate in enumerate((0.1, 1.0, 10.0)):
        for window in range(144):
            busy = 54 <= window < 66  # nine to eleven o'clock
            lines.append(f"{client},{window * 600},{rate if busy else 0},{2.0 if busy else 0},,,")
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = fit(tmp_path)
    assert found is not None
    assert [hour for hour, share in enumerate(found.hourly) if share] == [9, 10]
    assert sum(found.hourly) == pytest.approx(24)
    assert found.spread == pytest.approx(math.log(10) * math.sqrt(2 / 3), abs=1e-3)
    # One session holds everything that a client sends.
    assert found.session_share == pytest.approx(1.0)
    assert found.gap_shapes == [pytest.approx(weibull_shape(2.0), abs=1e-3)] * 9


def test_no_traces_no_fit(tmp_path: Path) -> None:
    assert fit(tmp_path) is None


def test_shipped_numbers_are_those_of_the_traces() -> None:
    directory = data_directory(None)
    if directory is None or not (directory / TRACES).is_file():
        pytest.skip("the traces are not on this machine; set DISTILLWATCH_DATA to the directory that holds them")
    assert fit(directory) == ARRIVALS


def test_times_lie_in_their_span_and_in_order() -> None:
    clock = Clock(ARRIVALS)
    for seed in range(40):
        rng = Random(seed)
        start = START + rng.randrange(DAY)
        end = start + rng.randrange(HOUR, 6 * DAY)
        times = clock.times(rng, 1 + seed * 5, offset=rng.randrange(-8, 10), start=start, end=end)
        assert len(times) == 1 + seed * 5
        assert times == sorted(times)
        assert start <= times[0]
        assert times[-1] < end


def test_days_and_nights_are_local() -> None:
    clock = Clock(replace(ARRIVALS, hourly=[0.0] * 9 + [1.0] + [0.0] * 14, session_share=1e-5, session_spread=0.0))
    times = clock.times(Random(1), 500, offset=3, start=START, end=START + 4 * DAY)
    assert set(Counter(at // HOUR % 24 for at in times)) <= {6, 7}


def test_volumes_have_a_heavy_tail_and_the_asked_mean() -> None:
    clock = Clock(ARRIVALS)
    found = [clock.volume(Random(seed), 20.0, 4_000) for seed in range(20_000)]
    assert sum(found) / len(found) == pytest.approx(20, rel=0.25)
    assert median(found) <= 4
    assert max(found) > 1_000
