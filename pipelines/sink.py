"""The sink: alerts, signals, activity and dead letters from Kafka into ClickHouse.

Order of work for a batch: dead letters confirmed, rows inserted, offsets committed. A sink that dies in
between repeats rows, and repeating a row changes nothing (see :mod:`pipelines.store`). While ClickHouse is
away the sink pauses, stays in its group and tries the same batch again; it drops nothing and reads on only
when the batch is in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from pipelines.dead_letters import from_record
from pipelines.detect.ports import Clock, TopicPartition
from pipelines.errors import Failure
from pipelines.sink_ports import Letters, Record, SinkSource, SinkStore
from pipelines.store import StoreUnavailable
from pipelines.store_rows import activity_rows, alert_rows, letter_rows, signal_rows
from schemas.activity import ACTIVITY_DECODER
from schemas.alerts import ALERT_DECODER, SIGNAL_DECODER
from schemas.deadletters import DeadLetter

SINK_ROLES: Final = ("alerts", "signals", "activity", "dead_letters")
"""Roles of the topics that the sink reads."""

# Large records come in batches by size, not by number.
MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
_POLL_MS: Final = 100
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0

_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "alerts": ALERT_DECODER,
    "signals": SIGNAL_DECODER,
    "activity": ACTIVITY_DECODER,
}
_ROWS: Final[dict[str, Callable[[Sequence[Any]], Any]]] = {
    "alerts": alert_rows,
    "signals": signal_rows,
    "activity": activity_rows,
    "dead_letters": letter_rows,
}


class SinkLimits(Struct, frozen=True, kw_only=True):
    """When a batch is written, and how long ClickHouse may be away.

    Attributes:
        rows: rows that fill a batch; one poll may go beyond it.
        wait_s: a batch waits no longer than this, seconds.
        patience_s: give up when ClickHouse was away for so long; None waits for ever, as a worker should.
    """

    rows: int = 5_000
    wait_s: float = 1.0
    patience_s: float | None = None


class SinkCounters(Struct):
    """What the sink has done since its start; rows by role, repeated ones included."""

    rows: dict[str, int]
    rejected: int = 0
    batches: int = 0
    retries: int = 0
    refused_commits: int = 0


class SinkTallies(Struct):
    """What the metrics tell beside the counters: dead letters by reason, seconds of inserts not published yet."""

    rejected: Counter[str] = field(default_factory=Counter)
    insert_s: deque[float] = field(default_factory=lambda: deque(maxlen=4_096))


class _Pending(Struct):
    """What was read of one partition and is not yet committed."""

    rows: list[tuple[Any, Record]] = []
    next_offset: int = 0
    size: int = 0


class SinkLoop:
    """Moves batches; one thread, no broker and no database in sight.

    Args:
        source: consumer of the four topics.
        open_store: connects to ClickHouse; asked again until it succeeds.
        letters: dead letters.
        roles: role of each topic, by name.
        steady, wall: clocks; see :data:`pipelines.detect.ports.Clock`.
        log: a structlog logger.

    Raises (from :meth:`step`):
        Failure: ClickHouse refuses the rows, or was away for longer than `limits.patience_s`; nothing of the
            batch is committed.
    """

    def __init__(
        self,
        *,
        source: SinkSource,
        open_store: Callable[[], SinkStore],
        letters: Letters,
        roles: Mapping[str, str],
        limits: SinkLimits,
        steady: Clock,
        wall: Clock,
        log: Any,
    ) -> None:
        self._source = source
        self._open_store = open_store
        self._store: SinkStore | None = None
        self._letters = letters
        self._roles = dict(roles)
        self._limits = limits
        self._steady = steady
        self._wall = wall
        self._log = log
        self._pending: dict[TopicPartition, _Pending] = {}
        self._reached: dict[TopicPartition, int] = {}
        self._oldest: float | None = None
        self._retry_at: float | None = None
        self._wait = _FIRST_WAIT_S
        self._away_since: float | None = None
        self.counters = SinkCounters(rows=dict.fromkeys(SINK_ROLES, 0))
        self.tallies = SinkTallies()

    def connect(self) -> None:
        """Open the store before the first row comes, so that its tables are there to be asked."""
        try:
            self._store = self._open_store()
        except StoreUnavailable as error:
            self._log.warning("ClickHouse is away; trying again with the first batch", reason=str(error))

    def step(self) -> None:
        """Read a little, and write when a batch is due."""
        waiting = self._retry_at is not None
        records = self._source.poll_records(_POLL_MS, self._limits.rows)
        fresh = self._follow_changes()
        for record in records:
            if record.envelope.source in self._pending and record.envelope.source not in fresh:
                self._take(record)
        self._read_again(fresh & {record.envelope.source for record in records})
        if waiting:
            # Polls keep the membership in the group alive while every partition is paused.
            self._source.pause(self._pending)
            if self._steady() < (self._retry_at or 0.0):
                return
        if self._due():
            self.write()

    @property
    def done(self) -> bool:
        """Every assigned partition is read to its end, and all of it is written."""
        if not self._pending or self._oldest is not None:
            return False
        if not self._source.refresh_ends(self._pending):
            return False
        return all(self._source.position(one) >= self._source.end(one) for one in self._pending)

    @property
    def partitions(self) -> list[TopicPartition]:
        """Assigned partitions, sorted."""
        return sorted(self._pending)

    @property
    def buffered(self) -> int:
        """Rows read and not yet written."""
        return self._rows_pending

    @property
    def reachable(self) -> bool:
        """Did the last connection to ClickHouse, or the last insert, go through?"""
        return self._store is not None and self._away_since is None

    @property
    def waits_for(self) -> str | None:
        """What is missing before the worker does its work; None where nothing is."""
        if not self.reachable:
            return "ClickHouse is away"
        return None if self._pending else "no partition is assigned"

    def behind(self) -> dict[str, int]:
        """Records that the broker is known to have and that are not read yet, by role.

        Of the partitions that anything was read of since they came: asking for the others could block.
        """
        lag: dict[str, int] = {}
        for partition, reached in self._reached.items():
            role = self._roles[partition[0]]
            lag[role] = lag.get(role, 0) + max(self._source.end(partition) - reached, 0)
        return lag

    def write(self) -> bool:
        """Write and commit what was read; False where ClickHouse is away and the batch waits."""
        if self._oldest is None:
            return True
        try:
            self._insert_all()
        except StoreUnavailable as error:
            self._back_off(error)
            return False
        self._recover()
        self._commit()
        return True

    @property
    def _rows_pending(self) -> int:
        return sum(len(one.rows) for one in self._pending.values())

    def _due(self) -> bool:
        if self._oldest is None:
            return False
        full = self._rows_pending >= self._limits.rows
        large = sum(one.size for one in self._pending.values()) >= MAX_BATCH_BYTES
        return full or large or self._steady() - self._oldest >= self._limits.wait_s

    def _follow_changes(self) -> set[TopicPartition]:
        """Partitions that were assigned since the last call."""
        fresh: set[TopicPartition] = set()
        for change in self._source.changes():
            for partition in change.partitions:
                # What was read of a partition that went away is its new owner's to read again.
                self._pending.pop(partition, None)
                self._reached.pop(partition, None)
                fresh.discard(partition)
                if change.kind == "assigned":
                    self._pending[partition] = _Pending()
                    fresh.add(partition)
        if not any(one.next_offset for one in self._pending.values()):
            self._oldest = None
        return fresh

    def _read_again(self, partitions: set[TopicPartition]) -> None:
        """Records of the poll in which a partition came back may be from before it went: they would commit
        past those that are read only now."""
        if partitions:
            for partition, offset in self._source.committed(partitions).items():
                self._source.seek(partition, 0 if offset is None else offset)

    def _take(self, record: Record) -> None:
        envelope = record.envelope
        pending = self._pending[envelope.source]
        pending.next_offset = self._reached[envelope.source] = envelope.next_offset
        pending.size += len(envelope.value or b"")
        if self._oldest is None:
            self._oldest = self._steady()
        row = self._decode(record)
        if row is not None:
            pending.rows.append((row, record))

    def _decode(self, record: Record) -> Any:
        envelope = record.envelope
        role = self._roles[envelope.topic]
        if role == "dead_letters":
            letter = from_record(envelope.key, envelope.value, record.headers)
            # A letter without a place of its own is counted at the place where it lies.
            here = not letter.source
            return msgspec.structs.replace(letter, source=envelope.topic, offset=envelope.offset) if here else letter
        try:
            return _DECODERS[role].decode(envelope.value or b"")
        except msgspec.ValidationError as error:
            self._reject(record, "wrong_type", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._reject(record, "not_json", str(error))
        return None

    def _reject(self, record: Record, reason: str, detail: str) -> None:
        envelope = record.envelope
        self._letters.put(
            DeadLetter(
                reason=reason,
                detail=detail,
                source=envelope.topic,
                partition=envelope.partition,
                offset=envelope.offset,
                ts=int(self._wall() * 1000),
                raw=envelope.value or b"",
                key=envelope.key,
            )
        )
        self.counters.rejected += 1
        self.tallies.rejected[reason] += 1

    def _insert_all(self) -> None:
        if self._store is None:
            self._store = self._open_store()
        insert: dict[str, Callable[[Sequence[Any]], int]] = {
            "alerts": self._store.insert_alerts,
            "signals": self._store.insert_signals,
            "activity": self._store.insert_activity,
            "dead_letters": self._store.insert_dead_letters,
        }
        self._letters.flush()
        by_role: dict[str, list[tuple[Any, Record]]] = {role: [] for role in SINK_ROLES}
        for (topic, _), pending in sorted(self._pending.items(), key=lambda item: item[0]):
            by_role[self._roles[topic]].extend(pending.rows)
        for role, rows in by_role.items():
            if not rows:
                continue
            began = self._steady()
            try:
                written = insert[role]([row for row, _ in rows])
            except (ValueError, OverflowError):
                # Valid JSON of the right types that no column can hold; Arrow's errors are ValueErrors.
                written = insert[role](self._sift(role, rows))
                self._letters.flush()
            self.counters.rows[role] += written
            self.tallies.insert_s.append(self._steady() - began)

    def _sift(self, role: str, rows: Sequence[tuple[Any, Record]]) -> list[Any]:
        fit = []
        for row, record in rows:
            try:
                _ROWS[role]([row])
            except (ValueError, OverflowError) as error:
                self._reject(record, "out_of_range", str(error))
            else:
                fit.append(row)
        return fit

    def _back_off(self, error: StoreUnavailable) -> None:
        now = self._steady()
        if self._away_since is None:
            self._away_since = now
        away = now - self._away_since
        if self._limits.patience_s is not None and away >= self._limits.patience_s:
            raise Failure(f"{error}; gave up after {away:.0f} s, nothing of the batch is committed") from error
        self.counters.retries += 1
        self._retry_at = now + self._wait
        self._wait = min(self._wait * 2, _LONGEST_WAIT_S)
        self._source.pause(self._pending)
        self._log.warning("ClickHouse is away; paused", reason=str(error), retry_in_s=round(self._retry_at - now, 1))

    def _recover(self) -> None:
        if self._retry_at is not None:
            self._log.info("ClickHouse is back; reading on")
            self._source.resume(self._pending)
        self._retry_at = None
        self._away_since = None
        self._wait = _FIRST_WAIT_S

    def _commit(self) -> None:
        offsets = {partition: one.next_offset for partition, one in self._pending.items() if one.next_offset}
        if offsets and not self._source.commit(offsets):
            # The partitions move to another worker, which writes the same rows again.
            self.counters.refused_commits += 1
        self.counters.batches += 1
        self._pending = {partition: _Pending() for partition in self._pending}
        self._oldest = None
