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
from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.contract import Findings, Report, Tick, Touches, no_findings
from detectors.frame import RESPONSE, EventFrame
from detectors.hashing import KeyedHasher, hash_string
from detectors.params import TechniqueParams
from detectors.pattern_scan import PatternScanner

KIND: Final = "technique"
SWEEPS: Final = np.uint64(1)
"""The one cohort of this detector: all accounts that sweep over ways of asking."""

_HOUR_MS: Final = 3_600_000
_ODD, _MASK = 0x9FB21C651E98DF25, 2**64 - 1  # scatters ids, so that an account's requests have keys of their own
_MOST_WAYS: Final = 256  # followed of one account
_BLOCKS: Final = 512  # of the accounts in a state: some 4 kB each where there is no room for more
_WAY_BYTES, _ASKER_BYTES, _WAITING_BYTES = 100, 700, 250  # of Python's dicts, about
_REFUSED_SHARE: Final = 0.2  # public services refuse a few in a hundred of what customers ask
_TRIED, _SWEEP, _SCALED = 0.4, 0.7, 0.85


class _Asker(msgspec.Struct, array_like=True):
    """An account that asks: its ways, each with whether one was ever answered, and what came of its requests.

    `used` numbers the changes of all accounts: the least of them is the account that is longest idle.
    """

    ways: dict[int, bool]
    patterns: int = 0
    asked: int = 0
    refused: int = 0
    answered: int = 0
    reused: int = 0
    last: int = 0
    counted: bool = False
    used: int = 0


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


class TechniqueSweep(Blocked):
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
        # An account's hash says in which block of a state it is.
        self._blocks: list[set[int]] = [set() for _ in range(_BLOCKS)]
        self._marked: set[int] = set()
        self._uses = 0
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._waits: Counter[int] = Counter()  # requests that wait, by account
        self._usual = AccountRate(prior=0.02)  # of the accounts that ask at all
        self._nothing = Report(no_findings(), [], {})
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
            return self._nothing
        row = np.array([found[0] for found in work.findings], np.int64)
        score = np.array([found[1] for found in work.findings])
        hit = row[score >= _SWEEP]
        counts = {"techniques": (hit, np.ones(len(hit), np.int64))} if len(hit) else {}
        p_value = np.full(len(row), self._usual.rate)
        touches = [Touches(KIND, hit, np.full(len(hit), SWEEPS), tick.frame.wording[hit], {})] if len(hit) else []
        return Report(Findings(row, score, p_value, [found[2] for found in work.findings]), touches, counts)

    def _work(self, tick: Tick) -> _Work | None:
        """None where nobody asks, and nobody who waits is answered."""
        if self._memo is None or self._memo[0] is not tick.frame:
            self._memo = tick.frame, self._look_up(tick.frame)
        return self._memo[1]

    def _look_up(self, frame: EventFrame) -> _Work | None:
        asking = np.count_nonzero(frame.wording)
        if not asking and not self._waits:
            return None
        heard = frame.rank == RESPONSE
        if not asking and self._waits.keys().isdisjoint(frame.account_hash[heard].tolist()):
            return None
        rows = np.flatnonzero(heard | (frame.wording != 0))
        rank, accounts = frame.rank[rows].tolist(), frame.account_hash[rows].tolist()
        # Few accounts have a request that waits, so few ids of responses have to be hashed.
        here, waits = {who for who, kind in zip(accounts, rank, strict=True) if kind != RESPONSE}, self._waits
        work = _Work({}, 0, 0, {}, [], [])
        for row, kind, account in zip(rows.tolist(), rank, accounts, strict=True):
            if kind == RESPONSE and account not in here and account not in waits:
                continue
            key = (hash_string(frame.ids[row]) * _ODD + account) & _MASK
            if kind == RESPONSE:
                self._hear(frame.refused.item(row), frame.ts.item(row), key, work)
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
        patterns = (frame.strong.item(row) | frame.weak.item(row)) & self._scanner.by_pattern
        way = frame.wording.item(row)
        asker.asked += 1
        asker.patterns |= patterns
        asker.reused += asker.ways.get(way, False)
        if way not in asker.ways and len(asker.ways) < _MOST_WAYS:
            asker.ways[way] = False
        ts = frame.ts.item(row)
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
                self._uses += 1
                asker.used = self._uses
                self._askers[account] = asker
                self._askers.move_to_end(account)
                self._blocks[account % _BLOCKS].add(account)
                self._marked.add(account % _BLOCKS)
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
            self._blocks[account % _BLOCKS].remove(account)
            self._marked.add(account % _BLOCKS)

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        """Accounts by their hash, so that one that changes leaves most blocks alone."""
        # What waits is whole: it is small, and much of it is others a tick later.
        state = (list(self._waiting.items()), self._usual.snapshot(), self._uses, self.evicted)
        return {
            "waiting": whole(msgspec.msgpack.encode(state)),
            "askers": Part(0, _BLOCKS, self._block, self._take_marked),
        }

    def _block(self, number: int) -> bytes:
        held = [(account, self._askers[account]) for account in self._blocks[number]]
        return msgspec.msgpack.encode(sorted(held, key=_used)) if held else b""

    def _take_marked(self) -> list[int]:
        marked, self._marked = sorted(self._marked), set()
        return marked

    def restore_parts(self, parts: Blocks) -> None:
        waiting, usual, self._uses, self.evicted = msgspec.msgpack.decode(
            whole_of(parts["waiting"]), type=tuple[list[tuple[int, _Waiting]], bytes, int, int]
        )
        blocks = parts["askers"]
        if len(blocks) != _BLOCKS:
            raise ValueError(f"{len(blocks)} blocks of accounts, {_BLOCKS} are needed")
        held = [one for b in blocks if b for one in msgspec.msgpack.decode(b, type=list[tuple[int, _Asker]])]
        self._askers = OrderedDict(sorted(held, key=_used))
        self._blocks = [set() for _ in range(_BLOCKS)]
        for account in self._askers:
            self._blocks[account % _BLOCKS].add(account)
        self._marked = set()
        self._waiting = OrderedDict(waiting)
        self._waits = Counter(request.account for request in self._waiting.values())
        self._ways = sum(len(asker.ways) for asker in self._askers.values())
        self._usual.restore(usual)
        self._memo = None


def _used(held: tuple[int, _Asker]) -> int:
    return held[1].used
