"""Events a second of decoding, features and lanes, on one core of this machine.

`python -m tests.benchmarks.throughput --out build/bench.json`. Requests carry distinct prompts of a given
length over many accounts, at 5,000 events a second of event time, in one process; each figure is the median
of several runs on the same events. The texts are made up of a word list: this measures speed, not detection.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.config import DetectConfig
from detectors.engine import EventFrame, FrameBuilder, Lane
from pipelines.config import load_config
from pipelines.kafka_io import partition_of
from pipelines.secrets import load_hash_key
from schemas.events import Client, Event, Message, Params, Release, Request, Response, Usage, decode_event, encode_event

START = 1_784_887_200_000
EVENTS_PER_SECOND = 5_000
BATCH = 4_000


def traffic(events: int, accounts: int, chars: int, seed: int) -> list[bytes]:
    """Requests and their responses as JSON lines, in order of time."""
    rng = Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvwy", k=rng.randint(2, 10))) for _ in range(20_000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    lines: list[bytes] = []
    for i in range(events // 2):
        account = f"acct-{int(rng.paretovariate(1.0)) * 7919 % accounts}"
        text = " ".join(rng.choices(words, weights, k=chars // 5))[:chars]
        ts = START + i * 2_000 // EVENTS_PER_SECOND
        request = Request(
            id=f"r{i}",
            ts=ts,
            account=account,
            model="m-large",
            messages=[Message(role="user", content=text)],
            params=Params(temperature=1.0, max_tokens=1024),
            client=Client(ip=f"198.18.{i % 251}.7", asn=64500 + i % 97, user_agent="client/1.0", tls="t13d"),
        )
        response = Response(
            request_id=f"r{i}",
            ts=ts,
            account=account,
            model="m-large",
            status=200,
            usage=Usage(input=chars // 4, output=200, reasoning=100),
            signatures=[f"sig-{i}"],
        )
        lines += [encode_event(request), encode_event(response)]
    return lines


def measure(lines: list[bytes], runs: int) -> dict[str, float]:
    """Microseconds an event of each stage: the median over `runs` of the whole stage's time."""
    config = load_config(None)
    detect = DetectConfig(
        config.detectors,
        config.patterns,
        hash_key=load_hash_key(config.pipeline),
        config_version=config.version,
        paraphrase=config.paraphrase,
    )
    partitions = config.pipeline.stream.partitions

    def timed(stage: Callable[[], object]) -> float:
        started = time.perf_counter()
        stage()
        return (time.perf_counter() - started) / len(lines) * 1e6

    events: list[Event] = [decode_event(line) for line in lines]
    batches = [events[i : i + BATCH] for i in range(0, len(events), BATCH)]
    owners = [np.array([partition_of(_account(event), partitions) for event in batch]) for batch in batches]
    times: dict[str, list[float]] = {"decode": [], "features": [], "lanes": []}
    for _ in range(runs):
        builder = FrameBuilder(detect)
        frames: list[EventFrame] = []
        lanes = [Lane(partition, detect) for partition in range(partitions)]
        times["decode"].append(timed(partial(_decode, lines)))
        times["features"].append(timed(partial(_build, builder, batches, frames)))
        times["lanes"].append(timed(partial(_work_off, lanes, frames, owners)))
    return {stage: statistics.median(figures) for stage, figures in times.items()}


def _account(event: Event) -> bytes:
    if isinstance(event, Release):
        raise TypeError("the traffic of this benchmark has no releases")
    return event.account.encode()


def _decode(lines: list[bytes]) -> None:
    for line in lines:
        decode_event(line)


def _build(builder: FrameBuilder, batches: list[list[Event]], frames: list[EventFrame]) -> None:
    frames.extend(builder.build(batch) for batch in batches)


def _work_off(lanes: list[Lane], frames: list[EventFrame], owners: list[NDArray[np.int64]]) -> None:
    taken = 0
    for frame, owner in zip(frames, owners, strict=True):
        for partition, lane in enumerate(lanes):
            lane.offer(frame.take(np.flatnonzero(owner == partition)))
        for lane in lanes:
            taken += sum(row.requests for output in lane.close_until(int(frame.ts[-1])) for row in output.activity)
    for lane in lanes:
        taken += sum(row.requests for output in lane.flush() for row in output.activity)
    if taken != sum(len(frame) for frame in frames) // 2:
        raise RuntimeError(f"the lanes counted {taken} requests: this measured something else")


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--chars", type=int, nargs="+", default=[100, 600, 4_000])
    options = parser.parse_args()
    results = []
    for chars in options.chars:
        events = min(options.events, 36_000_000 // chars)  # about as much text for each length
        stages = measure(traffic(events, options.accounts, chars, seed=1), options.runs)
        total = sum(stages.values())
        results.append({"prompt_chars": chars, "events": events, "us_per_event": stages, "events_per_s": 1e6 / total})
        print(  # noqa: T201 - a command for people
            f"{chars:>6} characters: "
            + ", ".join(f"{stage} {us:.1f}" for stage, us in stages.items())
            + f" µs an event; {1e6 / total:,.0f} events/s on one core"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(msgspec.json.format(msgspec.json.encode({"core": results})) + b"\n")


if __name__ == "__main__":
    main()
