"""Telling a pool's accounts in a cohort from the strangers beside them."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.membership import GROUPS, Traits, learn
from detectors.reference import FINGERPRINTS
from schemas.evidence import AccountRow
from tests.unit.detectors.rows import honest, pool, population, row

SURE = 0.954  # bits: nine to one


def accounts(count: int, **more: object) -> list[AccountRow]:
    return [one.row for one in pool(count, **more)]


def alike(rows: list[AccountRow], traits: Traits) -> set[str]:
    return {one.account for one in rows if min(traits.bits(one), traits.bits(one) + traits.prior) >= SURE}


def test_every_fingerprint_is_in_one_group() -> None:
    assert sorted(field for fields in GROUPS for field in fields) == sorted(FINGERPRINTS)


@pytest.mark.parametrize("strangers", [0, 20, 400])
def test_a_pool_among_strangers(strangers: int) -> None:
    """Down to one account in eleven of the cohort."""
    ours, theirs = accounts(40), honest(strangers, seed=99, prefix="stranger")
    found = alike([*ours, *theirs], learn([*ours, *theirs], population()))
    assert found == {one.account for one in ours}


def test_strangers_alone_are_no_pool() -> None:
    theirs = honest(200, seed=99, prefix="stranger")
    assert alike(theirs, learn(theirs, population())) == set()


def test_the_next_account_of_a_pool_is_known_and_the_next_stranger_too() -> None:
    traits = learn(accounts(40), population())
    fresh = accounts(44)[40:]
    assert alike([msgspec.structs.replace(one, payment=505, ip_prefix=703) for one in fresh], traits)
    assert traits.bits(honest(1, seed=5)[0]) < -1
    assert traits.bits(row("nothing known of it")) == 0


def test_one_program_of_many_customers_is_no_pool_and_does_not_join_one() -> None:
    """They share a rare client with the pool and among themselves, and own everything else."""
    ours = accounts(40, tls_agent=999, asn_agent=998)
    customers = [
        msgspec.structs.replace(one, tls_agent=999, asn_agent=998, email_domain=20_000 + n)
        for n, one in enumerate(honest(40, seed=99, prefix="customer"))
    ]
    assert alike(customers, learn(customers, population())) == set()
    assert alike([*ours, *customers], learn([*ours, *customers], population())) == {one.account for one in ours}


def test_a_pair_of_strangers_behind_one_address_is_none_of_it() -> None:
    pair = [msgspec.structs.replace(one, payment=90) for one in honest(2, seed=99, prefix="pair")]
    rows = [*accounts(40), *pair]
    assert alike(rows, learn(rows, population())) == {one.account for one in accounts(40)}


def test_fields_that_few_have_are_not_looked_at() -> None:
    rows = [row(f"a{n}", payment=1 if n < 4 else None) for n in range(40)]
    assert learn(rows, population()) == Traits()
    assert learn([], population()) == Traits()


def test_what_is_remembered_is_bounded() -> None:
    rows = [row(f"a{n}", payment=n // 2) for n in range(12_000)]
    traits = learn(rows, population())
    assert max(len(values) for values in traits.holds.values()) <= 512


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_the_order_of_accounts_does_not_matter_to_who_is_named(rng: random.Random) -> None:
    rows = [*accounts(24), *honest(50, seed=99, prefix="stranger")]
    expected = alike(rows, learn(rows, population()))
    mixed = list(rows)
    rng.shuffle(mixed)
    assert alike(mixed, learn(mixed, population())) == expected


def test_traits_survive_a_restart() -> None:
    traits = learn(accounts(40), population())
    assert msgspec.json.decode(msgspec.json.encode(traits), type=Traits) == traits
