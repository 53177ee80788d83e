"""Work on training data: grading of answers (reward data), and cleaning of another model's reasoning.

A request counts when it both asks for the work and holds the material for it: candidates or a question with its
answer; a chain of thought that was pasted in. One such request is what customers send as well, so an account
counts only when it sends many, as a good part of all it sends.

A judge in a customer's tests runs in one part of the day,
night after night; graders of reward data work round the clock, so grading takes many hours of the day as well.
Either is evidence in combination: grading alone never reaches what a campaign needs.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.baselines import AccountRate
from detectors.contract import I64, Findings, Report, Tick, Touches, no_findings, no_touches
from detectors.frame import EventFrame
from detectors.hashing import combine
from detectors.params import GradingParams, TraceCleaningParams
from detectors.pattern_scan import PatternScanner

CLEANING: Final = "cleaning"
GRADING: Final = "grading"
ALL: Final = np.uint64(1)
"""The one cohort of the cleaning detector: all accounts that clean reasoning."""

_HOUR_MS: Final = 3_600_000
_SHARE: Final = 0.25  # of an account's requests: a campaign may have several kinds of work
_ONE_OFF, _HABIT = 0.4, 0.7


class _Material:
    """Requests that ask for one kind of work and hold its material, and the accounts that live by it."""

    _column: ClassVar[str]  # requests that ask for the work, of an account
    _telling: ClassVar[str]  # of them, those that count
    _kind: ClassVar[str | None]  # the cohort that they touch

    def __init__(self, asks: np.uint64, holds: np.uint64, least: int, hours: int, scanner: PatternScanner) -> None:
        self._asks, self._holds = asks, holds
        self._least, self._hours = least, hours
        self._scanner = scanner
        # Prior: of the accounts in public chat logs, some in a hundred ever have a model judge or edit another's text.
        self._usual = AccountRate(prior=0.02)

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return 128  # a running mean and a change test

    def _rows(self, frame: EventFrame) -> I64:
        found = frame.strong | frame.weak | frame.marks
        return np.flatnonzero(((found & self._asks) != 0) & ((found & self._holds) != 0))

    def score(self, tick: Tick) -> Report:
        """Requests of this work; over the reporting floor where the account lives by it."""
        frame, row = tick.frame, self._rows(tick.frame)
        none = [] if self._kind is None else [no_touches(self._kind)]
        if not len(row):
            return Report(no_findings(), none, {})
        slots, place, here = np.unique(tick.slot[row], return_inverse=True, return_counts=True)
        requests = tick.requests()
        asked = tick.slot[requests]
        now = np.bincount(np.searchsorted(slots, asked[np.isin(asked, slots)]), minlength=len(slots))
        done = tick.accounts[self._column][slots] + here
        total = tick.accounts["requests"][slots] + now
        hours = _hours(tick, slots, requests)
        habit = ((done >= self._least) & (done >= _SHARE * total) & (hours >= self._hours))[place]
        score = np.where(habit, _HABIT, _ONE_OFF)
        counts = {self._column: (row, np.ones(len(row), np.int64))}
        hit = row[habit]
        if len(hit):
            counts[self._telling] = (hit, np.ones(len(hit), np.int64))
        evidence: list[dict[str, Any]] = [
            {
                "patterns": self._scanner.names(self._shown(frame, r)),
                "account_of_this_kind": int(d),
                "account_requests": int(t),
                "account_hours_of_day": int(h),
                "accounts_like_it": round(self._usual.rate, 6),
            }
            for r, d, t, h in zip(row.tolist(), done[place], total[place], hours[place], strict=True)
        ]
        touches = none
        if self._kind is not None:
            identity = combine(frame.account_hash[hit], frame.ts[hit].astype(np.uint64))
            touches = [Touches(self._kind, hit, np.full(len(hit), ALL), identity, {})]
        return Report(Findings(row, score, np.full(len(row), self._usual.rate), evidence), touches, counts)

    def _shown(self, frame: EventFrame, row: int) -> int:
        return int((frame.strong[row] | frame.weak[row] | frame.marks[row]) & (self._asks | self._holds))

    def learn(self, tick: Tick) -> None:
        """Each account counts once, by its first tick with requests."""
        requests = tick.requests()
        new = np.unique(tick.slot[requests[tick.accounts["requests"][tick.slot[requests]] == 0]])
        if len(new):
            self._usual.learn(int(np.isin(new, tick.slot[self._rows(tick.frame)]).sum()), len(new))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self._usual.snapshot(),))

    def restore(self, data: bytes) -> None:
        (usual,) = msgspec.msgpack.decode(data, type=tuple[bytes])
        self._usual.restore(usual)


class Grading(_Material):
    """Finds accounts that have answers graded, or compared, round the clock."""

    name: ClassVar[str] = "grading"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})
    _column, _telling, _kind = "gradings", "graded", None

    def __init__(self, params: GradingParams, scanner: PatternScanner) -> None:
        asks, holds = scanner.mask("grading"), scanner.mask("graded_material")
        super().__init__(asks, holds, params.min_requests, params.min_hours, scanner)


class TraceCleaning(_Material):
    """Finds accounts that have another model's reasoning cleaned, rewritten or judged."""

    name: ClassVar[str] = "trace_cleaning"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})
    _column, _telling, _kind = "cleanings", "cleaned", CLEANING

    def __init__(self, params: TraceCleaningParams, scanner: PatternScanner) -> None:
        asks, holds = scanner.mask("trace_cleaning"), scanner.mask("pasted_trace")
        super().__init__(asks, holds, params.min_requests, 0, scanner)


def _hours(tick: Tick, slots: I64, requests: I64) -> NDArray[np.int64]:
    """Hours of the day (UTC) in which accounts have sent, with this tick's."""
    owner = tick.slot[requests]
    known = np.isin(owner, slots)
    mask = tick.accounts["hours"][slots].astype(np.int64)
    hour = np.int64(1) << (tick.frame.ts[requests[known]] // _HOUR_MS % 24)
    np.bitwise_or.at(mask, np.searchsorted(slots, owner[known]), hour)
    return np.asarray(np.bitwise_count(mask), np.int64)
