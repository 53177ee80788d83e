"""A long run at a steady pace: does the memory of a worker grow, and does any log tell an error?"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from infra.kafka.broker import Broker
from schemas.events import Event
from tests.conftest import Endpoint
from tests.faults.events import Feed
from tests.faults.offsets import Books
from tests.faults.workers import Worker, counted, fleet, write_config

_SAMPLE_S: Final = 5.0
_READY_S: Final = 120.0
# Samples next to each other say the same; the slope is of their medians over so many seconds.
_BLOCK_S: Final = 30.0
# Resident memory moves by pages that come and go; less than this share over the time looked at is no growth.
_LEAST_RISE: Final = 0.01
# A worker that keeps up is behind by no more than so many seconds of events.
_BEHIND_S: Final = 60.0


class Drift(Struct, frozen=True):
    """How resident memory moved in the second half of a run.

    Attributes:
        slope, low, high: MB an hour, Theil-Sen with its 95 % interval, of medians over half a minute.
        rise: MB over the time looked at, by that slope.
        noise: MB, the width of the middle 90 % of the samples around that slope; or 1 % of the memory, if that is more.
        grows: the interval is above 0, and the rise above the noise.
    """

    slope: float
    low: float
    high: float
    rise: float
    noise: float
    grows: bool


def drift(seconds: ArrayLike, megabytes: ArrayLike) -> Drift:
    """Of one worker's samples, of which the first half is left out: caches and filters fill up in it.

    Sen, P. K. (1968), Estimates of the regression coefficient based on Kendall's tau.

    Args:
        seconds: (n,) ascending. megabytes: (n,).

    Raises:
        ValueError: fewer than four medians in the second half.
    """
    from scipy.stats import theilslopes

    at, size = np.asarray(seconds, float), np.asarray(megabytes, float)
    late = at >= (at[0] + at[-1]) / 2
    at, size = at[late], size[late]
    block = ((at - at[0]) // _BLOCK_S).astype(int)
    medians = np.array([(np.median(at[block == n]), np.median(size[block == n])) for n in np.unique(block)])
    if len(medians) < 4:
        raise ValueError(f"a slope needs four half minutes in the second half, got {len(medians)}")
    slope, intercept, low, high = theilslopes(medians[:, 1], medians[:, 0])
    rest = size - slope * at - intercept
    noise = max(float(np.subtract(*np.percentile(rest, [95, 5]))), _LEAST_RISE * float(np.median(size)))
    rise = float(slope * (at[-1] - at[0]))
    return Drift(
        slope=float(slope) * 3_600,
        low=float(low) * 3_600,
        high=float(high) * 3_600,
        rise=rise,
        noise=noise,
        grows=bool(low > 0 and rise > noise),
    )


def soak(
    broker: Broker,
    endpoint: Endpoint,
    topics: Mapping[str, str],
    folder: Path,
    events: Iterable[Event],
    *,
    minutes: float,
    rate: float,
    advance: Callable[[int], object] = lambda steps: None,
) -> dict[str, Any]:
    """Feed a deployment at the shipped settings, and look at it.

    Args:
        events: more than enough, ascending by time.
        rate: events a second.
        advance: told the seconds that have passed.

    Returns:
        What the report says of it; its `failures` are empty where all is well.
    """
    group = "soak"
    config = write_config(folder, broker.bootstrap, topics, group, checkpoint_ms=10_000, session_s=10, detectors="")
    workers = fleet(config, folder, endpoint.dsn)
    samples: dict[str, list[float]] = {worker.name: [] for worker in workers}
    times: list[float] = []
    with contextlib.ExitStack() as stack:
        books = stack.enter_context(contextlib.closing(Books(broker.bootstrap, topics, group)))
        for worker in workers:
            stack.callback(worker.stop)
            worker.start()
        _until_ready(workers)
        feeding = _Feeding(broker, topics, events, rate)
        stack.callback(feeding.stop)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < minutes * 60:
            for worker in workers:
                worker.look()
                samples[worker.name].append(worker.memory() / 2**20)
            advance(int(passed) - int(times[-1]) if times else int(passed))
            times.append(passed)
            time.sleep(_SAMPLE_S)
        sent = feeding.stop()
        behind = {name: books.backlog(name) for name in ("detect", "sink")}
        codes = {worker.name: worker.stop() for worker in workers}
    drifts = {worker.name: drift(times, samples[worker.name]) for worker in workers}
    problems = {worker.name: counted(worker.problems()) for worker in workers}
    failures = [f"soak: the memory of {name} grows: {one}" for name, one in drifts.items() if one.grows]
    failures += [f"soak: {name} logged {found}" for name, found in problems.items() if found]
    failures += [f"soak: {worker.name} ended by itself: {worker.exits}" for worker in workers if worker.exits]
    failures += [f"soak: {name} stopped with {code}" for name, code in codes.items() if code]
    if behind["detect"] is None or behind["detect"] > rate * _BEHIND_S:
        failures.append(f"soak: detect is {behind['detect']} events behind at {rate:,.0f} a second")
    return {
        "minutes": minutes,
        "rate": rate,
        "events": sent,
        "events_per_s": sent / (minutes * 60),
        "behind": behind,
        "memory": {
            name: {"mb_first": samples[name][0], "mb_last": samples[name][-1], "mb_max": max(samples[name])}
            | {field: getattr(one, field) for field in one.__struct_fields__}
            for name, one in drifts.items()
        },
        "samples_mb": samples,
        "problems": problems,
        "failures": failures,
    }


class _Feeding:
    """A thread that sends events at a pace."""

    def __init__(self, broker: Broker, topics: Mapping[str, str], events: Iterable[Event], rate: float) -> None:
        self._feed = Feed(broker, topics)
        self._stop = threading.Event()
        self._events, self._rate = events, rate
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        for number, event in enumerate(self._events):
            if self._stop.is_set():
                break
            wait = began + number / self._rate - time.monotonic()
            if wait > 0.01:
                time.sleep(wait)
            self._feed.send(event)

    def stop(self) -> int:
        """Send no more; how many were sent."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._feed.close()
        return self._feed.sent


def _until_ready(workers: Iterable[Worker]) -> None:
    deadline = time.monotonic() + _READY_S
    waiting = list(workers)
    while waiting:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not ready after {_READY_S:.0f} s: {', '.join(worker.name for worker in waiting)}")
        time.sleep(0.5)
        for worker in waiting:
            worker.look()
        waiting = [worker for worker in waiting if worker.ready_at is None]
