"""A lane: all detection state of one partition, moved forward a tick of event time at a time.

Decisions fall at ticks, and a tick is put into one order before it is looked at, so the outcome does not
depend on how the input was cut into batches. A lane belongs to a partition and not to a worker, so it does
not depend on the number of workers either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import account_alerts, registry
from detectors.accounts import COLUMNS, AccountTable
from detectors.activity import ActivityBook
from detectors.blocks import Blocked, Blocks, Part, under, whole, whole_of, within
from detectors.cohorts import ROWS_PER_MESSAGE, CohortBook, Touch
from detectors.config import DetectConfig
from detectors.contract import Detector, Report, Tick, Touches
from detectors.foreign_turns import ForeignTurns
from detectors.frame import ABSENT, RANKS, RESPONSE, EventFrame, FrameBuilder, concat, event_order
from detectors.hashing import U64
from detectors.leakage import Leakage
from detectors.newcomers import Arrivals
from detectors.population import ANSWERS, SIGNATURES, PopulationSample
from detectors.signature_replay import SignatureReplay
from detectors.template_family import KIND as TEMPLATE
from schemas.activity import Activity
from schemas.alerts import Alert, Signal
from schemas.events import Account, Enforcement
from schemas.evidence import AccountRow, Evidence, NewcomerEvidence, Watermark

__all__ = ["DetectConfig", "EventFrame", "FrameBuilder", "Lane", "TickOutput"]

I64 = NDArray[np.int64]

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_STATE_FORMAT: Final = 2  # of what `parts` holds; a change makes older states foreign
# Parameters that give detectors their size or the meaning of what they hold.
_SHAPE: Final = frozenset({"sketch_bits", "word_bits", "pane_hours", "capacity", "false_positive_rate", "period_hours"})
_ENRICHMENT: Final = ("payment", "email_domain", "signup", "created", "plan")
_FINGERPRINTS: Final = ("ip_prefix", "asn_agent", "tls_agent")
_TELLING: Final = frozenset(AccountRow.__struct_fields__) | account_alerts.COLUMNS
_SEEN: Final = {SignatureReplay.name: SIGNATURES, ForeignTurns.name: ANSWERS, Leakage.name: ANSWERS}


class TickOutput(msgspec.Struct):
    """What a lane has to say after a tick; `evidence` ends with the lane's watermark."""

    tick: int
    evidence: list[Evidence]
    signals: list[Signal]
    alerts: list[Alert]
    activity: list[Activity]


class Lane(Blocked):
    """The detectors, accounts and cohorts of one partition.

    Args:
        partition: its number: the source of its evidence.
        config: shared by all lanes.

    Attributes:
        late: events that came after their tick was closed; they count in the next one.
    """

    def __init__(self, partition: int, config: DetectConfig) -> None:
        params = config.params
        self._partition = partition
        self._config = config
        self._tick_ms = params.tick_ms
        self._accounts = AccountTable(params.accounts.capacity, int(params.accounts.idle_days * _DAY_MS))
        self._detectors: list[Detector] = registry.build(
            registry.Parts(params, config.scanner, config.hasher, config.words)
        )
        self._shadow = {d.name for d in self._detectors if getattr(params, d.name).shadow}
        self._cohorts = CohortBook(
            params.cohorts,
            floors={TEMPLATE: params.template_family.min_accounts},
            row_of=self._row_of,
            show=config.hasher.show,
        )
        self._population = PopulationSample(params.population)
        self._activity = ActivityBook(params.accounts.capacity)
        self._arrivals = Arrivals(params.newcomers.waiting)
        self._frames: list[EventFrame] = []
        self._oldest: int | None = None
        self._closed = 0
        self._flushed = 0  # where all that was held back was sent
        self._expired = 0  # the hour of event time in which idle accounts were last looked for
        self.newest: int | None = None
        self.late = 0

    @property
    def pending(self) -> int:
        """Events offered that are not in a closed tick yet."""
        return sum(len(frame) for frame in self._frames)

    @property
    def accounts(self) -> int:
        """Accounts held."""
        return len(self._accounts)

    @property
    def waiting(self) -> int:
        """Cohorts whose news found no room in the last tick (`cohorts.rows_per_tick`)."""
        return self._cohorts.waiting

    @property
    def evicted(self) -> int:
        """Cohorts given up for `cohorts.capacity` since the lane was made."""
        return self._cohorts.evicted

    def offer(self, frame: EventFrame) -> None:
        """Take events of this partition, in any order."""
        if not len(frame):
            return
        self._frames.append(frame)
        oldest, newest = int(frame.ts.min()), int(frame.ts.max())
        self._oldest = oldest if self._oldest is None else min(self._oldest, oldest)
        self.newest = newest if self.newest is None else max(self.newest, newest)

    def close_until(self, watermark: int) -> Iterator[TickOutput]:
        """Close, in order, every tick that ends at or before `watermark`."""
        end = watermark - watermark % self._tick_ms
        if end <= self._closed:
            return
        if self._oldest is not None and self._oldest < end:
            yield from self._close(end)
        if self._closed < end:
            self._closed = end
            yield TickOutput(end, [Watermark(source=self._partition, ts=end)], [], [], [])

    def flush(self) -> Iterator[TickOutput]:
        """Close all ticks with events and send all that was held back (end of input, or idle)."""
        if self._frames and self.newest is not None:
            # Late events alone need a tick beyond the last one closed.
            newest = max(self.newest, self._closed)
            yield from self.close_until(newest - newest % self._tick_ms + self._tick_ms)
        if not self._closed:
            return
        # A moment of its own, between two ticks: else it would depend on what other lanes have done by now
        # whether this is decided on together with the last tick or after it.
        now = self._closed + 1
        if self._flushed == self._closed:
            # Said already, by this lane or by the one that it was restored from.
            yield TickOutput(now, [Watermark(source=self._partition, ts=now)], [], [], [])
            return
        self._flushed = self._closed
        evidence: list[Evidence] = [*self._cohorts.due(self._partition, now, everything=True)]
        population = self._population.due(self._partition, now, self._accounts, seen=self._seen, everything=True)
        if population is not None:
            evidence.append(population)
        evidence += self._introduce(now, self._config.params.newcomers.waiting)
        evidence.append(Watermark(source=self._partition, ts=now))
        yield TickOutput(now, evidence, [], [], self._activity.rows(now))

    def _close(self, end: int) -> Iterator[TickOutput]:
        frame = concat(self._frames)
        tick = frame.ts // self._tick_ms
        late = frame.ts < self._closed
        self.late += int(late.sum())
        # A late event counts in the first tick still open; what was decided stays decided.
        tick[late] = self._closed // self._tick_ms
        order = event_order(frame)
        order = order[np.argsort(tick[order], kind="stable")]
        ordered = tick[order]
        done = int(np.searchsorted(ordered, end // self._tick_ms))
        rest = order[done:]
        self._frames = [frame.take(np.sort(rest))] if len(rest) else []
        self._oldest = int(frame.ts[rest].min()) if len(rest) else None
        ends, starts = np.unique(ordered[:done], return_index=True)
        for number, indices in zip(ends.tolist(), np.split(order[:done], starts[1:]), strict=True):
            self._closed = (number + 1) * self._tick_ms
            yield self._tick(self._closed, frame.take(indices))

    def _tick(self, end: int, frame: EventFrame) -> TickOutput:
        tick = Tick(end, frame, self._slots(end, frame), self._accounts)
        self._enrich(tick)
        reports = [(d, d.score(tick)) for d in self._detectors]
        counted = [(d, report) for d, report in reports if d.name not in self._shadow]
        signals = [signal for d, report in reports if d.ready for signal in self._signals(tick, d, report)]
        for detector, report in counted:
            for touches in report.touches:
                signals += self._touch(tick, detector, touches)
        activity = self._activity.learn(tick)
        for detector in self._detectors:
            detector.learn(tick)
        self._count(tick, reports)
        alerts = account_alerts.due(tick, self._accounts, self._config)
        evidence: list[Evidence] = [*self._cohorts.due(self._partition, end)]
        population = self._population.due(self._partition, end, self._accounts, seen=self._seen)
        if population is not None:
            evidence.append(population)
        evidence += self._introduce(end, self._config.params.newcomers.rows_per_tick)
        evidence.append(Watermark(source=self._partition, ts=end, newest=int(frame.ts.max())))
        return TickOutput(end, evidence, signals, alerts, activity)

    def _introduce(self, tick: int, most: int) -> list[NewcomerEvidence]:
        """Tell of the accounts that wait for it, as many as a tick has room for."""
        rows = [row for account in self._arrivals.take(most) if (row := self._row_of(account)) is not None]
        return [
            NewcomerEvidence(self._partition, tick, rows[start : start + ROWS_PER_MESSAGE])
            for start in range(0, len(rows), ROWS_PER_MESSAGE)
        ]

    @property
    def _seen(self) -> dict[str, bool]:
        """What responses carried so far, as the detectors that need it know."""
        ready = {detector.name: detector.ready for detector in self._detectors}
        return {field: any(ready.get(n, False) for n, f in _SEEN.items() if f == field) for field in _SEEN.values()}

    def _slots(self, end: int, frame: EventFrame) -> I64:
        """The account slot of each event; ABSENT where an event has no account."""
        slot = np.full(len(frame), ABSENT, np.int64)
        owned = np.flatnonzero(frame.rank > 0)
        if not len(owned):
            return slot
        expired: list[str] = []
        if end // _HOUR_MS > self._expired:
            self._expired = end // _HOUR_MS
            expired = self._accounts.expire(end)
        hashes, first, place = np.unique(frame.account_hash[owned], return_index=True, return_inverse=True)
        names = frame.account[owned[first]].tolist()
        slots, evicted = self._accounts.slots(names, hashes, end)
        for name in [*expired, *evicted]:
            self._cohorts.forget(name)
        slot[owned] = slots[place]
        return slot

    def _enrich(self, tick: Tick) -> None:
        """What is said about accounts, and where their requests come from: the latest word counts."""
        frame, accounts = tick.frame, self._accounts
        accounts["last_seen"][tick.slot[tick.slot >= 0]] = np.maximum(
            accounts["last_seen"][tick.slot[tick.slot >= 0]], frame.ts[tick.slot >= 0]
        )
        said = np.flatnonzero(frame.rank == RANKS[Account])
        paid_before = accounts["payment"][tick.slot[said]]
        for name in _ENRICHMENT:
            value = getattr(frame, name)[said]
            known = value != (ABSENT if name == "created" else 0)
            accounts[name][tick.slot[said[known]]] = value[known]
        self._await(tick, said, paid_before)
        banned = np.flatnonzero(frame.rank == RANKS[Enforcement])
        accounts["banned"][tick.slot[banned]] = frame.banned[banned]
        for row in np.concatenate([said, banned]).tolist():
            self._cohorts.changed(frame.account[row])
        requests = tick.requests()
        for name in _FINGERPRINTS:
            value = getattr(frame, name)[requests]
            accounts[name][tick.slot[requests[value != 0]]] = value[value != 0]

    def _await(self, tick: Tick, said: I64, paid_before: U64) -> None:
        """Let newcomers wait to be told of: a new payer of a young account, or the first request of one with a payer.

        Args:
            said: rows of enrichment. paid_before: payer of each one's account before this tick.
        """
        params = self._config.params.newcomers
        if not params.enabled:
            return
        frame, accounts = tick.frame, tick.accounts
        slot, created = tick.slot[said], accounts["created"][tick.slot[said]]
        young = (created == ABSENT) | (frame.ts[said] - created <= params.max_age_days * _DAY_MS)
        new = said[young & (accounts["payment"][slot] != paid_before)]
        requests = tick.requests()
        slot = tick.slot[requests]
        first = requests[(accounts["requests"][slot] == 0) & (accounts["payment"][slot] != 0)]
        self._arrivals.add(dict.fromkeys(frame.account[np.sort(np.concatenate([new, first]))].tolist()))

    def _count(self, tick: Tick, reports: list[tuple[Detector, Report]]) -> None:
        """Add the tick's requests and responses, and what detectors counted in them, to the account table.

        A detector in the shadow counts in the columns that it alone reads, never in those of evidence and alerts.
        """
        accounts, frame = self._accounts, tick.frame
        requests = tick.requests()
        slot = tick.slot[requests]
        slots, first = np.unique(slot, return_index=True)
        new = accounts["requests"][slots] == 0
        accounts["first_seen"][slots[new]] = frame.ts[requests[first[new]]]
        np.add.at(accounts["requests"], slot, 1)
        hour = (frame.ts[requests] // _HOUR_MS % 24).astype(np.int32)
        np.bitwise_or.at(accounts["hours"], slot, np.int32(1) << hour)
        responses = np.flatnonzero(frame.rank == RESPONSE)
        accounts.hear(tick.slot[responses], frame.answered[responses])
        for detector, report in reports:
            for column, (rows, amounts) in report.counts.items():
                if detector.name in self._shadow and column in _TELLING:
                    continue
                np.add.at(accounts[column], tick.slot[rows], amounts.astype(np.int32))
            for column, (rows, values) in report.sets.items():
                accounts[column][tick.slot[rows]] = values

    def _signals(self, tick: Tick, detector: Detector, report: Report) -> Iterator[Signal]:
        floor = getattr(getattr(self._config.params, detector.name), "report_floor", 0.0)
        found, frame = report.findings, tick.frame
        if not len(found.row):
            return
        for i in np.flatnonzero(found.score >= floor).tolist():
            row = int(found.row[i])
            yield Signal(
                ts=int(frame.ts[row]),
                request_id=frame.ids[row],
                account=frame.account[row],
                cohort=None,
                detector=detector.name,
                score=round(float(found.score[i]), 6),
                p_value=round(float(min(found.p_value[i], 1.0)), 9),
                evidence=found.evidence[i],
            )

    def _touch(self, tick: Tick, detector: Detector, touches: Touches) -> Iterator[Signal]:
        """Add a tick's touches to their cohorts; a signal for each cohort that doubled."""
        if not len(touches.row):
            return
        frame, book = tick.frame, self._cohorts
        order = np.lexsort((touches.row, tick.slot[touches.row], touches.key))
        row, key, variant = touches.row[order], touches.key[order], touches.variant[order]
        slot = tick.slot[row]
        # A request that carries a family in both its texts counts once in it.
        once = np.ones(len(row), np.bool_)
        once[1:] = (row[1:] != row[:-1]) | (key[1:] != key[:-1])
        row, key, variant, slot = row[once], key[once], variant[once], slot[once]
        bounds = np.flatnonzero(np.diff(key, prepend=~key[:1], append=~key[-1:]))
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            cohort = (touches.kind, int(key[start]))
            if cohort not in book and cohort[1] in touches.carriers:
                earlier = [c for c in touches.carriers[cohort[1]] if c.account in self._accounts]
                book.touch(
                    cohort,
                    [Touch(c.account, 1, c.strong != 0, c.weak != 0, c.ts, c.ts) for c in earlier],
                    [c.variant for c in earlier if c.variant],
                    [],
                )
            before = book.members(cohort)
            block, who = row[start:end], slot[start:end]
            splits = np.flatnonzero(np.diff(who)) + 1
            masks = int(np.bitwise_or.reduce(frame.strong[block] | frame.weak[block]))
            book.touch(
                cohort,
                [_touch(frame, rows) for rows in np.split(block, splits)],
                [v for v in variant[start:end].tolist() if v],
                self._config.scanner.names(masks),
            )
            if touches.kind == TEMPLATE and book.wants_skeleton(cohort):
                book.set_skeleton(cohort, detector.skeleton(tick, int(block[0]), cohort[1]))
                yield self._cohort_signal(frame, int(block[-1]), detector, cohort, before)

    def _cohort_signal(
        self, frame: EventFrame, row: int, detector: Detector, cohort: tuple[str, int], before: int
    ) -> Signal:
        members = self._cohorts.members(cohort)
        wider, of = self._cohorts.as_wide(cohort[0], members)
        return Signal(
            ts=int(frame.ts[row]),
            request_id=None,
            account=None,
            cohort=self._config.hasher.show(*cohort),
            detector=detector.name,
            score=round(1 - (1 + wider) / (2 + of), 6),
            p_value=round((1 + wider) / (1 + of), 9),
            evidence={"accounts": members, "accounts_before": before, "families_as_wide": wider, "families": of},
        )

    def _row_of(self, account: str) -> AccountRow | None:
        slot = self._accounts.slot(account)
        return None if slot is None else self._accounts.row(slot)

    @property
    def layout(self) -> str:
        """What a state must have been made by to be taken over: sizes, columns and the key of the hashes."""
        params = self._config.params
        shape: dict[str, Any] = {"format": _STATE_FORMAT, "tick_ms": self._tick_ms}
        for section in ("features", *(detector.name for detector in self._detectors)):
            held = msgspec.to_builtins(getattr(params, section))
            shape[section] = held if section == "features" else {k: v for k, v in held.items() if k in _SHAPE}
        shape["columns"] = COLUMNS
        shape["words"] = None if self._config.words is None else self._config.words.version
        shape["key"] = self._config.hasher.show("state", 0)
        return hashlib.blake2b(msgspec.json.encode(shape, order="sorted"), digest_size=12).hexdigest()

    def parts(self) -> dict[str, Part]:
        """All state but the events still pending: those are read again from their offsets."""
        kept = (self._closed, self._flushed, self.late, self._expired, self._arrivals.snapshot())
        out = {"lane": whole(msgspec.msgpack.encode(kept))}
        for name, holder in self._holders():
            out |= within(name, holder.parts())
        return out

    def _holders(self) -> Iterator[tuple[str, Detector | Blocked]]:
        yield "accounts", self._accounts
        yield "cohorts", self._cohorts
        yield "population", self._population
        yield "activity", self._activity
        for detector in self._detectors:
            yield f"detector/{detector.name}", detector

    def restore_parts(self, parts: Blocks) -> None:
        """Replace the state by the parts of a lane of the same :attr:`layout`; pending events are dropped."""
        closed, flushed, late, expired, waiting = msgspec.msgpack.decode(
            whole_of(parts["lane"]), type=tuple[int, int, int, int, list[str]]
        )
        self._frames, self._oldest, self.newest = [], None, closed - 1 if closed else None
        self._closed, self._flushed, self.late, self._expired = closed, flushed, late, expired
        self._arrivals.restore(waiting)
        for name, holder in self._holders():
            holder.restore_parts(under(name, parts))


def _touch(frame: EventFrame, rows: I64) -> Touch:
    ts = frame.ts[rows]
    return Touch(
        account=frame.account[rows[0]],
        requests=len(rows),
        strong=int((frame.strong[rows] != 0).sum()),
        weak=int((frame.weak[rows] != 0).sum()),
        first=int(ts.min()),
        last=int(ts.max()),
    )
