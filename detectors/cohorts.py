"""Cohorts as a lane follows them, and the evidence it sends of them: bounded, and only what changed."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.params import CohortParams
from detectors.sketches import BottomK
from schemas.evidence import AccountRow, CohortEvidence, MemberRow

Key = tuple[str, int]

_VARIANTS: Final = 64  # values in the sketch of what varies: about 12 % error beyond that many
ROWS_PER_MESSAGE: Final = 500  # about 100 kB a message
_REFRESH_MS: Final = 3_600_000  # a member that changed a little is sent again after an hour


class Touch(NamedTuple):
    """The requests of one account in one cohort within one tick."""

    account: str
    requests: int
    strong: int
    weak: int
    first: int
    last: int


class _Member(msgspec.Struct, array_like=True):
    requests: int
    strong: int
    weak: int
    first: int
    last: int
    sent: int = 0
    sent_harvest: int = 0
    sent_at: int = 0


class _Cohort(msgspec.Struct, array_like=True):
    members: dict[str, _Member]
    variants: list[int]
    skeleton: str | None
    skeleton_members: int
    patterns: list[str]
    dirty: dict[str, int]  # members that changed since they were sent, and since when in the order of changes
    look: dict[str, None]  # those of them that changed since they were last looked at
    used: int = 0  # place in the order in which cohorts were last touched
    place: int = 0  # in the state


class _Held(msgspec.Struct, array_like=True):
    """A cohort in a state, and what the book has of it."""

    key: Key
    cohort: _Cohort
    since: int | None
    look: bool


class CohortBook(Blocked):
    """All cohorts of a lane.

    Args:
        params: bounds.
        floors: members of a lane that a cohort of each kind needs before it is spoken of (default 1).
        row_of: the account's row for evidence; None once the account was forgotten.
        show: the printable key of a cohort.
    """

    def __init__(
        self,
        params: CohortParams,
        *,
        floors: dict[str, int],
        row_of: Callable[[str], AccountRow | None],
        show: Callable[[str, int], str],
    ) -> None:
        self._params = params
        self._floors = floors
        self._row_of = row_of
        self._show = show
        self._cohorts: OrderedDict[Key, _Cohort] = OrderedDict()
        self._of_account: dict[str, dict[Key, None]] = {}
        # Looking at everything that changed would cost a tick as much as an hour has changes: only what changed
        # since the last look, or has waited long enough, is looked at.
        self._dirty: dict[Key, int] = {}
        self._look: dict[Key, None] = {}
        self._wake: list[tuple[int, Key, str]] = []
        self._changes = 0
        self._uses = 0
        self._classes: dict[str, Counter[int]] = {}
        self._places: list[Key | None] = []
        self._free: list[int] = []
        self._marked: set[int] = set()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._cohorts)

    def __contains__(self, key: Key) -> bool:
        return key in self._cohorts

    def members(self, key: Key) -> int:
        """Members followed of a cohort; 0 if it is not followed."""
        cohort = self._cohorts.get(key)
        return len(cohort.members) if cohort else 0

    def as_wide(self, kind: str, members: int) -> tuple[int, int]:
        """How many cohorts of a kind are of the same size or larger, of how many; sizes in powers of two."""
        classes = self._classes.get(kind, Counter())
        wide = sum(count for size, count in classes.items() if size >= members.bit_length())
        return wide, classes.total()

    def _resize(self, kind: str, before: int | None, now: int | None) -> None:
        """Count a cohort in the class of its size; None for one that was not there, or is gone."""
        classes = self._classes.setdefault(kind, Counter())
        if before is not None:
            classes[before.bit_length()] -= 1
        if now is not None:
            classes[now.bit_length()] += 1

    def touch(self, key: Key, touches: Iterable[Touch], variants: Iterable[int], patterns: Iterable[str]) -> None:
        """Add requests to a cohort, which is made if need be."""
        cohort = self._cohorts.get(key)
        if cohort is None:
            cohort = self._cohorts[key] = _Cohort({}, [], None, 0, [], {}, {}, place=self._take_place(key))
            if len(self._cohorts) > self._params.capacity:
                self._drop(next(iter(self._cohorts)))
            self._resize(key[0], None, 0)
        self._cohorts.move_to_end(key)
        self._uses += 1
        cohort.used = self._uses
        self._write(cohort)
        before = len(cohort.members)
        for touch in touches:
            member = cohort.members.get(touch.account)
            if member is None:
                if len(cohort.members) >= self._params.members:
                    continue
                member = _Member(0, 0, 0, touch.first, touch.last)
                cohort.members[touch.account] = member
                self._of_account.setdefault(touch.account, {})[key] = None
            member.requests += touch.requests
            member.strong += touch.strong
            member.weak += touch.weak
            member.first = min(member.first, touch.first)
            member.last = max(member.last, touch.last)
            self._mark(key, cohort, touch.account)
        self._resize(key[0], before, len(cohort.members))
        sketch = BottomK(_VARIANTS, cohort.variants)
        sketch.update(variants)
        cohort.variants = sketch.values
        cohort.patterns = sorted({*cohort.patterns, *patterns})

    def _take_place(self, key: Key) -> int:
        if self._free:
            place = self._free.pop()
            self._places[place] = key
            return place
        self._places.append(key)
        return len(self._places) - 1

    def _write(self, cohort: _Cohort) -> None:
        """The cohort, or what the book has of it, differs from the last state."""
        self._marked.add(cohort.place)

    def _mark(self, key: Key, cohort: _Cohort, account: str) -> None:
        """A member changed: it is looked at in this tick, and again when an hour has passed."""
        if account not in cohort.dirty:
            self._changes += 1
            cohort.dirty[account] = self._changes
            self._dirty.setdefault(key, self._changes)
            heapq.heappush(self._wake, (cohort.members[account].sent_at + _REFRESH_MS, key, account))
        cohort.look[account] = None
        self._look[key] = None
        self._write(cohort)

    def wants_skeleton(self, key: Key) -> bool:
        """True when a cohort has no skeleton yet, or has doubled since it got one."""
        cohort = self._cohorts[key]
        return len(cohort.members) >= max(2 * cohort.skeleton_members, self._floors.get(key[0], 1))

    def set_skeleton(self, key: Key, skeleton: str | None) -> None:
        """Give a cohort its skeleton."""
        cohort = self._cohorts[key]
        cohort.skeleton = skeleton
        cohort.skeleton_members = len(cohort.members)
        self._write(cohort)

    def changed(self, account: str) -> None:
        """The account's enrichment changed: its rows are due again."""
        for key in sorted(self._of_account.get(account, ())):
            cohort = self._cohorts[key]
            cohort.members[account].sent = 0
            self._mark(key, cohort, account)

    def forget(self, account: str) -> None:
        """The account was evicted from the table."""
        for key in self._of_account.pop(account, {}):
            cohort = self._cohorts[key]
            self._write(cohort)
            del cohort.members[account]
            self._resize(key[0], len(cohort.members) + 1, len(cohort.members))
            cohort.dirty.pop(account, None)
            cohort.look.pop(account, None)
            if not cohort.dirty:
                self._dirty.pop(key, None)
                self._look.pop(key, None)
            if not cohort.members:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        cohort = self._cohorts.pop(key)
        self._write(cohort)
        self._places[cohort.place] = None
        self._free.append(cohort.place)
        self._resize(key[0], len(cohort.members), None)
        self._dirty.pop(key, None)
        self._look.pop(key, None)
        for account in cohort.members:
            keys = self._of_account[account]
            keys.pop(key, None)
            if not keys:
                del self._of_account[account]
        self.evicted += 1

    def due(self, source: int, tick: int, *, everything: bool = False) -> list[CohortEvidence]:
        """Evidence of what changed: at once for news, within an hour for small change.

        Args:
            everything: send all that changed, without the limit of rows a tick (end of input, idle).
        """
        self._wake_up(tick)
        out: list[CohortEvidence] = []
        room = 2**62 if everything else self._params.rows_per_tick
        # Longest changed first, so that nothing waits for ever where the room is scarce.
        for key in sorted(self._dirty if everything else self._look, key=self._dirty.__getitem__):
            if room <= 0:
                break
            cohort = self._cohorts[key]
            self._write(cohort)
            if len(cohort.members) < self._floors.get(key[0], 1):
                self._look.pop(key, None)  # it comes back with its next member
                continue
            rows: list[MemberRow] = []
            for account in sorted(cohort.dirty if everything else cohort.look, key=cohort.dirty.__getitem__):
                if len(rows) >= room:
                    break
                cohort.look.pop(account, None)
                member = cohort.members[account]
                if not (everything or _is_news(member) or tick - member.sent_at >= _REFRESH_MS):
                    continue
                row = self._row_of(account)
                if row is not None:
                    rows.append(MemberRow(row, member.requests, member.strong, member.weak, member.first, member.last))
                member.sent = member.requests
                member.sent_harvest = member.strong + member.weak
                member.sent_at = tick
                del cohort.dirty[account]
            if not cohort.look:
                self._look.pop(key, None)
            if not cohort.dirty:
                del self._dirty[key]
            room -= len(rows)
            out += [
                CohortEvidence(
                    source=source,
                    tick=tick,
                    kind=key[0],
                    key=self._show(*key),
                    members=rows[start : start + ROWS_PER_MESSAGE],
                    slots=cohort.variants,
                    skeleton=cohort.skeleton,
                    patterns=cohort.patterns,
                )
                for start in range(0, len(rows), ROWS_PER_MESSAGE)
            ]
        return out

    @property
    def waiting(self) -> int:
        """Cohorts whose news found no room in the last :meth:`due`, and that were touched since."""
        return len(self._look)

    def _wake_up(self, tick: int) -> None:
        """Look again at the members that have waited for an hour."""
        while self._wake and self._wake[0][0] <= tick:
            _, key, account = heapq.heappop(self._wake)
            cohort = self._cohorts.get(key)
            # One that was sent meanwhile, and changed again, has a later entry of its own.
            if cohort is None or account not in cohort.dirty:
                continue
            if tick - cohort.members[account].sent_at >= _REFRESH_MS:
                cohort.look[account] = None
                self._look[key] = None
                self._write(cohort)

    def parts(self) -> dict[str, Part]:
        """A block a cohort, by its place, so that one that changes leaves the others alone."""
        return {
            "cohorts": Part(0, len(self._places), self._block, self._take_marked),
            "book": whole(msgspec.msgpack.encode((self._changes, self._uses, self.evicted))),
        }

    def _block(self, place: int) -> bytes:
        key = self._places[place]
        held = None if key is None else _Held(key, self._cohorts[key], self._dirty.get(key), key in self._look)
        return msgspec.msgpack.encode(held)

    def _take_marked(self) -> list[int]:
        marked, self._marked = sorted(self._marked), set()
        return marked

    def restore_parts(self, parts: Blocks) -> None:
        self._changes, self._uses, self.evicted = msgspec.msgpack.decode(
            whole_of(parts["book"]), type=tuple[int, int, int]
        )
        places = [msgspec.msgpack.decode(block, type=_Held | None) for block in parts["cohorts"]]
        held = sorted((one for one in places if one is not None), key=lambda one: one.cohort.used)
        self._places = [None if one is None else one.key for one in places]
        self._free = [place for place, one in enumerate(places) if one is None]
        self._cohorts = OrderedDict((one.key, one.cohort) for one in held)
        self._dirty = {one.key: one.since for one in held if one.since is not None}
        self._look = {one.key: None for one in held if one.look}
        self._of_account, self._classes, self._wake, self._marked = {}, {}, [], set()
        for key, cohort in self._cohorts.items():
            self._resize(key[0], None, len(cohort.members))
            for account in cohort.members:
                self._of_account.setdefault(account, {})[key] = None
            self._wake += [(cohort.members[name].sent_at + _REFRESH_MS, key, name) for name in cohort.dirty]
        heapq.heapify(self._wake)


def _is_news(member: _Member) -> bool:
    """New, doubled since it was last sent, or with its first harvest evidence."""
    harvest = member.strong + member.weak
    return member.sent == 0 or member.requests >= 2 * member.sent or (harvest > 0 and member.sent_harvest == 0)
