"""The bounded table of accounts: one row an account, columns in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Marks, Part, whole, whole_of
from detectors.cadence_state import RECORD
from detectors.frame import ABSENT
from detectors.hashing import U64
from schemas.evidence import AccountRow

I64 = NDArray[np.int64]

_COLUMNS: Final[dict[str, Any]] = {
    "hash": np.uint64,
    "requests": np.int64,
    "first_seen": np.int64,
    "last_seen": np.int64,
    "elicit_strong": np.int32,
    "elicit_weak": np.int32,
    "replayed": np.int32,
    "hours": np.int32,
    "created": np.int64,
    "payment": np.uint64,
    "email_domain": np.uint64,
    "signup": np.uint64,
    "ip_prefix": np.uint64,
    "asn_agent": np.uint64,
    "tls_agent": np.uint64,
    "banned": np.int8,
    "alerted": np.int32,
    "foreign_turns": np.int32,
    "other_turns": np.int32,
    "other_requests": np.int32,
    "own_turns": np.int32,
    "answered": np.int32,
    "mute": np.int32,
    "leaked": np.int32,
    "refused": np.int32,
    "sampled": np.int32,
    "combinations": np.int32,
    "probes": np.int32,
    "swept": np.int32,
    **dict.fromkeys(("cover_texts", "cover_novel", "cover_words", "mark_texts", "mark_novel", "covered"), np.int32),
    **dict.fromkeys(("techniques", "gradings", "graded", "cleanings", "cleaned"), np.int32),
    "plan": np.int8,
    "cadence": RECORD,
}
# Findings for which an account teaches nothing; the campaign stage's names do not reach a lane.
_SUSPECT: Final = ("elicit_strong", "replayed", "foreign_turns", "leaked", "swept", "alerted", "banned")
_ROW: Final = np.dtype(list(_COLUMNS.items()))
ROW_BYTES: Final = _ROW.itemsize
COLUMNS: Final = tuple(_COLUMNS)
"""Names of the columns, in the order of a row."""
_ROWS: Final = 16  # in a block of a state: some 4 kB
_FREE: Final = 4096


class AccountTable(Blocked):
    """Accounts by slot. When it is full, the longest idle sixteenth is evicted at once.

    Columns are written to at slots that :meth:`slots` gave since the last checkpoint, and at no others: giving them
    is what marks them as changed.

    Args:
        capacity: accounts held at most, but for those of one tick.
        idle_ms: accounts idle for longer are evicted first, whatever the room.

    Attributes:
        evicted: accounts forgotten so far.
    """

    def __init__(self, capacity: int, idle_ms: int) -> None:
        self._capacity = capacity
        self._idle_ms = idle_ms
        self._slots: dict[str, int] = {}
        self._names: list[str | None] = []
        self._free: list[int] = []
        self._marks = Marks(_ROWS)
        self._free_marks = Marks(_FREE)
        self._free_low = 0  # free slots below this place in their list are as they were
        self.columns: dict[str, NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in _COLUMNS.items()}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, account: str) -> bool:
        return account in self._slots

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.columns[column]

    def name(self, slot: int) -> str:
        name = self._names[slot]
        if name is None:
            raise KeyError(slot)
        return name

    def slot(self, account: str) -> int | None:
        return self._slots.get(account)

    def slots(self, accounts: Sequence[str], hashes: U64, now: int) -> tuple[I64, list[str]]:
        """The slots of `accounts` (distinct), new ones made as needed.

        Args:
            accounts: distinct account ids.
            hashes: their placement hashes, same order.
            now: event time, for eviction.

        Returns:
            Slots in the order given, and the accounts evicted to make room for them.
        """
        slots = self._slots
        missing = [i for i, account in enumerate(accounts) if account not in slots]
        evicted: list[str] = []
        if missing:
            room = self._capacity - len(slots)
            if room < len(missing):
                evicted = self._evict(len(missing) - room, now, keep=set(accounts))
            for i in missing:
                slot = self._take_slot()
                slots[accounts[i]] = slot
                self._names[slot] = accounts[i]
                self.columns["hash"][slot] = hashes[i]
        found = np.fromiter((slots[account] for account in accounts), np.int64, len(accounts))
        self._marks.mark(found)
        return found, evicted

    def _take_slot(self) -> int:
        if self._free:
            slot = self._free.pop()
            self._free_low = min(self._free_low, len(self._free))
        else:
            slot = len(self._names)
            self._names.append(None)
            if slot >= len(self.columns["hash"]):
                size = max(1024, 2 * slot)
                for name, column in self.columns.items():
                    grown = np.zeros(size, column.dtype)
                    grown[: len(column)] = column
                    self.columns[name] = grown
                self._marks.grow(size)
        for name, column in self.columns.items():
            column[slot] = ABSENT if name == "created" else 0
        return slot

    def expire(self, now: int) -> list[str]:
        """Forget the accounts that were idle for too long by event time `now`; their names."""
        slots = np.fromiter(self._slots.values(), np.int64, len(self._slots))
        stale = slots[self.columns["last_seen"][slots] < now - self._idle_ms] if len(slots) else slots
        # By hash, so that free slots do not depend on the order of arrival.
        return self._drop(stale[np.argsort(self.columns["hash"][stale])]) if len(stale) else []

    def _evict(self, needed: int, now: int, keep: set[str]) -> list[str]:
        candidates = np.fromiter((s for a, s in self._slots.items() if a not in keep), np.int64)
        idle_since = self.columns["last_seen"][candidates]
        stale = int((idle_since < now - self._idle_ms).sum())
        # A sixteenth at a time, so that the cost of choosing is spread over many new accounts.
        count = min(len(candidates), max(needed, stale, self._capacity // 16))
        # Ties by hash, so that the choice does not depend on the order of slots.
        order = np.lexsort((self.columns["hash"][candidates], idle_since))[:count]
        return self._drop(candidates[order])

    def _drop(self, slots: I64) -> list[str]:
        names = [self.name(slot) for slot in slots.tolist()]
        for name in names:
            slot = self._slots.pop(name)
            self._names[slot] = None
            self._free.append(slot)
        for column in self.columns.values():
            column[slots] = 0
        self._marks.mark(slots)
        self.evicted += len(names)
        return names

    def hear(self, slot: I64, answered: NDArray[np.int8]) -> None:
        """Count responses.

        Args:
            slot: (n,) of the account of each response.
            answered: (n,) 1 where all that it said is known, 0 where a text is missing.
        """
        for column, value in (("answered", 1), ("mute", 0)):
            np.add.at(self.columns[column], slot[answered == value], 1)

    def suspect(self, slot: I64) -> NDArray[np.bool_]:
        """Whether accounts (n,) must not teach what is usual, for what was found in them; shape (n,)."""
        found = np.zeros(len(slot), np.bool_)
        for column in _SUSPECT:
            found |= self.columns[column][slot] != 0
        return found

    def row(self, slot: int) -> AccountRow:
        """The account as evidence shows it."""
        c = self.columns
        created = int(c["created"][slot])
        return AccountRow(
            account=self.name(slot),
            requests=int(c["requests"][slot]),
            first_seen=int(c["first_seen"][slot]),
            last_seen=int(c["last_seen"][slot]),
            elicit_strong=int(c["elicit_strong"][slot]),
            elicit_weak=int(c["elicit_weak"][slot]),
            replayed=int(c["replayed"][slot]),
            hours=int(c["hours"][slot]),
            created=None if created == ABSENT else created,
            payment=int(c["payment"][slot]) or None,
            email_domain=int(c["email_domain"][slot]) or None,
            signup=int(c["signup"][slot]) or None,
            ip_prefix=int(c["ip_prefix"][slot]) or None,
            asn_agent=int(c["asn_agent"][slot]) or None,
            tls_agent=int(c["tls_agent"][slot]) or None,
            banned=bool(c["banned"][slot]),
            foreign_turns=int(c["foreign_turns"][slot]),
            leaked=int(c["leaked"][slot]),
            refused=int(c["refused"][slot]),
            covered=int(c["covered"][slot]),
            techniques=int(c["techniques"][slot]),
            graded=int(c["graded"][slot]),
            cleaned=int(c["cleaned"][slot]),
        )

    def parts(self) -> dict[str, Part]:
        """Rows with their names, the list of free slots, and a count."""
        return {
            "rows": Part(0, self._marks.count(len(self._names)), self._rows, self._marks.take),
            "free": Part(0, self._free_marks.count(len(self._free)), self._free_slots, self._changed_free),
            "evicted": whole(msgspec.msgpack.encode(self.evicted)),
        }

    def _rows(self, block: int) -> bytes:
        held = slice(block * _ROWS, min((block + 1) * _ROWS, len(self._names)))
        names = self._names[held]
        rows = np.empty(len(names), _ROW)
        for name, column in self.columns.items():
            rows[name] = column[held]
        return msgspec.msgpack.encode((names, rows.tobytes()))

    def _free_slots(self, block: int) -> bytes:
        return np.array(self._free[block * _FREE : (block + 1) * _FREE], np.int64).tobytes()

    def _changed_free(self) -> list[int]:
        end = len(self._free)
        # The last one, too: it got shorter if slots were only taken.
        low = max(min(self._free_low, end) - 1, 0)
        if end:
            self._free_marks.mark_from(low, end)
        self._free_low = end
        return self._free_marks.take()

    def restore_parts(self, parts: Blocks) -> None:
        names: list[str | None] = []
        packed = []
        for block in parts["rows"]:
            of_block, data = msgspec.msgpack.decode(block, type=tuple[list[str | None], bytes])
            names += of_block
            packed.append(data)
        rows = np.frombuffer(b"".join(packed), _ROW)
        if len(rows) != len(names):
            raise ValueError(f"{len(rows)} rows of accounts do not fit {len(names)} names")
        self._names = names
        self._free = np.frombuffer(b"".join(parts["free"]), np.int64).tolist()
        self.evicted = msgspec.msgpack.decode(whole_of(parts["evicted"]), type=int)
        self.columns = {name: rows[name].copy() for name in _COLUMNS}
        self._slots = {name: slot for slot, name in enumerate(self._names) if name is not None}
        self._marks.grow(len(rows))
        self._free_low = 0
