"""Requests that wait for their responses: what a response is joined to."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.frame import EventFrame
from detectors.hashing import U64, combine, hash_strings

I64 = NDArray[np.int64]

_ROW_BYTES: Final = 5 * 8


class Requests(NamedTuple):
    """m requests: `key` names one, `account` is the hash of its account, `ts` its time (epoch ms).

    `strong` is the mask of its strong elicitation patterns, `tags` says whether it names a tag for reasoning.
    """

    key: U64
    account: U64
    ts: I64
    strong: U64
    tags: NDArray[np.bool_]

    def take(self, which: I64 | NDArray[np.bool_]) -> Requests:
        """The given ones, in that order."""
        return Requests._make(column[which] for column in self)


def requests_of(frame: EventFrame, rows: I64) -> Requests:
    """Some requests of a frame."""
    return Requests(
        keys_of(frame, rows), frame.account_hash[rows], frame.ts[rows], frame.strong[rows], frame.names_tags[rows] == 1
    )


def keys_of(frame: EventFrame, rows: I64) -> U64:
    """What names a request, for requests and for the responses to them."""
    return combine(hash_strings(frame.ids[rows].tolist()), frame.account_hash[rows])


class OpenRequests(Blocked):
    """A bounded table of requests without a response yet.

    Args:
        capacity: requests held; beyond it the oldest are given up.
        wait_ms: event time after which a response is no longer waited for.

    Attributes:
        evicted: given up for want of room. unanswered: given up after the wait.
    """

    def __init__(self, capacity: int, wait_ms: int) -> None:
        self._capacity = capacity
        self._wait_ms = wait_ms
        self._held = _nothing()
        self.evicted = 0
        self.unanswered = 0

    def __len__(self) -> int:
        return len(self._held.key)

    @property
    def nbytes(self) -> int:
        """Memory when full."""
        return self._capacity * _ROW_BYTES

    def with_more(self, more: Requests) -> Requests:
        """What is held, and some more, in order of arrival; changes nothing."""
        return Requests._make(np.concatenate(pair) for pair in zip(self._held, more, strict=True))

    def hold(self, requests: Requests, answered: U64, now: int) -> None:
        """Hold these from now on, but for those that were answered, whose time is over, or that do not fit."""
        kept = requests.take(~np.isin(requests.key, answered))
        in_time = kept.ts >= now - self._wait_ms
        self.unanswered += int((~in_time).sum())
        kept = kept.take(in_time)
        over = max(len(kept.key) - self._capacity, 0)
        self.evicted += over
        if over:
            order = np.sort(np.lexsort((kept.key, kept.ts))[over:])
            kept = kept.take(order)
        self._held = kept

    def parts(self) -> dict[str, Part]:
        # Whole: it is small, and nearly all of it is others a tick later.
        columns = [column.tobytes() for column in self._held]
        return {"open": whole(msgspec.msgpack.encode((columns, self.evicted, self.unanswered)))}

    def restore_parts(self, parts: Blocks) -> None:
        columns, self.evicted, self.unanswered = msgspec.msgpack.decode(
            whole_of(parts["open"]), type=tuple[list[bytes], int, int]
        )
        empty = _nothing()
        self._held = Requests._make(np.frombuffer(c, like.dtype).copy() for c, like in zip(columns, empty, strict=True))


def _nothing() -> Requests:
    hashes = np.empty(0, np.uint64)
    return Requests(hashes, hashes, np.empty(0, np.int64), hashes, np.empty(0, np.bool_))
