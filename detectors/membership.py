"""Which accounts of a cohort belong to its campaign: a mixture of a pool and of strangers.

A cohort of a common phrase holds members of a pool beside honest accounts. Each account is either a stranger, whose
fingerprints are as frequent as in the benign reference, or of the pool, whose fingerprints are those that the pool's
other accounts have. The pool's side and its share are learned by expectation maximisation (Dempster, Laird, Rubin,
1977), with fingerprints independent given the side (naive Bayes), each account left out of what it is compared with.

It speaks for honest accounts as well: whoever pays alone in a pool that shares its payments is not of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.reference import Reference
from schemas.evidence import AccountRow

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

GROUPS: Final = {
    ("payment",): 3.0,
    ("email_domain",): 3.0,
    ("signup", "ip_prefix"): 3.0,
    # A client is anybody's: it never makes an account one of a pool.
    ("asn_agent", "tls_agent"): 0.7,
}
"""Fields that say much the same, of which the loudest counts, and the most that it counts for, in bits."""

_ROUNDS: Final = 12
_ALONE: Final = (0.02, 0.5)  # bounds of the share of a pool's accounts that have a fingerprint as strangers do
# Honest accounts come in households and teams, each member of which brings another in one case of five: so every other
# account with a value adds this many bits at most, and a pair says little.
_CLUMP: Final = 0.7
_LEAST_HELD: Final = 5  # members with a field before it is looked at
_LEAST_BENIGN: Final = 8  # benign accounts with it
_PRIOR: Final = (0.05, 0.95)  # bounds of the pool's share
_LARGEST: Final = 4096  # members learned from, evenly spaced; beyond that nothing changes
_VALUES: Final = 512  # values remembered of a field


class Fingerprints(Protocol):
    """What is known of an account besides what it does; None where a field was absent."""

    @property
    def payment(self) -> int | None: ...
    @property
    def email_domain(self) -> int | None: ...
    @property
    def signup(self) -> int | None: ...
    @property
    def ip_prefix(self) -> int | None: ...
    @property
    def asn_agent(self) -> int | None: ...
    @property
    def tls_agent(self) -> int | None: ...


class Traits(msgspec.Struct, array_like=True, frozen=True):
    """What tells a pool's accounts from strangers.

    Attributes:
        prior: decimal logarithm of the odds that an account of the cohort is of the pool.
        holds: field to value to bits for whoever holds it; a bit is a decimal digit of the likelihood ratio.
        lacks: field to bits, negative, for whoever holds another value.
    """

    prior: float = 0.0
    holds: dict[str, dict[int, float]] = {}
    lacks: dict[str, float] = {}

    def bits(self, row: Fingerprints) -> float:
        """Evidence that an account is of the pool, without the prior; 0 where nothing is known of it."""
        total = 0.0
        for fields, most in GROUPS.items():
            said = [
                self.holds[field].get(value, self.lacks[field])
                for field in fields
                if field in self.holds and (value := getattr(row, field)) is not None
            ]
            total += min(max(said, default=0.0), most)
        return total


def learn(rows: Sequence[AccountRow], reference: Reference) -> Traits:
    """Tell the pool in a cohort from strangers.

    Args:
        rows: the cohort's accounts, without those that an open customer explains.
        reference: benign accounts.
    """
    rows = rows[:: -(-len(rows) // _LARGEST)] if rows else rows
    columns = {
        field: column
        for fields in GROUPS
        for field in fields
        if (column := _Column.of(rows, field, reference)) is not None
    }
    if not columns:
        return Traits()
    weight = np.ones(len(rows))
    odds = 0.0
    for _ in range(_ROUNDS):
        said = {field: column.bits(weight) for field, column in columns.items()}
        total = odds + sum(
            np.nan_to_num(np.minimum(_loudest([said[field] for field in fields if field in said], len(rows)), most))
            for fields, most in GROUPS.items()
        )
        weight = 1 / (1 + 10 ** np.clip(-total, -30, 30))
        share = min(max(float(weight.mean()), _PRIOR[0]), _PRIOR[1])
        odds = math.log10(share / (1 - share))
    return Traits(
        round(odds, 4),
        {field: column.remembered(weight) for field, column in columns.items()},
        {field: round(math.log10(column.alone(weight)), 3) for field, column in columns.items()},
    )


class _Column:
    """One field of the members that have it.

    `at` (k,) is the place of each among all members, `code` (k,) its value as a place in `values`, whose frequencies
    among strangers are `benign`.
    """

    def __init__(self, size: int, at: I64, code: I64, values: list[int], benign: F64) -> None:
        self._size, self._at, self._code, self._values, self._benign = size, at, code, values, benign
        self._frequency = benign[code]

    @classmethod
    def of(cls, rows: Sequence[AccountRow], field: str, reference: Reference) -> _Column | None:
        held = [(place, value) for place, row in enumerate(rows) if (value := getattr(row, field)) is not None]
        if len(held) < _LEAST_HELD or reference.held(field) < _LEAST_BENIGN:
            return None
        at = np.array([place for place, _ in held], np.int64)
        found, code = np.unique(np.array([value for _, value in held], np.uint64), return_inverse=True)
        values = found.tolist()
        return cls(len(rows), at, code, values, np.array([reference.frequency(field, value) for value in values]))

    def bits(self, weight: F64) -> F64:
        """(n,) bits of each member for the pool, against the other members; NaN where the field is absent."""
        others, share, alone = self._weighed(weight)
        out = np.full(self._size, np.nan)
        out[self._at] = np.minimum(_ratio(share, self._frequency, alone), _CLUMP * others)
        return out

    def alone(self, weight: F64) -> float:
        """Share of the pool whose value nobody else of it holds, or everybody has; within bounds."""
        return self._weighed(weight)[2]

    def remembered(self, weight: F64) -> dict[int, float]:
        """Bits by value, of those that speak for the pool and that two members of it hold."""
        held = self._held(weight[self._at])
        bits = _ratio(held / max(float(held.sum()), 1.0), self._benign, self.alone(weight))
        bits = np.minimum(bits, _CLUMP * (held - 1))
        chosen = np.flatnonzero((held >= 1.5) & (bits > 0))
        chosen = chosen[np.argsort(-held[chosen], kind="stable")][:_VALUES]
        return {self._values[i]: round(float(bits[i]), 3) for i in chosen.tolist()}

    def _held(self, own: F64) -> F64:
        return np.bincount(self._code, own, len(self._benign)).astype(np.float64)

    def _weighed(self, weight: F64) -> tuple[F64, F64, float]:
        """(k,) the pool's other members with the value of each, as a number and as a share; and how many are alone."""
        own = weight[self._at]
        total = max(float(own.sum()), 1e-9)
        others = self._held(own)[self._code] - own
        share = others / np.maximum(total - own, 1.0)
        alone = float(own[share <= self._frequency].sum()) / total
        return others, share, min(max(alone, _ALONE[0]), _ALONE[1])


def _ratio(share: F64, benign: F64, alone: float) -> F64:
    """Bits of holding a value that a share of the pool holds, and that is as frequent among strangers."""
    pool = (1 - alone) * share + alone * benign
    return np.asarray(np.log10(pool / benign))


def _loudest(columns: list[F64], size: int) -> F64:
    """(size,) the largest of several columns, NaN where all are."""
    out = np.full(size, np.nan)
    for column in columns:
        out = np.fmax(out, column)
    return out
