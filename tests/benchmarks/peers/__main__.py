"""The peers on a simulation that is already on disk, by the embedding of your choice.

`python -m tests.benchmarks.peers DIR --embedding minilm`, where DIR is what `distillwatch simulate --out DIR`
wrote. One line a peer: its threshold, set on these very events so that it names no more benign accounts than
the budget allows, and what it then finds. Prompts are real, their assignment to accounts and times is
simulated.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from pipelines.errors import Failure, UsageError
from pipelines.sources import merged, open_sources
from schemas.events import MAX_EVENT_BYTES, Event, decode_event
from tests.benchmarks.arena import budget as arena
from tests.benchmarks.arena import tables
from tests.benchmarks.peers import EMBEDDINGS, PEERS, setting_with
from tests.benchmarks.peers.budget import threshold
from tests.benchmarks.peers.columns import Columns, Writer
from tests.benchmarks.peers.queries import benign_reference


def read(paths: Sequence[Path]) -> Iterator[Event]:
    """The events of files, in order of time."""
    sources = open_sources(paths, MAX_EVENT_BYTES)
    for source in sources:
        source.scan(lambda _: None)
    for line in merged(sources):
        yield decode_event(line.raw)


def run(directory: Path, *, embedding: str, names: Sequence[str], per_10k: float) -> Iterator[str]:
    """A line for each peer.

    Raises:
        UsageError: the directory lacks a file of a simulation, or no campaign is in it.
        FileNotFoundError: the sentence model is chosen, and not installed.
    """
    files = sorted(path for path in directory.glob("events*") if path.is_file())
    parquet = [directory / "labels.parquet", directory / "harvest.parquet"]
    if missing := [path.name for path in parquet if not path.exists()] or ([] if files else ["events.jsonl"]):
        raise UsageError(f"{directory} lacks {', '.join(missing)}; write it by distillwatch simulate --out {directory}")
    labels = pq.read_table(parquet[0])
    harvest = pq.read_table(parquet[1])
    owners = dict(zip(harvest["request_id"].to_pylist(), harvest["campaign"].to_pylist(), strict=True))
    writer = Writer()
    traffic = tables.as_traffic(writer.tap(read(files)), lambda: (labels, owners))
    if not owners:
        raise UsageError(f"{directory} holds no campaign, so there is nothing to find; simulate another scenario")
    benign = set(traffic.labels.loc[traffic.labels["kind"] != tables.CAMPAIGN, "account"])
    with TemporaryDirectory() as work:
        writer.save(Path(work) / "columns.arrow")
        events = Columns(Path(work) / "columns.arrow")
    setting = setting_with(embedding, benign_reference(events, benign))
    yield f"{setting.embed.name}, {len(setting.reference):,} reference texts, {per_10k} per 10,000 account-days"
    for name in names:
        peer = PEERS[name](setting)
        begun = time.monotonic()
        found = arena.records(peer.score(events))
        seconds = time.monotonic() - begun
        level = threshold(found, traffic, per_10k)
        row = arena.figures_at(found, traffic, level)
        yield (
            f"{name:<24} above {level:10.4g}  mean exposure {row['mean_exposure']:.3f}  detected {row['detected']:>3}  "
            f"benign named {row['benign_accounts_named']:>4}  scored {row['accounts_scored']:>6,}  {seconds:6.1f} s"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the lines; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("directory", type=Path, help="written by distillwatch simulate")
    parser.add_argument("--embedding", choices=sorted(EMBEDDINGS), default="hashed")
    parser.add_argument("--peers", nargs="+", choices=sorted(PEERS), default=list(PEERS), metavar="NAME")
    parser.add_argument("--benign", type=float, default=1.0, help="accounts per 10,000 account-days [default: 1]")
    options = parser.parse_args(argv)
    try:
        for line in run(options.directory, embedding=options.embedding, names=options.peers, per_10k=options.benign):
            print(line, flush=True)  # noqa: T201 - a command for people
    except (UsageError, FileNotFoundError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except Failure as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
