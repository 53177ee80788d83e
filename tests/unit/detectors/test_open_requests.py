"""The bounded table in which requests wait for their responses."""

from __future__ import annotations

import numpy as np

from detectors.open_requests import OpenRequests, Requests

NONE = np.empty(0, np.uint64)


def some(*keys: int, ts: int = 0) -> Requests:
    key = np.array(keys, np.uint64)
    count = len(keys)
    return Requests(key, key + np.uint64(100), np.full(count, ts), np.zeros(count, np.uint64), np.ones(count, np.bool_))


def held(table: OpenRequests) -> list[int]:
    keys: list[int] = table.with_more(some()).key.tolist()
    return keys


def hold(table: OpenRequests, more: Requests, now: int, answered: list[int] | None = None) -> None:
    table.hold(table.with_more(more), np.array(answered or [], np.uint64), now)


def test_an_answered_request_waits_no_more() -> None:
    table = OpenRequests(10, 100)
    hold(table, some(1, 2, 3), 0)
    hold(table, some(4), 10, answered=[2, 4])
    assert held(table) == [1, 3]
    assert (table.evicted, table.unanswered) == (0, 0)


def test_nothing_is_waited_for_beyond_its_time() -> None:
    table = OpenRequests(10, 100)
    hold(table, some(1, ts=0), 0)
    hold(table, some(2, ts=90), 100)
    assert held(table) == [1, 2]
    hold(table, some(), 101)
    assert (held(table), table.unanswered) == ([2], 1)


def test_the_oldest_make_room() -> None:
    table = OpenRequests(3, 10_000)
    for k in range(10):
        hold(table, some(2 * k, 2 * k + 1, ts=k), k)
        assert len(table) <= 3
    assert (held(table), table.evicted) == ([17, 18, 19], 17)
    assert table.nbytes == 3 * 40


def test_snapshot() -> None:
    one, other = OpenRequests(3, 100), OpenRequests(3, 100)
    for table in (one, other):
        hold(table, some(1, 2, 3, 4), 0)
    hold(other, some(5), 0)
    other.restore(one.snapshot())
    assert other.snapshot() == one.snapshot()
    hold(other, some(9, ts=7), 200)
    assert (held(other), other.evicted, other.unanswered) == ([], 1, 4)
