"""Tests of a cohort against the benign reference, each as evidence in bits.

A *bit* here is a decimal digit of a p-value: 2 bits say that one in a hundred benign groups of this size
looks like this. Under 1 bit is chance and counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.membership import GROUPS
from detectors.reference import FINGERPRINTS, Reference, age_days
from schemas.evidence import AccountRow, MemberRow

F64 = NDArray[np.float64]

_DRAWS: Final = 400
_MIN_MEAN: Final = 1.5  # requests a member before evenness says anything: groups of ones are always even
_EVEN_CAP: Final = 3.0
_YOUNG_CAP: Final = 1.5  # launches bring young accounts too
_FIELD_CAP: Final = 4.0
_FIELD_FLOOR: Final = 2.0  # several fields are looked at, so one chance in ten would be met too often
_PUBLIC: Final = 0.05  # a mail domain of more than one in twenty benign accounts is a public one
_PLACE_SHARE: Final = 0.3
_PLACE_LEAST: Final = 5
_CUSTOMER_LEAST: Final = 10
_CUSTOMER_SHARE: Final = 0.6
_TEAM_LEAST: Final = 3
_TEAM_SHARE: Final = 0.75
_PARTS: Final = 0.5  # of those who pay, on a payment that others of them have too
_MIN_KNOWN: Final = 5  # members with a field before it is tested
_MIN_BENIGN: Final = 8  # benign accounts with it
_LARGEST_GROUP: Final = 512  # members looked at: beyond that every test is certain anyway

OWNED: Final = ("payment", "email_domain", "signup", "ip_prefix")
"""Fingerprints that have an owner; a client is anybody's."""
_PLACES: Final = ("signup", "ip_prefix")


class Test(NamedTuple):
    """The outcome of one test: its bits, and what a human can check."""

    bits: float
    evidence: dict[str, Any]


def bits_of(p_value: float) -> float:
    """Decimal digits of a p-value; 0 below one digit."""
    bits = -math.log10(max(p_value, 1e-60))
    return bits if bits >= 1 else 0.0


def poisson_tail(observed: int, expected: float) -> float:
    """P(X >= observed) for a Poisson variable of the given mean.

    >>> round(poisson_tail(3, 1.0), 4), poisson_tail(0, 1.0)
    (0.0803, 1.0)
    """
    if observed <= expected or observed == 0:
        return 1.0 if observed == 0 else 0.5
    # The largest term of the tail times a geometric bound of the rest: exact enough, never too small.
    log_first = observed * math.log(expected) - expected - math.lgamma(observed + 1)
    if observed < 60:
        below = sum(math.exp(k * math.log(expected) - expected - math.lgamma(k + 1)) for k in range(observed))
        if below < 1 - 1e-9:
            return 1 - below
    return min(1.0, math.exp(log_first) / (1 - expected / (observed + 1)))


def even_shares(members: Sequence[MemberRow], reference: Reference, seed: int) -> Test:
    """Do the members send more evenly than benign accounts would?

    The variance of the logarithm of each account's requests, all of them and not only the cohort's, against
    `_DRAWS` groups of the same size drawn from the reference. A twentieth is cut off at either end, so that a
    loud stranger in the cohort, or a loud member, does not hide the rest.
    """
    requests = np.array([member.row.requests for member in members], np.float64)
    mean = float(requests.mean())
    if mean < _MIN_MEAN or len(reference.requests) < _MIN_BENIGN:
        return Test(0.0, {"requests_per_account": round(mean, 3)})
    size = min(len(requests), _LARGEST_GROUP)
    rng = np.random.default_rng(seed)
    draws = _spread(reference.requests[rng.integers(0, len(reference.requests), (_DRAWS, size))])
    observed = float(_spread(requests[None, :])[0])
    spread = float(draws.std())
    z = (observed - float(draws.mean())) / spread if spread else 0.0
    # The draws alone resolve one in 400; beyond that the normal tail is trusted for two more digits.
    p_value = max(0.5 * math.erfc(-z / math.sqrt(2)), (1 + float((draws <= observed).sum())) / (100 * _DRAWS))
    return Test(
        min(bits_of(p_value), _EVEN_CAP),
        {
            "requests_per_account": round(mean, 3),
            "variation": round(float(requests.std() / mean), 4),
            "log_deviation": round(math.sqrt(observed), 4),
            "log_deviation_benign": round(math.sqrt(float(np.median(draws))), 4),
            "p_value": float(f"{p_value:.3g}"),
        },
    )


def _spread(requests: F64) -> F64:
    """Variance of the logarithms of each row, without a twentieth at either end."""
    cut = requests.shape[1] // 20
    logs = np.sort(np.log(np.maximum(requests, 1)), axis=1)
    return np.asarray(logs[:, cut : logs.shape[1] - cut].var(axis=1))


def young_accounts(members: Sequence[MemberRow], reference: Reference) -> Test:
    """Are the members younger, at their first request, than benign accounts? (Mann and Whitney, 1947)."""
    ours = np.array([age_days(member.row) for member in members], np.float64)
    ours = ours[~np.isnan(ours)]
    theirs = reference.ages
    if len(ours) < _MIN_KNOWN or len(theirs) < _MIN_BENIGN:
        return Test(0.0, {"known": len(ours)})
    n, m = len(ours), len(theirs)
    # Pairs in which ours is the older, ties half.
    u = float(np.searchsorted(theirs, ours, "left").sum() + np.searchsorted(theirs, ours, "right").sum()) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    p_value = 0.5 * math.erfc(-z / math.sqrt(2))
    return Test(
        min(bits_of(p_value), _YOUNG_CAP),
        {
            "median_age_days": round(float(np.median(ours)), 2),
            "median_age_days_benign": round(float(np.median(theirs)), 2),
            "known": n,
            "p_value": float(f"{p_value:.3g}"),
        },
    )


class Owner(NamedTuple):
    """One customer, or one place, among the members: the field and value that say so, and the accounts."""

    field: str
    value: int
    accounts: frozenset[str]


def declared_owner(rows: Sequence[AccountRow], reference: Reference, share: float) -> Owner | None:
    """The members that openly belong to one customer, if they are at least `share` of those with the field.

    A campaign hides that it has one owner. A company roll-out or a class declares it: one payment or one
    mail domain of its own. What such members share is thereby explained, and is no evidence.
    """
    found = []
    for field in ("payment", "email_domain"):
        top = _widest(rows, field, share)
        if top is None:
            continue
        # A payment has one payer; a mail domain may be a public one, which declares nothing, or a pool's own.
        if field == "payment" or (
            reference.frequency(field, top.value) <= _PUBLIC
            and not _pays_in_parts([row for row in rows if row.account in top.accounts])
        ):
            found.append(top)
    return max(found, key=lambda owner: len(owner.accounts), default=None)


def _pays_in_parts(rows: Sequence[AccountRow]) -> bool:
    """Do most of those who pay share their payment, but only with a part of the others?

    An organisation pays once for everybody, or leaves it to each; a pool spreads its accounts over some cards.
    """
    holders = _holders(rows, "payment")
    shared = [len(held) for held in holders.values() if len(held) > 1]
    return len(shared) > 1 and sum(shared) >= _PARTS * sum(map(len, holders.values()))


def one_place(rows: Sequence[AccountRow]) -> Owner | None:
    """The members on one network, if they are many: a school, an office, a shared exit.

    One place explains all that its people have in common, their clients as well, and hides nothing; a pool
    that hides is on many networks.
    """
    found = [top for field in ("ip_prefix", "signup") if (top := _widest(rows, field, _PLACE_SHARE)) is not None]
    found = [top for top in found if len(top.accounts) >= _PLACE_LEAST]
    return max(found, key=lambda owner: len(owner.accounts), default=None)


def customers(rows: Sequence[AccountRow], reference: Reference) -> list[Owner]:
    """The groups of members that look like one company, school or team each, however many there are.

    One payment, or one mail domain of its own, over at least ten members most of whom share one more thing that a
    customer has and a pool avoids: the network, the place of the sign-up, or the other of the two. A smaller group is
    a team if it has a mail domain of its own and most of it is in one place: cards alone make none, for a pool may
    run the accounts of each card on a machine of its own.
    """
    found = []
    for field in ("payment", "email_domain"):
        for value, held in _holders(rows, field).items():
            if field == "email_domain" and reference.frequency(field, value) > _PUBLIC:
                continue
            if _is_customer(field, held) or (field == "email_domain" and _is_team(held)):
                found.append(Owner(field, value, frozenset(row.account for row in held)))
    return sorted(found, key=lambda owner: (owner.field, owner.value))


def _is_customer(field: str, held: Sequence[AccountRow]) -> bool:
    others = [other for other in OWNED if other != field]
    return len(held) >= _CUSTOMER_LEAST and _most_alike(held, others) >= _CUSTOMER_SHARE * len(held)


def _is_team(held: Sequence[AccountRow]) -> bool:
    alike = len(held) >= _TEAM_LEAST and _most_alike(held, _PLACES) >= _TEAM_SHARE * len(held)
    return alike and not _pays_in_parts(held)


def _most_alike(rows: Sequence[AccountRow], fields: Sequence[str]) -> int:
    """How many of the rows share a value of one of the fields, at most."""
    return max((len(held) for field in fields for held in _holders(rows, field).values()), default=0)


def _holders(rows: Sequence[AccountRow], field: str) -> dict[int, list[AccountRow]]:
    """The rows by their value of a field, without those that lack it."""
    holders: dict[int, list[AccountRow]] = {}
    for row in rows:
        value = getattr(row, field)
        if value is not None:
            holders.setdefault(value, []).append(row)
    return holders


def _widest(rows: Sequence[AccountRow], field: str, share: float) -> Owner | None:
    """The value that most rows hold, if they are at least `share` of the rows with the field."""
    holders = _holders(rows, field)
    known = sum(map(len, holders.values()))
    if known < _MIN_KNOWN:
        return None
    top = max(holders, key=lambda value: (len(holders[value]), value))
    if len(holders[top]) < share * known:
        return None
    return Owner(field, top, frozenset(row.account for row in holders[top]))


def shared_infrastructure(rows: Sequence[AccountRow], reference: Reference, cap: float) -> Test:
    """Do members hold rare values in common more often than strangers would?

    For each field: the members that share their value with another member, against the number expected of
    as many strangers, given how common each value is in the reference (Poisson tail). What everybody has, a
    public mail domain or a common client, is expected and adds nothing.
    """
    size = len(rows)
    step = max(1, size // _LARGEST_GROUP)
    looked_at = rows[::step]
    fields: dict[str, Any] = {}
    best: dict[str, float] = {}
    for field in FINGERPRINTS:
        values = [value for row in looked_at if (value := getattr(row, field)) is not None]
        if len(values) < _MIN_KNOWN or reference.held(field) < _MIN_BENIGN:
            continue
        counts: dict[int, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        shared = sum(count for count in counts.values() if count > 1)
        expected = sum(
            count * (1 - (1 - reference.frequency(field, value)) ** (len(values) - 1))
            for value, count in counts.items()
        )
        p_value = poisson_tail(shared, max(expected, 1e-9))
        bits = min(bits_of(p_value), _FIELD_CAP)
        if bits >= _FIELD_FLOOR:
            best[field] = bits
            fields[field] = {
                "sharing": shared,
                "of": len(values),
                "expected": round(expected, 3),
                "values": len(counts),
            }
    total = sum(max((best.get(field, 0.0) for field in group), default=0.0) for group in GROUPS)
    return Test(min(total, cap), {"fields": fields})
