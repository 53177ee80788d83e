"""How far campaigns' figures move between seeds, and the intervals that come of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.arena import spread

SHARES = st.floats(0, 1)


def report(seed: int, exposures: dict[str, float], purity: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    rows = [
        {"name": name, "exposure": exposure, "accounts": 10, "accounts_named": 5, "purity": purity}
        for name, exposure in exposures.items()
    ]
    return {"scenario": "standard", "config_version": "c", "seed": seed, "scenarios": rows, **changes}


@given(SHARES, st.floats(0, math.pi / 2))
def test_an_interval_holds_its_figure_and_stays_among_shares(value: float, reach: float) -> None:
    low, high = spread.around(value, reach)
    assert 0 <= low <= value + 1e-9
    assert value - 1e-9 <= high <= 1


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(SHARES, SHARES), min_size=1))
def test_the_runs_that_it_was_measured_on_are_within_it(pairs: dict[str, tuple[float, float]]) -> None:
    one, other = (report(seed, {name: pair[seed] for name, pair in pairs.items()}) for seed in (0, 1))
    found = spread.measure([one, other])
    for ours, theirs in pairs.values():
        low, high = found.around("exposure", ours)
        # The stored reach has four digits.
        assert low - 1e-3 <= theirs <= high + 1e-3


def test_a_reach_leaves_out_one_difference_in_twenty() -> None:
    differences = [0.1] * 95 + [0.9] * 5
    assert spread.reach(differences) == 0.9
    assert spread.reach([*differences, 0.1]) == 0.9
    assert spread.reach([0.1] * 96 + [0.9] * 4) == 0.1


def test_every_pair_of_seeds_counts() -> None:
    runs = [report(seed, {"a": exposure}) for seed, exposure in enumerate([0.0, 0.25, 1.0])]
    assert spread.measure(runs).exposure == pytest.approx(math.pi / 2, abs=1e-4)
    assert spread.measure(runs[:2]).exposure == pytest.approx(math.asin(0.5), abs=1e-4)


def test_a_figure_that_a_run_lacks_is_left_out() -> None:
    runs = [report(0, {"a": 0.5}), report(1, {"a": 0.5}), report(2, {"a": 0.5, "b": 1.0}, purity=None)]
    assert spread.measure(runs).purity == 0
    with pytest.raises(ValueError, match="no figure"):
        spread.measure(runs[1:])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (report(0, {"a": 0.5}), "each another one"),
        (report(1, {"a": 0.5}, scenario="small"), "different scenario: small, standard"),
        (report(1, {"a": 0.5}, config_version="d"), "different config_version"),
    ],
)
def test_reports_that_do_not_fit_together_are_refused(other: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spread.measure([report(0, {"a": 0.5}), other])


def test_the_command_stores_what_a_run_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for seed, exposure in enumerate([0.2, 0.4]):
        paths.append(tmp_path / f"{seed}.json")
        paths[-1].write_bytes(msgspec.json.encode(report(seed, {"a": exposure})))
    stored = tmp_path / "spread.json"
    assert spread.main([*map(str, paths), "--out", str(stored)]) == 0
    assert spread.load(stored).seeds == (0, 1)
    assert spread.main([str(paths[0]), "--out", str(stored)]) == 2
    assert "two seeds or more" in capsys.readouterr().err


def test_the_shipped_spread_is_of_several_seeds_of_the_standard_scenario() -> None:
    stored = spread.load()
    assert stored.scenario == "standard"
    assert len(stored.seeds) >= 2
