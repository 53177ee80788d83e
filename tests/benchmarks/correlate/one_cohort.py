"""One campaign of many accounts: `python -m tests.benchmarks.correlate.one_cohort --members 20000`.

Milliseconds of the processor: for a tick that brings new rows of some of its members, and for gathering the entries
that changed by it, as the worker writes them.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from tests.unit.detectors.campaign_stage import at, decided, later, make_core
from tests.unit.detectors.rows import cohort, honest, pool, sample

CHANGED: Final = (20, 200, 2_000)
REFERENCE: Final = 2_048
_ROWS: Final = 500  # of a message

T = TypeVar("T")


def timed(what: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds of the processor, and what came out."""
    began = time.process_time()
    out = what()
    return 1e3 * (time.process_time() - began), out


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line a measurement."""
    parser = argparse.ArgumentParser(description="What one large campaign costs the campaign stage.")
    parser.add_argument("--members", type=int, default=20_000)
    count = parser.parse_args(argv).members
    say, rng = sys.stdout.write, random.Random(11)
    core, members = make_core(), pool(count)
    decided(core, sample(honest(REFERENCE), tick=at(0)), tick=at(0))
    core.changed()
    for number, changed in enumerate((count, *(n for n in CHANGED if n < count)), start=1):
        tick = at(number)
        rows = members if changed == count else [later(one, 2, tick) for one in rng.sample(members, changed)]
        evidence = [cohort(rows[start : start + _ROWS], tick=tick) for start in range(0, changed, _ROWS)]
        deciding, alerts = timed(partial(decided, core, *evidence, tick=tick))
        gathering, entries = timed(core.changed)
        size = sum(len(value or b"") for value in entries.values())
        say(
            f"{changed:,} members changed: {deciding:.1f} ms to decide ({len(alerts)} alerts), "
            f"{gathering:.0f} ms for {len(entries)} entries of {size / 1e6:.2f} MB\n"
        )
    (campaign,) = core.campaigns.values()
    say(f"{len(campaign.requests):,} of {count:,} members named\n")


if __name__ == "__main__":
    main()
