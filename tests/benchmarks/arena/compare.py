"""Are the figures of one run within the intervals of another? `python -m tests.benchmarks.arena.compare A.json B.json`.

Says figure by figure whether B is within A's 95 % interval (`inside`), is not but has an interval that overlaps it
(`overlaps`), or neither (`apart`). A campaign's interval is about the figure of another seed, so one in twenty is
outside though nothing changed; that of a rate is about its mean, around which B's scatters too, so about one in six is
outside, and one in 180 apart. Exit code 0 if none is apart, 1 if one is, 2 if the two cannot be compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

# Figures are rounded when they are written; an interval's own end is within it.
_SLACK: Final = 1e-9

Interval = tuple[float, float]


class Figure(NamedTuple):
    """A figure of a report; an unknown one has no value, and not every one has an interval."""

    name: str
    value: float | None
    interval: Interval | None


class Verdict(NamedTuple):
    """A figure of A beside B's: `inside`, `overlaps` (outside, but the intervals do), `apart` or `unknown`."""

    name: str
    ours: Figure
    others: Figure
    word: str


def figures(report: Mapping[str, Any]) -> Iterator[Figure]:
    """Every figure of a report that has an interval somewhere."""
    yield from _over_campaigns("in all", report["overall"])
    for row in report["scenarios"]:
        yield _figure(f"{row['name']}: exposure", row["exposure"], row["exposure_interval"])
        # A share, because another seed may have another number of accounts that harvest.
        size = row["accounts"]
        named = [bound / size for bound in row["accounts_named_interval"]]
        yield _figure(f"{row['name']}: share of accounts named", row["accounts_named"] / size, named)
        yield _figure(f"{row['name']}: purity", row["purity"], row["purity_interval"])
    yield _rate("benign", report["benign"])
    for kind, row in report["benign"]["by_kind"].items():
        yield _rate(f"benign, {kind}", row)
    others = {**report["peers"], **({"text only": report["text_only"]} if report.get("text_only") else {})}
    for name, row in others.items():
        yield from _over_campaigns(f"peer {name}", row)
        yield _rate(f"peer {name}", row)
    for name, row in report["ablation"].items():
        yield from _over_campaigns(f"without {name}", row)
    for evasion, row in report.get("grid_intervals", {}).items():
        for shape, interval in row.items():
            yield _figure(f"grid, {evasion}, {shape}: exposure", report["grid"][evasion][shape], interval)
    for detector in ("ours", "mmd"):
        for window, shares in (report["shift"].get("detail") or {}).get(detector, {}).items():
            for share, row in shares.items():
                yield _figure(f"shift, {detector}, {window} queries, {share} %", row["tpr"], row["interval"])


def compare(ours: Mapping[str, Any], others: Mapping[str, Any]) -> list[Verdict]:
    """All figures of A, in its order, beside those of B.

    Raises:
        ValueError: the reports are of different scenarios.
    """
    if ours["scenario"] != others["scenario"]:
        raise ValueError(f"reports of different scenarios: {ours['scenario']} and {others['scenario']}")
    beside = {figure.name: figure for figure in figures(others)}
    rows = [(figure, beside.get(figure.name, Figure(figure.name, None, None))) for figure in figures(ours)]
    return [Verdict(left.name, left, right, _word(left, right)) for left, right in rows]


def _word(left: Figure, right: Figure) -> str:
    if left.interval is None or right.value is None:
        return "unknown"
    low, high = left.interval
    if low - _SLACK <= right.value <= high + _SLACK:
        return "inside"
    if right.interval is not None and right.interval[0] <= high and low <= right.interval[1]:
        return "overlaps"
    return "apart"


def _over_campaigns(name: str, row: Mapping[str, Any]) -> Iterator[Figure]:
    yield _figure(f"{name}: mean exposure", row["mean_exposure"], row["mean_exposure_interval"])
    yield _figure(f"{name}: campaigns detected", row["detected"], row["detected_interval"])


def _rate(name: str, row: Mapping[str, Any]) -> Figure:
    return _figure(f"{name}: named per 10,000 account-days", row["per_10k_account_days"], row["per_10k_interval"])


def _figure(name: str, value: float | None, interval: Sequence[float] | None) -> Figure:
    return Figure(name, value, None if interval is None else (interval[0], interval[1]))


def _line(row: Verdict) -> str:
    span = "no interval" if row.ours.interval is None else "{:.3f} to {:.3f}".format(*row.ours.interval)
    return f"{row.word:<9} {row.name:<58} {_number(row.ours.value):>9} ({span}), then {_number(row.others.value)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line a figure and how many there are of each kind; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.arena.compare", description=__doc__)
    parser.add_argument("ours", type=Path, metavar="A.json", help="its intervals count")
    parser.add_argument("others", type=Path, metavar="B.json", help="such as a run with another --seed")
    options = parser.parse_args(argv)
    try:
        reports = [msgspec.json.decode(path.read_bytes()) for path in (options.ours, options.others)]
        rows = compare(*reports)
    except (OSError, ValueError, KeyError) as error:
        print(f"cannot compare: {error!r}", file=sys.stderr)  # noqa: T201 - a command for people
        return 2
    for row in rows:
        print(_line(row))  # noqa: T201
    counts = {word: sum(row.word == word for row in rows) for word in ("inside", "overlaps", "apart", "unknown")}
    print(", ".join(f"{count} {word}" for word, count in counts.items()))  # noqa: T201
    return int(counts["apart"] > 0)


if __name__ == "__main__":
    sys.exit(main())
