"""How far a campaign's figures move from seed to seed: `python -m tests.benchmarks.arena.spread A.json B.json ...`.

One run sees a campaign once, and within it nothing tells how another pool of the same shape would have fared: its
accounts are found together, early or late. So the interval of a campaign's figure is measured: runs of one scenario
with several seeds, and how far apart the same campaign's figures are in any two of them. That reach, 95 % of the
differences, is split conformal prediction (Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005): it
asks for no distribution, but takes the campaigns to be of one kind. Differences are taken between arcsines of roots,
which stretch shares near 0 and 1 so that a reach is about as likely anywhere.

The reaches are stored beside this module, where runs of the arena read them. Exit code 2 if reports do not fit
together.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.benchmarks.arena.intervals import LEVEL

STORED: Final = Path(__file__).with_name("spread.json")
FIGURES: Final = ("exposure", "share_named", "purity")

Interval = tuple[float, float]


class Spread(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reach of each figure, and what it was measured on.

    Attributes:
        scenario, config_version, seeds: of the runs.
        exposure, share_named, purity: 95 % reach in radians of arcsine of root, 0 to pi / 2.
    """

    scenario: str
    config_version: str
    seeds: tuple[int, ...]
    exposure: float
    share_named: float
    purity: float

    def around(self, figure: str, value: float) -> Interval:
        """Where the same figure of another seed is expected, from 0 to 1."""
        return around(value, getattr(self, figure))


def load(path: Path = STORED) -> Spread:
    """The stored reaches.

    Raises:
        FileNotFoundError: there is none.
        msgspec.ValidationError: it is not one.
    """
    return msgspec.json.decode(path.read_bytes(), type=Spread)


def around(value: float, reach: float) -> Interval:
    """The shares within `reach` of a share.

    >>> [round(bound, 3) for bound in around(0.3, 0.2)], around(1.0, 0.0)
    ([0.137, 0.494], (1.0, 1.0))
    """
    angle = _angle(value)
    low, high = max(0.0, angle - reach), min(math.pi / 2, angle + reach)
    return math.sin(low) ** 2, math.sin(high) ** 2


def reach(differences: Sequence[float], level: float = LEVEL) -> float:
    """The conformal quantile: another difference is at most this with probability `level`, or they are too few.

    >>> reach([0.1, 0.3, 0.2]), reach([i / 100 for i in range(100)])
    (0.3, 0.95)

    Raises:
        ValueError: there are none.
    """
    if not differences:
        raise ValueError("no figure was there in two of the runs")
    place = math.ceil((len(differences) + 1) * level)
    return sorted(differences)[min(place, len(differences)) - 1]


def measure(reports: Sequence[Mapping[str, Any]]) -> Spread:
    """The spread over reports of one scenario and config, each of a seed of its own.

    Raises:
        ValueError: fewer than two, seeds that repeat, or different scenarios or configs.
    """
    seeds = [report["seed"] for report in reports]
    if len(set(seeds)) < max(2, len(seeds)):
        raise ValueError(f"it takes reports of two seeds or more, each another one; got {seeds}")
    for name in ("scenario", "config_version"):
        if len(found := sorted({report[name] for report in reports})) > 1:
            raise ValueError(f"reports of different {name}: {', '.join(found)}")
    tables = [{row["name"]: _shares(row) for row in report["scenarios"]} for report in reports]
    return Spread(
        scenario=reports[0]["scenario"],
        config_version=reports[0]["config_version"],
        seeds=tuple(seeds),
        **{figure: round(reach(list(_differences(tables, figure))), 4) for figure in FIGURES},
    )


def _shares(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        "exposure": row["exposure"],
        "share_named": row["accounts_named"] / row["accounts"],
        "purity": row["purity"],
    }


def _differences(tables: Sequence[Mapping[str, Mapping[str, float | None]]], figure: str) -> Iterator[float]:
    for ours, theirs in combinations(tables, 2):
        for name in sorted(ours.keys() & theirs.keys()):
            one, other = ours[name][figure], theirs[name][figure]
            if one is not None and other is not None:
                yield abs(_angle(one) - _angle(other))


def _angle(share: float) -> float:
    return math.asin(math.sqrt(share))


def main(argv: Sequence[str] | None = None) -> int:
    """Store the spread over some reports; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.arena.spread", description=__doc__)
    parser.add_argument("reports", type=Path, nargs="+", metavar="RUN.json", help="two or more, each of another --seed")
    parser.add_argument("--out", type=Path, default=STORED, help="default: %(default)s")
    options = parser.parse_args(argv)
    try:
        spread = measure([msgspec.json.decode(path.read_bytes()) for path in options.reports])
    except (OSError, ValueError, KeyError) as error:
        print(f"cannot measure a spread: {error!r}", file=sys.stderr)  # noqa: T201 - a command for people
        return 2
    options.out.write_bytes(msgspec.json.format(msgspec.json.encode(spread)) + b"\n")
    print(f"wrote {options.out}: {spread}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
