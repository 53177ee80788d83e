"""The peers' statistics on windows, and the table they are set beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UsageError
from tests.benchmarks.peers.published import STATISTICS, main, rates, reported

SPLITS = '"{""mixed_0.05"": %s, ""mixed_0.1"": 0.5, ""mixed_0.25"": 1, ""mixed_0.5"": 1, ""attacker"": 1}"'


def cloud(seed: int, count: int, shift: float = 0.0, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, spread, size=(count, 12)).astype(np.float32)


@pytest.mark.parametrize("name", ["mmd", "mahalanobis", "seat"])
def test_windows_of_another_and_denser_kind_are_found_and_benign_ones_are_not(name: str) -> None:
    false, found = rates(STATISTICS[name], cloud(1, 900), {"far": cloud(2, 100, shift=2.0, spread=0.3)}, size=60)
    assert false < 0.3
    assert found[-1] == 1
    assert found[0] <= found[2] <= found[4]


def test_prada_finds_distances_of_two_sorts() -> None:
    seeds = cloud(3, 60)
    pairs = np.concatenate([seeds, seeds[:30] + 0.02 * cloud(4, 30)])
    false, found = rates(STATISTICS["prada"], cloud(1, 900), {"pairs": pairs}, size=60)
    assert false < 0.3
    assert found[-1] > 0.8


def test_too_little_for_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="windows of 60"):
        rates(STATISTICS["mmd"], cloud(1, 100), {"far": cloud(2, 100)}, size=60)


def test_the_published_table_is_averaged_over_its_sets(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [
        f"batch_sensitive,batch_size_bs500,a,a,500,0.02,1,{SPLITS % 0.1}",
        f"batch_sensitive,batch_size_bs500,b,b,500,0.0,1,{SPLITS % 0.3}",
        f"batch_sensitive,batch_size_bs100,b,b,100,0.9,1,{SPLITS % 0.9}",
    ]
    table.write_text("\n".join(["group,method,run,dataset,batch_size,fpr,tpr,metrics_by_split", *rows]) + "\n")
    false, found = reported(table, "mmd")
    assert false == pytest.approx(0.01)
    assert found == pytest.approx([0.2, 0.5, 1, 1, 1])


def test_a_table_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"table\.csv"):
        reported(tmp_path / "table.csv", "mmd")
    assert main([str(tmp_path)]) == 2
    assert "mmd_paper_metrics.csv" in capsys.readouterr().err
