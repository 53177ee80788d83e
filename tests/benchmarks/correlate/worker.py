"""The campaign stage in a process of its own, fed through its standard input; says what it took as JSON.

It takes messages and writes its state as the worker does: a group of entries when a burst is over, where the pace
allows it; time is that of the events, for they come as fast as they are taken. Values that it writes are counted and
let go, as they go to RocksDB and Kafka.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import io
import pstats
import sys
import time
from collections.abc import Awaitable, Generator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from detectors import judgement
from detectors.campaign_state import Cohort
from detectors.campaigns import CampaignCore
from detectors.params import CampaignParams
from detectors.reference import Reference
from pipelines.config import load_config
from pipelines.correlate.pace import Pace
from pipelines.correlate.stage import CampaignStage, Message
from schemas.alerts import Alert
from schemas.deadletters import DeadLetter

LENGTH: Final = 4  # bytes of a frame's length, little-endian; a frame of length 0 ends a burst
BEGIN: Final = b"begin"
"""A frame: what came before is to be there, and is not measured."""
_PROFILED: Final = 25


class Done:
    """An acknowledgement that is there at once."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


class Table:
    """Takes entries and remembers how much they were."""

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0

    def load(self) -> dict[str, bytes]:
        return {}

    def write(self, name: str, value: bytes | None) -> Awaitable[Any]:
        self.records += 1
        self.bytes += len(name) + len(value or b"")
        return Done()


class Publisher:
    """Counts what is published."""

    def __init__(self) -> None:
        self.named: set[str] = set()

    async def alerts(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            self.named.update(alert.accounts)

    async def letter(self, letter: DeadLetter) -> None:
        raise RuntimeError(f"evidence was rejected: {letter.detail}")


class Costs(msgspec.Struct):
    """What the stage took; seconds are of its processor.

    Attributes:
        longest_decision_s: the longest stop for one message, in which a tick is decided.
        longest_judgement_s: of one cohort.
        resident_mb: at the end. peak_mb: at most. before_mb: before what is measured. empty_mb: without any state.
    """

    messages: int = 0
    input_bytes: int = 0
    handle_s: float = 0.0
    settle_s: float = 0.0
    settles: int = 0
    longest_settle_s: float = 0.0
    longest_decision_s: float = 0.0
    judgements: int = 0
    judging_s: float = 0.0
    longest_judgement_s: float = 0.0
    judged_members: int = 0
    state_records: int = 0
    state_bytes: int = 0
    empty_mb: float = 0.0
    before_mb: float = 0.0
    resident_mb: float = 0.0
    peak_mb: float = 0.0
    alerts: int = 0
    campaigns: int = 0
    named: int = 0
    profile: str = ""


def frames(source: BinaryIO) -> Generator[bytes | None, None, None]:
    """Messages as they come, and None at the end of each burst."""
    while len(head := source.read(LENGTH)) == LENGTH:
        length = int.from_bytes(head, "little")
        yield source.read(length) if length else None


async def work(source: BinaryIO, *, burst_s: float, eager: bool, profiled: bool) -> Costs:
    """Take everything.

    Args:
        burst_s: event time from one burst to the next.
        eager: write state after every burst, whatever that takes.
        profiled: say where the time went.
    """
    config = load_config()
    costs, table, publisher = Costs(), Table(), Publisher()
    watch = _Watch(costs)

    async def nothing() -> int:
        return 0

    stage = CampaignStage(
        new_core=lambda: CampaignCore(config.campaigns, config.detectors, config_version=config.version),
        table=table,
        publisher=publisher,
        start=nothing,
        end=nothing,
        wall=time.time,
    )
    await stage.expected()
    gc.collect()
    costs.empty_mb = _resident("VmRSS")
    profile = cProfile.Profile() if profiled else None
    held = bursts = 0
    pace = Pace(lambda: bursts * burst_s)
    for offset, raw in enumerate(frames(source)):
        if raw == BEGIN:
            stage.settle()
            table.records = table.bytes = stage.messages = stage.alerts = held = 0
            costs = Costs(empty_mb=costs.empty_mb, before_mb=_resident("VmRSS"))
            watch.costs = costs
            continue
        if profile is not None:
            profile.enable()
        if raw is not None:
            began = time.process_time()
            await stage.handle(Message(topic="evidence", partition=0, offset=offset, key=None, value=raw))
            took = time.process_time() - began
            costs.handle_s += took
            costs.longest_decision_s = max(costs.longest_decision_s, took)
            costs.input_bytes += len(raw)
            held += 1
        else:
            bursts += 1
        if held and raw is None and (eager or not pace.wait()):
            began = time.process_time()
            written = stage.settle()
            took = time.process_time() - began
            pace.wrote(took)
            for one in written:
                await one
            costs.settle_s += took
            costs.settles += 1
            costs.longest_settle_s = max(costs.longest_settle_s, took)
            held = 0
        if profile is not None:
            profile.disable()
    costs.resident_mb, costs.peak_mb = _resident("VmRSS"), _resident("VmHWM")
    costs.messages, costs.alerts = stage.messages, stage.alerts
    costs.state_records, costs.state_bytes = table.records, table.bytes
    costs.campaigns, costs.named = len(stage.campaigns or {}), len(publisher.named)
    if profile is not None:
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(_PROFILED)
        costs.profile = text.getvalue()
    return costs


class _Watch:
    """Times every judgement of this process."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self._judge = judgement.judge
        judgement.judge = self.judge

    def judge(
        self, cohort: Cohort, reference: Reference, rates: dict[str, float], params: CampaignParams
    ) -> judgement.Judgement:
        began = time.process_time()
        verdict = self._judge(cohort, reference, rates, params)
        took = time.process_time() - began
        self.costs.judgements += 1
        self.costs.judging_s += took
        if took > self.costs.longest_judgement_s:
            self.costs.longest_judgement_s, self.costs.judged_members = took, len(cohort.members)
        return verdict


def _resident(field: str) -> float:
    """Megabytes (10^6) of resident memory, as the kernel counts them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {field}")


def main() -> None:
    """Read frames until there are no more."""
    parser = argparse.ArgumentParser(description="The stage of `python -m tests.benchmarks.correlate`.")
    parser.add_argument("--burst-s", type=float, required=True)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    costs = asyncio.run(work(sys.stdin.buffer, burst_s=args.burst_s, eager=args.eager, profiled=args.profile))
    sys.stdout.buffer.write(msgspec.json.encode(costs))


if __name__ == "__main__":
    main()
