"""The bounded table of accounts."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.accounts import ROW_BYTES, AccountTable
from detectors.hashing import hash_strings
from tests.unit.detectors.kept import Kept

IDLE = 1000


def see(table: AccountTable, names: list[str], now: int) -> list[str]:
    """The accounts send something at `now`; who had to go."""
    slots, evicted = table.slots(names, hash_strings(names), now)
    table["last_seen"][slots] = now
    return evicted


def table_of(capacity: int, idle: int = IDLE) -> AccountTable:
    return AccountTable(capacity, idle)


def test_an_account_keeps_its_row() -> None:
    table = table_of(100)
    first, _ = table.slots(["a", "b"], hash_strings(["a", "b"]), 0)
    table["requests"][first] = [3, 5]
    again, evicted = table.slots(["b", "c", "a"], hash_strings(["b", "c", "a"]), 1)
    assert evicted == []
    assert table["requests"][again].tolist() == [5, 0, 3]
    assert [table.name(int(slot)) for slot in again] == ["b", "c", "a"]
    assert [table.slot("a"), table.slot("nobody")] == [int(again[2]), None]
    assert ("c" in table, "d" in table, len(table)) == (True, False, 3)


def test_holds_no_more_than_its_capacity() -> None:
    table = table_of(64)
    for now in range(100):
        see(table, [f"a{now}-{n}" for n in range(10)], now)
        assert len(table) <= 64
    assert table.evicted == 1000 - len(table)
    assert len(table["hash"]) <= 1024, "rows of evicted accounts are used again"


def test_the_longest_idle_go_first_a_sixteenth_at_once() -> None:
    table = table_of(32, idle=10**9)
    for now in range(32):
        see(table, [f"a{now}"], now)
    see(table, ["a0"], 40)
    assert see(table, ["new"], 41) == ["a1", "a2"]
    assert "a0" in table
    assert see(table, ["newer"], 42) == []


def test_all_that_were_idle_for_too_long_go_together() -> None:
    table = table_of(32)
    see(table, [f"old{n}" for n in range(20)], 0)
    see(table, [f"young{n}" for n in range(12)], 900)
    assert sorted(see(table, ["new"], 1001)) == sorted(f"old{n}" for n in range(20))


def test_an_account_of_the_present_tick_is_never_evicted() -> None:
    table = table_of(16)
    see(table, [f"a{n}" for n in range(16)], 0)
    names = ["a3", *(f"b{n}" for n in range(10))]
    evicted = see(table, names, 5000)
    assert not set(evicted) & set(names)
    assert all(name in table for name in names)


def test_a_row_starts_empty_also_where_another_account_was() -> None:
    table = table_of(16)
    see(table, [f"a{n}" for n in range(16)], 0)
    for column in table.columns.values():
        column[:] = 1
    see(table, ["a0"], 1)
    slots, evicted = table.slots(["new"], hash_strings(["new"]), 2)
    assert evicted
    row = table.row(int(slots[0]))
    assert (row.requests, row.elicit_strong, row.replayed, row.first_seen, row.banned) == (0, 0, 0, 0, False)
    assert (row.created, row.payment, row.ip_prefix) == (None, None, None)


def test_absent_is_none_and_zero_is_a_time() -> None:
    table = table_of(16)
    slots, _ = table.slots(["a"], hash_strings(["a"]), 0)
    assert table.row(int(slots[0])).created is None
    table["created"][slots] = 0
    table["payment"][slots] = 2**64 - 1
    row = table.row(int(slots[0]))
    assert (row.created, row.payment, row.email_domain) == (0, 2**64 - 1, None)


def test_whose_turn_it_is_does_not_depend_on_the_order_of_names() -> None:
    def evicted(seed: int) -> list[list[str]]:
        table, rng, out = table_of(48), random.Random(5), []
        shuffler = random.Random(seed)
        for now in range(60):
            names = sorted({f"a{rng.randrange(200)}" for _ in range(12)})
            shuffler.shuffle(names)
            out.append(see(table, names, now))
        return out

    assert any(evicted(1))
    assert evicted(1) == evicted(2)


def test_snapshot() -> None:
    table, other = table_of(48), table_of(48)
    rng = random.Random(5)
    steps = [sorted({f"a{rng.randrange(150)}" for _ in range(12)}) for _ in range(60)]
    for now, names in enumerate(steps[:30]):
        see(table, names, now)
    see(other, ["to be replaced"], 0)
    other.restore(table.snapshot())
    for now, names in enumerate(steps[30:], start=30):
        assert see(other, names, now) == see(table, names, now)
        for name in names:
            ours, theirs = table.slot(name), other.slot(name)
            assert ours is not None
            assert theirs is not None
            assert table.row(ours) == other.row(theirs)
    assert other.evicted == table.evicted
    assert len(other) == len(table)


def test_an_empty_table_can_be_kept_too() -> None:
    table = table_of(16)
    table.restore(table_of(16).snapshot())
    assert len(table) == 0
    assert see(table, ["a"], 0) == []


def test_the_name_of_an_empty_row_is_an_error() -> None:
    table = table_of(16)
    see(table, [f"a{n}" for n in range(16)], 0)
    gone = table.slot("a0")
    assert gone is not None
    for n in range(1, 16):
        see(table, [f"a{n}"], 1)
    see(table, ["b"], 2)
    slots = {table.slot(name) for name in ["b", *(f"a{n}" for n in range(16))]}
    free = set(range(16)) - slots
    for slot in free:
        with pytest.raises(KeyError):
            table.name(slot)


def test_the_size_of_a_row_is_stated() -> None:
    table = table_of(16)
    see(table, ["a"], 0)
    assert sum(column.itemsize for column in table.columns.values()) == ROW_BYTES
    assert {len(column) for column in table.columns.values()} == {1024}
    assert table["hash"].dtype == np.uint64


def test_idle_accounts_go_by_time_though_there_is_room() -> None:
    table = table_of(100)
    see(table, ["old", "older"], 0)
    see(table, ["new"], IDLE)
    assert table.expire(IDLE) == []
    assert sorted(table.expire(IDLE + 1)) == ["old", "older"]
    assert len(table) == 1
    assert table.expire(IDLE + 1) == []
    assert table.evicted == 2
    assert len(table_of(100).expire(IDLE)) == 0


def test_an_account_that_changes_changes_the_block_of_its_own_row_only() -> None:
    table = table_of(1000)
    see(table, [f"a{n}" for n in range(100)], 1)
    part = table.parts()["rows"]
    assert part.changed() == list(range(part.count))
    before = part.blocks()
    slots, _ = table.slots(["a7"], np.ones(1, np.uint64), 2)
    table["requests"][slots] += 1
    after = table.parts()["rows"]
    different = [n for n, block in enumerate(after.blocks()) if block != before[n]]
    assert different == [int(slots[0]) // 16]
    assert after.changed() == different
    assert after.changed() == []


@given(st.lists(st.tuples(st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True), st.booleans())))
def test_the_marked_blocks_are_all_that_changed(steps: list[tuple[list[int], bool]]) -> None:
    table, kept = table_of(40), Kept()
    for now, (numbers, idle) in enumerate(steps):
        see(table, [f"a{n}" for n in numbers], now)
        if idle:
            table.expire(now + IDLE)
        kept.take(table)
        assert kept.blocks == {name: part.blocks() for name, part in table.parts().items()}


def test_rows_that_do_not_fit_their_names_are_refused() -> None:
    table = table_of(100)
    see(table, ["a", "b"], 1)
    blocks = {name: part.blocks() for name, part in table.parts().items()}
    names, rows = msgspec.msgpack.decode(blocks["rows"][0])
    blocks["rows"] = [msgspec.msgpack.encode((names, rows[:ROW_BYTES]))]
    with pytest.raises(ValueError, match="1 rows of accounts do not fit 2 names"):
        table.restore_parts(blocks)
