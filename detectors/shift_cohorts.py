"""Do accounts that share something ask what others do not, and ask it alike?

A harvest's tasks crowd where benign ones are rare, but one account of a campaign sends too few to show it. So a window
is one recent text of each of up to 64 accounts of a partition that share a payment, a mail domain, a network or a
client (:mod:`detectors.shift_store`), compared with random groups of accounts of days ago
(:mod:`detectors.shift_baseline`). A window may be a mixture: of one that stands out, an account is reported only if
its own text adds as much to the excess as few texts of random groups do. It is told with the account's next request.

Most accounts are read once in some hours, so embedding texts costs little; of a text a point of bytes is kept.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Part, under, whole, whole_of, within
from detectors.contract import I64, Findings, Report, Tick, no_findings
from detectors.frame import EventFrame
from detectors.hashing import KeyedHasher, hash_strings
from detectors.params import ShiftParams
from detectors.shift_baseline import LARGEST, Baseline
from detectors.shift_points import WordPoints
from detectors.shift_store import FIELDS, MARKED, TOLD, UNMARKED, RecentPoints, row_type

_HOUR_MS: Final = 3_600_000
_WINDOW_MS: Final = 24 * _HOUR_MS
_KEPT_MS: Final = 2 * _WINDOW_MS  # what was found of an account keeps it out of the sample of the next two turns
_GROWTH: Final = 1.5  # a cohort is judged again when it grew by half, or
_PUBLIC: Final = 0.05  # a mail domain of more than one in twenty accounts is anybody's
_STALE_MS: Final = 12 * _HOUR_MS  # when its window has half moved on

Rows = NDArray[np.void]


class _Read(NamedTuple):
    """The accounts with texts in a tick: their hashes, their row in the store or -1, and their first request with one.

    Lists, since a tick of a quiet partition has a handful, for which arrays cost more.
    """

    account: list[int]
    place: list[int]
    row: list[int]


class ShiftCohorts(Blocked):
    """Finds accounts whose texts crowd with those of others that they share something with.

    Args:
        params: bounds.
        words: the fitted vectors; without them it is never ready.
        hasher: shows what a cohort shares.
    """

    name: ClassVar[str] = "shift"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})

    def __init__(self, params: ShiftParams, words: WordPoints | None, hasher: KeyedHasher) -> None:
        self._params = params
        self._words = words
        self._show = hasher.show
        dims = words.dims if words is not None else 0
        self._type = row_type(dims)
        self._recent = RecentPoints(params.capacity, dims)
        self._baseline = Baseline(params.sample, params.min_accounts, dims)
        self._period = int(params.period_hours * _HOUR_MS)
        self._pane = int(params.pane_hours * _HOUR_MS)
        self._refresh = int(params.refresh_hours * _HOUR_MS)
        self._judged_at = self._turned_at = -1  # number of the period, and of the pane
        # Field and value of the cohorts judged in this window, with accounts and time.
        self._judged: dict[tuple[int, int], tuple[int, int]] = {}
        self._memo: tuple[EventFrame, _Read] | None = None  # what `score` read, for `learn`

    @property
    def ready(self) -> bool:
        return self._baseline.ready

    @property
    def nbytes(self) -> int:
        return self._recent.nbytes + self._baseline.nbytes + 200 * len(self._judged)

    def score(self, tick: Tick) -> Report:
        """Accounts of cohorts that stood out when they were judged, at their next request."""
        read = self._read(tick)
        found = sorted((read.row[i], read.place[i]) for i in self._marked_of(read))
        if not found:
            return Report(no_findings(), [], {})
        rows, places = np.array(found, np.int64).T
        held = self._recent.take(places)
        tails = held["tail"].astype(np.float64)
        evidence: list[dict[str, Any]] = [
            {
                "shared": FIELDS[row["field"]],
                "cohort": self._show(FIELDS[row["field"]], int(row["key"])),
                "accounts": int(row["size"]),
                "deviations": round(float(row["deviations"]), 2),
                "own_share": round(float(row["tail"]), 6),
                "accounts_compared": self._baseline.accounts,
            }
            for row in held
        ]
        score = 1 - tails / (2 * self._params.tail)
        return Report(Findings(rows, np.clip(score, 0, 1), tails, evidence), [], {})

    def learn(self, tick: Tick) -> None:
        read = self._read(tick)
        self._memo = None
        if self._words is None:
            return
        told = [read.place[i] for i in self._marked_of(read)]
        if told:
            self._recent.mark(np.array(told, np.int64), TOLD)
        self._take_in(tick, read)
        if tick.end // self._pane > self._turned_at:
            self._turn(tick.end // self._pane)
        if tick.end // self._period > self._judged_at:
            self._judged_at = tick.end // self._period
            self._recent.expire(tick.end - _KEPT_MS)
            if self._baseline.ready:
                self._judge(tick.end)

    def _read(self, tick: Tick) -> _Read:
        if self._memo is None or self._memo[0] is not tick.frame:
            frame, requests = tick.frame, tick.requests()
            row = requests[frame.text_code[requests] >= 0]
            first = dict(zip(frame.account_hash[row[::-1]].tolist(), row[::-1].tolist(), strict=True))
            accounts = list(first)
            self._memo = frame, _Read(accounts, self._recent.places(accounts), list(first.values()))
        return self._memo[1]

    def _marked_of(self, read: _Read) -> list[int]:
        """Which accounts of a tick have something to be told."""
        waiting = self._recent.waiting
        return [i for i, account in enumerate(read.account) if account in waiting] if waiting else []

    def _take_in(self, tick: Tick, read: _Read) -> None:
        """Embed the first text of the accounts whose last one is old enough."""
        if self._words is None or not read.row:
            return
        place, every = np.array(read.place), np.array(read.row)
        before = self._recent.times(place)
        row = every[(place < 0) | (tick.frame.ts[every] - before >= self._refresh)]
        if not len(row):
            return
        texts = tick.frame.texts[tick.frame.text_code[row]].tolist()
        points, has = self._words(texts)
        slot = tick.slot[row]
        new = np.zeros(len(row), self._type)
        new["account"], new["ts"] = tick.frame.account_hash[row], tick.frame.ts[row]
        new["suspect"] = tick.accounts.suspect(slot)
        # A text without a point is in no cohort, but is not read again and again either.
        new["text"][has] = hash_strings([text for text, kept in zip(texts, has.tolist(), strict=True) if kept])
        new["point"] = points
        for number, field in enumerate(FIELDS):
            new["keys"][has, number] = tick.accounts[field][slot[has]]
        self._recent.put(new["account"], new)

    def _turn(self, pane: int) -> None:
        """Renew the sample; an account of which something was found, here or elsewhere, stays out of it."""
        account = self._recent.column("account")
        clean = (self._recent.column("mark") == UNMARKED) & ~self._recent.column("suspect")
        held = account != 0
        rows = self._recent.take(np.flatnonzero(held & clean & (self._recent.column("text") != 0)))
        self._baseline.turn(pane, pane * self._pane, rows, account[held & ~clean])
        self._turned_at = pane
        self._judged = {}

    def _judge(self, now: int) -> None:
        """Judge the cohorts that grew, or were not judged for long."""
        account = self._recent.column("account")
        live = np.flatnonzero((account != 0) & (self._recent.column("ts") >= now - _WINDOW_MS))
        live = live[np.argsort(account[live])]
        keys = self._recent.column("keys")[live]
        still: dict[tuple[int, int], tuple[int, int]] = {}
        for field in range(len(FIELDS)):
            order = np.argsort(keys[:, field], kind="stable")
            value, start, count = np.unique(keys[order, field], return_index=True, return_counts=True)
            enough = np.flatnonzero((value != 0) & (count >= self._params.min_accounts))
            for which in enough.tolist():
                cohort, size = (field, int(value[which])), int(count[which])
                if FIELDS[field] == "email_domain" and size > _PUBLIC * len(live):
                    continue
                before, at = self._judged.get(cohort, (0, 0))
                if size < _GROWTH * before and now - at < _STALE_MS:
                    still[cohort] = before, at
                    continue
                still[cohort] = size, now
                places = live[order[start[which] : start[which] + size]]
                # A wide cohort is judged in parts of even size, in the order of hashes, that is at random.
                for part in np.array_split(places, -(-size // LARGEST)):
                    self._judge_window(part, field, cohort[1], size)
        self._judged = still

    def _judge_window(self, places: I64, field: int, value: int, size: int) -> None:
        rows = self._recent.take(places)
        # What several sent word for word, as a class does its task, is one text.
        _, first, which = np.unique(rows["text"], return_index=True, return_inverse=True)
        if len(first) < self._params.min_accounts:
            return
        verdict = self._baseline.judge(rows["point"][first])
        tails = verdict.tails[which]
        if verdict.p_value > self._params.window_tail or verdict.deviations < self._params.deviations:
            return
        found = np.flatnonzero((tails <= self._params.tail) & (rows["mark"] == UNMARKED))
        if len(found):
            self._recent.mark(
                places[found],
                MARKED,
                field=field,
                key=np.uint64(value),
                size=size,
                deviations=verdict.deviations,
                tail=tails[found],
            )

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        book = (self._judged_at, self._turned_at, list(self._judged.items()))
        return {
            "book": whole(msgspec.msgpack.encode(book)),
            **within("recent", self._recent.parts()),
            **within("baseline", self._baseline.parts()),
        }

    def restore_parts(self, parts: Blocks) -> None:
        self._judged_at, self._turned_at, judged = msgspec.msgpack.decode(
            whole_of(parts["book"]), type=tuple[int, int, list[tuple[tuple[int, int], tuple[int, int]]]]
        )
        self._judged = dict(judged)
        self._recent.restore_parts(under("recent", parts))
        self._baseline.restore_parts(under("baseline", parts))
        self._memo = None
