"""Recent points: one row an account, bounded, and the same after a restore."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.hashing import U64
from detectors.shift_store import MARKED, TOLD, UNMARKED, RecentPoints, row_type
from tests.unit.detectors.kept import Kept

DIMS = 3
CAPACITY = 16


def store() -> RecentPoints:
    return RecentPoints(CAPACITY, DIMS)


def put(held: RecentPoints, accounts: list[int], ts: int, *, suspect: bool = False) -> None:
    rows = np.zeros(len(accounts), row_type(DIMS))
    rows["account"], rows["ts"], rows["text"], rows["point"], rows["suspect"] = accounts, ts, ts, ts % 100, suspect
    put_accounts: U64 = np.array(accounts, np.uint64)
    held.put(put_accounts, rows)


def held_at(held: RecentPoints) -> dict[int, int]:
    account = held.column("account")
    return {int(a): int(t) for a, t in zip(account, held.column("ts"), strict=True) if a}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True)),
        st.tuples(st.just("mark"), st.integers(1, 40)),
        st.tuples(st.just("tell"), st.integers(1, 40)),
        st.tuples(st.just("expire"), st.integers(1, 8)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_holds_the_latest_text_of_the_accounts_of_late_and_no_more(steps: list[tuple[str, object]]) -> None:
    held, kept, model, marked = store(), Kept(), dict[int, int](), set[int]()
    kept.take(held)
    for now, (what, of) in enumerate(steps, 1):
        if what == "put":
            assert isinstance(of, list)
            put(held, of, now)
            model |= dict.fromkeys(of, now)
        elif what == "expire":
            assert isinstance(of, int)
            held.expire(now - of)
            model = {account: ts for account, ts in model.items() if ts >= now - of}
        else:
            assert isinstance(of, int)
            (place,) = held.places([of])
            if place >= 0:
                held.mark(np.array([place]), MARKED if what == "mark" else TOLD)
                (marked.add if what == "mark" else marked.discard)(of)
        rows = held_at(held)
        assert len(rows) == len(held) <= CAPACITY
        assert rows.items() <= model.items()
        assert held.waiting == marked & set(rows)
        # What made room is gone for good, the longest idle first.
        assert not [ts for account, ts in model.items() if account not in rows and rows and ts > max(rows.values())]
        model, marked = rows, held.waiting.copy()
        kept.take(held)
    other = store()
    other.restore_parts(kept.blocks)
    assert other.snapshot() == held.snapshot()
    for each in (held, other):
        put(each, [50, 51, 52], 99)
    assert other.snapshot() == held.snapshot()
    assert other.waiting == held.waiting


def test_the_longest_idle_makes_room() -> None:
    held = store()
    for n in range(1, CAPACITY + 2):
        put(held, [n], n)
    assert sorted(held_at(held)) == list(range(2, CAPACITY + 2))


def test_what_was_found_stays_when_the_text_is_replaced() -> None:
    held = store()
    put(held, [7], 1, suspect=True)
    held.mark(np.array(held.places([7])), MARKED, size=12)
    put(held, [7], 2)
    (row,) = held.take(np.array(held.places([7])))
    assert (row["ts"], row["mark"], row["size"], bool(row["suspect"])) == (2, MARKED, 12, True)


def test_a_place_is_used_again_without_its_past() -> None:
    held = store()
    put(held, [7], 1)
    held.mark(np.array(held.places([7])), MARKED)
    held.expire(2)
    assert not held.waiting
    put(held, [8], 3)
    assert held.column("mark").tolist() == [UNMARKED]
    assert held.places([7, 8]) == [-1, 0]
