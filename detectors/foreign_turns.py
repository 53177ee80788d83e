"""Assistant turns in a request's history that this provider never gave to the account that sends them.

An operator that replays the sessions of its own users sends histories whose assistant turns another model
wrote. Answers given to an account are remembered in a Bloom filter of (account, turn), so a foreign turn
passes for an answer with the stated rate, and an answer is never called foreign while it is remembered.

Foreign turns have honest causes: a router between providers, imported conversations, edited answers, few-shot
examples. So a turn that several accounts carry counts as an example; a turn is news to an account once, which
leaves a fixed example with one request; and an account counts only when turns of its own are the exception.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.baselines import AccountRate
from detectors.blocks import Blocked, Blocks, Part, under, whole, whole_of, within
from detectors.contract import I64, Findings, Report, Tick, Touches, no_findings, no_touches
from detectors.frame import ABSENT, REQUEST, RESPONSE, EventFrame
from detectors.hashing import U64, KeyedHasher, combine
from detectors.params import ForeignTurnParams
from detectors.sketches import AccountCounter, PanedBloom

KIND: Final = "turns"
FOREIGN: Final = np.uint64(1)
"""The one cohort of this detector: all accounts whose histories are mostly foreign."""

_HOUR_MS: Final = 3_600_000
# Where foreign turns are two in three, an account's history is not what it was answered here. Lost records
# (at most a fifth, see `_judged`) and the occasional edit stay far below.
_PREVAIL: Final = 2
_MUTE: Final = 4  # an account with a text missing in one answer of five is not judged
_IN_FLIGHT: Final = 2  # requests that an account may have open, whatever its volume
_COUNTED: Final = ("other_turns", "other_requests", "own_turns")
Bools = NDArray[np.bool_]


class _Turns(NamedTuple):
    """The k turns of a tick's requests.

    `owner` (k,) is the row of the request, `turn` (k,) identifies the turn, `pair` (k,) the turn in the hands
    of its account; `head`, `tail` (k,) the same of its ends. `known`: given to the account, or shown before by
    it. `fresh`: not shown before by the account, neither earlier nor earlier in this tick.
    """

    owner: I64
    turn: U64
    pair: U64
    head: U64
    tail: U64
    known: Bools
    fresh: Bools


class ForeignTurns(Blocked):
    """Finds foreign assistant turns in requests."""

    name: ClassVar[str] = "foreign_turns"
    needs: ClassVar[frozenset[str]] = frozenset({"request.messages", "response.text"})

    def __init__(self, params: ForeignTurnParams, hasher: KeyedHasher) -> None:
        self._params = params
        self._hasher = hasher
        # Either end makes a turn known, so each may pass for another half as often.
        bits = PanedBloom.bits_for(2 * params.capacity, params.false_positive_rate / 2)
        pane = int(params.pane_hours * _HOUR_MS)
        self._given = PanedBloom(bits, pane)
        self._shown = PanedBloom(bits, pane)
        # Foreign turns are few beside answers.
        self._carriers = AccountCounter(math.ceil(math.log2(2 * params.capacity)), pane)
        self._usual = AccountRate(prior=0.02)
        self._started: int | None = None
        self._any_given = False
        self._memo: tuple[EventFrame, _Turns] | None = None  # what `score` read, for `learn`

    @property
    def ready(self) -> bool:
        return self._any_given

    @property
    def nbytes(self) -> int:
        return self._given.nbytes + self._shown.nbytes + self._carriers.nbytes

    def score(self, tick: Tick) -> Report:
        """New foreign turns a request; nothing while no response ever carried a text."""
        if not self._any_given:
            return Report(no_findings(), [no_touches(KIND)], {})
        turns = self._read(tick.frame)
        if not len(turns.owner):
            return Report(no_findings(), [no_touches(KIND)], {})
        size = len(tick.frame)
        own = np.bincount(turns.owner[turns.known & turns.fresh], minlength=size)
        foreign = self._foreign(tick, turns)
        news = np.bincount(turns.owner[foreign], minlength=size)
        row = np.flatnonzero(news)
        mine = np.flatnonzero(own)
        counts = {
            "own_turns": (mine, own[mine]),
            "other_turns": (row, news[row]),
            "other_requests": (row, np.ones(len(row), np.int64)),
        }
        totals = {name: _totals(tick, name, counts[name], tick.slot[row]) for name in _COUNTED}
        others, requests, owns = totals["other_turns"], totals["other_requests"], totals["own_turns"]
        # A lone request may be an import; an account with as many answers of ours is a router.
        score = others / (others + owns + 1) * (1 - 0.5**requests)
        first = np.full(size, ABSENT, np.int64)
        place = np.flatnonzero(foreign)[::-1]
        first[turns.owner[place]] = place
        shown = turns.turn[first[row]]
        looked_at = np.bincount(turns.owner, minlength=size)[row]
        usual = self._usual.rate
        evidence = [
            {
                "foreign": int(n),
                "turns": int(of),
                "turn": self._hasher.show("turn", int(value)),
                "account_foreign": int(o),
                "account_own": int(w),
                "accounts_like_it": round(usual, 6),
            }
            for n, of, value, o, w in zip(news[row], looked_at, shown, others, owns, strict=True)
        ]
        prevails = (others >= _PREVAIL * owns) & (requests >= self._params.min_requests)
        hit = row[prevails]
        touches = Touches(KIND, hit, np.full(len(hit), FOREIGN), shown[prevails], {})
        counts["foreign_turns"] = (hit, news[hit])
        return Report(Findings(row, score, np.full(len(row), usual), evidence), [touches], counts)

    def _foreign(self, tick: Tick, turns: _Turns) -> Bools:
        """Turns that are news to their account, that it was not given, and that few others carry."""
        foreign = ~turns.known & turns.fresh
        foreign &= self._judged(tick)[turns.owner]
        candidates = np.flatnonzero(foreign)
        common = self._carriers.counts(turns.turn[candidates]) >= self._params.common_accounts
        foreign[candidates[common]] = False
        return foreign

    def _judged(self, tick: Tick) -> Bools:
        """Rows whose account was watched from its first day, or after the warm-up, and whose answers are known."""
        started = tick.end if self._started is None else self._started
        warm = tick.frame.ts - started >= self._params.warmup_hours * _HOUR_MS
        accounts, slot = tick.accounts, np.maximum(tick.slot, 0)
        if not len(accounts["created"]):
            return np.asarray(warm)
        created = np.where(tick.slot >= 0, accounts["created"][slot], ABSENT)
        answered, mute, requests = (accounts[name][slot] for name in ("answered", "mute", "requests"))
        open_ = requests - answered - mute
        heard = (_MUTE * mute <= answered) & (open_ <= np.maximum(_IN_FLIGHT, requests // _MUTE))
        return np.asarray((warm | (created >= started)) & heard)

    def _read(self, frame: EventFrame) -> _Turns:
        if self._memo is None or self._memo[0] is not frame:
            self._memo = frame, self._look_up(frame)
        return self._memo[1]

    def _look_up(self, frame: EventFrame) -> _Turns:
        owner = frame.turns.row_ids()[0::2]
        head, tail = frame.turns.values[0::2], frame.turns.values[1::2]
        account = frame.account_hash[owner]
        asked = frame.rank[owner] == REQUEST
        head_of, tail_of = combine(head, account), combine(tail, account)
        # What this very tick answered counts as given: the answer came first, or at worst in the tick.
        answers = ~asked
        heads, tails = head_of[asked], tail_of[asked]
        known = np.isin(heads, head_of[answers]) | np.isin(tails, tail_of[answers])
        known |= self._given.contains(heads) | self._given.contains(tails)
        turn = combine(head[asked], tail[asked])
        pair = combine(turn, account[asked])
        fresh = np.zeros(len(pair), np.bool_)
        fresh[np.unique(pair, return_index=True)[1]] = True
        fresh &= ~self._shown.contains(pair)
        return _Turns(owner[asked], turn, pair, heads, tails, known, fresh)

    def learn(self, tick: Tick) -> None:
        frame = tick.frame
        turns = self._read(frame)
        self._memo = None
        if self._started is None and len(frame):
            self._started = int(frame.ts[0])
        if self._any_given and len(turns.owner):
            self._learn_rate(tick, turns)
        for turned in (self._given, self._shown, self._carriers):
            turned.turn(tick.end)
        answers = np.flatnonzero(frame.rank == RESPONSE)
        given = frame.turns.take(answers)
        if len(given.values):
            self._any_given = True
            self._given.add(np.unique(combine(given.values, frame.account_hash[answers][given.row_ids()])))
        if len(turns.owner):
            # A conversation that goes on keeps its turns in memory.
            self._given.add(np.unique(np.concatenate([turns.head[turns.known], turns.tail[turns.known]])))
            self._shown.add(np.unique(turns.pair))
            strange = ~turns.known
            self._carriers.add(turns.turn[strange], frame.account_hash[turns.owner[strange]])

    def _learn_rate(self, tick: Tick, turns: _Turns) -> None:
        """Each account counts once, by the first tick in which turns of it are judged."""
        foreign = self._foreign(tick, turns)
        told = foreign | (turns.known & turns.fresh)
        slot = tick.slot[turns.owner[told]]
        before = tick.accounts["own_turns"][slot] + tick.accounts["other_turns"][slot]
        slots, place = np.unique(slot[before == 0], return_inverse=True)
        if len(slots):
            hits = np.bincount(place, weights=foreign[told][before == 0], minlength=len(slots)) > 0
            self._usual.learn(int(hits.sum()), len(slots))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        state = (self._usual.snapshot(), self._started, self._any_given)
        return {
            "started": whole(msgspec.msgpack.encode(state)),
            **within("given", self._given.parts()),
            **within("shown", self._shown.parts()),
            **within("carriers", self._carriers.parts()),
        }

    def restore_parts(self, parts: Blocks) -> None:
        usual, self._started, self._any_given = msgspec.msgpack.decode(
            whole_of(parts["started"]), type=tuple[bytes, int | None, bool]
        )
        self._given.restore_parts(under("given", parts))
        self._shown.restore_parts(under("shown", parts))
        self._carriers.restore_parts(under("carriers", parts))
        self._usual.restore(usual)
        self._memo = None


def _totals(tick: Tick, column: str, added: tuple[I64, I64], slot: I64) -> I64:
    """A column of the account table at some slots, with what this tick adds to it."""
    slots, place = np.unique(np.concatenate([slot, tick.slot[added[0]]]), return_inverse=True)
    more = np.bincount(place[len(slot) :], weights=added[1], minlength=len(slots)).astype(np.int64)
    return np.asarray(tick.accounts[column][slot] + more[place[: len(slot)]], np.int64)
