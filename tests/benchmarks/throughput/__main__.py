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
from typing import Any, Final

import msgspec

from infra.kafka.broker import Broker
from pipelines.config import load_config
from tests.benchmarks.arena.contract import written
from tests.benchmarks.arena.progress import Clock, Tell
from tests.benchmarks.throughput.accounts import AtSize
from tests.benchmarks.throughput.contenders import CONTENDERS, PEERS
from tests.benchmarks.throughput.latency import at_half_load
from tests.benchmarks.throughput.rig import Rig, RunError, cpu_seconds
from tests.benchmarks.throughput.stopwatch import Timing
from tests.benchmarks.throughput.traffic import traffic

OURS: Final = ("floor", "detect", "replay")
"""Without these the file says little."""

_REASON_CHARS: Final = 600


def compare(rig: Rig, options: argparse.Namespace, tell: Tell) -> tuple[dict[str, Any], dict[str, str]]:
    """All contenders in turn, `runs` times over, so that a disturbance does not fall on one alone.

    One that fails is absent, with its reason, and the others go on.
    """
    absent: dict[str, str] = {}
    names = [name for name in CONTENDERS if options.only is None or name in options.only]
    if find_spec("quixstreams") is None:
        absent["quix_river_text"] = "quixstreams is not installed; `pip install distillwatch[bench]` adds it"
    names = [name for name in names if name not in absent]
    times: dict[str, list[Timing]] = {name: [] for name in names}
    for run in range(options.runs):
        for name in list(times):
            try:
                times[name].append(rig.time(name, options.seconds if name in PEERS else options.seconds * 10))
            except RunError as error:
                absent[name] = reason(f"run {run + 1} of {options.runs}", error)
                del times[name]
                tell(f"{name} is left out: {absent[name]}")
            else:
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
    try:
        one = rig.time_workers(1, options.seconds * 10)
        began, cpu = time.monotonic(), cpu_seconds(pid)
        two = rig.time_workers(2, options.seconds * 10)
    except RunError as error:
        return {}, {"speedup_2_workers": reason("a run", error)}
    except ValueError as error:
        # One had read everything before the other was in the group: too few events for this.
        return {}, {"speedup_2_workers": f"{error}; more --events give them the time"}
    share = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
    tell(f"two workers: {two:,.0f} events/s, one: {one:,.0f}")
    return {"speedup_2_workers": two / one, "broker_cores": share}, {}


def by_tick(rig: Rig, options: argparse.Namespace, tell: Tell) -> tuple[dict[str, float], dict[str, str]]:
    """The worker at full speed with the shipped tick and with others, in turn; events a second by milliseconds."""
    ticks = [load_config(None).detectors.tick_ms, *options.ticks]
    speeds: dict[int, list[float]] = {tick: [] for tick in ticks}
    try:
        for _ in range(options.runs):
            for tick in ticks:
                took = rig.time("detect", options.seconds * 10, detectors=f"tick_ms = {tick}\n")
                speeds[tick].append(took.events_per_s)
                tell(f"ticks of {tick} ms: {took.events_per_s:,.0f} events/s")
    except RunError as error:
        return {}, {"detect_events_per_s_by_tick_ms": reason("a run", error)}
    return {str(tick): statistics.median(found) for tick, found in speeds.items()}, {}


def latency(
    broker: Broker, work: Path, detect: float | None, options: argparse.Namespace, tell: Tell
) -> tuple[dict[str, Any], dict[str, str]]:
    """From produce to readable, at half of the speed that was measured."""
    keys = ("p50_latency_ms", "p99_latency_ms")
    if detect is None:
        return {}, dict.fromkeys(keys, "the speed of the worker is not known, so nor is half of it")
    tell(f"latency at {detect / 2:,.0f} events/s")
    runs, failed = at_half_load(
        broker, work, rate=detect / 2, seconds=options.latency_s, chars=options.chars[0], ticks=options.ticks
    )
    absent = {f"latency with ticks of {tick} ms": reason("the run", error) for tick, error in failed.items()}
    for tick, one in runs.items():
        tell(f"ticks of {tick} ms: p99 {one['signals']['p99']['total']:,.0f} ms")
    shipped = runs.get(load_config(None).detectors.tick_ms)
    if shipped is None:
        return {"latency_at_half_load": [*runs.values()]} if runs else {}, absent
    figures = {key: shipped["signals"][key[:3]]["total"] for key in keys}
    return {**figures, "latency_at_half_load": [*runs.values()]}, absent


def at_sizes(options: argparse.Namespace, tell: Tell) -> tuple[dict[int, AtSize], dict[str, str]]:
    """The lanes at each number of accounts, each in a process of its own."""
    found, absent = {}, {}
    for accounts in options.accounts:
        command = [sys.executable, "-m", "tests.benchmarks.throughput.accounts", str(accounts), "600"]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=900)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            absent[f"{accounts} accounts"] = reason("the run", error)
            continue
        found[accounts] = msgspec.json.decode(done.stdout, type=AtSize)
        tell(f"{accounts:,} accounts: {found[accounts].bytes:,.0f} bytes each, {found[accounts].us:.1f} µs an event")
    return found, absent


def reason(what: str, error: Exception) -> str:
    """Why a figure is absent: one line, with the end of the log where there is one."""
    return " | ".join(f"{what}: {error}".split("\n"))[:_REASON_CHARS]


def run(options: argparse.Namespace, tell: Tell) -> dict[str, Any]:
    """Everything that `bench.json` holds."""
    load = os.getloadavg()[0]
    lengths, missing = [], {}
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        for chars in options.chars:
            events = min(options.events, 144_000_000 // chars)
            tell(f"{events:,} events with prompts of {chars} characters")
            rig = Rig(broker, Path(folder) / str(chars), traffic(events, 10_000, chars, seed=1))
            found, absent = compare(rig, options, tell)
            missing |= {name if chars == options.chars[0] else f"{name} {chars}": why for name, why in absent.items()}
            lengths.append({"prompt_chars": chars, "events": events, "contenders": found})
            if chars == options.chars[0]:
                workers, lacking = two_workers(rig, options, tell)
                ticks, none = by_tick(rig, options, tell)
                missing |= lacking | none
        first = lengths[0]["contenders"]
        speed = {name: first[name]["events_per_s"] for name in OURS if name in first}
        times, none = latency(broker, Path(folder) / "live", speed.get("detect"), options, tell)
        missing |= none
    sizes, none = at_sizes(options, tell)
    missing |= none
    if {"floor", "detect"} <= set(speed):
        workers["ratio_to_floor"] = speed["detect"] / speed["floor"]
    return {
        "config_version": load_config(None).version,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load_before": load},
        "prompt_chars": options.chars[0],
        **{f"{name}_events_per_s": value for name, value in speed.items()},
        "peers": {name: first[name]["events_per_s"] for name in PEERS if name in first},
        **workers,
        **times,
        **({"detect_events_per_s_by_tick_ms": ticks} if ticks else {}),
        "bytes_per_account": {str(n): size.bytes for n, size in sizes.items()},
        "events_per_s_by_accounts": {str(n): 1e6 / size.us for n, size in sizes.items()},
        "by_prompt_chars": lengths,
        "absent": missing,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the figures; exit 1 where one of ours is absent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--full", action="store_true", help="all prompt lengths, and a million accounts")
    parser.add_argument("--events", type=int, default=240_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="the most that one run of a peer takes")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), help="these contenders; the three are needed")
    parser.add_argument("--accounts", type=int, nargs="+")
    parser.add_argument("--ticks", type=int, nargs="*", default=[1_000], help="other ticks to measure, milliseconds")
    parser.add_argument("--latency-s", type=float, default=60.0, help="how long a run at half load is measured")
    options = parser.parse_args(arguments)
    options.chars = [600, 100, 4_000] if options.full else [600]
    options.accounts = options.accounts or [10_000, 100_000, *([1_000_000] if options.full else [])]
    report = run(options, Clock(time.time()))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(written(report))
    failed = [name for name in OURS if name in report["absent"]]
    if failed:
        sys.exit(f"{', '.join(failed)} failed; {options.out} has the reasons under `absent`")


if __name__ == "__main__":
    main()
