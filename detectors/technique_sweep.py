"""One account that tries ways of asking for hidden reasoning, is refused often, and goes on with what works.

A way of asking is told by the sentence in which a pattern matched, digits alike: the task beside it does not count,
so one template over many tasks is one way. An account is a sweep when it has tried many ways by several patterns and
a good part of the answers to them were refusals; what it then sends by ways that were answered is its scale-up.
Customers of a shared key ask in many words too, but are hardly ever refused.

Requests that ask are rare, so they are followed one by one, exactly, in a bounded table of accounts; a tick without
them costs next to nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from detectors.baselines import AccountRate
from detectors.contract import Findings, Report, Tick, no_findings
from detectors.frame import RESPONSE, EventFrame
from detectors.hashing import KeyedHasher, hash_string
from detectors.params import TechniqueParams
from detectors.pattern_scan import PatternScanner

_HOUR_MS: Final = 3_600_000
_ODD, _MASK = 0x9FB21C651E98DF25, 2**64 - 1  # scatters ids, so that an account's requests have keys of their own
_MOST_WAYS: Final = 256  # followed of one account
_WAY_BYTES, _ASKER_BYTES, _WAITING_BYTES = 100, 600, 250  # of Python's dicts, about
_REFUSED_SHARE: Final = 0.2  # public services refuse a few in a hundred of what customers ask
_TRIED, _SWEEP, _SCALED = 0.4, 0.7, 0.85


class _Asker(msgspec.Struct, array_like=True):
    """An account that asks: its ways, each with whether one was ever answered, and what came of its requests."""

    ways: dict[int, bool]
    patterns: int = 0
    asked: int = 0
    refused: int = 0
    answered: int = 0
    reused: int = 0
    last: int = 0
    counted: bool = False


class _Waiting(msgspec.Struct, array_like=True, frozen=True):
    account: int
    way: int
    ts: int


class _Work(msgspec.Struct):
    """What a tick does: the accounts that it changes, requests that wait from now on, those that are answered."""

    askers: dict[int, _Asker]
    new: int
    found: int
    waiting: dict[int, _Waiting]
    answered: list[int]
    findings: list[tuple[int, float, dict[str, Any]]]


class TechniqueSweep:
    """Finds requests of accounts that sweep over ways of asking for reasoning."""

    name: ClassVar[str] = "technique_sweep"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text", "response.refused"})

    def __init__(self, params: TechniqueParams, scanner: PatternScanner, hasher: KeyedHasher) -> None:
        self._params = params
        self._wait_ms = int(params.wait_minutes * 60_000)
        self._scanner = scanner
        self._hasher = hasher
        self._askers: OrderedDict[int, _Asker] = OrderedDict()
        self._ways = 0  # over all accounts
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._waits: Counter[int] = Counter()  # requests that wait, by account
        self._usual = AccountRate(prior=0.02)  # of the accounts that ask at all
        self._memo: tuple[EventFrame, _Work | None] | None = None  # what `score` found, for `learn`
        self.evicted = 0

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        """Memory of what is held; an account holds at least one way."""
        return len(self._askers) * _ASKER_BYTES + self._ways * _WAY_BYTES + len(self._waiting) * _WAITING_BYTES

    def score(self, tick: Tick) -> Report:
        """Asking requests of accounts that have tried many ways; those of accounts refused often count."""
        work = self._work(tick)
        if work is None or not work.findings:
            return Report(no_findings(), [], {})
        row = np.array([found[0] for found in work.findings], np.int64)
        score = np.array([found[1] for found in work.findings])
        hit = row[score >= _SWEEP]
        counts = {"techniques": (hit, np.ones(len(hit), np.int64))} if len(hit) else {}
        p_value = np.full(len(row), self._usual.rate)
        return Report(Findings(row, score, p_value, [found[2] for found in work.findings]), [], counts)

    def _work(self, tick: Tick) -> _Work | None:
        """None where nobody asks, and nobody who waits is answered."""
        if self._memo is None or self._memo[0] is not tick.frame:
            self._memo = tick.frame, self._look_up(tick.frame)
        return self._memo[1]

    def _look_up(self, frame: EventFrame) -> _Work | None:
        asks = np.flatnonzero(frame.wording)
        if not len(asks) and not self._waiting:
            return None
        # Few accounts have a request that waits, so few ids of responses have to be hashed.
        asking, waits = set(frame.account_hash[asks].tolist()), self._waits
        heard = np.flatnonzero(frame.rank == RESPONSE)
        accounts = frame.account_hash[heard].tolist()
        rows = [row for row, one in zip(heard.tolist(), accounts, strict=True) if one in waits or one in asking]
        if not len(asks) and not rows:
            return None
        work = _Work({}, 0, 0, {}, [], [])
        for row in sorted(asks.tolist() + rows):
            account = int(frame.account_hash[row])
            key = (hash_string(frame.ids[row]) * _ODD + account) & _MASK
            if frame.rank[row] == RESPONSE:
                self._hear(int(frame.refused[row]), int(frame.ts[row]), key, work)
            else:
                self._ask(frame, row, key, account, work)
        return work

    def _asker(self, account: int, work: _Work) -> _Asker:
        """The account as the tick changes it; a copy, since scoring changes nothing."""
        asker = work.askers.get(account)
        if asker is None:
            known = self._askers.get(account)
            work.new += known is None
            asker = _Asker({}) if known is None else msgspec.structs.replace(known, ways=dict(known.ways))
            work.askers[account] = asker
        return asker

    def _ask(self, frame: EventFrame, row: int, key: int, account: int, work: _Work) -> None:
        asker = self._asker(account, work)
        patterns = (int(frame.strong[row]) | int(frame.weak[row])) & self._scanner.by_pattern
        way = int(frame.wording[row])
        asker.asked += 1
        asker.patterns |= patterns
        asker.reused += asker.ways.get(way, False)
        if way not in asker.ways and len(asker.ways) < _MOST_WAYS:
            asker.ways[way] = False
        ts = int(frame.ts[row])
        asker.last = max(asker.last, ts)
        work.waiting[key] = _Waiting(account, way, ts)
        score = self._judge(asker)
        if not score:
            return
        work.found += score >= _SWEEP and not asker.counted
        asker.counted |= score >= _SWEEP
        evidence = {
            "way": self._hasher.show("way", way),
            "patterns": self._scanner.names(patterns),
            "account_ways": len(asker.ways),
            "account_patterns": asker.patterns.bit_count(),
            "account_asked": asker.asked,
            "account_refused": asker.refused,
            "account_answered": asker.answered,
            "account_repeated_what_worked": asker.reused,
            "accounts_like_it": round(self._usual.rate, 6),
        }
        work.findings.append((row, score, evidence))

    def _judge(self, asker: _Asker) -> float:
        """The score of one more request; 0 is nothing to say. Unknown refusals are none."""
        ways = len(asker.ways)
        if ways < self._params.min_ways or asker.patterns.bit_count() < self._params.min_patterns:
            return 0.0
        known = asker.refused + asker.answered
        often = asker.refused >= max(self._params.min_refused, _REFUSED_SHARE * known)
        # Who scales up what works is refused less and less, and is the same sweep.
        if not often and not asker.counted:
            return _TRIED
        return _SCALED if asker.reused >= ways else _SWEEP

    def _hear(self, refused: int, ts: int, key: int, work: _Work) -> None:
        request = work.waiting.pop(key, None)
        if request is None:
            if key in work.answered:
                return
            request = self._waiting.get(key)
            if request is None:
                return
            work.answered.append(key)
        if refused < 0 or ts - request.ts > self._wait_ms:
            return
        if request.account not in self._askers and request.account not in work.askers:
            return  # forgotten meanwhile
        asker = self._asker(request.account, work)
        if refused:
            asker.refused += 1
        else:
            asker.answered += 1
            if request.way in asker.ways:
                asker.ways[request.way] = True

    def learn(self, tick: Tick) -> None:
        work = self._work(tick)
        self._memo = None
        if work is not None:
            for account, asker in work.askers.items():
                known = self._askers.get(account)
                self._ways += len(asker.ways) - (0 if known is None else len(known.ways))
                self._askers[account] = asker
                self._askers.move_to_end(account)
            for key in work.answered:
                self._release(key)
            for key, request in work.waiting.items():
                if key in self._waiting:
                    self._release(key)
                self._waiting[key] = request
                self._waits[request.account] += 1
            if work.new or work.found:
                self._usual.learn(work.found, max(work.new, work.found))
        self._forget(tick.end)

    def _release(self, key: int) -> None:
        account = self._waiting.pop(key).account
        self._waits[account] -= 1
        if not self._waits[account]:
            del self._waits[account]

    def _forget(self, now: int) -> None:
        """What waited for too long, the accounts longest idle, and what there is no room for."""
        waiting, askers = self._waiting, self._askers
        oldest = now - self._wait_ms
        while waiting:
            key, request = next(iter(waiting.items()))
            over = len(waiting) > self._params.waiting
            if not over and request.ts >= oldest:
                break
            self.evicted += over
            self._release(key)
        idle = now - int(self._params.idle_hours * _HOUR_MS)
        while askers:
            account, asker = next(iter(askers.items()))
            if self._ways <= self._params.capacity and asker.last >= idle:
                break
            self._ways -= len(asker.ways)
            del askers[account]

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            (list(self._askers.items()), list(self._waiting.items()), self._usual.snapshot(), self.evicted)
        )

    def restore(self, data: bytes) -> None:
        askers, waiting, usual, self.evicted = msgspec.msgpack.decode(
            data, type=tuple[list[tuple[int, _Asker]], list[tuple[int, _Waiting]], bytes, int]
        )
        self._askers, self._waiting = OrderedDict(askers), OrderedDict(waiting)
        self._waits = Counter(request.account for request in self._waiting.values())
        self._ways = sum(len(asker.ways) for asker in self._askers.values())
        self._usual.restore(usual)
        self._memo = None
