"""The benign reference: the samples of all sources merged into one, without accounts under alert."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.hashing import hash_strings
from schemas.evidence import AccountRow

F64 = NDArray[np.float64]


class Reference(NamedTuple):
    """What benign accounts are like, each counting once.

    Attributes:
        accounts: ids, m of them.
        requests: (m,) requests each.
        age_days: (m,) age at the first request, NaN where the creation date is unknown.
        values: per fingerprint field, how many of the m accounts hold each value.
        held: per fingerprint field, how many of the m accounts have the field at all.
    """

    accounts: tuple[str, ...]
    requests: F64
    age_days: F64
    values: dict[str, dict[int, int]]
    held: dict[str, int]

    def frequency(self, field: str, value: int) -> float:
        """Share of benign accounts that hold a value; a value never seen counts as half an account."""
        held = self.held.get(field, 0)
        return max(self.values.get(field, {}).get(value, 0), 0.5) / max(held, 1)


FINGERPRINTS = ("payment", "email_domain", "signup", "ip_prefix", "asn_agent", "tls_agent")


def build(rows: Mapping[str, AccountRow], size: int, exclude: Collection[str]) -> Reference:
    """The reference of the `size` accounts of least hash among `rows`, without the excluded ones."""
    names = [name for name in rows if name not in exclude]
    if len(names) > size:
        order = np.argsort(hash_strings(names), kind="stable")[:size]
        names = [names[i] for i in order.tolist()]
    names.sort()
    chosen = [rows[name] for name in names]
    values: dict[str, dict[int, int]] = {field: {} for field in FINGERPRINTS}
    held = dict.fromkeys(FINGERPRINTS, 0)
    for row in chosen:
        for field in FINGERPRINTS:
            value = getattr(row, field)
            if value is not None:
                held[field] += 1
                values[field][value] = values[field].get(value, 0) + 1
    return Reference(
        accounts=tuple(names),
        requests=np.array([row.requests for row in chosen], np.float64),
        age_days=np.array([age_days(row) for row in chosen], np.float64),
        values=values,
        held=held,
    )


def age_days(row: AccountRow) -> float:
    """Age of an account at its first request, days; NaN where unknown."""
    if row.created is None:
        return float("nan")
    return max(row.first_seen - row.created, 0) / 86_400_000
