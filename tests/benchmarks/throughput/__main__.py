"""`python -m tests.benchmarks.throughput --out build/bench.json`: `make bench`."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from infra.kafka.broker import Broker
from pipelines.config import load_config
from tests.benchmarks.arena.contract import written
from tests.benchmarks.arena.progress import Clock, Tell
from tests.benchmarks.throughput.accounts import AtSize
from tests.benchmarks.throughput.contenders import CONTENDERS, PEERS
from tests.benchmarks.throughput.rig import Rig, cpu_seconds
from tests.benchmarks.throughput.stopwatch import Timing
from tests.benchmarks.throughput.traffic import traffic


def compare(rig: Rig, options: argparse.Namespace, tell: Tell) -> tuple[dict[str, Any], dict[str, str]]:
    """All contenders in turn, `runs` times over, so that a disturbance does not fall on one alone."""
    absent = {}
    names = [name for name in CONTENDERS if options.only is None or name in options.only]
    if find_spec("quixstreams") is None:
        absent["quix_river_text"] = "quixstreams is not installed; `pip install distillwatch[bench]` adds it"
    names = [name for name in names if name not in absent]
    times: dict[str, list[Timing]] = {name: [] for name in names}
    for run in range(options.runs):
        for name in names:
            times[name].append(rig.time(name, options.seconds if name in PEERS else options.seconds * 10))
            tell(f"run {run + 1} of {options.runs}: {name} {times[name][-1].events_per_s:,.0f} events/s")
    return {
        name: {
            "events_per_s": statistics.median(one.events_per_s for one in found),
            "cpu_us": statistics.median(one.cpu_us for one in found),
            "runs": [one.events_per_s for one in found],
        }
        for name, found in times.items()
    }, absent


def two_workers(rig: Rig, options: argparse.Namespace, tell: Tell) -> tuple[dict[str, float], dict[str, str]]:
    """What a second worker adds, and the broker's share of one core meanwhile (starts and stops included)."""
    pid = rig.broker.pid
    if pid is None:
        raise RuntimeError("the broker is not running")
    one = rig.time_workers(1, options.seconds * 10)
    began, cpu = time.monotonic(), cpu_seconds(pid)
    try:
        two = rig.time_workers(2, options.seconds * 10)
    except ValueError as error:
        # One had read everything before the other was in the group: too few events for this.
        return {}, {"speedup_2_workers": f"{error}; more --events give them the time"}
    share = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
    tell(f"two workers: {two:,.0f} events/s, one: {one:,.0f}")
    return {"speedup_2_workers": two / one, "broker_cores": share}, {}


def at_sizes(options: argparse.Namespace, tell: Tell) -> dict[int, AtSize]:
    """The lanes at each number of accounts, each in a process of its own."""
    found = {}
    for accounts in options.accounts:
        command = [sys.executable, "-m", "tests.benchmarks.throughput.accounts", str(accounts), "600"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=900)
        found[accounts] = msgspec.json.decode(done.stdout, type=AtSize)
        tell(f"{accounts:,} accounts: {found[accounts].bytes:,.0f} bytes each, {found[accounts].us:.1f} µs an event")
    return found


def run(options: argparse.Namespace, tell: Tell) -> dict[str, Any]:
    """Everything that `bench.json` holds."""
    load = os.getloadavg()[0]
    lengths = []
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        for chars in options.chars:
            events = min(options.events, 72_000_000 // chars)
            tell(f"{events:,} events with prompts of {chars} characters")
            rig = Rig(broker, Path(folder) / str(chars), traffic(events, 10_000, chars, seed=1))
            found, absent = compare(rig, options, tell)
            lengths.append({"prompt_chars": chars, "events": events, "contenders": found})
            if chars == options.chars[0]:
                workers, lacking = two_workers(rig, options, tell)
    first = lengths[0]["contenders"]
    sizes = at_sizes(options, tell)
    return {
        "config_version": load_config(None).version,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load_before": load},
        "prompt_chars": options.chars[0],
        **{f"{name}_events_per_s": first[name]["events_per_s"] for name in ("floor", "detect", "replay")},
        "ratio_to_floor": first["detect"]["events_per_s"] / first["floor"]["events_per_s"],
        "peers": {name: first[name]["events_per_s"] for name in PEERS if name in first},
        **workers,
        "bytes_per_account": {str(n): size.bytes for n, size in sizes.items()},
        "events_per_s_by_accounts": {str(n): 1e6 / size.us for n, size in sizes.items()},
        "by_prompt_chars": lengths,
        "absent": absent | lacking | {"p99_latency_ms": "the time from produce to alert is not measured yet"},
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--full", action="store_true", help="all prompt lengths, and a million accounts")
    parser.add_argument("--events", type=int, default=240_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="the most that one run of a peer takes")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), help="these contenders; the three are needed")
    parser.add_argument("--accounts", type=int, nargs="+")
    options = parser.parse_args(arguments)
    options.chars = [600, 100, 4_000] if options.full else [600]
    options.accounts = options.accounts or [10_000, 100_000, *([1_000_000] if options.full else [])]
    report = run(options, Clock(time.time()))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(written(report))


if __name__ == "__main__":
    main()
