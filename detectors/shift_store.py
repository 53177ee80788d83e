"""A recent text of each account as a point, with what the account could share with others; bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Marks, Part, whole, whole_of
from detectors.hashing import U64

I64 = NDArray[np.int64]
I8 = NDArray[np.int8]
Rows = NDArray[np.void]

FIELDS: Final = ("payment", "email_domain", "signup", "ip_prefix", "asn_agent", "tls_agent")
"""What accounts of one cohort share; columns of the account table."""
UNMARKED, MARKED, TOLD = range(3)

_BLOCK: Final = 16  # rows in a block of a state
_LEAST: Final = 256
_EVICTED: Final = 16  # one in so many rows makes room at once


def row_type(dims: int) -> np.dtype[Any]:
    """A row: the account and its text, and what was found when its cohort was judged."""
    return np.dtype(
        [
            ("account", np.uint64),
            ("ts", np.int64),  # of the text, epoch ms
            ("text", np.uint64),  # its identity; 0 for one without a point
            ("keys", np.uint64, (len(FIELDS),)),
            ("point", np.int8, (dims,)),
            ("suspect", np.bool_),
            ("mark", np.int8),
            ("field", np.int8),
            ("key", np.uint64),
            ("size", np.int32),
            ("deviations", np.float32),
            ("tail", np.float32),
        ]
    )


class RecentPoints(Blocked):
    """One row an account; the longest idle ones make room.

    Args:
        capacity: accounts held at most.
        dims: of a point.

    Attributes:
        waiting: accounts that are marked and not told of yet.
    """

    def __init__(self, capacity: int, dims: int) -> None:
        self._capacity = capacity
        self._type = row_type(dims)
        self._rows: Rows = np.zeros(0, self._type)
        self._used = 0
        self._free: list[int] = []
        self._place: dict[int, int] = {}
        self._marks = Marks(_BLOCK)
        self.waiting: set[int] = set()

    def __len__(self) -> int:
        return len(self._place)

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes + 120 * len(self._place)  # an entry of a dictionary with its two numbers

    def places(self, accounts: Sequence[int]) -> list[int]:
        """The row of each account; -1 where it has none."""
        get = self._place.get
        return [get(account, -1) for account in accounts]

    def times(self, places: I64) -> I64:
        """When the text of each row was sent; of no account's where there is no row. Shape (len(places),)."""
        return self._rows["ts"][places] if len(self._rows) else np.zeros(len(places), np.int64)

    def column(self, name: str) -> NDArray[Any]:
        """A column of all rows, also of free ones, whose account is 0; not to be written to."""
        return self._rows[name][: self._used]

    def take(self, rows: I64) -> Rows:
        """Copies of rows."""
        return self._rows[rows]

    def put(self, accounts: U64, new: Rows) -> None:
        """Replace the texts of accounts (n,), distinct ones; what was found of them stays."""
        for account, row in zip(accounts.tolist(), new, strict=True):
            place = self._place.get(account)
            if place is None:
                place = self._take_place(account)
                self._rows[place] = row
            else:
                held = self._rows[place]
                for name in ("ts", "text", "keys", "point"):
                    held[name] = row[name]
                held["suspect"] |= row["suspect"]
            self._marks.mark(np.array([place]))

    def mark(self, places: I64, mark: int, **values: Any) -> None:
        """Set the mark of rows, and other columns."""
        for name, value in {"mark": mark, **values}.items():
            self._rows[name][places] = value
        self._marks.mark(places)
        change = self.waiting.update if mark == MARKED else self.waiting.difference_update
        change(self._rows["account"][places].tolist())

    def expire(self, before: int) -> None:
        """Forget the rows whose text is older."""
        self._forget(np.flatnonzero((self.column("account") != 0) & (self.column("ts") < before)))

    def _forget(self, places: I64) -> None:
        if not len(places):
            return
        for account in self._rows["account"][places].tolist():
            del self._place[account]
            self.waiting.discard(account)
        self._rows[places] = np.zeros(1, self._type)
        self._marks.mark(places)
        self._list_free()

    def _list_free(self) -> None:
        # Lowest first, and told from the rows alone, so that a restored state goes on with the same ones.
        self._free = np.flatnonzero(self.column("account") == 0)[::-1].tolist()

    def _take_place(self, account: int) -> int:
        if not self._free and self._used == self._capacity:
            oldest = np.lexsort((self._rows["account"], self._rows["ts"]))
            self._forget(np.sort(oldest[: max(self._capacity // _EVICTED, 1)]))
        if self._free:
            place = self._free.pop()
        else:
            place = self._used
            self._used += 1
            if place == len(self._rows):
                more = min(max(_LEAST, place), self._capacity - place)
                self._rows = np.concatenate([self._rows, np.zeros(more, self._type)])
                self._marks.grow(len(self._rows))
        self._place[account] = place
        return place

    def parts(self) -> dict[str, Part]:
        return {
            "used": whole(msgspec.msgpack.encode(self._used)),
            "rows": Part(0, self._marks.count(self._used), self._block, self._marks.take),
        }

    def _block(self, number: int) -> bytes:
        return self._rows[number * _BLOCK : min((number + 1) * _BLOCK, self._used)].tobytes()

    def restore_parts(self, parts: Blocks) -> None:
        self._used = msgspec.msgpack.decode(whole_of(parts["used"]), type=int)
        rows = np.frombuffer(b"".join(parts["rows"]), self._type)
        if len(rows) != self._used:
            raise ValueError(f"{len(rows)} rows of points where {self._used} are needed")
        room = _LEAST
        while room < self._used:
            room *= 2
        self._rows = np.zeros(min(room, self._capacity), self._type)
        self._rows[: self._used] = rows
        self._marks = Marks(_BLOCK)
        self._marks.grow(len(self._rows))
        held = np.flatnonzero(self.column("account") != 0)
        self._place = dict(zip(self._rows["account"][held].tolist(), held.tolist(), strict=True))
        self.waiting = set(self._rows["account"][held[self._rows["mark"][held] == MARKED]].tolist())
        self._list_free()
