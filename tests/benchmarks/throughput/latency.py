"""From produce to readable: how long a finding takes at half load, and what it waits for on the way.

A live worker with a config of its own reads events that are sent as they happen; a reader of the outputs notes when
each record can be read (`read_committed`). A signal is caused by its request, an alert on an account by the request
that brought it to its threshold; latency is from the sending of that request to the reading of the record.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from infra.kafka.broker import Broker
from infra.processes import spawn, stop, tail
from pipelines.config import load_config
from pipelines.kafka_io import make_consumer, partition_of
from pipelines.settings import KafkaSettings
from schemas.alerts import ALERT_DECODER, SIGNAL_DECODER, Signal
from tests.benchmarks.throughput.live import BEGUN, save_lines
from tests.benchmarks.throughput.rig import Rig, RunError, cpu_seconds
from tests.benchmarks.throughput.traffic import harvested

F64 = NDArray[np.float64]

ACCOUNTS: Final = 10_000
EVERY: Final = 50
"""One request of so many is of a harvester."""

_READY_S: Final = 120.0
_AWAIT_S: Final = 150.0  # a checkpoint may be a minute away
_WARM_S: Final = 15.0
_SPARE_S: Final = 5.0  # between the time that is measured and its events' going out
_ROLES: Final = ("signals", "alerts")


class Cause(Struct, frozen=True):
    """What a finding goes back to: when its request was sent, seconds since the epoch, and the request's account."""

    sent: float
    account: str


class Times(Struct, frozen=True, kw_only=True):
    """Milliseconds at one quantile of `count` findings; the parts have quantiles of their own and need not add up.

    Attributes:
        tick: from sending to the end of the tick. close: from there until the worker has closed it, which is where it
            decides. write: from there until the record can be read.
    """

    total: float
    tick: float
    close: float
    write: float


def harvester_causes(sent: Sequence[float], times: int) -> tuple[dict[str, Cause], dict[str, Cause]]:
    """By request of a harvester, and by harvester: the request that is its last of `times`, where it was sent."""
    signals, alerts = {}, {}
    for number, i in enumerate(range(0, len(sent), EVERY)):
        account = f"acct-{ACCOUNTS + number // times}"
        signals[f"r{i}"] = cause = Cause(sent[i], account)
        if number % times == times - 1:
            alerts[account] = cause
    return signals, alerts


def split(
    found: Mapping[str, float],
    causes: Mapping[str, Cause],
    closed: Sequence[tuple[int, int, float]],
    tick_ms: int,
    partitions: int,
) -> NDArray[np.float64]:
    """Rows of total, tick, close, write: milliseconds of each finding.

    Args:
        found: when each finding could be read, seconds since the epoch.
        closed: partition, end of a tick (epoch ms) and when it was closed, in order of time.
    """
    by_partition: dict[int, tuple[list[int], list[float]]] = {number: ([], []) for number in range(partitions)}
    for partition, tick, at in closed:
        by_partition[partition][0].append(tick)
        by_partition[partition][1].append(at)
    rows = []
    for name, read in found.items():
        cause = causes[name]
        end = int(cause.sent * 1000) // tick_ms * tick_ms + tick_ms
        ticks, moments = by_partition[partition_of(cause.account.encode(), partitions)]
        # What came late for its tick counts in the next one.
        done = moments[int(np.searchsorted(ticks, end))]
        rows.append((read - cause.sent, end / 1000 - cause.sent, done - end / 1000, read - done))
    return np.array(rows).reshape(-1, 4) * 1000


def quantiles(rows: F64) -> dict[str, Any]:
    """What `bench.json` has of findings of one kind.

    Raises:
        RunError: there are none, so there is nothing to say.
    """
    if not len(rows):
        raise RunError("no finding of the measured time was there at the end")
    at = {
        f"p{q}": Times(**dict(zip(Times.__struct_fields__, np.percentile(rows, q, axis=0).tolist(), strict=True)))
        for q in (50, 99)
    }
    return {"count": len(rows), **{name: msgspec.to_builtins(times) for name, times in at.items()}}


class LiveRun(Struct, frozen=True, kw_only=True):
    """One run: `rate` events a second; `warm_s` are not measured, then `seconds` are.

    Attributes:
        detectors: what the worker's `detectors.toml` says beside the defaults.
    """

    rate: float
    warm_s: float
    seconds: float
    detectors: str = ""

    def measure(self, broker: Broker, work: Path, lines: Path) -> dict[str, Any]:
        """Start both processes, read what they bring about, stop them.

        Raises:
            RunError: one of them ended, or findings of the measured time never came.
        """
        rig = Rig(broker, work, [])
        group = rig.group()
        config = rig.config(group, self.detectors)
        loaded = load_config(config)
        times, tick_ms = loaded.detectors.elicitation.account_requests, loaded.detectors.tick_ms
        load = os.getloadavg()[0]
        me = [sys.executable, "-m", "tests.benchmarks.throughput.live"]
        worker = spawn([*me, "worker", "--config", str(config), "--out", str(work / "closed")], log=work / "worker.log")
        feed = None
        try:
            _await_log(work / "worker.log", "partitions assigned", worker)
            outputs = _Outputs(broker.bootstrap, rig.topics["signals"], rig.topics["alerts"])
            feed = spawn(
                [*me, "feed", *self._feed_options(broker, rig, lines), "--out", str(work / "sent")],
                log=work / "feed.log",
            )
            _await_log(work / "feed.log", BEGUN, feed)
            outputs.read_for(self.warm_s)
            began, cpu = time.time(), self._cpu(worker, broker)
            outputs.read_for(self.seconds)
            ended, spent = time.time(), self._cpu(worker, broker)
            # Load goes on until all of it is there: a stream that ends would hurry the last findings.
            partitions = loaded.pipeline.stream.partitions
            outputs.read_for(_AWAIT_S, enough=lambda: outputs.told_until(partitions) > ended * 1000)
            for one, log in ((worker, "worker"), (feed, "feed")):
                if one.poll() is not None:
                    raise RunError(f"{log} ended with {one.returncode}:\n{tail(work / f'{log}.log')}")
        finally:
            for process in (feed, worker):
                if process is not None:
                    stop(process, 60.0)
        sent = np.frombuffer((work / "sent").read_bytes())
        closed = msgspec.json.Decoder(tuple[int, int, float]).decode_lines((work / "closed").read_bytes())
        causes = dict(zip(_ROLES, harvester_causes(sent.tolist(), times), strict=True))
        outputs.close()
        kinds: dict[str, Any] = {}
        for role in _ROLES:
            measured = {name: one for name, one in causes[role].items() if began <= one.sent < ended}
            found = {name: at for name, at in getattr(outputs, role).items() if name in measured}
            if len(found) < len(measured):
                raise RunError(f"{len(measured) - len(found)} of {len(measured)} {role} did not come in time")
            kinds[role] = quantiles(split(found, measured, closed, tick_ms, partitions))
        return {
            "tick_ms": tick_ms,
            "events_per_s": 2 * int(((sent >= began) & (sent < ended)).sum()) / (ended - began),
            "seconds": ended - began,
            **kinds,
            "worker_cores": (spent[0] - cpu[0]) / (ended - began),
            "broker_cores": (spent[1] - cpu[1]) / (ended - began),
            "load_before": load,
        }

    def _feed_options(self, broker: Broker, rig: Rig, lines: Path) -> list[str]:
        topics = msgspec.json.encode(rig.topics).decode()
        return ["--bootstrap", broker.bootstrap, "--topics", topics, "--rate", str(self.rate), "--lines", str(lines)]

    @staticmethod
    def _cpu(worker: subprocess.Popen[bytes], broker: Broker) -> tuple[float, float]:
        if broker.pid is None:
            raise RunError("the broker is not running")
        return cpu_seconds(worker.pid), cpu_seconds(broker.pid)


class _Outputs:
    """Reads both topics from their beginning, and notes when each finding could be read first.

    Attributes:
        signals: by request. alerts: by account. Seconds since the epoch.
    """

    def __init__(self, bootstrap: str, signals: str, alerts: str) -> None:
        from kafka import TopicPartition

        self.signals: dict[str, float] = {}
        self.alerts: dict[str, float] = {}
        self._newest: dict[str, int] = {}
        self._alerts = alerts
        self._consumer = make_consumer(KafkaSettings(bootstrap=bootstrap), group=None, poll_records=10_000)
        keys = [
            TopicPartition(topic, number)
            for topic in (signals, alerts)
            for number in self._consumer.partitions_for_topic(topic)
        ]
        self._consumer.assign(keys)
        self._consumer.seek_to_beginning(*keys)

    def read_for(self, seconds: float, *, enough: Callable[[], bool] = lambda: False) -> None:
        """Note what comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not enough():
            batch = self._consumer.poll(timeout_ms=100)
            now = time.time()
            for record in [record for records in batch.values() for record in records]:
                if record.topic == self._alerts:
                    for account in ALERT_DECODER.decode(record.value).accounts:
                        self.alerts.setdefault(account, now)
                else:
                    self._note(SIGNAL_DECODER.decode(record.value), now)

    def _note(self, found: Signal, now: float) -> None:
        if found.request_id is not None:
            self.signals.setdefault(found.request_id, now)
        if found.account is not None:
            self._newest[found.account] = found.ts

    def told_until(self, partitions: int) -> int:
        """Event time up to which every partition has told of a finding; 0 while one has told of none."""
        newest = dict.fromkeys(range(partitions), 0)
        for account, ts in self._newest.items():
            number = partition_of(account.encode(), partitions)
            newest[number] = max(newest[number], ts)
        return min(newest.values())

    def close(self) -> None:
        """Close the client."""
        self._consumer.close(timeout_ms=5_000)


def _await_log(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has told something.

    Raises:
        RunError: it ended before, or took too long.
    """
    end = time.monotonic() + _READY_S
    while text not in tail(log, 1_000):
        if process.poll() is not None or time.monotonic() > end:
            raise RunError(f"never told '{text}':\n{tail(log)}")
        time.sleep(0.1)


def at_half_load(
    broker: Broker, work: Path, *, rate: float, seconds: float, chars: int, ticks: Sequence[int]
) -> tuple[dict[int, dict[str, Any]], dict[int, RunError]]:
    """A run with the shipped config, and one more for each other tick, over the same events.

    Returns:
        figures, and failures, by tick (milliseconds), the shipped one first.
    """
    config = load_config(None).detectors
    times = config.elicitation.account_requests
    work.mkdir(parents=True, exist_ok=True)
    lines = work / "live.lines"
    events = int(rate * (_WARM_S + seconds + _SPARE_S))
    save_lines(lines, harvested(events, ACCOUNTS, chars, seed=2, every=EVERY, times=times))
    found, failed = {}, {}
    for tick in (config.tick_ms, *ticks):
        run = LiveRun(rate=rate, warm_s=_WARM_S, seconds=seconds, detectors=f"tick_ms = {tick}\n")
        try:
            found[tick] = run.measure(broker, work / f"tick-{tick}", lines)
        except RunError as error:
            failed[tick] = error
    return found, failed
