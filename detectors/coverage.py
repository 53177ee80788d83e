"""High diversity and coverage: an account whose requests go on bringing words that are new to it.

A harvest covers the space of tasks evenly and quickly, and its novelty does not saturate: customers and their
programs come back to what they did (Heaps, 1978: new words get rarer with the square root or so of a text; of a
work list they do not). The cells of that space are words that several accounts use, one in eight by its hash, so
that identifiers and noise are none; an account visits a cell once. A template's fixed words are visited by its first
request, so what is looked at is what varies. At each doubling of an account's requests, the share of the requests
since the last doubling that still brought a new cell is compared with benign accounts at the same doubling, each
counting once: a conformal p-value (Vovk, Gammerman and Shafer, 2005). The share, not the number of words, makes it
a measure of evenness, and little dependent on the length and the language of the texts.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.baselines import ScoreTail
from detectors.blocks import Blocked, Blocks, Part, under, whole, whole_of, within
from detectors.contract import I64, Findings, Report, Tick, no_findings
from detectors.frame import EventFrame
from detectors.hashing import combine
from detectors.params import CoverageParams
from detectors.sketches import AccountCounter

KIND: Final = "coverage"

_HOUR_MS: Final = 3_600_000
_LEVELS: Final = 24  # doublings followed; an account of 16 million requests stays in the last
# Of the requests, in a population that all but repeats itself too: one long text among repeats is not steady.
_STEADY: Final = 0.2
Bools = NDArray[np.bool_]


class _Read(NamedTuple):
    """A tick's t requests with text (`row`, (t,)), the new cells of each, and the accounts at a doubling.

    `slot`, `level`, `since`, `novel`, `words`, `last` (k,): account, doubling, requests since the one before, those
    of them with a new cell, new cells of the account so far, and its last row in the tick. `first`: no doubling
    before, so there is nothing to judge.
    """

    row: I64
    new: I64
    slot: I64
    level: I64
    since: I64
    novel: I64
    words: I64
    last: I64
    first: Bools


class Coverage(Blocked):
    """Finds accounts whose novelty does not saturate."""

    name: ClassVar[str] = "coverage"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})

    def __init__(self, params: CoverageParams) -> None:
        self._params = params
        self._cells = AccountCounter(params.word_bits, int(params.pane_hours * _HOUR_MS))
        # One account in weight, and above all others: (1 + as high) / (1 + accounts), the conformal p-value.
        self._tails = [ScoreTail(prior=1.0, weight=1.0) for _ in range(_LEVELS)]
        self._least = max(params.min_requests.bit_length() - 1, 1)
        self._memo: tuple[EventFrame, _Read] | None = None  # what `score` read, for `learn`

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self._cells.nbytes + sum(tail.nbytes for tail in self._tails)

    def score(self, tick: Tick) -> Report:
        """Accounts at a doubling of their requests whose novelty is among the highest."""
        read = self._read(tick)
        if not len(read.row):
            return Report(no_findings(), [], {})
        brought = np.flatnonzero(read.new)
        counts = {
            "cover_texts": (read.row, np.ones(len(read.row), np.int64)),
            "cover_novel": (read.row[brought], np.ones(len(brought), np.int64)),
            "cover_words": (read.row[brought], read.new[brought]),
        }
        some = read.novel > 0
        counts["mark_texts"] = (read.last, read.since)
        counts["mark_novel"] = (read.last[some], read.novel[some])
        judged = np.flatnonzero(~read.first)
        odds = _odds(read.novel[judged], read.since[judged])
        p_value = np.ones(len(judged))
        known = np.zeros(len(judged), np.int64)
        for level in np.unique(read.level[judged]).tolist():
            of = read.level[judged] == level
            p_value[of] = self._tails[level].at_least(odds[of])
            known[of] = self._tails[level].accounts
        high = (p_value <= self._params.tail) & (read.novel[judged] >= _STEADY * read.since[judged])
        found, p_value, known = judged[high], p_value[high], known[high]
        evidence = [
            {
                "account_requests": int(2**level),
                "requests": int(since),
                "with_new_words": int(novel),
                "share": round(int(novel) / int(since), 4),
                "account_words": int(words),
                "accounts_compared": int(others),
            }
            for level, since, novel, words, others in zip(
                read.level[found], read.since[found], read.novel[found], read.words[found], known, strict=True
            )
        ]
        if len(found):
            counts["covered"] = (read.last[found], np.ones(len(found), np.int64))
        score = 1 - p_value / (2 * self._params.tail)
        order = np.argsort(read.last[found], kind="stable")
        findings = Findings(read.last[found][order], score[order], p_value[order], [evidence[i] for i in order])
        return Report(findings, [], {name: pair for name, pair in counts.items() if len(pair[0])})

    def _read(self, tick: Tick) -> _Read:
        if self._memo is None or self._memo[0] is not tick.frame:
            self._memo = tick.frame, self._look_up(tick)
        return self._memo[1]

    def _look_up(self, tick: Tick) -> _Read:
        frame, accounts = tick.frame, tick.accounts
        requests = tick.requests()
        code = _code(frame, requests)
        row, code = requests[code >= 0], code[code >= 0]
        if not len(row):
            none = np.empty(0, np.int64)
            return _Read(row, none, none, none, none, none, none, none, np.empty(0, np.bool_))
        cells = frame.vocabulary.take(code)
        owner = cells.row_ids()
        who = frame.account_hash[row[owner]]
        fresh = np.zeros(len(owner), np.bool_)
        fresh[np.unique(combine(cells.values, who), return_index=True)[1]] = True
        place = np.flatnonzero(fresh)
        place = place[~self._cells.holds(cells.values[place], who[place])]
        # A word counts once others use it: by then it is none of the account's own identifiers.
        place = place[self._cells.counts(cells.values[place]) >= self._params.common_accounts]
        new = np.bincount(owner[place], minlength=len(row))
        slot = tick.slot[row]
        slots, where = np.unique(slot, return_inverse=True)
        last = np.zeros(len(slots), np.int64)
        np.maximum.at(last, where, row)
        before = accounts["cover_texts"][slots].astype(np.int64)
        after = before + np.bincount(where)
        novel = accounts["cover_novel"][slots] + np.bincount(where[new > 0], minlength=len(slots))
        words = accounts["cover_words"][slots] + np.bincount(where, weights=new).astype(np.int64)
        level = _level(after)
        # The first doubling looked at lies one below the first that is judged.
        at = np.flatnonzero((level > _level(before)) & (level >= self._least - 1))
        marked = accounts["mark_texts"][slots[at]]
        return _Read(
            row,
            new,
            slots[at],
            level[at],
            after[at] - marked,
            novel[at] - accounts["mark_novel"][slots[at]],
            words[at],
            last[at],
            (marked == 0) | (level[at] < self._least),
        )

    def learn(self, tick: Tick) -> None:
        frame = tick.frame
        read = self._read(tick)
        self._memo = None
        self._cells.turn(tick.end)
        if not len(read.row):
            return
        teaches = np.flatnonzero(~read.first & ~tick.accounts.suspect(read.slot))
        odds = _odds(read.novel[teaches], read.since[teaches])
        for level in np.unique(read.level[teaches]).tolist():
            self._tails[level].learn(odds[read.level[teaches] == level])
        cells = frame.vocabulary.take(_code(frame, read.row))
        self._cells.add(cells.values, frame.account_hash[read.row[cells.row_ids()]])

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        tails = [tail.snapshot() for tail in self._tails]
        return {"tails": whole(msgspec.msgpack.encode(tails)), **within("cells", self._cells.parts())}

    def restore_parts(self, parts: Blocks) -> None:
        self._cells.restore_parts(under("cells", parts))
        tails = msgspec.msgpack.decode(whole_of(parts["tails"]), type=list[bytes])
        for tail, packed in zip(self._tails, tails, strict=True):
            tail.restore(packed)
        self._memo = None


def _code(frame: EventFrame, row: I64) -> I64:
    """The text of each request: its user turn, or else its system prompt; ABSENT without either."""
    code = frame.text_code[row]
    return np.asarray(np.where(code >= 0, code, frame.system_code[row]))


def _level(requests: I64) -> I64:
    """The doubling that each number has reached: 0 of 1, 5 of 32 to 63; -1 of none."""
    return np.minimum(np.frexp(requests)[1].astype(np.int64) - 1, _LEVELS - 1)


def _odds(novel: I64, since: I64) -> NDArray[np.float64]:
    """Log odds of a request with a new cell."""
    return np.asarray(np.log((novel + 0.5) / (since - novel + 0.5)))
