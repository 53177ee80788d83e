"""One run's figures against another's intervals."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.arena import compare, contract
from tests.unit.benchmarks import arena_tables as case


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return case.whole_report()


def words(ours: dict[str, Any], others: dict[str, Any]) -> dict[str, str]:
    return {row.name: row.word for row in compare.compare(ours, others)}


def test_a_run_is_within_its_own_intervals(report: dict[str, Any]) -> None:
    found = words(report, report)
    assert set(found.values()) == {"inside", "unknown"}
    # Figures that are not known, or of which there is one only, have no interval.
    assert {name for name, word in found.items() if word == "unknown"} == {
        "beta: purity",
        "without elicitation: mean exposure",
    }


def test_every_kind_of_figure_is_looked_at(report: dict[str, Any]) -> None:
    assert set(words(report, report)) >= {
        "in all: mean exposure",
        "in all: campaigns detected",
        "alpha: exposure",
        "alpha: share of accounts named",
        "alpha: purity",
        "benign: named per 10,000 account-days",
        "benign, class: named per 10,000 account-days",
        "peer rule: mean exposure",
        "peer rule: named per 10,000 account-days",
        "peer text only: campaigns detected",
        "without elicitation: campaigns detected",
        "grid, jittered, relay: exposure",
        "shift, mmd, 100 queries, 5 %",
    }


@pytest.mark.parametrize(
    ("value", "interval", "word"),
    [
        (0.25, [0.1, 0.4], "inside"),
        (0.3, [0.3, 0.3], "inside"),
        (0.35, [0.28, 0.4], "overlaps"),
        (0.5, [0.4, 0.6], "apart"),
        (0.1, [0.05, 0.15], "apart"),
    ],
)
def test_where_a_figure_falls(report: dict[str, Any], value: float, interval: list[float], word: str) -> None:
    others = copy.deepcopy(report)
    others["grid"]["none"]["relay"], others["grid_intervals"]["none"]["relay"] = value, interval
    assert words(report, others)["grid, none, relay: exposure"] == word


def test_what_the_other_run_lacks_is_unknown(report: dict[str, Any]) -> None:
    others = {**report, "peers": {}}
    assert words(report, others)["peer rule: mean exposure"] == "unknown"
    assert "peer rule: mean exposure" not in words(others, report)


def test_the_command(report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = copy.deepcopy(report)
    others["grid"]["none"]["relay"], others["grid_intervals"]["none"]["relay"] = 0.9, [0.8, 1.0]
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    near = copy.deepcopy(report)
    near["grid"]["none"]["relay"], near["grid_intervals"]["none"]["relay"] = 0.35, [0.28, 0.4]
    (tmp_path / "near.json").write_bytes(contract.written(near))
    for path, content in zip(paths, (report, others), strict=True):
        path.write_bytes(contract.written(content))
    assert compare.main([str(paths[0]), str(paths[0])]) == 0
    assert ", 0 overlaps, 0 apart, 2 unknown" in capsys.readouterr().out.splitlines()[-1]
    assert compare.main([str(paths[0]), str(tmp_path / "near.json")]) == 0
    assert ", 1 overlaps, 0 apart, 2 unknown" in capsys.readouterr().out.splitlines()[-1]
    assert compare.main([*map(str, paths)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("apart")] == [
        f"apart     {'grid, none, relay: exposure':<58}     0.250 (0.200 to 0.300), then 0.900"
    ]


def test_what_cannot_be_compared(report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    path.write_bytes(contract.written(report))
    other.write_bytes(contract.written({**report, "scenario": "another"}))
    assert compare.main([str(path), str(tmp_path / "none.json")]) == 2
    assert compare.main([str(path), str(other)]) == 2
    assert "different scenarios" in capsys.readouterr().err
