"""Requests that wait for their responses: what a response is joined to."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.frame import RESPONSE, EventFrame
from detectors.hashing import U64, combine, hash_strings

I64 = NDArray[np.int64]

_ROW_BYTES: Final = 5 * 8


class Requests(NamedTuple):
    """m requests: `key` names one, `account` is the hash of its account, `ts` its time (epoch ms).

    `asked` is what it asks by, as the detector sees it (strong patterns, a wording), `tags` says whether it names a
    tag for reasoning.
    """

    key: U64
    account: U64
    ts: I64
    asked: U64
    tags: NDArray[np.bool_]

    def take(self, which: I64 | NDArray[np.bool_]) -> Requests:
        """The given ones, in that order."""
        return Requests._make(column[which] for column in self)


class Joined(NamedTuple):
    """k responses and what their requests asked for: `row` in the frame, and the requests (k,)."""

    row: I64
    requests: Requests


def requests_of(frame: EventFrame, rows: I64, asked: U64) -> Requests:
    """Some requests of a frame; `asked` has the shape of `rows`."""
    return Requests(keys_of(frame, rows), frame.account_hash[rows], frame.ts[rows], asked, frame.names_tags[rows] == 1)


def join(frame: EventFrame, waiting: Requests) -> Joined:
    """The responses of a frame whose requests wait, in the frame's order."""
    row = np.flatnonzero(frame.rank == RESPONSE)
    # Few accounts have a request that waits, so few ids have to be hashed.
    row = row[np.isin(frame.account_hash[row], waiting.account)]
    key = keys_of(frame, row)
    key, first = np.unique(key, return_index=True)  # of a response that came twice, the first counts
    order = np.argsort(waiting.key, kind="stable")
    place = np.searchsorted(waiting.key[order], key)
    found = place < len(order)
    found[found] = waiting.key[order][place[found]] == key[found]
    row, request = row[first[found]], order[place[found]]
    in_order = np.argsort(row)
    return Joined(row[in_order], waiting.take(request[in_order]))


def keys_of(frame: EventFrame, rows: I64) -> U64:
    """What names a request, for requests and for the responses to them."""
    return combine(hash_strings(frame.ids[rows].tolist()), frame.account_hash[rows])


class OpenRequests:
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

    def snapshot(self) -> bytes:
        columns = [column.tolist() for column in self._held]
        return msgspec.msgpack.encode((columns, self.evicted, self.unanswered))

    def restore(self, data: bytes) -> None:
        columns, self.evicted, self.unanswered = msgspec.msgpack.decode(data, type=tuple[list[Any], int, int])
        empty = _nothing()
        self._held = Requests._make(np.array(c, like.dtype) for c, like in zip(columns, empty, strict=True))


def _nothing() -> Requests:
    hashes = np.empty(0, np.uint64)
    return Requests(hashes, hashes, np.empty(0, np.int64), hashes, np.empty(0, np.bool_))
