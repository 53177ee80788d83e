"""How an account keeps time, in 60 bytes: counts of what it sent since it was last looked at.

Periods begin at an account's own first request. Its requests of one tick count as of the moment of the latest of them,
in everything but their gaps. All numbers are small integers, so that the state is exact, and old gaps fade by halving.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import U64

I64 = NDArray[np.int64]
Records = NDArray[np.void]

GAP_BINS: Final = 16  # octaves from one second on; the last one begins at nine hours
PLACE_BITS: Final = 32
_DAY_HOURS: Final = np.uint32(24)
_HOUR_S: Final = np.uint32(3600)
_MOST_GAPS: Final = 255
_GAPS: Final = 2 ** np.arange(GAP_BINS, dtype=np.int32)  # seconds that an octave begins with
_BIT: Final = np.uint32(1) << np.arange(PLACE_BITS, dtype=np.uint32)
_TOP_FIVE: Final = np.uint64(59)  # bits of a hash that are not its five highest

RECORD: Final = np.dtype(
    [
        ("start", np.uint32),  # seconds since 1970, of the first request
        ("last", np.uint32),  # of the latest one; 0 before the first
        ("due", np.uint32),  # when the period under way is over
        ("hours", np.uint32),  # hours of day in use, whatever the zone: a bit each
        ("first", np.uint32),  # requests in the first period
        ("most", np.uint32),  # in a whole period so far
        ("requests", np.uint32, (2,)),  # of the window, and of the period under way
        (
            "places",
            np.uint32,
            (2,),
        ),  # address prefixes and client stacks of the hour under way: a bit each by their hash
        ("active", np.uint16),  # hours of the clock with a request
        ("most_places", np.uint8, (2,)),  # bits of `places` in the fullest hour
        ("gaps", np.uint8, (GAP_BINS,)),
    ]
)
"""All but `start` to `due`, `first`, `most` and `places` begin anew when a window ends, as after 1, 2, 4, … periods."""


class Sent(NamedTuple):
    """n requests of one tick by k accounts, in order of account and then of time.

    Attributes:
        begin, end: (k,) an account's first and last request. owner: (n,) into the k accounts. ts: (n,) seconds.
        places: (n, 2) hashes of the address prefix and of the client stack, 0 is absent.
    """

    begin: I64
    end: I64
    owner: I64
    ts: NDArray[np.uint32]
    places: U64


class Closed(NamedTuple):
    """Windows that ended: at an account's first request after 1, 2, 4, … periods.

    Attributes:
        which: (m,) into the k accounts. held: (m,) their records, without the tick that shows that they ended.
        level: (m,) doublings of periods. periods: (m,) that the window lasted. last: (m,) requests in its last one.
    """

    which: I64
    held: Records
    level: I64
    periods: I64
    last: I64


def advance(held: Records, sent: Sent, period_s: int) -> Closed:
    """Take some requests in; the windows that ended before them.

    The calls of numpy are what a tick of few requests costs, so there are few of them.

    Args:
        held: (k,) records, changed in place; one of zeros is an account's before its first request.
        period_s: length of a period, seconds.
    """
    out: Any = held
    before = out["last"].copy()
    new = (before == 0).nonzero()[0]
    begun = before
    if len(new):
        begun = before.copy()
        begun[new] = out["start"][new] = sent.ts[sent.begin[new]]
        out["due"][new] = begun[new] + period_s
    # A late request has no gap and moves no clock back.
    now = np.maximum(sent.ts[sent.end], before)
    over = (now >= out["due"]).nonzero()[0]
    closed = _close(out, over, now[over], period_s) if len(over) else Closed(over, out[:0], over, over, over)
    _count_gaps(out, sent, begun)
    requests = out["requests"]
    np.add(requests, (sent.end - sent.begin + 1)[:, None], out=requests, casting="unsafe")
    hour = now // _HOUR_S
    fresh = hour != before // _HOUR_S
    out["active"] += fresh
    if len(closed.which):
        out["active"][closed.which] = 1
    out["hours"] |= _BIT[hour % _DAY_HOURS]
    bits = _BIT[(sent.places >> _TOP_FIVE).view(np.int64)] * (sent.places != 0)
    seen = np.bitwise_or.reduceat(bits, sent.begin, axis=0)
    seen |= out["places"] * ~fresh[:, None]
    out["places"] = seen
    most = out["most_places"]
    np.maximum(most, np.bitwise_count(seen), out=most)
    out["last"] = now
    return closed


def _close(out: Any, over: I64, now: NDArray[np.uint32], period_s: int) -> Closed:
    """End periods, and the windows that end with them."""
    start = out["start"][over].astype(np.int64)
    old, new = (out["due"][over] - start) // period_s - 1, (now.astype(np.int64) - start) // period_s
    count = out["requests"][over, 1]
    out["first"][over] = np.where(old == 0, count, out["first"][over])
    out["most"][over] = np.maximum(out["most"][over], count)
    out["due"][over] = start + (new + 1) * period_s
    level_old, level = np.frexp(old)[1].astype(np.int64), np.frexp(new)[1].astype(np.int64)
    ends = level > level_old
    which = over[ends]
    # The window began where the one before it ended: after 2^(level - 1) periods, or none.
    began = np.where(level_old > 0, 1 << np.maximum(level_old - 1, 0), 0)
    last = np.where(new - old == 1, count, 0).astype(np.int64)
    closed = Closed(which, out[which], level[ends] - 1, (new - began)[ends], last[ends])
    out["requests"][over, 1] = 0
    for name in ("hours", "requests", "active", "most_places", "gaps"):
        out[name][which] = 0
    return closed


def _count_gaps(out: Any, sent: Sent, before: NDArray[np.uint32]) -> None:
    """Add the gaps of a second or more; shorter ones come from calls side by side, and are no rhythm."""
    gap = np.empty_like(sent.ts)
    np.subtract(sent.ts[1:], sent.ts[:-1], out=gap[1:])
    gap[sent.begin] = sent.ts[sent.begin] - before
    # In a first bin that is dropped: none, and what is below zero.
    place = _GAPS.searchsorted(gap.view(np.int32), "right")
    place += sent.owner * (GAP_BINS + 1)
    added = np.bincount(place, minlength=len(out) * (GAP_BINS + 1)).reshape(-1, GAP_BINS + 1)
    gaps = out["gaps"] + added[:, 1:]
    while np.maximum.reduce(gaps, axis=None) > _MOST_GAPS:
        gaps[(gaps > _MOST_GAPS).any(axis=1)] >>= 1
    out["gaps"] = gaps


def distinct(bits: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Distinct places of so many bits set of 32, by linear counting (Whang, Vander-Zanden and Taylor, 1990)."""
    free = np.maximum(PLACE_BITS - bits.astype(np.float64), 0.5)
    return np.asarray(-PLACE_BITS * np.log(free / PLACE_BITS))
