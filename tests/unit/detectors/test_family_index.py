"""Known families, found by their signatures, against a search through all of them."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.family_index import FamilyIndex
from tests.unit.detectors.kept import Kept


def array(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(values, np.uint64)


def match(index: FamilyIndex, texts: list[list[int]], most: int = 99) -> list[tuple[int, int]]:
    values = array([value for text in texts for value in text])
    owner = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    text, key = index.match(values, owner, most)
    return list(zip(text.tolist(), key.tolist(), strict=True))


SHINGLES = st.sets(st.integers(0, 40), min_size=1, max_size=8).map(sorted)


@settings(max_examples=60, deadline=None)
@given(st.lists(SHINGLES, max_size=12), st.lists(SHINGLES, max_size=6), st.integers(1, 3))
def test_finds_the_oldest_families_that_a_text_carries(
    signatures: list[list[int]], texts: list[list[int]], most: int
) -> None:
    index = FamilyIndex(100, 0.5)
    for number, signature in enumerate(signatures):
        index.add(1000 + number, array(signature))
    expected = []
    for i, text in enumerate(texts):
        belongs = [1000 + n for n, s in enumerate(signatures) if len(set(s) & set(text)) >= 0.5 * len(s)]
        expected += [(i, key) for key in belongs[:most]]
    assert match(index, texts, most) == expected


def test_knows_its_families() -> None:
    index = FamilyIndex(10, 0.5)
    index.add(7, array([1, 2, 3]))
    assert (7 in index, 8 in index, len(index)) == (True, False, 1)
    signature = index.signature(7)
    assert signature is not None
    assert signature.tolist() == [1, 2, 3]
    assert index.signature(8) is None
    assert match(index, []) == []
    assert match(FamilyIndex(10, 0.5), [[1, 2]]) == []


def test_holds_no_more_than_its_capacity_and_lets_the_oldest_go() -> None:
    index = FamilyIndex(64, 0.5)
    sizes = []
    for n in range(1000):
        index.add(n, array([3 * n, 3 * n + 1, 3 * n + 2]))
        assert len(index) <= 64
        assert n in index
        sizes.append(index.nbytes)
    assert max(sizes[500:]) <= max(sizes[:500])
    held = [n for n in range(1000) if n in index]
    assert held == list(range(held[0], 1000)), "the oldest went first"
    assert len(held) > 48, "and not many more than was needed"
    texts = [[3 * n, 3 * n + 1, 3 * n + 2] for n in range(1000)]
    assert match(index, texts) == [(n, n) for n in held]


def test_finds_alike_before_and_after_entries_move_to_the_larger_part() -> None:
    """2,048 entries are kept apart for cheap additions; where an entry lies must not show."""
    index = FamilyIndex(5000, 0.5)
    rng = random.Random(2)
    signatures = [sorted(rng.sample(range(5000), 8)) for _ in range(600)]
    for number, signature in enumerate(signatures):
        index.add(number, array(signature))
        if number % 97 == 0:
            assert (0, number) in match(index, [signature])
            assert (0, 0) in match(index, [signatures[0]])


def test_the_marked_blocks_are_all_that_changed() -> None:
    index, kept = FamilyIndex(90, 0.5), Kept()
    for number in range(400):
        index.add(number, array([number, number + 1]))
        if number % 7 == 0:
            kept.take(index)
    kept.take(index)
    other = FamilyIndex(90, 0.5)
    other.restore_parts(kept.blocks)
    assert other.snapshot() == index.snapshot()


def test_snapshot() -> None:
    index, other = FamilyIndex(40, 0.5), FamilyIndex(40, 0.5)
    rng = random.Random(3)
    signatures = [sorted(rng.sample(range(60), 5)) for _ in range(100)]
    texts = [sorted(rng.sample(range(60), 20)) for _ in range(20)]
    for number, signature in enumerate(signatures[:70]):
        index.add(number, array(signature))
    other.add(12345, array([1]))
    other.restore(index.snapshot())
    for number, signature in enumerate(signatures[70:], start=70):
        assert match(other, texts, 2) == match(index, texts, 2)
        index.add(number, array(signature))
        other.add(number, array(signature))
    assert other.snapshot() == index.snapshot()
