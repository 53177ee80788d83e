"""Memory and speed of the lanes at a number of accounts: `python -m tests.benchmarks.throughput.accounts N`."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from detectors.config import DetectConfig
from detectors.engine import FrameBuilder, Lane
from pipelines.config import load_config
from pipelines.replay import lane_of
from pipelines.secrets import load_hash_key
from schemas.events import Account, Event, Request, decode_event
from tests.benchmarks.throughput.traffic import EVENTS_PER_SECOND, START, traffic

_BATCH = 4_000
_TIMED = 20_000


class AtSize(Struct, frozen=True):
    """`us` is processor time an event, microseconds; `bytes` the growth of resident memory an account."""

    us: float
    bytes: float


def measure(accounts: int, chars: int) -> AtSize:
    """Fill the lanes with accounts, then time traffic spread over them; decoding included."""
    config = load_config(None)
    room = max(config.detectors.accounts.capacity, accounts)
    params = msgspec.structs.replace(
        config.detectors, accounts=msgspec.structs.replace(config.detectors.accounts, capacity=room)
    )
    key = load_hash_key(config.pipeline)
    detect = DetectConfig(
        params,
        config.patterns,
        hash_key=key,
        config_version=config.version,
        paraphrase=config.paraphrase,
        words=config.words,
    )
    builder, lanes = FrameBuilder(detect), [Lane(i, detect) for i in range(config.pipeline.stream.partitions)]

    def take(events: list[Event]) -> None:
        frame = builder.build(events)
        owners = np.array([lane_of(event, len(lanes)) for event in events])
        for i, lane in enumerate(lanes):
            lane.offer(frame.take(np.flatnonzero(owners == i)))
            for _ in lane.close_until(int(frame.ts[-1])):
                pass

    lines = [value for _, _, value in traffic(_TIMED, accounts, chars, seed=1)]
    take([decode_event(line) for line in lines[:_BATCH]])  # first use of everything is not the accounts' cost
    gc.collect()
    before = _resident()
    for start in range(0, accounts, _BATCH // 2):
        events: list[Event] = []
        for number in range(start, min(start + _BATCH // 2, accounts)):
            name, ts = f"acct-{number}", START + 10_000 + number * 2_000 // EVENTS_PER_SECOND
            events.append(Account(ts=ts, account=name, created=START, payment=f"card-{number}"))
            events.append(Request(id=f"f{number}", ts=ts, account=name, model="m-large"))
        take(events)
    later = ts - START + 10_000
    gc.collect()
    grown = _resident() - before
    began = time.process_time()
    for start in range(0, len(lines), _BATCH):
        batch = [decode_event(line) for line in lines[start : start + _BATCH]]
        take([msgspec.structs.replace(event, ts=event.ts + later) for event in batch])
    return AtSize((time.process_time() - began) / len(lines) * 1e6, grown / accounts)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(int(sys.argv[1]), int(sys.argv[2]))))
