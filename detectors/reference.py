"""The benign reference: the samples of all sources merged into one, without accounts under alert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import U64, hash_strings
from schemas.evidence import AccountRow

F64 = NDArray[np.float64]

FINGERPRINTS: Final = ("payment", "email_domain", "signup", "ip_prefix", "asn_agent", "tls_agent")

_DAY_MS: Final = 86_400_000
_NONE: Final = 0
_ABSENT: Final = np.uint64(_NONE)


class Reference:
    """What benign accounts are like, each counting once.

    Args:
        rows: the accounts, each once.

    Attributes:
        accounts: (m,) ids.
        requests: (m,) requests each.
        age_days: (m,) age at the first request, NaN where the creation date is unknown.
        suspects: per kind of finding, (m,) whether the account ever had one.
    """

    def __init__(self, rows: Sequence[AccountRow]) -> None:
        self.accounts: NDArray[np.object_] = np.empty(len(rows), object)
        self.accounts[:] = [row.account for row in rows]
        self.requests: F64 = np.array([row.requests for row in rows], np.float64)
        self.age_days: F64 = np.array([age_days(row) for row in rows], np.float64)
        self.suspects = {
            "elicitation": np.array([row.elicit_strong > 0 for row in rows], np.bool_),
            "replay": np.array([row.replayed > 0 for row in rows], np.bool_),
            "turns": np.array([row.foreign_turns > 0 for row in rows], np.bool_),
            "leak": np.array([row.leaked > 0 for row in rows], np.bool_),
            "coverage": np.array([row.covered > 0 for row in rows], np.bool_),
            "technique": np.array([row.techniques > 0 for row in rows], np.bool_),
            "grading": np.array([row.graded > 0 for row in rows], np.bool_),
            "cleaning": np.array([row.cleaned > 0 for row in rows], np.bool_),
        }
        # A suspect tells nothing about what honest accounts have in common.
        honest = [row.elicit_strong == row.replayed == row.foreign_turns == row.leaked == 0 for row in rows]
        self._columns: dict[str, U64] = {
            field: np.array(
                [(getattr(row, field) or 0) if said else 0 for row, said in zip(rows, honest, strict=True)], np.uint64
            )
            for field in FINGERPRINTS
        }
        # Left out of another reference: what that one counts, less what is gone.
        self._whole: Reference | None = None
        self._gone: dict[str, Counter[int]] = {}

    def __len__(self) -> int:
        return len(self.accounts)

    def without(self, accounts: Collection[str]) -> Reference:
        """The same without some accounts; cheap, for it happens with every cohort that is judged."""
        places = self._places
        gone = sorted({place for account in accounts if (place := places.get(account)) is not None})
        if not gone:
            return self
        kept = np.ones(len(self), np.bool_)
        kept[gone] = False
        out = self.only(kept)
        out._whole = self
        out._gone = {field: Counter(column[gone].tolist()) for field, column in self._columns.items()}
        return out

    def only(self, kept: NDArray[np.bool_]) -> Reference:
        """The accounts that a mask of shape (m,) keeps."""
        out = Reference.__new__(Reference)
        out._whole, out._gone = None, {}
        out.accounts, out.requests, out.age_days = self.accounts[kept], self.requests[kept], self.age_days[kept]
        out.suspects = {kind: column[kept] for kind, column in self.suspects.items()}
        out._columns = {field: column[kept] for field, column in self._columns.items()}
        return out

    @cached_property
    def ages(self) -> F64:
        """The known ages, ascending."""
        return np.sort(self.age_days[~np.isnan(self.age_days)])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {account: place for place, account in enumerate(self.accounts.tolist())}

    @cached_property
    def _held(self) -> dict[str, int]:
        if self._whole is None:
            return {field: held for field, (_, held) in self._counts.items()}
        return {
            field: held - (self._gone[field].total() - self._gone[field][_NONE])
            for field, held in self._whole._held.items()
        }

    @cached_property
    def _counts(self) -> dict[str, tuple[dict[int, int], int]]:
        """Per field, how many accounts hold each value, and how many have the field at all."""
        out = {}
        for field, column in self._columns.items():
            known = column[column != _ABSENT]
            values, counts = np.unique(known, return_counts=True)
            out[field] = dict(zip(values.tolist(), counts.tolist(), strict=True)), len(known)
        return out

    def held(self, field: str) -> int:
        """How many accounts have the field at all."""
        return self._held[field]

    def frequency(self, field: str, value: int) -> float:
        """Share of the accounts with the field that hold a value; a value never seen counts as half an account."""
        return min(max(self._count(field, value), 0.5) / max(self.held(field), 1), 1.0)

    def _count(self, field: str, value: int) -> int:
        if self._whole is not None:
            return self._whole._count(field, value) - self._gone[field][value]
        return self._counts[field][0].get(value, 0)


class Pool:
    """All sampled accounts, from which the reference is drawn: the least hashes of those not excluded.

    Excluding accounts costs little, for it happens with every account that is named.

    Args:
        rows: the samples of all sources; each account once.
        size: accounts in the reference.
        exclude: accounts under alert.
    """

    def __init__(self, rows: Iterable[AccountRow], size: int, exclude: Collection[str]) -> None:
        ordered = sorted(rows, key=lambda row: row.account)
        names = [row.account for row in ordered]
        self._all = Reference(ordered)
        self._size = size
        self._place = {account: i for i, account in enumerate(names)}
        self._by_hash = np.argsort(hash_strings(names), kind="stable")
        self._open = np.array([account not in exclude for account in names], np.bool_)
        self._drawn: tuple[NDArray[np.bool_], Reference] | None = None

    def exclude(self, accounts: Iterable[str]) -> None:
        """Take accounts out."""
        for account in accounts:
            place = self._place.get(account)
            if place is not None:
                self._open[place] = False
                if self._drawn is not None and self._drawn[0][place]:
                    self._drawn = None

    def reference(self) -> Reference:
        """The reference as of now."""
        if self._drawn is None:
            kept = np.zeros(len(self._all), np.bool_)
            kept[self._by_hash[self._open[self._by_hash]][: self._size]] = True
            self._drawn = kept, self._all.only(kept)
        return self._drawn[1]


def build(rows: Iterable[AccountRow], size: int, exclude: Collection[str]) -> Reference:
    """The reference of the `size` accounts of least hash among `rows`, without the excluded ones."""
    return Pool(rows, size, exclude).reference()


def age_days(row: AccountRow) -> float:
    """Age of an account at its first request, days; NaN where unknown."""
    if row.created is None:
        return float("nan")
    return max(row.first_seen - row.created, 0) / _DAY_MS
