"""Accounts that live by one kind of work on training data: what grading and trace cleaning have in common.

One request of such work is what customers send as well, so an account counts only when it sends many of them, as a
good part of all it sends. Requests of the work are rare, so a tick without marks costs next to nothing, and texts are
looked at one by one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from typing import ClassVar, Final

import numpy as np

from detectors.baselines import AccountRate
from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.contract import I64, Findings, Report, Tick, Touches, no_findings
from detectors.frame import REQUEST, EventFrame
from detectors.mark_scan import MarkScanner

_HOUR_MS: Final = 3_600_000
SHARE: Final = 0.25  # of an account's requests: a campaign may have several kinds of work
_ONE_OFF, _HABIT = 0.4, 0.7
_Read = tuple[EventFrame, list[int], list[list[str]]]


class Habit(Blocked):
    """Requests of one kind of work, and the accounts that live by it.

    Args:
        least: requests of the work before an account counts.
        hours: hours of the day in which it has to send.
        scanner: the marks.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})
    _column: ClassVar[str]  # of the account table: its requests of the work
    _telling: ClassVar[str]  # of them, those that count

    def __init__(self, least: int, hours: int, scanner: MarkScanner) -> None:
        self._least, self._hours = least, hours
        self._scanner = scanner
        # Prior: some accounts in a hundred ever have a model judge or edit what another wrote.
        self._usual = AccountRate(prior=0.02)
        self._nothing = Report(no_findings(), [], {})
        self._memo: _Read | None = None  # what `score` read, for `learn`

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return 128  # a running mean and a change test

    def _touches(self, frame: EventFrame, hit: I64) -> list[Touches]:
        """The cohorts of requests whose accounts live by the work; none, unless it makes one of them."""
        return []

    @abstractmethod
    def _candidates(self, frame: EventFrame) -> list[int]:
        """Requests whose marks are worth a look, in the frame's order."""

    @abstractmethod
    def _holds(self, frame: EventFrame, row: int, texts: list[str]) -> list[str]:
        """What a request has of the work's material, in words; empty if it is none of the work."""

    def _read(self, frame: EventFrame) -> tuple[list[int], list[list[str]]]:
        """The requests of the work, and what each holds."""
        if self._memo is None or self._memo[0] is not frame:
            found, held = [], []
            for row in self._candidates(frame) if np.count_nonzero(frame.marks) else ():
                what = self._holds(frame, row, _texts(frame, row))
                if what:
                    found.append(row)
                    held.append(what)
            self._memo = frame, found, held
        return self._memo[1:]

    def score(self, tick: Tick) -> Report:
        """Requests of this work; over the reporting floor where the account lives by it."""
        rows, held = self._read(tick.frame)
        if not rows:
            return self._nothing
        slots = tick.slot[rows].tolist()
        here = Counter(slots)
        requests = tick.requests()
        # One by one: a tick has few requests of this work, and of few accounts.
        total, hours = dict.fromkeys(here, 0), {slot: int(tick.accounts["hours"][slot]) for slot in here}
        for slot, ts in zip(tick.slot[requests].tolist(), tick.frame.ts[requests].tolist(), strict=True):
            if slot in here:
                total[slot] += 1
                hours[slot] |= 1 << ts // _HOUR_MS % 24
        done = {slot: int(tick.accounts[self._column][slot]) + count for slot, count in here.items()}
        rate = self._usual.rate
        score, evidence = [], []
        for row, slot, what in zip(rows, slots, held, strict=True):
            of_all, of_day = int(tick.accounts["requests"][slot]) + total[slot], hours[slot].bit_count()
            habit = done[slot] >= max(self._least, SHARE * of_all) and of_day >= self._hours
            score.append(_HABIT if habit else _ONE_OFF)
            evidence.append(
                {
                    "marks": self._scanner.names(int(tick.frame.marks[row])),
                    "holds": what,
                    "account_of_this_kind": done[slot],
                    "account_requests": of_all,
                    "account_hours_of_day": of_day,
                    "accounts_like_it": round(rate, 6),
                }
            )
        found, scores = np.array(rows, np.int64), np.array(score)
        counts = {self._column: (found, np.ones(len(found), np.int64))}
        hit = found[scores == _HABIT]
        if len(hit):
            counts[self._telling] = (hit, np.ones(len(hit), np.int64))
        touches = self._touches(tick.frame, hit) if len(hit) else []
        return Report(Findings(found, scores, np.full(len(found), rate), evidence), touches, counts)

    def learn(self, tick: Tick) -> None:
        """Each account counts once, by its first tick with requests."""
        rows, _ = self._read(tick.frame)
        self._memo = None
        known = tick.accounts["requests"]
        if not len(known):
            return
        before = known[tick.slot]
        if np.count_nonzero(before) == len(before):
            return
        # An event without an account has the slot of some other, and is no request.
        new = (before == 0) & (tick.frame.rank == REQUEST)
        if not np.count_nonzero(new):
            return
        fresh = set(tick.slot[new].tolist())
        self._usual.learn(len(fresh.intersection(tick.slot[rows].tolist() if rows else ())), len(fresh))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        return {"rates": whole(self._usual.snapshot())}

    def restore_parts(self, parts: Blocks) -> None:
        self._usual.restore(whole_of(parts["rates"]))
        self._memo = None


def _texts(frame: EventFrame, row: int) -> list[str]:
    """A request's texts, system prompt first."""
    return [frame.texts[code] for code in (frame.system_code[row], frame.text_code[row]) if code >= 0]
