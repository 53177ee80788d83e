"""Every shape under every evasion."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.simulate import load_scenario
from tests.benchmarks.arena import page, runner
from tests.unit.benchmarks import arena_tables as case


def row(shape: str, evasive: str | None, exposure: float) -> dict[str, Any]:
    return {
        "shape": shape,
        "evasive": evasive,
        "exposure": exposure,
        "exposure_interval": (exposure - 0.1, exposure + 0.1),
    }


def test_a_cell_is_the_mean_of_its_campaigns() -> None:
    rows = [row("relay", "jittered", 0.9), row("relay", None, 0.2), row("relay", None, 0.4), row("burst", None, 0.5)]
    exposure, intervals = runner.as_grid(rows)
    assert exposure == {"none": {"burst": 0.5, "relay": pytest.approx(0.3)}, "jittered": {"relay": 0.9}}
    assert intervals["none"]["relay"] == pytest.approx([0.2, 0.4])
    assert list(exposure) == ["none", "jittered"]


def test_the_grid_is_every_shape_plain_and_under_one_evasion_each() -> None:
    names = runner.grid_scenarios()
    assert len(names) == 8
    shapes = {name: sorted(campaign.shape for campaign in load_scenario(name).campaign) for name in names}
    assert all(found == shapes["shapes"] for found in shapes.values())


def test_the_page_shows_it_as_a_heat_map() -> None:
    text = page.render(case.whole_report())
    assert "<td class='heat' style='--share: 1.000' title='0.700 to 1.000'>1.00</td>" in text
    assert "Shapes and evasions" not in page.render({**case.whole_report(), "grid": {}})


def test_the_page_takes_only_methods_for_methods() -> None:
    text = page.render(case.whole_report())
    shift = text[text.index("<h2>Distribution shift") :]
    assert "<td class='text'>mmd</td><td class='text'>100</td><td>0.010</td><td>0.250</td><td>0.010</td>" in shift
    for other in ("cost_us_per_query", "text_only", "disjoint_windows", "detail"):
        assert other not in shift
