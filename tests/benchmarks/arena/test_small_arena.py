"""The small arena against stored tolerances: a detector that gets worse fails here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from detectors.registry import REGISTRY
from pipelines.config import load_config
from pipelines.errors import Failure
from pipelines.simulate import load_prompts
from schemas.evidence import AccountRow
from tests.benchmarks.arena import ablation, compare, contract, page, runner, tables, tolerances
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


@pytest.fixture(scope="module")
def compared(options: runner.Options, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    work = tmp_path_factory.mktemp("compared")
    return work, runner.run(structs.replace(options, work=work, accounts=60, days=1.2, compare=True, jobs=1))


def test_a_run_with_comparisons_is_as_promised_too(
    options: runner.Options, compared: tuple[Path, dict[str, Any]]
) -> None:
    _, found = compared
    assert contract.broken(contract.written(found)) == []
    assert list(found["peers"]) == list(PEERS)
    assert list(found["ablation"]) == ablation.signals(load_config(options.config))
    assert list(found["alone"]) == [name for name in found["ablation"] if name not in ablation.COORDINATION]
    assert {row.word for row in compare.compare(found, found)} <= {"inside", "unknown"}
    assert page.render(found).count("<svg") == 3


def test_deciding_again_without_a_detector_names_whom_a_replay_without_it_names(
    options: runner.Options, compared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    work, _ = compared
    named = {}
    for signal in (None, *ablation.SAID):
        if signal is None or ablation.counts(load_config(options.config), signal):
            ablation.run(work / runner.EVENTS, tmp_path / "alerts.jsonl", options.config, signal)
            named[signal] = _namings(tmp_path / "alerts.jsonl")
            decided = work / ("alerts.jsonl" if signal is None else f"alerts-without-{signal}.jsonl")
            assert _namings(decided) == named[signal], signal
    assert named["template_family"] != named[None]


def _namings(alerts: Path) -> list[tuple[str, ...]]:
    found = tables.as_namings(tables.read_alerts(alerts))
    return sorted(found.astype(str).itertuples(index=False, name=None))


def test_every_word_of_a_detector_is_known_to_the_ablation() -> None:
    said = [one for one in ablation.SAID.values() if one.kind]
    assert len({one.kind for one in said}) == len(said)
    telling = {column for one in said for column in one.columns}
    assert telling < set(AccountRow.__struct_fields__)
    counted = {"foreign_turns", "leaked", "refused", "covered", "techniques", "graded", "cleaned"}
    assert telling == counted | {"elicit_strong", "elicit_weak", "replayed"}
    assert set(ablation.SAID) == set(REGISTRY) - {
        "cadence",
        "shift",
    }  # which stay in the shadow, and have no column there


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
