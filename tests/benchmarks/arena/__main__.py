"""`python -m tests.benchmarks.arena --scenario small --out build`: writes arena.json and arena.html."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.errors import Failure, UsageError
from pipelines.simulate import data_directory
from tests.benchmarks.arena import contract, page, runner
from tests.benchmarks.arena.progress import Clock
from tests.benchmarks.peers import EMBEDDINGS


def main(argv: Sequence[str] | None = None) -> int:
    """Run, write both files, and print the main figures. Returns the exit code."""
    options = _parser().parse_args(argv)
    out: Path = options.out
    try:
        report = runner.run(
            runner.Options(
                scenario=options.scenario,
                work=out / "arena" / Path(options.scenario).stem,
                cache=out / "prompts",
                wheels=options.prompts,
                data=None if options.no_data else data_directory(options.data),
                config=options.config,
                seed=options.seed,
                accounts=options.accounts,
                days=options.days,
                jobs=options.jobs,
                compare=not options.no_compare,
                embedding=options.embedding,
                shift=None if options.shift == "no" else options.shift,
                grid=options.grid,
            ),
            Clock(time.time()),
            partial(_save, out),
        )
    except (UsageError, Failure, FileNotFoundError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1 if isinstance(error, Failure) else 2
    total, benign = report["overall"], report["benign"]
    print(  # noqa: T201
        f"{total['detected']} of {total['campaigns']} campaigns detected, mean exposure {total['mean_exposure']:.3f}, "
        f"{benign['accounts_named']} of {benign['accounts']:,} benign accounts named; "
        f"see {out / 'arena.json'} and {out / 'arena.html'}"
    )
    return 0


def _save(out: Path, report: dict[str, Any]) -> None:
    (out / "arena.json").write_bytes(contract.written(report))
    (out / "arena.html").write_text(page.render(report), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.arena", description=__doc__)
    parser.add_argument("--scenario", default="standard", help="name of a shipped scenario, or path of a TOML file")
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--seed", type=int, help="instead of the scenario's")
    parser.add_argument("--accounts", type=int, help="ordinary accounts, instead of the scenario's")
    parser.add_argument("--days", type=float, help="instead of the scenario's")
    parser.add_argument("--data", type=Path, help="directory of the richer prompt sets; default: beside the checkout")
    parser.add_argument("--no-data", action="store_true", help="only the prompts of the two packages")
    parser.add_argument("--prompts", type=Path, help="directory that holds the two prompt wheels")
    parser.add_argument("--config", type=Path, help="config directory that is tried instead of the built-in one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes for the comparisons")
    parser.add_argument("--no-compare", action="store_true", help="no ablation, no peers, no text-only baseline")
    parser.add_argument("--embedding", choices=sorted(EMBEDDINGS), default="hashed", help="of peers that compare texts")
    parser.add_argument("--shift", choices=("no", "quick", "full"), default="full", help="distribution-shift bench")
    parser.add_argument("--grid", action="store_true", help="also every shape under every evasion")
    return parser


if __name__ == "__main__":
    sys.exit(main())
