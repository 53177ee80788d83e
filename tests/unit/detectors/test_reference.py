"""The benign reference: which accounts it holds, also after some were named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detectors.reference import FINGERPRINTS, Pool, Reference, build
from tests.unit.detectors.rows import row

NAMES = [f"a{n}" for n in range(40)]


def content(reference: Reference) -> tuple[list[str], list[float], int, float]:
    return (
        reference.accounts.tolist(),
        reference.requests.tolist(),
        reference.held("payment"),
        reference.frequency("payment", 3),
    )


@given(
    st.integers(1, 50),
    st.lists(st.lists(st.sampled_from([*NAMES, "a stranger"]), max_size=6), max_size=8),
    st.booleans(),
)
def test_naming_accounts_leaves_what_building_afresh_without_them_gives(
    size: int, named: list[list[str]], look: bool
) -> None:
    rows = [row(name, requests=n + 1, payment=n % 5 + 1) for n, name in enumerate(NAMES)]
    pool = Pool(rows, size, ())
    for group in named:
        pool.exclude(group)
        if look:  # what was drawn before must not be what is drawn after
            pool.reference()
    gone = {name for group in named for name in group}
    assert content(pool.reference()) == content(build(rows[::-1], size, gone))
    assert not gone & set(pool.reference().accounts)
    assert len(pool.reference()) == min(size, len(set(NAMES) - gone))


def test_the_reference_is_the_same_object_until_one_of_it_is_named() -> None:
    pool = Pool([row(name) for name in NAMES], 10, ())
    before = pool.reference()
    pool.exclude(sorted(set(NAMES) - set(before.accounts)))
    assert pool.reference() is before
    pool.exclude([before.accounts[0]])
    assert len(pool.reference()) == 9


@given(st.lists(st.sampled_from([*NAMES, "a stranger"])), st.lists(st.sampled_from(NAMES)))
def test_a_reference_without_some_accounts_is_as_if_built_without_them(first: list[str], then: list[str]) -> None:
    rows = [row(name, payment=n % 5 + 1 if n % 3 else None, email_domain=n % 2 + 1) for n, name in enumerate(NAMES)]
    ours, theirs = build(rows, 100, ()).without(first).without(then), build(rows, 100, {*first, *then})
    assert content(ours) == content(theirs)
    for field in FINGERPRINTS:
        assert ours.held(field) == theirs.held(field)
        assert [ours.frequency(field, value) for value in range(1, 8)] == [
            theirs.frequency(field, value) for value in range(1, 8)
        ]
