"""What the campaign stage costs: `python -m tests.benchmarks.correlate [--minutes 60] [--eager] [--profile]`.

Detect workers of sixteen partitions, of which only what they tell of cohorts is simulated, feed the real stage in a
process of its own, as fast as it takes it. The honest accounts have been there for a day; the campaigns begin. Shares
of a core are of event time: processor seconds of the stage a second of traffic.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, NamedTuple

import msgspec

from detectors.params import DetectorParams
from schemas.evidence import ENCODER
from tests.benchmarks.correlate.traffic import Burst, Shape, Workers, rows_of
from tests.benchmarks.correlate.worker import BEGIN, LENGTH, Costs


class Fed(NamedTuple):
    """What was sent, and what it cost the stage."""

    shape: Shape
    seen: int
    rows: int
    most_rows: int
    most_messages: int
    costs: Costs


def feed(shape: Shape, params: DetectorParams, *, eager: bool = False, profiled: bool = False) -> Fed:
    """Run the stage over the evidence of `shape`.

    Args:
        eager: write state after every burst, whatever that takes.
        profiled: say where the stage's time went.

    Raises:
        RuntimeError: the stage's process failed.
    """
    workers = Workers(shape, params)
    rows = most_rows = most_messages = 0
    flags = [flag for flag, given in (("--eager", eager), ("--profile", profiled)) if given]
    burst_s = str(params.tick_ms / 1000 / shape.partitions)
    command = [sys.executable, "-m", "tests.benchmarks.correlate.worker", "--burst-s", burst_s, *flags]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stage:
        if stage.stdin is None or stage.stdout is None:
            raise RuntimeError("the stage has no pipes")
        for burst in workers.before():
            _write(stage.stdin, burst)
        stage.stdin.write(len(BEGIN).to_bytes(LENGTH, "little") + BEGIN)
        for burst in workers.bursts():
            now = sum(map(rows_of, burst.evidence))
            rows, most_rows = rows + now, max(most_rows, now)
            most_messages = max(most_messages, len(burst.evidence))
            _write(stage.stdin, burst)
        stage.stdin.close()
        out = stage.stdout.read()
    if stage.returncode:
        raise RuntimeError(f"the stage ended with {stage.returncode}")
    return Fed(shape, workers.seen, rows, most_rows, most_messages, msgspec.json.decode(out, type=Costs))


def _write(stage: IO[bytes], burst: Burst) -> None:
    for one in burst.evidence:
        raw = ENCODER.encode(one)
        stage.write(len(raw).to_bytes(LENGTH, "little") + raw)
    stage.write(bytes(LENGTH))


def told(fed: Fed) -> list[str]:
    """The figures, a line each."""
    costs, seconds = fed.costs, fed.shape.minutes * 60
    taking, judging, writing = (100 * took / seconds for took in (costs.handle_s, costs.judging_s, costs.settle_s))
    messages, rows = costs.messages / seconds, fed.rows / seconds
    kilobytes, megabytes = costs.input_bytes / seconds / 1e3, costs.state_bytes / seconds / 1e6
    decision, judgement, write = (
        1e3 * took for took in (costs.longest_decision_s, costs.longest_judgement_s, costs.longest_settle_s)
    )
    return [
        f"{fed.seen:,} accounts seen, {fed.shape.campaigns} campaigns of {fed.shape.members:,}",
        f"{costs.campaigns} campaigns found, {costs.named:,} accounts named in {costs.alerts:,} alerts",
        f"evidence a second: {messages:,.1f} messages, {rows:,.1f} rows, {kilobytes:,.0f} kB",
        f"evidence of a partition and tick: {fed.most_rows:,} rows, {fed.most_messages:,} messages at most",
        f"share of a core: {taking + writing:.1f} %",
        f"  taking and deciding {taking:.1f} %, of that {costs.judgements:,} judgements {judging:.1f} %",
        f"  writing state {writing:.1f} %, {costs.settles:,} times",
        f"longest: decision {decision:,.0f} ms, judgement {judgement:,.0f} ms, writing {write:,.0f} ms",
        f"  that judgement was of {costs.judged_members:,} members",
        f"state a second: {megabytes:.2f} MB, {costs.state_records / seconds:,.1f} records",
        f"memory: {costs.peak_mb:,.0f} MB at most, {costs.resident_mb:,.0f} at the end, {costs.before_mb:,.0f} before",
        f"  and {costs.empty_mb:,.0f} MB without any state",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    shape = Shape()
    parser = argparse.ArgumentParser(description="What the campaign stage costs.")
    for name in ("accounts", "campaigns", "members", "partitions", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(shape, name))
    for name in ("minutes", "events_per_s", "in_families", "campaign_requests"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(shape, name))
    parser.add_argument("--eager", action="store_true", help="write state after every burst, whatever that takes")
    parser.add_argument("--profile", action="store_true", help="show where the stage's time goes; doubles it")
    options = vars(parser.parse_args(argv))
    eager, profiled = options.pop("eager"), options.pop("profile")
    began = time.perf_counter()
    fed = feed(Shape(**options), DetectorParams(), eager=eager, profiled=profiled)
    sys.stdout.write("".join(f"{line}\n" for line in told(fed)))
    sys.stdout.write(f"{time.perf_counter() - began:.0f} s by the clock on the wall\n{fed.costs.profile}")


if __name__ == "__main__":
    main()
