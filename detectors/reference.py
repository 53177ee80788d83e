"""The benign reference: the samples of all sources merged into one, without accounts under alert."""

from __future__ import annotations

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
_ABSENT: Final = np.uint64(0)


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
        }
        # A suspect tells nothing about what honest accounts have in common.
        honest = [row.elicit_strong == 0 and row.replayed == 0 for row in rows]
        self._columns: dict[str, U64] = {
            field: np.array(
                [(getattr(row, field) or 0) if said else 0 for row, said in zip(rows, honest, strict=True)], np.uint64
            )
            for field in FINGERPRINTS
        }

    def __len__(self) -> int:
        return len(self.accounts)

    def without(self, accounts: Collection[str]) -> Reference:
        """The same without some accounts."""
        kept = np.array([account not in accounts for account in self.accounts], np.bool_)
        if kept.all():
            return self
        out = Reference(())
        out.accounts, out.requests, out.age_days = self.accounts[kept], self.requests[kept], self.age_days[kept]
        out.suspects = {kind: column[kept] for kind, column in self.suspects.items()}
        out._columns = {field: column[kept] for field, column in self._columns.items()}
        return out

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
        return self._counts[field][1]

    def frequency(self, field: str, value: int) -> float:
        """Share of the accounts with the field that hold a value; a value never seen counts as half an account."""
        counts, held = self._counts[field]
        return min(max(counts.get(value, 0), 0.5) / max(held, 1), 1.0)


def build(rows: Iterable[AccountRow], size: int, exclude: Collection[str]) -> Reference:
    """The reference of the `size` accounts of least hash among `rows`, without the excluded ones."""
    chosen = sorted((row for row in rows if row.account not in exclude), key=lambda row: row.account)
    if len(chosen) > size:
        hashes = hash_strings([row.account for row in chosen])
        chosen = [chosen[i] for i in np.sort(np.argsort(hashes, kind="stable")[:size]).tolist()]
    return Reference(chosen)


def age_days(row: AccountRow) -> float:
    """Age of an account at its first request, days; NaN where unknown."""
    if row.created is None:
        return float("nan")
    return max(row.first_seen - row.created, 0) / _DAY_MS
