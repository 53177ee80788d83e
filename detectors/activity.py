"""Counts an account and hour, for analysts."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from detectors.blocks import Blocked, Blocks, Marks, Part, whole, whole_of
from detectors.contract import Tick
from detectors.frame import REQUEST, RESPONSE
from schemas.activity import Activity

_HOUR_MS: Final = 3_600_000
_BLOCK: Final = 32  # accounts in a block of a state

Counts = list[int | None]


class ActivityBook(Blocked):
    """Sums the current hour and hands out rows when it is over. Bounded by the accounts of an hour."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._hour: int | None = None
        self._counts: dict[str, Counts] = {}
        self._order: list[str] = []
        self._place: dict[str, int] = {}
        self._marks = Marks(_BLOCK)

    def learn(self, tick: Tick) -> list[Activity]:
        """Take a tick in; the rows of the hours that ended before it."""
        hour = (tick.end - 1) // _HOUR_MS
        out = self.rows(tick.end) if self._hour is not None and hour > self._hour else []
        if self._hour is None or hour > self._hour:
            self._hour = hour
            self._clear()
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
        changed: list[int] = []
        for i, at in enumerate(first.tolist()):
            account = frame.account[of_account[at]]
            counts = self._counts.get(account)
            if counts is None:
                if len(self._counts) >= self._capacity:
                    continue
                counts = self._counts[account] = [0, 0, 0, None, None, None]
                self._place[account] = len(self._order)
                self._order.append(account)
            added = [int(requests[i]), int(responses[i]), int(refused[i])]
            added_tokens = [int(sums[k][i]) if known[k][i] else None for k in range(3)]
            self._counts[account] = [_plus(a, b) for a, b in zip(counts, [*added, *added_tokens], strict=True)]
            changed.append(self._place[account])
        self._marks.grow(len(self._order))
        self._marks.mark(np.array(changed, np.int64))
        return out

    def _clear(self) -> None:
        self._counts, self._order, self._place = {}, [], {}

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

    def parts(self) -> dict[str, Part]:
        return {
            "hour": whole(msgspec.msgpack.encode(self._hour)),
            "accounts": Part(0, self._marks.count(len(self._order)), self._block, self._marks.take),
        }

    def _block(self, number: int) -> bytes:
        names = self._order[number * _BLOCK : (number + 1) * _BLOCK]
        return msgspec.msgpack.encode([(name, self._counts[name]) for name in names])

    def restore_parts(self, parts: Blocks) -> None:
        self._hour = msgspec.msgpack.decode(whole_of(parts["hour"]), type=int | None)
        self._clear()
        for block in parts["accounts"]:
            for name, counts in msgspec.msgpack.decode(block, type=list[tuple[str, Counts]]):
                self._counts[name] = counts
                self._place[name] = len(self._order)
                self._order.append(name)
        self._marks.grow(len(self._order))


def _plus(total: int | None, more: int | None) -> int | None:
    if more is None:
        return total
    return more if total is None else total + more
