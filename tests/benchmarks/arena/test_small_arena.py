"""The small arena against stored tolerances: a detector that gets worse fails here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from pipelines.config import load_config
from pipelines.errors import Failure
from pipelines.simulate import load_prompts
from tests.benchmarks.arena import ablation, compare, contract, page, runner, tolerances
from tests.benchmarks.peers import PEERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> runner.Options:
    """The prompts of the two packages alone, so that the figures are the same everywhere; kept under build/."""
    cache = ROOT / "build" / "prompts"
    try:
        load_prompts(cache)
    except Failure as error:
        pytest.fail(f"the arena's prompts are needed: {error}", pytrace=False)
    return runner.Options(scenario="small", work=tmp_path_factory.mktemp("arena"), cache=cache, compare=False)


@pytest.fixture(scope="module")
def report(options: runner.Options) -> dict[str, Any]:
    return runner.run(options)


def test_no_figure_is_worse_than_the_tolerances_allow(report: dict[str, Any]) -> None:
    assert tolerances.worse(report, tolerances.load()) == []


def test_the_page_is_whole(report: dict[str, Any]) -> None:
    text = page.render(report)
    assert all(f">{row['name']}<" in text for row in report["scenarios"])
    assert "this run left out the distribution-shift bench" in text


def test_the_report_is_as_the_schema_promises(report: dict[str, Any]) -> None:
    assert contract.broken(contract.written(report)) == []


def test_a_run_with_comparisons_is_as_promised_too(options: runner.Options, tmp_path: Path) -> None:
    shorter = structs.replace(options, work=tmp_path, accounts=60, days=1.2, compare=True, jobs=1)
    found = runner.run(shorter)
    assert contract.broken(contract.written(found)) == []
    assert list(found["peers"]) == list(PEERS)
    assert list(found["ablation"]) == ablation.signals(load_config(options.config))
    assert {row.word for row in compare.compare(found, found)} <= {"inside", "unknown"}
    assert page.render(found).count("<svg") == 3


def test_a_grid_is_run_in_other_processes(
    options: runner.Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "grid_scenarios", lambda: ["shapes", "small"])
    measured = {"shape": "burst", "evasive": "jittered", "exposure": 0.5, "exposure_interval": (0.4, 0.6)}
    report: dict[str, Any] = {
        "scenario": "shapes",
        "scenarios": [measured],
        "benign": {},
        "seconds": 1.0,
        "timings": {},
    }
    shorter = structs.replace(options, work=tmp_path / "shapes", accounts=60, days=1.2, jobs=1, grid=True)
    runner.add_grid(report, shorter)
    assert report["grid"]["jittered"] == {"burst": 0.5}
    assert list(report["grid"]["none"]) == ["burst", "relay", "template"]  # two_pools begins later
    assert list(report["timings"]["grid"]) == ["shapes", "small"]
    assert (tmp_path / "small" / "alerts.jsonl").exists()


def test_one_seed_gives_the_same_events_labels_and_alerts(options: runner.Options, tmp_path: Path) -> None:
    def outcome(name: str, seed: int | None) -> tuple[bytes, ...]:
        work = tmp_path / name
        shorter = structs.replace(options, work=work, accounts=100, days=1.5, seed=seed)
        found = runner.run(shorter)
        assert found["overall"]["accounts_named"] > 0
        return tuple((work / file).read_bytes() for file in ("events.jsonl.zst", "labels.parquet", "alerts.jsonl"))

    first = outcome("first", None)
    assert outcome("again", None) == first
    assert all(ours != others for ours, others in zip(outcome("other", 7), first, strict=True))
