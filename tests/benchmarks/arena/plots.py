"""The arena's plots, as SVG text without anything from outside."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Stands for the colour of the page's text, which differs between light and dark.
_INK: Final = "#010203"
_FOUND: Final = "#2f8fd3"
_MISSED: Final = "#d9534a"
_PALE: Final = "#8a9199"
# Colours that also differ for people who see red and green alike (after Okabe and Ito), on white and on black.
_LINES: Final = (
    *("#2f8fd3", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f8f2a", "#b0457f", "#8a9199", "#a0785a"),
)
_DASHES: Final = ("-", "--", "-.", ":")
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # letters stay letters: smaller, and they can be searched
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "grid.color": _PALE,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}


def exposure_over_time(curves: Mapping[str, Mapping[str, Sequence[float]]], detected: Mapping[str, bool]) -> str:
    """A panel a campaign: its requests so far (dashed) and those served to accounts not yet named (solid)."""
    names = list(curves)
    across = min(4, max(len(names), 1))
    down = -(-len(names) // across) or 1
    figure = Figure(figsize=(11, 1.7 * down + 0.3), layout="constrained")
    with rc_context(_STYLE):
        grid = figure.subplots(down, across, squeeze=False, sharey=True)
        for axes, name in zip(grid.flat, names, strict=False):
            found = curves[name]
            axes.plot(found["hours"], found["sent"], color=_PALE, linestyle="--", linewidth=1)
            axes.plot(found["hours"], found["exposed"], color=_FOUND if detected[name] else _MISSED, linewidth=1.6)
            axes.set_title(name, fontsize=9)
            axes.set_ylim(-0.03, 1.05)
            axes.grid(visible=True)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        figure.supxlabel("hours since the campaign's first request", fontsize=9)
        figure.supylabel("share of its requests", fontsize=9)
        return _svg(figure, "exposure")


def operating_points(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Benign accounts named per 10,000 account-days against campaign accounts named; ours drawn boldest."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    with rc_context(_STYLE):
        axes = figure.subplots()
        for index, (name, points) in enumerate(curves.items()):
            xs = [0.0, *(point["per_10k_account_days"] for point in points)]
            ys = [0.0, *(point["accounts_named"] for point in points)]
            axes.step(
                xs,
                ys,
                where="post",
                label=name,
                color=_LINES[index % len(_LINES)],
                linewidth=2.8 if index == 0 else 1.3,
                linestyle=_DASHES[index % len(_DASHES)] if index else "-",
                zorder=3 if index == 0 else 2,
            )
            axes.plot(xs[-1], ys[-1], marker="o", markersize=4, color=_LINES[index % len(_LINES)])
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set_xlim(0, 1_000)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("benign accounts named per 10,000 account-days (linear below 0.1)")
        axes.set_ylabel("campaign accounts named, each campaign counting once")
        axes.grid(visible=True)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return _svg(figure, "operating points")


def ablation(full: float, without: Mapping[str, float]) -> str:
    """Mean exposure with each signal off; the line is with all of them on."""
    figure = Figure(figsize=(8, 0.35 * len(without) + 0.9), layout="constrained")
    with rc_context(_STYLE):
        axes: Axes = figure.subplots()
        names = list(without)[::-1]
        values = [without[name] for name in names]
        bars = axes.barh([f"without {name}" for name in names], values, color=_FOUND, height=0.6)
        axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=3, fontsize=9)
        axes.axvline(full, color=_MISSED, linewidth=1.2, linestyle="--", label=f"all signals on: {full:.3f}")
        axes.set_xlim(0, 1.1)
        axes.set_xlabel("mean exposure over campaigns (less is better)")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return _svg(figure, "ablation")


def _svg(figure: Figure, salt: str) -> str:
    """The figure as an `<svg>` element; the same figure gives the same text."""
    out = io.StringIO()
    with rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue().replace(_INK, "currentColor")
    # Inside a page, the declaration, the document type and the names of namespaces have no place.
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
