"""When accounts send: sessions by the hour of the day, bursts within them, heavy tails over accounts.

The shapes are fitted to real per-client traces (ServeGen, 162 clients of one model over 14 days in windows of
ten minutes). Its clients are large; an API's population is mostly small. So the *level* comes from the
scenario, and what is fitted is the spread over accounts, the day and the night, and the bursts.
"""

from __future__ import annotations

import csv
import gzip
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from statistics import fmean, median, pstdev
from typing import Final

from pipelines.demo.people import HOUR
from pipelines.simulate.scenario import Arrivals

TRACES: Final = "arrivals/m-large_traces.csv.gz"
SOURCE: Final = "ServeGen m-large per-client traces, 162 clients over 14 days (Apache-2.0, alibaba/ServeGen)"
DECILES: Final = 9

_WINDOW_S: Final = 600
_DAY_S: Final = 86_400
# Small clients are those most like the accounts of an API's population: the lower half by rate.
_SMALL: Final = 0.5
# Draws in a row outside an account's span before any moment of the span will do.
_PATIENCE: Final = 200


def fit(directory: Path) -> Arrivals | None:
    """The arrivals of the traces in `directory`, or None where it has none."""
    path = directory / TRACES
    if not path.is_file():
        return None
    rates: dict[str, list[tuple[int, float]]] = defaultdict(list)
    variations: list[float] = []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        place = {name: index for index, name in enumerate(next(rows))}
        who, window, per_second, cv = (place[name] for name in ("client_id", "window_start_s", "rate_per_s", "cv"))
        for row in rows:
            rate = float(row[per_second])
            rates[row[who]].append((int(row[window]), rate))
            if rate > 0 and float(row[cv] or 0) > 0:
                variations.append(float(row[cv]))
    means = {client: fmean(rate for _, rate in windows) for client, windows in rates.items()}
    means = {client: mean for client, mean in means.items() if mean > 0}
    hourly = [0.0] * 24
    for client, mean in means.items():
        for start, rate in rates[client]:
            # Relative to the client's own mean: otherwise the largest client's day would be everybody's.
            hourly[start % _DAY_S // 3600] += rate / mean
    small = sorted(means, key=lambda client: (means[client], client))[: int(len(means) * _SMALL)]
    # Relative to the client's total, so that the level of these large clients does not come along.
    sessions = [
        math.log(size / (means[client] * _WINDOW_S * len(rates[client])))
        for client in small
        for size in _sessions(rates[client])
    ]
    variations.sort()
    quantiles = [variations[len(variations) * q // (DECILES + 1)] for q in range(DECILES, 0, -1)]
    return Arrivals(
        source=SOURCE,
        hourly=[round(24 * value / sum(hourly), 3) for value in hourly],
        spread=round(pstdev(math.log(mean) for mean in means.values()), 3),
        session_share=round(math.exp(median(sessions)), 5),
        session_spread=round(pstdev(sessions), 3),
        gap_shapes=[round(weibull_shape(variation), 3) for variation in quantiles],
    )


def weibull_shape(cv: float) -> float:
    """The shape of a Weibull distribution with this coefficient of variation, by bisection.

    >>> round(weibull_shape(1.0), 3)
    1.0
    """
    low, high = 0.1, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        first, second = math.gamma(1 + 1 / middle), math.gamma(1 + 2 / middle)
        if math.sqrt(max(0.0, second / first**2 - 1)) > cv:
            low = middle
        else:
            high = middle
    return high


def _sessions(windows: Sequence[tuple[int, float]]) -> Iterator[float]:
    """Requests of each run of active windows."""
    total = 0.0
    for _, rate in windows:
        if rate > 0:
            total += rate * _WINDOW_S
        elif total:
            yield max(1.0, total)
            total = 0.0
    if total:
        yield max(1.0, total)


class Clock:
    """Draws times from fitted arrivals; holds no random state of its own."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self._hours = list(accumulate(arrivals.hourly))

    def volume(self, rng: Random, mean: float, most: float) -> int:
        """Requests of one account: lognormal with the fitted spread, `mean` on average, at least 1."""
        spread = self.arrivals.spread
        return max(1, round(min(most, rng.lognormvariate(math.log(mean) - spread**2 / 2, spread))))

    def times(self, rng: Random, count: int, *, offset: int, start: int, end: int, gap: float = 40_000) -> list[int]:
        """`count` ascending times (epoch ms) from `start` on and before `end`.

        Args:
            offset: the account's hours from UTC.
            gap: typical ms between the requests of a session.
        """
        found: list[int] = []
        days = max(1, -(-(end - start) // (24 * HOUR)))
        midnight = start - start % (24 * HOUR)
        median_session = math.log(self.arrivals.session_share * count)
        total = self._hours[-1]
        shape = rng.choice(self.arrivals.gap_shapes)
        scale = gap / math.gamma(1 + 1 / shape)
        misses = 0
        while len(found) < count:
            hour = bisect_right(self._hours, rng.random() * total)
            local = midnight + rng.randrange(-1, days + 1) * 24 * HOUR + hour * HOUR + rng.randrange(HOUR)
            at = local - offset * HOUR
            if not start <= at < end:
                misses += 1
                if misses <= _PATIENCE:
                    continue
                # A span of minutes in the night: better an even draw than none.
                at = start + rng.randrange(max(1, end - start))
            misses = 0
            size = max(1, int(rng.lognormvariate(median_session, self.arrivals.session_spread)))
            moment = float(at)
            for _ in range(min(count - len(found), size)):
                if moment >= end:
                    break
                found.append(int(moment))
                moment += rng.weibullvariate(scale, shape)
        return sorted(found)
