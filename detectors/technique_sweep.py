"""One account that tries ways of asking for hidden reasoning, is refused often, and goes on with what works.

A way of asking is told by the sentence in which a pattern matched, digits alike: the task beside it does not
count, so one template over many tasks is one way. An account is a sweep when it has tried many ways by several
patterns, ever new ones, and a good part of the answers to them were refusals. What it then sends by a way that
was answered before is its scale-up. Customers of a shared key ask in many words too, but are hardly ever refused.

What was tried and answered is remembered in paned Bloom filters of (account, way), so the state is bounded and
is forgotten by event time; the counts are columns of the account table.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.baselines import AccountRate
from detectors.contract import I64, Findings, Report, Tick, Touches, no_findings, no_touches
from detectors.frame import EventFrame
from detectors.hashing import U64, KeyedHasher, combine, mix
from detectors.open_requests import Joined, OpenRequests, Requests, join, requests_of
from detectors.params import TechniqueParams
from detectors.pattern_scan import PARAPHRASE_BIT, PatternScanner
from detectors.sketches import PanedBloom

KIND: Final = "technique"
SWEEPS: Final = np.uint64(1)
"""The one cohort of this detector: all accounts that sweep over ways of asking."""

_HOUR_MS: Final = 3_600_000
_NEW_SHARE: Final = 0.1  # of an account's asking requests that try a new way; scale-up takes from it
_REFUSED_SHARE: Final = 0.2  # public services refuse a few in a hundred of what customers ask
_TRIED, _SWEEP, _SCALED = 0.4, 0.7, 0.85
Bools = NDArray[np.bool_]


class _Work(NamedTuple):
    """What is looked up of one tick: its m asking requests, and the responses to such.

    `row` (m,); `waiting` all requests without a response; `seen` hashes of what was tried; `added` rows by column
    of the account table; `totals` (m,) of their accounts by column; `found` (m,) scores.
    """

    row: I64
    joined: Joined
    waiting: Requests
    seen: U64
    added: dict[str, I64]
    totals: dict[str, I64]
    found: NDArray[np.float64]


class TechniqueSweep:
    """Finds requests of accounts that sweep over ways of asking for reasoning."""

    name: ClassVar[str] = "technique_sweep"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text", "response.refused"})

    def __init__(self, params: TechniqueParams, scanner: PatternScanner, hasher: KeyedHasher) -> None:
        self._params = params
        self._scanner = scanner
        self._hasher = hasher
        bits = PanedBloom.bits_for(params.capacity, params.false_positive_rate)
        pane = int(params.pane_hours * _HOUR_MS)
        self._tried, self._answered = PanedBloom(bits, pane), PanedBloom(bits, pane)
        self._open = OpenRequests(params.waiting, int(params.wait_minutes * 60_000))
        self._usual = AccountRate(prior=0.002)
        self._memo: tuple[EventFrame, _Work | None] | None = None  # what `score` looked up, for `learn`

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self._tried.nbytes + self._answered.nbytes + self._open.nbytes

    @property
    def evicted(self) -> int:
        """Requests given up for want of room."""
        return self._open.evicted

    def score(self, tick: Tick) -> Report:
        """Asking requests of accounts that have tried many ways; those that were refused often count."""
        frame = tick.frame
        work = self._work(tick)
        if work is None:
            return Report(no_findings(), [no_touches(KIND)], {})
        row, found = work.row, work.found
        counts = {name: (rows, np.ones(len(rows), np.int64)) for name, rows in work.added.items() if len(rows)}
        which = np.flatnonzero(found)
        hit = row[found >= _SWEEP]
        if len(hit):
            counts["techniques"] = (hit, np.ones(len(hit), np.int64))
        touches = Touches(KIND, hit, np.full(len(hit), SWEEPS), frame.wording[hit], {})
        evidence = [self._evidence(frame, int(row[i]), {n: int(c[i]) for n, c in work.totals.items()}) for i in which]
        p_value = np.full(len(which), self._usual.rate)
        return Report(Findings(row[which], found[which], p_value, evidence), [touches], counts)

    def _judge(self, totals: dict[str, I64]) -> NDArray[np.float64]:
        """Score by the account's totals (m,); 0 is nothing to say. Unknown refusals are none."""
        ways, refused = totals["ways"], totals["ways_refused"]
        many = (ways >= self._params.min_ways) & (totals["way_patterns"] >= self._params.min_patterns)
        many &= ways >= _NEW_SHARE * totals["ways_asked"]
        share = np.maximum(_REFUSED_SHARE * (refused + totals["ways_answered"]), self._params.min_refused)
        refusing = many & (refused >= share)
        score = np.where(many, _TRIED, 0.0)
        score[refusing] = _SWEEP
        score[refusing & (totals["ways_reused"] >= ways)] = _SCALED
        return score

    def _evidence(self, frame: EventFrame, row: int, totals: dict[str, int]) -> dict[str, Any]:
        return {
            "way": self._hasher.show("way", int(frame.wording[row])),
            "patterns": self._scanner.names(int(self._asking(frame, np.array([row]))[0])),
            **{f"account_{name}": count for name, count in totals.items()},
            "accounts_like_it": round(self._usual.rate, 6),
        }

    def _asking(self, frame: EventFrame, row: I64) -> U64:
        return np.asarray((frame.strong[row] | frame.weak[row]) & self._scanner.asking)

    def _work(self, tick: Tick) -> _Work | None:
        """What a tick has for this detector; None where nobody asks, and nobody waits."""
        frame = tick.frame
        if self._memo is not None and self._memo[0] is frame:
            return self._memo[1]
        row = np.flatnonzero(frame.wording)
        work = self._look_up(tick, row) if len(row) or len(self._open) else None
        self._memo = frame, work
        return work

    def _look_up(self, tick: Tick, row: I64) -> _Work:
        frame = tick.frame
        waiting = self._open.with_more(requests_of(frame, row, frame.wording[row]))
        joined = join(frame, waiting)
        way = combine(frame.wording[row], frame.account_hash[row])
        owner, pattern = self._patterns(frame, row)
        tried, fresh = self._tried.contains(way), _first(pattern) & ~self._tried.contains(pattern)
        refused = frame.refused[joined.row]
        added = {
            "ways_asked": row,
            "ways": row[_first(way) & ~tried],
            "way_patterns": owner[fresh],
            "ways_refused": joined.row[refused == 1],
            "ways_answered": joined.row[refused == 0],
            "ways_reused": row[tried & self._answered.contains(way)],
        }
        slots, place = np.unique(tick.slot[row], return_inverse=True)
        totals = {name: _total(tick, name, rows, slots)[place] for name, rows in added.items()}
        return _Work(row, joined, waiting, np.concatenate([way, pattern]), added, totals, self._judge(totals))

    def _patterns(self, frame: EventFrame, row: I64) -> tuple[I64, U64]:
        """Each pattern in the hands of each account: the row, and what identifies the pair."""
        asking = self._asking(frame, row)
        bits = np.uint64(1) << np.arange(PARAPHRASE_BIT, dtype=np.uint64)
        place, bit = np.nonzero(asking[:, None] & bits)
        owner = row[place]
        return owner, combine(mix(bit.astype(np.uint64)), frame.account_hash[owner])

    def learn(self, tick: Tick) -> None:
        frame = tick.frame
        work = self._work(tick)
        self._memo = None
        self._tried.turn(tick.end)
        self._answered.turn(tick.end)
        if work is None:
            return
        if len(work.row):
            self._learn_usual(tick, work)
            self._tried.add(np.unique(work.seen))
        told = work.joined.requests.take(frame.refused[work.joined.row] == 0)
        if len(told.key):
            self._answered.add(np.unique(combine(told.asked, told.account)))
        self._open.hold(work.waiting, work.joined.requests.key, tick.end)

    def _learn_usual(self, tick: Tick, work: _Work) -> None:
        """Each account counts once as one that asks, and once when it first counts as a sweep."""
        slot = tick.slot[work.row]
        first = slot[(work.found >= _SWEEP) & (tick.accounts["techniques"][slot] == 0)]
        fresh = slot[tick.accounts["ways_asked"][slot] == 0]
        hits, accounts = len(np.unique(first)), len(np.unique(fresh))
        self._usual.learn(hits, max(hits, accounts))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def snapshot(self) -> bytes:
        parts = (self._tried, self._answered, self._open, self._usual)
        return msgspec.msgpack.encode(tuple(part.snapshot() for part in parts))

    def restore(self, data: bytes) -> None:
        tried, answered, waiting, usual = msgspec.msgpack.decode(data, type=tuple[bytes, bytes, bytes, bytes])
        self._tried.restore(tried)
        self._answered.restore(answered)
        self._open.restore(waiting)
        self._usual.restore(usual)
        self._memo = None


def _first(values: U64) -> Bools:
    """Where a value occurs for the first time."""
    first = np.zeros(len(values), np.bool_)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _total(tick: Tick, column: str, added: I64, slots: I64) -> I64:
    """A column of the account table at some slots (ascending), with what this tick adds to it."""
    out = tick.accounts[column][slots].astype(np.int64)
    slot = tick.slot[added]
    slot = slot[np.isin(slot, slots)]
    np.add.at(out, np.searchsorted(slots, slot), 1)
    return out
