"""`python -m tests.benchmarks.shift --data DIR --out build/shift.json [--quick]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from pipelines.errors import Failure, UsageError
from pipelines.simulate.prompts import DATA_ENV, data_directory
from tests.benchmarks.shift.bench import CACHE, SEED, run
from tests.benchmarks.shift.pair import DETECTORS


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the figures, print a table. 2: no data, or bad usage; 1: the embedding cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.shift", description=__doc__)
    parser.add_argument("--data", type=Path, help=f"folder with benign/ and attack/ (else {DATA_ENV})")
    parser.add_argument("--out", type=Path, default=Path("build/shift.json"))
    parser.add_argument("--quick", action="store_true", help="fewer splits and windows: minutes become seconds")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--embedding", choices=["auto", "minilm", "hashed"], default="auto")
    parser.add_argument("--wheel", type=Path, help="the wheel of the embedding model, where it was fetched by hand")
    parser.add_argument("--cache", type=Path, default=CACHE)
    options = parser.parse_args(arguments)
    try:
        report = run(
            options.data or data_directory(None),
            quick=options.quick,
            seed=options.seed,
            embedding=options.embedding,
            wheel=options.wheel,
            cache=options.cache,
            progress=True,
        )
    except (UsageError, Failure) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command for people
        return 2 if isinstance(error, UsageError) else 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    print("\n".join([*table(report), f"written: {options.out}"]))  # noqa: T201 - a command for people
    return 0


def table(report: dict[str, Any]) -> list[str]:
    """The figures as lines of text: percent of windows found."""
    lines = [f"embedding: {report['embedding']['note']}"]
    for name in DETECTORS:
        windows = {window: row for window, row in report[name].items() if window != "fpr"}
        shares = list(next(iter(windows.values())))
        cost = report["cost_us_per_query"].get(name)
        paid = "" if cost is None else f"; {cost['text']:,.1f} µs a text, {cost['window']:,.1f} µs a query of a window"
        lines += ["", f"{name}: percent of windows found, by percent of attack prompts{paid}"]
        lines.append(f"  {'window':>8}" + "".join(f"{share + ' %':>9}" for share in shares))
        for window, row in windows.items():
            cells = "".join(f"{'-' if value is None else format(100 * value, '.1f'):>9}" for value in row.values())
            lines.append(f"  {window:>8}{cells}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
