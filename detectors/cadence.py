"""Cadence: an account that keeps time, rate and places as a harvest does, in several ways at once.

A joint advisory names round-the-clock use, a new subscription straight to its maximum, throughput that does not fit
the plan, and one account from many addresses and clients (AA26-251A, 2026). Honest programs, batch jobs, resellers
and shared keys do each of these, so one kind of them says nothing. Four kinds are looked at:

- clock: few hours of day that are ever idle, or gaps that nearly all fall into two octaves. Both come from whatever
  runs on a timer, so they are one kind;
- onset: from the account's creation to its first request in no time, and as much in its last period as in its first;
- volume: requests a day, against accounts of its plan;
- places: address prefixes and client stacks within one hour.

Each is compared with the live accounts of its plan after as many doublings of a period, each account counting once.
An account is reported where at least `kinds` of them are beyond the population's own `tail`, *and* so few accounts
combine as much: a reseller's busy hours, volume and places go together, and a population of resellers knows it.

Hours are of the clock, in whatever zone: nothing here knows where an account is, only how long it rests.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Part
from detectors.cadence_state import Closed, Records, Sent, advance, distinct
from detectors.cadence_tails import BINS, EVERYBODY, Tails
from detectors.contract import I64, Findings, Report, Tick, no_findings
from detectors.frame import ABSENT, PLANS, REQUEST, EventFrame
from detectors.params import CadenceParams

COLUMN: Final = "cadence"
ATLAS: Final = ("AML.T0040", "AML.T0021", "AML.T0012")

F64 = NDArray[np.float64]

_HOUR_S: Final = 3600
_DAY_HOURS: Final = 24
_AWAKE: Final = 12  # hours of day that a rhythm has to go through
_LEVELS: Final = 10  # doublings of a period
_HOURS, _RHYTHM, _ONSET, _VOLUME, _PLACES, _COMBINED = range(6)
_KINDS: Final[dict[str, tuple[int, ...]]] = {
    "clock": (_HOURS, _RHYTHM),
    "onset": (_ONSET,),
    "volume": (_VOLUME,),
    "places": (_PLACES,),
}
_FIELDS: Final = ("account.created", "account.plan", "request.client")
# Bins of a unit: half hours, shares of gaps in 64ths, quarter octaves of hours, of requests a day and of places.
_PER_UNIT: Final = np.array([2.0, 63.0, 4.0, 4.0, 4.0])
_OCTAVE: Final = 4  # bins of an octave of rarity
_LONGEST: Final = 15.75  # octaves of hours between creation and first request: some seven years
_UNKNOWN: Final = -1


class _Judged(NamedTuple):
    """m windows that ended, of accounts that sent enough in them.

    `row`: (m,) the request that showed it. `held`, `periods`: (m,) as in :class:`Closed`. `last`: (m,) requests in the
    last period. `delay`: (m,) hours from creation to the first request. `rate`: (m,) requests a day and place. `place`:
    (measures, m) bin of each measure, _UNKNOWN where a field is missing or there is too little to measure. `absent`:
    (fields, m) which of _FIELDS are missing.
    """

    row: I64
    slot: I64
    level: I64
    plan: I64
    held: Records
    periods: I64
    last: I64
    delay: F64
    rate: F64
    place: I64
    absent: NDArray[np.bool_]


class _Compared(NamedTuple):
    """What is usual about m windows.

    `share`: (measures, m) accounts that show as much. `kinds`: (kinds, m) the same of kinds, infinite where unknown.
    `combined`: (m,) bin of the kinds together, _UNKNOWN where too few are known.
    """

    share: F64
    kinds: F64
    combined: I64


class _Read(NamedTuple):
    """What is in a tick: the latest request of each account, its new record, and the windows that ended."""

    last: I64
    held: Records
    judged: _Judged | None


class Cadence(Blocked):
    """Finds accounts whose timing, rate and places are unusual together."""

    name: ClassVar[str] = "cadence"
    needs: ClassVar[frozenset[str]] = frozenset(_FIELDS)

    def __init__(self, params: CadenceParams) -> None:
        self._params = params
        self._period_s = max(int(params.period_hours * _HOUR_S), 1)
        self._tails = Tails(_COMBINED + 1, len(PLANS) + 1, _LEVELS)
        self._memo: tuple[EventFrame, _Read] | None = None  # what `score` read, for `learn`

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self._tails.nbytes

    def score(self, tick: Tick) -> Report:
        """Accounts whose window ended, with enough kinds in the tail."""
        read = self._read(tick)
        if not len(read.last):
            return Report(no_findings(), [], {})
        found = no_findings() if read.judged is None else self._findings(read.judged)
        return Report(found, [], {}, {COLUMN: (read.last, read.held)})

    def _read(self, tick: Tick) -> _Read:
        if self._memo is None or self._memo[0] is not tick.frame:
            self._memo = tick.frame, self._look_up(tick)
        return self._memo[1]

    def _look_up(self, tick: Tick) -> _Read:
        frame, accounts = tick.frame, tick.accounts
        row = (frame.rank == REQUEST).nonzero()[0]
        if not len(row):
            return _Read(row, accounts[COLUMN][:0], None)
        slot = tick.slot[row]
        order = slot.argsort(kind="stable")
        row, slot = row[order], slot[order]
        opens = np.empty(len(row) + 1, np.bool_)
        opens[0] = opens[-1] = True
        np.not_equal(slot[1:], slot[:-1], out=opens[1:-1])
        bounds = opens.nonzero()[0]
        begin, end = bounds[:-1], bounds[1:] - 1
        who, last = slot[begin], row[end]
        places = np.empty((len(row), 2), np.uint64)
        places[:, 0] = frame.ip_prefix[row]
        stack = frame.tls_agent[row]
        places[:, 1] = np.where(stack, stack, frame.asn_agent[row])
        held = accounts[COLUMN].take(who)
        ts = (frame.ts[row] // 1000).astype(np.uint32)
        closed = advance(held, Sent(begin, end, opens[:-1].cumsum() - 1, ts, places), self._period_s)
        if not len(closed.which):
            return _Read(last, held, None)
        enough = np.flatnonzero(closed.held["requests"][:, 0] >= self._params.min_requests)
        return _Read(last, held, self._measure(tick, closed, last, who, enough) if len(enough) else None)

    def _measure(self, tick: Tick, closed: Closed, last: I64, who: I64, enough: I64) -> _Judged:
        # By row, as findings are.
        enough = enough[np.argsort(last[closed.which[enough]])]
        which, held, periods = closed.which[enough], closed.held[enough], closed.periods[enough]
        level = np.minimum(closed.level[enough], _LEVELS - 1)
        plan = tick.accounts["plan"][who[which]].astype(np.int64)
        created = tick.accounts["created"][who[which]]
        delay = np.maximum(held["start"] - created // 1000, 0) / _HOUR_S
        last_period = closed.last[enough]
        hours = periods * (self._period_s / _HOUR_S)
        gaps = held["gaps"].astype(np.int64)
        total = gaps.sum(axis=1)
        # Whoever slows down after a first day, or was made long ago, did not come to harvest.
        steady = 2 * np.minimum(held["first"], last_period) >= held["most"]
        steady &= delay <= self._params.young_days * _DAY_HOURS
        stacks = _places(held["most_places"][:, 1])
        prefixes = np.where(held["most_places"][:, 0] > 0, _places(held["most_places"][:, 0]), stacks)
        many = prefixes >= self._params.min_places
        value = np.zeros((_COMBINED, len(which)))
        value[_HOURS] = np.bitwise_count(held["hours"]) + np.minimum(held["active"] / np.maximum(hours, 1), 1)
        # Two octaves side by side, so that a rhythm on their border is none the less one.
        value[_RHYTHM] = (gaps[:, 1:] + gaps[:, :-1]).max(axis=1) / np.maximum(total, 1)
        value[_ONSET] = np.where(steady, np.maximum(_LONGEST - np.log2(1 + delay), 0), 0)
        # Many people behind one account rest at no time and ask much: each of their places counts for one.
        rate = held["requests"][:, 0] * (_DAY_HOURS / hours) / np.where(many, prefixes, 1)
        value[_VOLUME] = np.log2(1 + rate)
        value[_PLACES] = np.where(many, np.log2(prefixes) + np.log2(stacks), 0)
        absent = np.array([created == ABSENT, plan == EVERYBODY, ~held["most_places"].any(axis=1)])
        known = np.ones(value.shape, np.bool_)
        known[_HOURS] = ~many
        # A batch of an hour or two is regular, and says nothing.
        known[_RHYTHM] = (total >= self._params.min_gaps) & (np.bitwise_count(held["hours"]) >= _AWAKE)
        # The first period has nothing to be steady against.
        known[_ONSET] = ~absent[0] & (level > 0)
        known[_VOLUME] = ~absent[1]
        known[_PLACES] = ~absent[2]
        place = np.minimum(value * _PER_UNIT[:, None], BINS - 1).astype(np.int64)
        place[~known] = _UNKNOWN
        return _Judged(last[which], who[which], level, plan, held, periods, last_period, delay, rate, place, absent)

    def _stratum(self, measure: int, judged: _Judged) -> I64:
        """The accounts to compare with: of the plan if it has enough of them, else all."""
        if measure == _VOLUME:
            return judged.plan  # what fits a plan, other plans cannot tell
        few = self._tails.accounts(measure, judged.plan, judged.level) < self._params.min_accounts
        return np.where(few, EVERYBODY, judged.plan)

    def _compare(self, judged: _Judged) -> _Compared:
        share = np.full(judged.place.shape, np.inf)
        for measure, place in enumerate(judged.place):
            some = np.flatnonzero(place != _UNKNOWN)
            stratum = self._stratum(measure, judged)[some]
            share[measure, some] = self._tails.at_least(measure, stratum, judged.level[some], place[some])
        kinds = np.array([_least(share[list(of)]) for of in _KINDS.values()])
        return _Compared(share, kinds, _combined(kinds, self._params.kinds))

    def _findings(self, judged: _Judged) -> Findings:
        tail, least = self._params.tail, self._params.kinds
        compared = self._compare(judged)
        stratum = self._stratum(_COMBINED, judged)
        p_value = self._tails.at_least(_COMBINED, stratum, judged.level, np.maximum(compared.combined, 0))
        beyond = compared.kinds <= tail
        found = np.flatnonzero((beyond.sum(axis=0) >= least) & (p_value <= tail))
        if not len(found):
            return no_findings()
        among = self._tails.accounts(_COMBINED, stratum, judged.level)
        edges = np.array(
            [
                self._tails.from_where(measure, self._stratum(measure, judged), judged.level, tail)
                for measure in range(_COMBINED)
            ]
        )
        evidence = [
            {
                "kinds": [kind for kind, out in zip(_KINDS, beyond[:, i], strict=True) if out],
                "plan": ("unknown", *PLANS)[judged.plan[i]],
                "window_hours": round(float(judged.periods[i] * self._period_s / _HOUR_S), 3),
                "requests": int(judged.held["requests"][i, 0]),
                **_shown(judged, compared, edges, i),
                "accounts_compared": int(among[i]),
                "blind": [field for field, gone in zip(_FIELDS, judged.absent[:, i], strict=True) if gone],
                "atlas": list(ATLAS),
            }
            for i in found.tolist()
        ]
        return Findings(judged.row[found], 1 - p_value[found] / (2 * tail), p_value[found], evidence)

    def learn(self, tick: Tick) -> None:
        read = self._read(tick)
        self._memo = None
        judged = read.judged
        if judged is None:
            return
        teaches = ~tick.accounts.suspect(judged.slot)
        for measure, place in enumerate((*judged.place, self._compare(judged).combined)):
            some = np.flatnonzero(teaches & (place != _UNKNOWN))
            self._tails.learn(measure, judged.plan[some], judged.level[some], place[some])

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        return self._tails.parts()

    def restore_parts(self, parts: Blocks) -> None:
        self._tails.restore_parts(parts)
        self._memo = None


def _places(bits: NDArray[np.uint8]) -> F64:
    """Distinct places of an hour, at least 1."""
    return np.maximum(distinct(bits), 1)


def _least(share: F64) -> F64:
    """The share of a kind (m,) by its measures (r, m): the least, times how many are known (Bonferroni)."""
    known = np.isfinite(share).sum(axis=0)
    least = share.min(axis=0)
    return np.asarray(np.where(known > 0, np.minimum(least * np.maximum(known, 1), 1), np.inf))


def _combined(kinds: F64, least: int) -> I64:
    """The bin of how rare it is that `least` kinds (k, m) are as far out; _UNKNOWN where fewer are known.

    By the share of the least of those kinds, times known kinds over `least`, which holds however the kinds depend on
    each other (Rueger, 1978; Vovk and Wang, "Combining p-values via averaging", 2020).
    """
    known = np.isfinite(kinds).sum(axis=0)
    share = np.sort(kinds, axis=0)[least - 1]
    rarity = -np.log2(np.where(known >= least, np.minimum(share * known / least, 1), 1))
    place = np.minimum(rarity * _OCTAVE, BINS - 1).astype(np.int64)
    return np.asarray(np.where(known >= least, place, _UNKNOWN))


def _shown(judged: _Judged, compared: _Compared, edges: I64, i: int) -> dict[str, dict[str, Any]]:
    """The measures of one window, each with where the population's tail begins and the share that shows as much."""
    held = judged.held[i]
    gaps = held["gaps"].astype(np.int64)
    pair = int((gaps[1:] + gaps[:-1]).argmax())
    edge = edges[:, i] / _PER_UNIT
    hours = float(edge[_ONSET])
    own: dict[str, tuple[int, dict[str, Any], float]] = {
        "hours": (
            _HOURS,
            {"of_day": int(held["hours"]).bit_count(), "of_window": int(held["active"])},
            round(float(edge[_HOURS]), 1),
        ),
        "rhythm": (
            _RHYTHM,
            {
                "gaps": int(gaps.sum()),
                "share": round(float(gaps[pair : pair + 2].sum() / max(gaps.sum(), 1)), 4),
                "seconds": [2**pair, 2 ** (pair + 2)],
            },
            round(float(edge[_RHYTHM]), 4),
        ),
        "onset": (
            _ONSET,
            {
                "hours_from_creation": round(float(judged.delay[i]), 1),
                "first_period": int(held["first"]),
                "last_period": int(judged.last[i]),
                "fullest_period": int(held["most"]),
            },
            round(2 ** (_LONGEST - hours) - 1, 1),
        ),
        "volume": (
            _VOLUME,
            {"requests_a_day_and_place": round(float(judged.rate[i]), 1)},
            round(2 ** float(edge[_VOLUME]) - 1, 1),
        ),
        "places": (
            _PLACES,
            {
                "prefixes": round(float(distinct(held["most_places"][0])), 1),
                "stacks": round(float(distinct(held["most_places"][1])), 1),
            },
            round(2 ** float(edge[_PLACES]), 1),
        ),
    }
    return {
        name: {
            **shown,
            "tail_from": tail_from if edges[measure, i] < BINS else None,
            "share_as_high": round(float(compared.share[measure, i]), 6),
        }
        for name, (measure, shown, tail_from) in own.items()
        if judged.place[measure, i] != _UNKNOWN
    }
