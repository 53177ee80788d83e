"""Reasoning signatures presented by an account that never received them.

A provider signs the reasoning it returns, and a client sends the signature back with the history. A
signature that was not issued to this account came from another one: a pool that replays its sessions.
Issued (account, signature) pairs are remembered in a Bloom filter, so a foreign signature passes for an
issued one with the stated rate and an issued one is never called foreign while it is remembered.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors.blocks import Blocked, Blocks, Part, under, whole, whole_of, within
from detectors.contract import Findings, Report, Tick, Touches, no_findings, no_touches
from detectors.frame import ABSENT
from detectors.hashing import KeyedHasher, combine
from detectors.params import ReplayParams
from detectors.sketches import PanedBloom

KIND: Final = "replay"
FOREIGN: Final = np.uint64(1)
"""The one cohort of this detector: all accounts that present foreign signatures."""

_HOUR_MS: Final = 3_600_000


class SignatureReplay(Blocked):
    """Finds foreign reasoning signatures in requests."""

    name: ClassVar[str] = "signature_replay"
    needs: ClassVar[frozenset[str]] = frozenset({"request.signatures", "response.signatures"})

    def __init__(self, params: ReplayParams, hasher: KeyedHasher) -> None:
        self._params = params
        self._hasher = hasher
        bits = PanedBloom.bits_for(params.capacity, params.false_positive_rate)
        self._issued = PanedBloom(bits, int(params.pane_hours * _HOUR_MS))
        self._started: int | None = None
        self._any_issued = False

    @property
    def ready(self) -> bool:
        return self._any_issued

    @property
    def nbytes(self) -> int:
        return self._issued.nbytes

    def score(self, tick: Tick) -> Report:
        """Foreign signatures a request; nothing while no response ever carried one."""
        frame = tick.frame
        presented = frame.presented
        owner = presented.row_ids()
        if not len(owner) or not self._any_issued:
            return Report(no_findings(), [no_touches(KIND)], {})
        pairs = combine(presented.values, frame.account_hash[owner])
        known = self._issued.contains(pairs)
        # What this very tick issued counts as issued: the response came first, or at worst in the tick.
        same = combine(frame.issued.values, frame.account_hash[frame.issued.row_ids()])
        known |= np.isin(pairs, same)
        # Histories repeat: a signature is news to an account once.
        again = np.ones(len(pairs), np.bool_)
        again[np.unique(pairs, return_index=True)[1]] = False
        foreign = ~known & ~again & self._could_know(tick)[owner]
        per_row = np.bincount(owner[foreign], minlength=len(frame))
        row = np.flatnonzero(per_row)
        count = per_row[row]
        # Each foreign signature beyond the first makes a lost record less likely.
        score = 1 - 0.2 ** np.minimum(count, 8)
        # A signature of the account's own that fell out of memory is what benign ones look like.
        p_value = np.full(len(row), self._params.false_positive_rate)
        totals = presented.lengths[row]
        first = np.full(len(frame), -1, np.int64)
        place = np.flatnonzero(foreign)[::-1]
        first[owner[place]] = place
        evidence = [
            {
                "foreign": int(n),
                "presented": int(total),
                "signature": self._hasher.show("signature", int(presented.values[first[r]])),
            }
            for n, total, r in zip(count, totals, row, strict=True)
        ]
        touches = Touches(KIND, row, np.full(len(row), FOREIGN), presented.values[first[row]], {})
        return Report(Findings(row, score, p_value, evidence), [touches], {"replayed": (row, count)})

    def _could_know(self, tick: Tick) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Requests whose account was watched from its first day, or after the warm-up of this state."""
        started = tick.end if self._started is None else self._started
        warm = tick.frame.ts - started >= self._params.warmup_hours * _HOUR_MS
        created = np.where(tick.slot >= 0, tick.accounts["created"][np.maximum(tick.slot, 0)], ABSENT)
        return np.asarray(warm | (created >= started))

    def learn(self, tick: Tick) -> None:
        if self._started is None and len(tick.frame):
            self._started = int(tick.frame.ts[0])
        self._issued.turn(tick.end)
        issued, presented = tick.frame.issued, tick.frame.presented
        self._any_issued = self._any_issued or bool(len(issued.values))
        # What an account presented once is known of it from then on, as if it had been issued.
        for signatures in (issued, presented):
            if len(signatures.values):
                pairs = combine(signatures.values, tick.frame.account_hash[signatures.row_ids()])
                self._issued.add(np.unique(pairs))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        state = (self._started, self._any_issued)
        return {"started": whole(msgspec.msgpack.encode(state)), **within("issued", self._issued.parts())}

    def restore_parts(self, parts: Blocks) -> None:
        self._started, self._any_issued = msgspec.msgpack.decode(
            whole_of(parts["started"]), type=tuple[int | None, bool]
        )
        self._issued.restore_parts(under("issued", parts))
