"""Counts an account and hour, for analysts."""

from __future__ import annotations

import msgspec
import numpy as np

from detectors.contract import Tick
from detectors.frame import REQUEST, RESPONSE
from schemas.activity import Activity

_HOUR_MS = 3_600_000


class ActivityBook:
    """Sums the current hour and hands out rows when it is over. Bounded by the accounts of an hour."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._hour: int | None = None
        self._counts: dict[str, list[int | None]] = {}

    def learn(self, tick: Tick) -> list[Activity]:
        """Take a tick in; the rows of the hours that ended before it."""
        hour = (tick.end - 1) // _HOUR_MS
        out = self.rows(tick.end) if self._hour is not None and hour > self._hour else []
        if self._hour is None or hour > self._hour:
            self._hour = hour
            self._counts = {}
        frame = tick.frame
        of_account = np.flatnonzero((frame.rank == REQUEST) | (frame.rank == RESPONSE))
        slots, first, place = np.unique(tick.slot[of_account], return_index=True, return_inverse=True)
        if not len(slots):
            return out
        size = len(slots)
        requests = np.bincount(place, weights=frame.rank[of_account] == REQUEST, minlength=size)
        responses = np.bincount(place, weights=frame.rank[of_account] == RESPONSE, minlength=size)
        refused = np.bincount(place, weights=frame.refused[of_account] == 1, minlength=size)
        tokens = frame.tokens[of_account]
        sums = [np.bincount(place, weights=np.maximum(tokens[:, k], 0), minlength=size) for k in range(3)]
        known = [np.bincount(place, weights=tokens[:, k] >= 0, minlength=size) > 0 for k in range(3)]
        for i, at in enumerate(first.tolist()):
            account = frame.account[of_account[at]]
            counts = self._counts.get(account)
            if counts is None:
                if len(self._counts) >= self._capacity:
                    continue
                counts = self._counts[account] = [0, 0, 0, None, None, None]
            added = [int(requests[i]), int(responses[i]), int(refused[i])]
            added_tokens = [int(sums[k][i]) if known[k][i] else None for k in range(3)]
            self._counts[account] = [_plus(a, b) for a, b in zip(counts, [*added, *added_tokens], strict=True)]
        return out

    def rows(self, as_of: int) -> list[Activity]:
        """The current hour so far."""
        if self._hour is None:
            return []
        return [
            Activity(
                account=account,
                hour=self._hour * _HOUR_MS,
                as_of=as_of,
                requests=c[0] or 0,
                responses=c[1] or 0,
                refused=c[2] or 0,
                input_tokens=c[3],
                output_tokens=c[4],
                reasoning_tokens=c[5],
            )
            for account, c in self._counts.items()
        ]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self._hour, self._counts))

    def restore(self, data: bytes) -> None:
        self._hour, self._counts = msgspec.msgpack.decode(data, type=tuple[int | None, dict[str, list[int | None]]])


def _plus(total: int | None, more: int | None) -> int | None:
    if more is None:
        return total
    return more if total is None else total + more
