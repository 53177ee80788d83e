"""Bounded sketches against exact sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.hashing import mix
from detectors.sketches import AccountCounter, BottomK, PanedBloom

PANE = 1000
U64S = st.integers(0, 2**64 - 1)


def hashes(start: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """`count` distinct well-scattered hashes."""
    return mix(np.arange(start, start + count, dtype=np.uint64))


class TestPanedBloom:
    @pytest.mark.parametrize("rate", [0.05, 0.01, 0.001])
    def test_false_positives_stay_near_the_stated_rate_with_two_full_panes(self, rate: float) -> None:
        capacity = 3000
        bloom = PanedBloom(PanedBloom.bits_for(capacity, rate), PANE)
        bloom.turn(0)
        bloom.add(hashes(0, capacity))
        bloom.turn(PANE)
        bloom.add(hashes(10_000, capacity))
        probed = 40_000
        false = int(bloom.contains(hashes(1_000_000, probed)).sum())
        assert false <= rate * probed + 5 * (rate * probed) ** 0.5

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.lists(U64S, min_size=1, max_size=30), min_size=1, max_size=5))
    def test_members_of_the_last_pane_are_always_found(self, panes: list[list[int]]) -> None:
        bloom = PanedBloom(10, PANE)
        for number, values in enumerate(panes):
            bloom.turn(number * PANE + PANE // 2)
            bloom.add(np.array(values, np.uint64))
            for recent in panes[max(0, number - 1) : number + 1]:
                assert bloom.contains(np.array(recent, np.uint64)).all()
            assert bloom.in_panes(np.array(values, np.uint64))[0].all()

    def test_forgets_after_two_panes(self) -> None:
        bloom = PanedBloom(16, PANE)
        bloom.turn(0)
        bloom.add(hashes(0, 100))
        assert bloom.turn(PANE) == 1
        assert bloom.contains(hashes(0, 100)).all()
        assert not bloom.in_panes(hashes(0, 100))[0].any()
        assert bloom.turn(2 * PANE) == 1
        assert not bloom.contains(hashes(0, 100)).any()

    def test_a_long_silence_forgets_everything_at_once(self) -> None:
        bloom = PanedBloom(16, PANE)
        bloom.turn(0)
        bloom.add(hashes(0, 100))
        assert bloom.turn(7 * PANE) == 7
        assert not bloom.contains(hashes(0, 100)).any()

    def test_time_that_goes_back_turns_nothing(self) -> None:
        bloom = PanedBloom(16, PANE)
        bloom.turn(5 * PANE)
        bloom.add(hashes(0, 10))
        assert bloom.turn(3 * PANE) == 0
        assert bloom.in_panes(hashes(0, 10))[0].all()

    def test_snapshot(self) -> None:
        bloom, other = PanedBloom(12, PANE), PanedBloom(12, PANE)
        bloom.turn(0)
        bloom.add(hashes(0, 50))
        bloom.turn(PANE)
        bloom.add(hashes(50, 50))
        other.restore(bloom.snapshot())
        probes = hashes(0, 5000)
        for now in (PANE, 2 * PANE):
            bloom.turn(now)
            other.turn(now)
            assert other.contains(probes).tolist() == bloom.contains(probes).tolist()
        assert other.snapshot() == bloom.snapshot()

    def test_an_empty_probe(self) -> None:
        assert PanedBloom(12, PANE).contains(np.empty(0, np.uint64)).shape == (0,)

    def test_memory_depends_on_the_bits_alone(self) -> None:
        bloom = PanedBloom(14, PANE)
        before = bloom.nbytes
        bloom.turn(0)
        bloom.add(hashes(0, 50_000))
        assert bloom.nbytes == before == 2 * 2**14 // 8


class TestAccountCounter:
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=80), st.integers(1, 20))
    def test_counts_each_account_once_however_its_requests_were_cut(
        self, pairs: list[tuple[int, int]], size: int
    ) -> None:
        counter = AccountCounter(18, PANE)
        counter.turn(0)
        for i in range(0, len(pairs), size):
            items, accounts = (mix(np.array(column, np.uint64)) for column in zip(*pairs[i : i + size], strict=True))
            counter.add(items, accounts)
        exact = [len({account for item, account in pairs if item == wanted}) for wanted in range(10)]
        assert counter.counts(mix(np.arange(10, dtype=np.uint64))).tolist() == exact

    def test_counts_of_partitions_with_disjoint_accounts_add_up(self) -> None:
        """An account lives on one partition, so what each partition counts can be summed."""
        whole, parts = AccountCounter(18, PANE), [AccountCounter(18, PANE) for _ in range(3)]
        items, accounts = np.repeat(hashes(0, 20), 60), np.tile(hashes(100, 60), 20)
        some = (np.arange(len(items)) * 7919) % 5 < 3
        items, accounts = items[some], accounts[some]
        whole.add(items, accounts)
        for number, part in enumerate(parts):
            own = accounts % np.uint64(3) == number
            part.add(items[own], accounts[own])
        summed = sum(part.counts(hashes(0, 20)) for part in parts)
        assert whole.counts(hashes(0, 20)).tolist() == np.asarray(summed).tolist()

    def test_is_about_right_when_a_pane_is_full(self) -> None:
        counter = AccountCounter(16, PANE)
        singles, wide = hashes(0, 6000), hashes(7777, 1)
        counter.turn(0)
        for part in range(6):
            counter.add(singles[part::6], hashes(10_000, 1000))
            counter.add(np.repeat(wide, 40), hashes(50_000 + 40 * part, 40))
        assert 0.95 * 240 <= int(counter.counts(wide)[0]) <= 1.05 * 240
        assert (counter.counts(singles) >= 1).mean() > 0.97
        assert (counter.counts(singles) >= 3).mean() < 0.01

    def test_more_than_it_holds_shortens_its_memory_and_not_its_judgement(self) -> None:
        """What one account sent must not look shared, however much of it there is."""
        counter = AccountCounter(14, PANE)
        wide = hashes(7777, 1)
        for k in range(60):
            counter.turn(0)
            counter.add(hashes(1000 * k, 300), hashes(500_000 + 1000 * k, 300))
            counter.add(np.repeat(wide, 5), hashes(900_000 + 5 * k, 5))
            assert (counter.counts(hashes(1_000_000, 2000)) >= 3).mean() < 0.01
            assert (counter.counts(hashes(1000 * k, 300)) >= 3).mean() < 0.02
        assert counter.early_turns > 5
        assert int(counter.counts(wide)[0]) >= 5, "what is shared now is still seen to be"

    def test_the_better_pane_counts_and_two_panes_later_nothing_does(self) -> None:
        counter = AccountCounter(16, PANE)
        item = hashes(0, 1)
        counter.turn(0)
        counter.add(np.repeat(item, 5), hashes(100, 5))
        counter.turn(PANE)
        counter.add(np.repeat(item, 3), hashes(100, 3))
        assert counter.counts(item).tolist() == [5]
        counter.turn(2 * PANE)
        assert counter.counts(item).tolist() == [3]
        counter.turn(4 * PANE)
        assert counter.counts(item).tolist() == [0]

    def test_snapshot(self) -> None:
        counter, other = AccountCounter(14, PANE), AccountCounter(14, PANE)
        counter.turn(PANE)
        counter.add(hashes(0, 900), hashes(1, 900))
        other.restore(counter.snapshot())
        for k in range(4):
            for one in (counter, other):
                one.turn(PANE)
                one.add(hashes(0, 800), hashes(1000 * k, 800))
        for one in (counter, other):
            one.turn(2 * PANE)
            one.add(hashes(100, 300), hashes(3, 300))
        assert counter.early_turns > 0
        assert other.counts(hashes(0, 900)).tolist() == counter.counts(hashes(0, 900)).tolist()
        assert other.snapshot() == counter.snapshot()

    def test_memory_depends_on_the_bits_alone(self) -> None:
        counter = AccountCounter(14, PANE)
        before = counter.nbytes
        counter.add(hashes(0, 20_000), hashes(5, 20_000))
        assert counter.nbytes == before


SETS = st.lists(U64S, max_size=40)


class TestBottomK:
    @settings(max_examples=60, deadline=None)
    @given(SETS, SETS, SETS, st.integers(1, 16))
    def test_merging_is_union(self, a: list[int], b: list[int], c: list[int], k: int) -> None:
        """Commutative, associative and idempotent, so evidence may come in any order and twice."""

        def merged(*lists: list[int]) -> list[int]:
            sketch = BottomK(k)
            for values in lists:
                sketch.update(BottomK(k, values).values)
            return sketch.values

        assert merged(a, b) == merged(b, a) == BottomK(k, [*a, *b]).values
        assert merged(merged(a, b), c) == merged(a, merged(b, c))
        assert merged(a, a) == BottomK(k, a).values == sorted(set(a))[:k]

    @settings(max_examples=30, deadline=None)
    @given(st.sets(U64S, max_size=30))
    def test_is_exact_below_k(self, values: set[int]) -> None:
        assert BottomK(31, values).estimate() == len(values)

    @pytest.mark.parametrize("count", [1000, 30_000])
    def test_estimates_within_its_stated_error(self, count: int) -> None:
        k = 64
        errors = []
        for seed in range(40):
            sketch = BottomK(k, hashes(seed * 1_000_000, count).tolist())
            errors.append(sketch.estimate() / count - 1)
        assert abs(float(np.mean(errors))) < 3 / (k * 40) ** 0.5
        assert float(np.std(errors)) == pytest.approx(1 / k**0.5, rel=0.4)

    def test_holds_no_more_than_k(self) -> None:
        sketch = BottomK(16, hashes(0, 5000).tolist())
        assert len(sketch.values) == 16
        assert sketch.values == sorted(hashes(0, 5000).tolist())[:16]
