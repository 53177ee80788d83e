"""The live reference of a lane: a uniform sample of its accounts, each counting once.

The sample holds the accounts of least placement hash, so that the samples of all lanes merge into one
(bottom-k; see :class:`detectors.sketches.BottomK`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from detectors.accounts import AccountTable
from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.params import PopulationParams
from schemas.evidence import PopulationEvidence

_REFRESH_MS: Final = 3_600_000
_GROWTH: Final = 1.25  # a population that grew by a quarter is sent before the hour is over

SIGNATURES: Final = "signatures"
ANSWERS: Final = "answers"
FIELDS: Final = ("payment", "email_domain", "signup", "created", "ip_prefix", "asn_agent", "tls_agent")


class PopulationSample(Blocked):
    """Decides when the sample is sent, and which rows of it changed."""

    def __init__(self, params: PopulationParams) -> None:
        self._size = params.sample
        self._sent_at: int | None = None
        self._sent_accounts = 0

    def due(
        self, source: int, tick: int, accounts: AccountTable, *, seen: Mapping[str, bool], everything: bool = False
    ) -> PopulationEvidence | None:
        """Evidence when an hour has passed or the population has grown by a quarter.

        Args:
            seen: whether any response carried a reasoning signature (SIGNATURES), or a text (ANSWERS) yet.
        """
        size = len(accounts)
        grown = size >= 8 and size >= _GROWTH * self._sent_accounts
        over = self._sent_at is not None and tick - self._sent_at >= _REFRESH_MS
        if not (grown or over or everything):
            return None
        active = np.flatnonzero(accounts["requests"] > 0)
        hashes = accounts["hash"][active]
        if len(active) > self._size:
            active = active[np.argpartition(hashes, self._size)[: self._size]]
        active = active[np.argsort(accounts["hash"][active])]
        since = -1 if self._sent_at is None else self._sent_at - _REFRESH_MS
        changed = active[accounts["last_seen"][active] >= since]
        columns = {
            name: accounts[name][active] >= 0 if name == "created" else accounts[name][active] != 0 for name in FIELDS
        }
        self._sent_at, self._sent_accounts = tick, size
        return PopulationEvidence(
            source=source,
            tick=tick,
            rows=[accounts.row(int(slot)) for slot in changed],
            accounts=int((accounts["requests"] > 0).sum()),
            requests=int(accounts["requests"].sum()),
            fields={
                **{name: float(column.mean()) if len(active) else 0.0 for name, column in columns.items()},
                **{name: float(value) for name, value in seen.items()},
            },
        )

    def parts(self) -> dict[str, Part]:
        return {"sent": whole(msgspec.msgpack.encode((self._sent_at, self._sent_accounts)))}

    def restore_parts(self, parts: Blocks) -> None:
        self._sent_at, self._sent_accounts = msgspec.msgpack.decode(
            whole_of(parts["sent"]), type=tuple[int | None, int]
        )
