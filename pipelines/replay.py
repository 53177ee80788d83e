"""Replay: the detectors and the campaign stage over files, in one process and in event time.

It has the lanes of the stream, one a partition, and the same partitioner, so that it finds what the workers
find. Decisions fall at ticks, and a tick is worked off over all lanes before the next, so the output does not
depend on how the input was cut into batches.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, Literal, Self

import msgspec
import numpy as np
from msgspec import Struct

from detectors.campaigns import CampaignCore
from detectors.engine import DetectConfig, FrameBuilder, Lane, TickOutput
from pipelines import sources
from pipelines.config import Config, load_hash_key
from pipelines.dead_letters import FileDeadLetters
from pipelines.errors import Failure, UsageError
from pipelines.kafka_io import partition_of
from pipelines.progress import Progress
from pipelines.store import Store
from schemas.activity import Activity
from schemas.alerts import Alert, Signal
from schemas.deadletters import DeadLetter
from schemas.errors import InvalidEvent
from schemas.events import Event, Release, decode_event
from schemas.evidence import Watermark

_STORE_ROWS: Final = 20_000
# A line this much longer than an event may be is kept up to here: nobody mends it by hand.
_KEPT: Final = 4
_EVERY: Final = -1
_NEVER: Final = 2**62
_DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class ReplaySummary(Struct, frozen=True, kw_only=True):
    """What a replay did; times are epoch ms, None without events."""

    events: int
    bad: int
    late: int
    alerts: int
    signals: int
    accounts: int
    unordered: list[str]
    seconds: float
    first_ts: int | None
    last_ts: int | None


def run(
    paths: Sequence[Path],
    *,
    config: Config,
    alerts: Path,
    signals: Path | None = None,
    dead_letters: Path | None = None,
    store: Store | None = None,
    batch_size: int = 4096,
    progress: bool = False,
) -> ReplaySummary:
    """Replay event files into alerts.

    Args:
        paths: files or directories; merged by `ts`.
        alerts: written as JSON lines, empty where nothing is found.
        signals: likewise, if given. dead_letters: rejected lines with reason and original bytes.
        store: ClickHouse, if given; it is migrated first.
        batch_size: lines decoded at a time; of no influence on the result.
        progress: show bars on stderr.

    Raises:
        UsageError: input that cannot be read, or output that cannot be written.
        Failure: the disk filled up, or an input was cut while it was read.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    started = time.monotonic()
    limit = config.pipeline.input.max_event_bytes
    files = sources.open_sources(paths, limit * _KEPT)
    outputs = [path for path in (alerts, signals, dead_letters) if path is not None]
    _refuse_overwriting(files, outputs)
    with _disk_trouble_named(outputs), ExitStack() as stack:
        ends = _Ends(config)
        bars = stack.enter_context(Progress(enabled=progress))
        with bars.bar("reading times", None) as advance:
            for source in files:
                source.scan(advance, ends.note)
        letters = stack.enter_context(FileDeadLetters(dead_letters))
        sink = stack.enter_context(_Sink(alerts, signals, store))
        replay = _Replay(config, letters, sink, ends)
        advance = stack.enter_context(bars.bar("replaying", sum(len(source.times) for source in files)))
        lines = sources.merged(files)
        while batch := list(islice(lines, batch_size)):
            replay.feed(batch)
            advance(len(batch))
        replay.finish()
    return ReplaySummary(
        events=replay.events,
        bad=letters.count,
        late=sum(lane.late for lane in replay.lanes),
        alerts=sink.alerts,
        signals=sink.signals,
        accounts=sum(lane.accounts for lane in replay.lanes),
        unordered=[str(source.path) for source in files if not source.in_order],
        seconds=time.monotonic() - started,
        first_ts=replay.first_ts,
        last_ts=replay.last_ts,
    )


def _refuse_overwriting(files: Sequence[sources.Source], outputs: Sequence[Path]) -> None:
    """Refuse outputs that are inputs, that are one file, or that cannot be written, before the long work begins."""
    inputs = {_identity(source.path) for source in files}
    for path in outputs:
        if path.exists() and _identity(path) in inputs:
            raise UsageError(f"{path}: is an input; write the output elsewhere")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise UsageError("alerts, signals and dead letters need a file each")
    for path in outputs:
        _open(path, "ab").close()


def _identity(path: Path) -> tuple[int, int]:
    """What two names of one file have in common, hard links included."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


@contextmanager
def _disk_trouble_named(outputs: Sequence[Path]) -> Iterator[None]:
    """A full or failing disk as a failure that names the files that are now incomplete."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise Failure(f"cannot write any more ({error.strerror}); incomplete: {', '.join(map(str, outputs))}") from None


class _Ends:
    """When each lane has its last event: known before the replay, as it is to a worker that has caught up.

    A lane that is done sends what it held back, at its own time and not when the whole input ends. So a
    replay decides at the end of a lane as the stream does, and however the input was cut.
    """

    def __init__(self, config: Config) -> None:
        self._max_bytes = config.pipeline.input.max_event_bytes
        self._tick_ms = config.detectors.tick_ms
        self._last: list[int | None] = [None] * config.pipeline.stream.partitions

    def note(self, raw: bytes) -> int:
        """The time of a line that is an event.

        Raises:
            InvalidEvent: it is none.
        """
        event = decode_event(raw, max_bytes=self._max_bytes)
        lane = lane_of(event, len(self._last))
        for i in range(len(self._last)) if lane is None else (lane,):
            last = self._last[i]
            self._last[i] = event.ts if last is None else max(last, event.ts)
        return event.ts

    def reached(self, lane: int, watermark: int) -> bool:
        """Has event time passed the tick of the lane's last event?"""
        last = self._last[lane]
        return last is not None and watermark >= last - last % self._tick_ms + self._tick_ms


def lane_of(event: Event, lanes: int) -> int | None:
    """The lane of an event; None for those that concern every lane."""
    return None if isinstance(event, Release) else partition_of(event.account.encode(), lanes)


class _Replay:
    """All lanes and the campaign stage."""

    def __init__(self, config: Config, letters: FileDeadLetters, sink: _Sink, ends: _Ends) -> None:
        detect = DetectConfig(
            config.detectors,
            config.patterns,
            hash_key=load_hash_key(config.pipeline),
            config_version=config.version,
            paraphrase=config.paraphrase,
            words=config.words,
        )
        self._max_bytes = config.pipeline.input.max_event_bytes
        self._builder = FrameBuilder(detect)
        self.lanes = [Lane(partition, detect) for partition in range(config.pipeline.stream.partitions)]
        self._core = CampaignCore(config.campaigns, config.detectors, config_version=config.version)
        self._letters = letters
        self._sink = sink
        self._ends = ends
        self._flushed: set[int] = set()
        self.events = 0
        self.first_ts: int | None = None
        self.last_ts: int | None = None

    def feed(self, batch: Sequence[sources.Line]) -> None:
        """Take lines in; none is earlier than those before, as far as their times could be read."""
        events = list(self._decode(batch))
        if not events:
            return
        self.events += len(events)
        times = [event.ts for event in events]
        self.first_ts = min(times) if self.first_ts is None else min(self.first_ts, *times)
        self.last_ts = max(times) if self.last_ts is None else max(self.last_ts, *times)
        frame = self._builder.build(events)
        owners = np.array([_EVERY if (owner := lane_of(e, len(self.lanes))) is None else owner for e in events])
        for partition, lane in enumerate(self.lanes):
            lane.offer(frame.take(np.flatnonzero((owners == partition) | (owners == _EVERY))))
        self._work_off(output for i in range(len(self.lanes)) for output in self._close(i, self.last_ts))

    def _close(self, partition: int, watermark: int) -> Iterator[TickOutput]:
        """Close what event time has passed, and a lane that is done for good."""
        if partition in self._flushed:
            return
        lane = self.lanes[partition]
        if self._ends.reached(partition, watermark):
            self._flushed.add(partition)
            yield from lane.flush()
        else:
            yield from lane.close_until(watermark)

    def _decode(self, batch: Iterable[sources.Line]) -> Iterator[Event]:
        for line in batch:
            try:
                if line.broken is not None:
                    raise InvalidEvent(*line.broken)
                yield decode_event(line.raw, max_bytes=self._max_bytes)
            except InvalidEvent as error:
                self._letters.put(
                    DeadLetter(
                        reason=error.reason,
                        detail=error.detail,
                        source=line.source,
                        partition=None,
                        offset=line.number,
                        ts=0,
                        raw=line.raw,
                    )
                )

    def finish(self) -> None:
        """Close every tick and decide on everything."""
        self._work_off(output for i in range(len(self.lanes)) for output in self._close(i, _NEVER))
        self._sink.write_alerts(self._core.flush())

    def _work_off(self, outputs: Iterable[TickOutput]) -> None:
        """Tick by tick over all lanes: first what the lanes say, then the decision on it."""
        by_tick: dict[int, list[TickOutput]] = {}
        for output in outputs:
            if any(not isinstance(evidence, Watermark) or evidence.newest for evidence in output.evidence):
                by_tick.setdefault(output.tick, []).append(output)
        for tick in sorted(by_tick):
            newest = 0
            for output in by_tick[tick]:
                self._sink.write_alerts(output.alerts)
                self._sink.write_signals(output.signals)
                self._sink.write_activity(output.activity)
                for evidence in output.evidence:
                    if isinstance(evidence, Watermark):
                        newest = max(newest, evidence.newest)
                    else:
                        self._core.ingest(evidence)
            for partition in range(len(self.lanes)):
                mark = Watermark(source=partition, ts=tick, newest=newest)
                self._sink.write_alerts(self._core.ingest(mark))


class _Sink:
    """The files and the store of a replay; a context manager that finishes both."""

    def __init__(self, alerts: Path, signals: Path | None, store: Store | None) -> None:
        self._paths = alerts, signals
        self._store = store
        self._stack = ExitStack()
        self._waiting: dict[str, list[Any]] = {"alerts": [], "signals": [], "activity": []}
        self._alerts: IO[bytes] | None = None
        self._signals: IO[bytes] | None = None
        self._encode = msgspec.json.Encoder().encode
        self.alerts = 0
        self.signals = 0

    def __enter__(self) -> Self:
        if self._store is not None:
            self._store.migrate()
        alerts, signals = self._paths
        self._alerts = self._stack.enter_context(_open(alerts, "wb"))
        self._signals = None if signals is None else self._stack.enter_context(_open(signals, "wb"))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is None:
                self._store_rows(0)

    def write_alerts(self, alerts: Sequence[Alert]) -> None:
        self.alerts += len(alerts)
        self._write(self._alerts, "alerts", alerts)

    def write_signals(self, signals: Sequence[Signal]) -> None:
        self.signals += len(signals)
        self._write(self._signals, "signals", signals)

    def write_activity(self, activity: Sequence[Activity]) -> None:
        self._write(None, "activity", activity)

    def _write(self, file: IO[bytes] | None, table: str, rows: Sequence[Struct]) -> None:
        if file is not None:
            file.writelines(self._encode(row) + b"\n" for row in rows)
        if self._store is not None and rows:
            self._waiting[table] += rows
            self._store_rows(_STORE_ROWS)

    def _store_rows(self, least: int) -> None:
        """Insert what waits, table by table, once there is at least so much of it."""
        if self._store is None:
            return
        inserts: dict[str, Callable[[Any], int]] = {
            "alerts": self._store.insert_alerts,
            "signals": self._store.insert_signals,
            "activity": self._store.insert_activity,
        }
        for table, rows in self._waiting.items():
            if rows and len(rows) >= least:
                inserts[table](rows)
                self._waiting[table] = []


def _open(path: Path, mode: Literal["wb", "ab"]) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open(mode)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
