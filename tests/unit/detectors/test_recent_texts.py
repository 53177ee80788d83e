"""The shingles of the latest requests: whom they find, and what they forget."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.recent_texts import RecentTexts, Who
from detectors.text import Ragged
from tests.unit.detectors.kept import Kept


def ragged(rows: Iterable[Iterable[int]]) -> Ragged:
    texts = [list(row) for row in rows]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    return Ragged(np.array([value for text in texts for value in text], np.uint64), offsets)


def who(name: str) -> Who:
    return name, 1, 0, 0, 7


def found(recent: RecentTexts, *signature: int) -> list[str]:
    return [carrier.account for carrier in recent.carriers({9: np.array(signature, np.uint64)}).get(9, [])]


def test_finds_those_who_carry_half_of_a_signature() -> None:
    recent = RecentTexts(1000, 0.5)
    recent.add(ragged([[1, 2, 3, 4], [1, 5, 6], []]), [who("a"), who("b"), who("c")])
    recent.add(ragged([[2, 3, 70]]), [who("d")])
    assert found(recent, 1, 2, 3, 4) == ["a", "d"]
    assert found(recent, 80, 81) == []
    assert recent.carriers({}) == {}


def test_hashes_that_share_their_low_bits_are_not_mistaken_for_each_other() -> None:
    recent = RecentTexts(1000, 0.5)
    recent.add(ragged([[1 + 2**16, 2 + 2**32], [1, 2]]), [who("other"), who("same")])
    assert found(recent, 1, 2) == ["same"]


def test_the_oldest_tick_goes_first_and_the_latest_stays_whatever_its_size() -> None:
    recent = RecentTexts(10, 0.5)
    recent.add(ragged([[1, 2, 3, 4]]), [who("old")])
    recent.add(ragged([[1, 2, 3, 4, 5]]), [who("new")])
    assert found(recent, 1, 2, 3, 4) == ["new"]
    recent.add(ragged([list(range(100))]), [who("huge")])
    assert found(recent, 1, 2, 3, 4) == ["huge"]


@given(
    st.lists(st.lists(st.lists(st.integers(0, 12), max_size=6, unique=True), max_size=4), max_size=30),
    st.integers(5, 60),
)
def test_finds_what_a_plain_search_of_the_held_ticks_finds(ticks: list[list[list[int]]], limit: int) -> None:
    recent, held, kept = RecentTexts(limit, 0.5), list[list[tuple[str, list[int]]]](), Kept()
    kept.take(recent)
    for n, texts in enumerate(ticks):
        named = [(f"{n}-{i}", text) for i, text in enumerate(texts)]
        recent.add(ragged(text for _, text in named), [who(name) for name, _ in named])
        held += [named] if named else []
        kept.take(recent)
        while len(held) > 1 and sum(1 + len(text) for tick in held for _, text in tick) > limit:
            held.pop(0)
    wanted = {1, 2, 3}
    expected = [name for tick in held for name, text in tick if len(wanted & set(text)) >= 1.5]
    assert found(recent, *wanted) == expected
    other = RecentTexts(limit, 0.5)
    other.restore(recent.snapshot())
    assert found(other, *wanted) == expected
    assert other.snapshot() == recent.snapshot()
    other.restore_parts(kept.blocks)
    assert other.snapshot() == recent.snapshot(), "the marked blocks are all that changed"
