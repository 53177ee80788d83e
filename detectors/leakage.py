"""Answers that show the reasoning which the product hides: forced inline tags, or traces told in the open.

An answer is joined to its request, within a bounded time and table: only requests that ask for reasoning, by a
strong pattern or by naming a tag for it, wait for their answers. An answer counts as a leak

* if it opens with a block of reasoning in tags, and its request matched a strong pattern;
* if it opens with such a block, its request named the tag, and the block is four times as long as the reasoning
  that the model kept hidden: the reasoning moved from where it is hidden to where it can be read;
* if its request matched a strong pattern, and it is much longer than answers to most accounts are.

A product that has its model think aloud in tags, with no hidden reasoning to move, is reported under the floor
and counts for nothing; nor does an answer that speaks of such tags, or one that shows its work unasked.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.baselines import AccountRate
from detectors.blocks import Blocked, Blocks, Part, under, whole, whole_of, within
from detectors.contract import I64, Findings, Report, Tick, Touches, no_findings, no_touches
from detectors.frame import ABSENT, REQUEST, RESPONSE, EventFrame
from detectors.hashing import combine
from detectors.open_requests import OpenRequests, Requests, keys_of, requests_of
from detectors.params import LeakageParams
from detectors.pattern_scan import PatternScanner

KIND: Final = "leak"
LEAKS: Final = np.uint64(1)
"""The one cohort of this detector: all accounts that were shown reasoning they forced out."""

_REASONING: Final = 2  # column of `tokens`
_CHARS_PER_TOKEN: Final = 4  # of English text, about
# A model that is told to think aloud thinks less in hiding, but not at once next to nothing.
_MOVED_TIMES: Final = 4
_BINS: Final = 32  # lengths of answers, in powers of two
_USUAL: Final = 0.9  # of the accounts get answers no longer than this
_KNOWN: Final = 50  # accounts before a usual length is spoken of
_FORCED, _MOVED, _LONG, _ELICITED, _REFUSED = 0.4, 0.6, 0.7, 0.9, 0.55
F64 = NDArray[np.float64]


class _Joined(NamedTuple):
    """k responses and what their requests asked for: `row` in the frame, and the requests (k,)."""

    row: I64
    requests: Requests


class Leakage(Blocked):
    """Finds reasoning in answers that the request forced out, and refusals of such requests."""

    name: ClassVar[str] = "leakage"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text", "response.text"})

    def __init__(self, params: LeakageParams, scanner: PatternScanner) -> None:
        self._params = params
        self._scanner = scanner
        self._open = OpenRequests(params.capacity, int(params.wait_minutes * 60_000))
        self._usual = AccountRate(prior=0.005)
        self._lengths = np.zeros(_BINS, np.int64)
        self._any_text = False
        self._memo: tuple[EventFrame, _Joined, Requests] | None = None  # what `score` joined, for `learn`

    @property
    def ready(self) -> bool:
        return self._any_text

    @property
    def nbytes(self) -> int:
        return self._open.nbytes + self._lengths.nbytes

    @property
    def evicted(self) -> int:
        """Requests given up for want of room."""
        return self._open.evicted

    @property
    def unanswered(self) -> int:
        """Requests whose response did not come in time."""
        return self._open.unanswered

    def score(self, tick: Tick) -> Report:
        """Leaks and refusals, by response; nothing while no response ever carried a text."""
        frame = tick.frame
        refused = np.flatnonzero((frame.rank == RESPONSE) & (frame.refused == 1))
        counts = {"refused": (refused, np.ones(len(refused), np.int64))} if len(refused) else {}
        if not self._any_text:
            return Report(no_findings(), [no_touches(KIND)], counts)
        joined, _ = self._join(tick)
        found, leaks = self._judge(frame, joined)
        which = np.flatnonzero(found > 0)
        if not len(which):
            return Report(no_findings(), [no_touches(KIND)], counts)
        row, score = joined.row[which], found[which]
        hit = row[leaks[which]]
        counts["leaked"] = (hit, np.ones(len(hit), np.int64))
        identity = combine(frame.account_hash[hit], frame.ts[hit].astype(np.uint64))
        touches = Touches(KIND, hit, np.full(len(hit), LEAKS), identity, {})
        p_value = np.full(len(row), self._usual.rate)
        evidence = [self._evidence(frame, joined, int(i)) for i in which]
        return Report(Findings(row, score, p_value, evidence), [touches], counts)

    def _judge(self, frame: EventFrame, joined: _Joined) -> tuple[F64, NDArray[np.bool_]]:
        """Score of each joined response (0: nothing to say), and whether it counts as a leak."""
        row, asked = joined.row, joined.requests
        visible, thought = frame.visible[row], frame.thought[row]
        refused = frame.refused[row] == 1
        strong = asked.strong != 0
        block = (thought >= self._params.min_chars) & ~refused
        hidden = frame.tokens[row, _REASONING]
        # Absent is not zero: where hidden reasoning is unknown, or where there is none, nothing was moved.
        moved = (hidden > 0) & (thought > _MOVED_TIMES * _CHARS_PER_TOKEN * hidden)
        told = strong & ~refused & (visible > self._usual_length())
        score = np.zeros(len(row))
        score[strong & refused] = _REFUSED
        score[block & asked.tags] = _FORCED
        score[block & asked.tags & moved] = _MOVED
        score[told] = _LONG
        score[block & strong] = _ELICITED
        return score, score >= _MOVED

    def _usual_length(self) -> int:
        """Characters that the answers to most accounts do not exceed; without end while few are known."""
        total = int(self._lengths.sum())
        if total < _KNOWN:
            return 2**62
        longest = int(np.searchsorted(np.cumsum(self._lengths), _USUAL * total))
        return int(2**longest)

    def _evidence(self, frame: EventFrame, joined: _Joined, i: int) -> dict[str, Any]:
        row, asked = int(joined.row[i]), joined.requests
        visible, thought, hidden = frame.visible[row], frame.thought[row], frame.tokens[row, _REASONING]
        return {
            "patterns": self._scanner.names(int(asked.strong[i])),
            "asked_for_tags": bool(asked.tags[i]),
            "refused": bool(frame.refused[row] == 1),
            "chars": _known(visible),
            "chars_in_tags": _known(thought),
            "reasoning_tokens": _known(hidden),
            "answered_after_ms": int(frame.ts[row] - asked.ts[i]),
            "accounts_like_it": round(self._usual.rate, 6),
        }

    def _join(self, tick: Tick) -> tuple[_Joined, Requests]:
        """The responses of the tick whose requests wait, or came in the tick; and all waiting requests."""
        frame = tick.frame
        if self._memo is not None and self._memo[0] is frame:
            return self._memo[1:]
        asking = np.flatnonzero((frame.rank == REQUEST) & ((frame.strong != 0) | (frame.names_tags == 1)))
        waiting = self._open.with_more(requests_of(frame, asking))
        row = np.flatnonzero(frame.rank == RESPONSE)
        # Few accounts have a request that waits, so few ids have to be hashed.
        row = row[np.isin(frame.account_hash[row], waiting.account)]
        key = keys_of(frame, row)
        key, first = np.unique(key, return_index=True)  # of a response that came twice, the first counts
        order = np.argsort(waiting.key, kind="stable")
        place = np.searchsorted(waiting.key[order], key)
        found = place < len(order)
        found[found] = waiting.key[order][place[found]] == key[found]
        row, request = row[first[found]], order[place[found]]
        in_order = np.argsort(row)
        joined = _Joined(row[in_order], waiting.take(request[in_order]))
        self._memo = frame, joined, waiting
        return joined, waiting

    def learn(self, tick: Tick) -> None:
        frame = tick.frame
        joined, waiting = self._join(tick)
        self._memo = None
        texts = np.flatnonzero(frame.visible >= 0)
        if self._any_text and len(texts):
            self._learn_usual(tick, joined, texts)
        self._open.hold(waiting, joined.requests.key, tick.end)
        self._any_text = self._any_text or bool(len(texts))

    def _learn_usual(self, tick: Tick, joined: _Joined, texts: I64) -> None:
        """Each account counts once, by its first tick with responses."""
        frame = tick.frame
        new = texts[_responses(tick, tick.slot[texts]) == 0]
        if not len(new):
            return
        slots, first = np.unique(tick.slot[new], return_index=True)
        length = frame.visible[new[first]]
        bins = np.ceil(np.log2(np.maximum(length, 1))).astype(np.int64)
        np.add.at(self._lengths, np.minimum(bins, _BINS - 1), 1)
        _, leaks = self._judge(frame, joined)
        hits = np.isin(slots, tick.slot[joined.row[leaks]])
        self._usual.learn(int(hits.sum()), len(slots))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        state = (self._usual.snapshot(), self._lengths.tolist(), self._any_text)
        return {"usual": whole(msgspec.msgpack.encode(state)), **within("waiting", self._open.parts())}

    def restore_parts(self, parts: Blocks) -> None:
        usual, lengths, self._any_text = msgspec.msgpack.decode(
            whole_of(parts["usual"]), type=tuple[bytes, list[int], bool]
        )
        self._open.restore_parts(under("waiting", parts))
        self._usual.restore(usual)
        self._lengths = np.array(lengths, np.int64)
        self._memo = None


def _responses(tick: Tick, slot: I64) -> I64:
    """Responses of accounts before this tick."""
    return np.asarray(tick.accounts["answered"][slot] + tick.accounts["mute"][slot], np.int64)


def _known(value: np.int64) -> int | None:
    return None if value == ABSENT else int(value)
