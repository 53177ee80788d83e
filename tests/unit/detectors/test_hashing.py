"""Hashes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.hashing import KeyedHasher, combine, hash_strings, mix

KEY = b"0123456789abcdef"


def array(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(values, np.uint64)


def test_mix_keeps_distinct_values_distinct_and_its_input_as_it_was() -> None:
    values = np.arange(100_000, dtype=np.uint64)
    before = values.copy()
    mixed = mix(values)
    assert len(np.unique(mixed)) == len(values)
    assert (values == before).all()


def test_mix_scatters() -> None:
    """Neighbours land anywhere: each bit is set in about half of the hashes."""
    mixed = mix(np.arange(20_000, dtype=np.uint64))
    shares = [(mixed >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)]
    assert 0.48 < min(shares) <= max(shares) < 0.52


def test_mix_is_what_it_was() -> None:
    """Stored sketches and family names depend on it: the first outputs of splitmix64 from 0."""
    golden = 0x9E3779B97F4A7C15
    assert mix(array(0, golden)).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_pairs_have_an_order() -> None:
    assert combine(array(1), array(2)) != combine(array(2), array(1))
    assert len(np.unique(combine(np.arange(100, dtype=np.uint64)[:, None], np.arange(100, dtype=np.uint64)))) == 10_000


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=10))
def test_strings_hash_alike_alone_and_together(values: list[str]) -> None:
    assert hash_strings(values).tolist() == [int(hash_strings([value])[0]) for value in values]
    assert (hash_strings(values) != 0).all(), "0 marks what is absent"


def test_hashes_of_strings_are_the_same_in_every_process() -> None:
    assert hash_strings(["account-1"]).tolist() == [3_802_948_186_578_174_757]


class TestKeyedHasher:
    def test_depends_on_key_kind_and_value(self) -> None:
        one, same, other = KeyedHasher(KEY), KeyedHasher(KEY), KeyedHasher(KEY[::-1])
        assert one("payment", "card") == same("payment", "card")
        hashes = {one("payment", "card"), other("payment", "card"), one("mail", "card"), one("payment", "card2")}
        assert len(hashes) == 4
        assert 0 not in hashes

    def test_what_is_shown_is_keyed_too(self) -> None:
        shown = {KeyedHasher(key).show(kind, 5) for key in (KEY, KEY[::-1]) for kind in ("template", "replay")}
        assert len(shown) == 4
        assert all(len(text) == 16 and int(text, 16) for text in shown)
        assert format(5, "016x") not in shown

    @pytest.mark.parametrize("length", [0, 15, 65])
    def test_refuses_a_key_of_a_wrong_length(self, length: int) -> None:
        with pytest.raises(ValueError, match=f"16 to 64 bytes, not {length}"):
            KeyedHasher(b"x" * length)

    def test_its_cache_is_bounded_and_changes_nothing(self) -> None:
        small, large = KeyedHasher(KEY, cache=2), KeyedHasher(KEY)
        for value in ("a", "b", "c", "a", "c", "b"):
            assert small("k", value) == large("k", value)
