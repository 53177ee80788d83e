"""The detect loop: poll, decode, features once, lanes, ticks, checkpoint. One thread, no broker in sight.

How far a restart goes back: lanes are in memory, so a worker that starts reads on at the committed
offsets, which lie at the oldest open tick, with a fresh lane. What it then repeats carries the ids it
carried before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct

from pipelines.detect.checkpoint import Checkpoint
from pipelines.detect.control import Control, ControlEvent
from pipelines.detect.intake import Intake
from pipelines.detect.merge import PartitionMerge, TopicReader, same_partition
from pipelines.detect.offsets import PendingOffsets
from pipelines.detect.ports import (
    Change,
    Clock,
    Envelope,
    FrameBuilder,
    Lane,
    Outputs,
    Source,
    TickOutput,
    TopicPartition,
)
from pipelines.detect.state import PartitionState
from pipelines.errors import Failure
from pipelines.kafka_io import partition_of
from pipelines.settings import StreamSettings
from schemas.deadletters import DeadLetter
from schemas.events import Event
from schemas.evidence import Evidence

# A quiet worker wakes this often: often enough to close idle partitions in time.
_POLL_MS: Final = 100
_CONTROL_EVERY_S: Final = 0.2
# A group may hand out nothing in its first round, before its leader has seen the topics' partitions.
_NO_SHARE_S: Final = 5.0


class Counters(Struct):
    """What the worker has done since its start."""

    events: int = 0
    rejected: int = 0
    ticks: int = 0
    alerts: int = 0
    misplaced: int = 0
    refused_commits: int = 0


class Round(Struct):
    """One round's work, on its way to the checkpoint."""

    letters: list[DeadLetter]
    before: list[Evidence]
    ticks: list[TickOutput]
    after: list[Evidence]

    def __bool__(self) -> bool:
        return bool(self.letters or self.before or self.ticks or self.after)


class DetectLoop:
    """Drives the lanes of the partitions that the group assigns to this worker.

    Args:
        source: consumer of the account topics.
        control: the control topic.
        intake: decoder; its roles name the account topics and the control topic.
        topics: names of the account topics; a worker must own the same partitions of each.
        builder: features, once a poll for all lanes.
        new_lane: makes the lane of a partition.
        outputs: where ticks and letters go.
        settings: idle time, skew, bounds.
        steady: a clock that never goes back, seconds.
    """

    def __init__(
        self,
        *,
        source: Source,
        control: Control,
        intake: Intake,
        topics: Sequence[str],
        builder: FrameBuilder,
        new_lane: Callable[[int], Lane],
        outputs: Outputs,
        settings: StreamSettings,
        steady: Clock,
    ) -> None:
        self._source = source
        self._control = control
        self._intake = intake
        self._topics = frozenset(topics)
        self._builder = builder
        self._new_lane = new_lane
        self._checkpoint = Checkpoint(outputs, source.commit)
        self._settings = settings
        self._steady = steady
        self._states: dict[int, PartitionState] = {}
        self._suspended: dict[int, PartitionState] = {}
        self._assigned_at: float | None = None
        self._control_at = 0.0
        self._started = False
        self.counters = Counters()

    def step(self) -> None:
        """One round: what is read is decided on as far as its ticks are closed, and made durable.

        Raises:
            DeliveryFailure: the broker did not take an output; nothing was committed, stop the worker.
            Failure: the group assigned partitions that do not fit together.
        """
        if not self._started:
            # Bans and releases must be known before the first event is judged.
            self._control.poll()
            self._started = True
        envelopes = self._source.poll(_POLL_MS, self._settings.poll_records)
        now = self._steady()
        round_ = Round([], [], [], [])
        firsts: dict[TopicPartition, int] = {}
        for envelope in envelopes:
            firsts.setdefault(envelope.source, envelope.offset)
        dropped: set[TopicPartition] = set()
        for change in self._source.changes():
            dropped = self._apply(change, firsts, round_)
        taken = [one for one in envelopes if one.partition in self._states and one.source not in dropped]
        self._take(taken, now, round_)
        if now - self._control_at >= _CONTROL_EVERY_S:
            self._control_at = now
            self._offer_control(self._control.poll())
        for state in self._states.values():
            self._advance(state, now, round_)
        self._write(round_)
        for state in self._states.values():
            self._pace(state, now)

    @property
    def done(self) -> bool:
        """Everything there was when asked is read, closed, sent and committed (for `--once`)."""
        if self._assigned_at is None or self._suspended:
            return False
        if not self._states:
            return self._steady() - self._assigned_at >= _NO_SHARE_S
        if not all(state.idle for state in self._states.values()):
            return False
        for state in self._states.values():
            if not self._source.refresh_ends(state.topic_partitions):
                return False
            self._progress(state)
        return all(state.merge.behind == 0 and not state.to_commit() for state in self._states.values())

    @property
    def lag(self) -> int:
        """Records on the broker that are not read yet."""
        return sum(state.merge.behind for state in self._states.values())

    @property
    def pending(self) -> int:
        """Events in open ticks."""
        return sum(state.lane.pending for state in self._states.values())

    @property
    def dropped_control_letters(self) -> int:
        """Rejected control records that this worker had no room to keep."""
        return self._control.dropped_letters

    @property
    def partitions(self) -> list[int]:
        """Assigned partitions."""
        return sorted(self._states)

    def _apply(self, change: Change, firsts: Mapping[TopicPartition, int], round_: Round) -> set[TopicPartition]:
        """Follow a rebalance; returns where the records of this poll are not the ones to go on with.

        `firsts`: offsets of the first records of this poll, which was made under the newest assignment.
        """
        numbers = {partition for _, partition in change.partitions}
        if change.kind == "lost":
            for number in numbers:
                self._states.pop(number, None)
                self._suspended.pop(number, None)
            return set()
        if change.kind == "revoked":
            for number in numbers & set(self._states):
                self._suspended[number] = self._states.pop(number)
            return set()
        split = same_partition(change.partitions, self._topics)
        if split:
            raise Failure(
                f"partitions {sorted(split)} were assigned without all of {', '.join(sorted(self._topics))}, so an "
                "account's events would not meet; all workers of the group must run this version with the same topics"
            )
        self._assigned_at = self._steady()
        dropped: set[TopicPartition] = set()
        for number in sorted(numbers):
            kept = self._suspended.pop(number, None)
            if kept is not None and self._source.committed(kept.topic_partitions) == kept.committed:
                kept.paused = set()
                state = kept
            else:
                # Somebody else has read on in between, or this is the first time.
                state = self._start(number, firsts, round_)
            self._states[number] = state
            for partition in state.topic_partitions:
                if not self._read_from(partition, state.offsets[partition[0]].position, firsts):
                    dropped.add(partition)
        self._suspended.clear()
        return dropped

    def _start(self, number: int, firsts: Mapping[TopicPartition, int], round_: Round) -> PartitionState:
        partitions = [(topic, number) for topic in sorted(self._topics)]
        committed = self._source.committed(partitions)
        self._source.refresh_ends(partitions)
        readers, offsets = {}, {}
        for partition in partitions:
            known = committed[partition]
            position = self._next_read(partition, firsts) if known is None else known
            readers[partition[0]] = TopicReader(position=position, end=self._source.end(partition))
            offsets[partition[0]] = PendingOffsets(position)
        merge = PartitionMerge(
            readers,
            idle_close_s=self._settings.idle_close_ms / 1000,
            max_skew_ms=self._settings.max_skew_ms,
            max_pending=self._settings.max_pending_events,
        )
        state = PartitionState(number, self._new_lane(number), merge, offsets, committed)
        history = self._control.history(number)
        if history:
            state.lane.offer(self._builder.build(history))
        # The campaign stage waits for this source from now on.
        round_.before.append(state.watermark(idle=False))
        return state

    def _read_from(self, partition: TopicPartition, offset: int, firsts: Mapping[TopicPartition, int]) -> bool:
        """Let reading go on at `offset`; whether this poll's records of the partition do that already.

        The client keeps position and pause of a partition that it is assigned again, also where another
        worker had it in between.
        """
        self._source.resume([partition])
        if self._next_read(partition, firsts) == offset:
            return True
        self._source.seek(partition, offset)
        return False

    def _next_read(self, partition: TopicPartition, firsts: Mapping[TopicPartition, int]) -> int:
        first = firsts.get(partition)
        return self._source.position(partition) if first is None else first

    def _take(self, envelopes: Sequence[Envelope], now: float, round_: Round) -> None:
        events: list[Event] = []
        rows: dict[int, list[int]] = defaultdict(list)
        read: dict[TopicPartition, tuple[list[int], list[int]]] = {}
        last: dict[TopicPartition, int] = {}
        now_ms = self._intake.now_ms()
        for envelope in envelopes:
            if envelope.source not in read:
                read[envelope.source] = ([], [])
                self._check_place(envelope)
            last[envelope.source] = envelope.next_offset
            admitted = self._intake.admit(envelope, now_ms)
            if admitted is None:
                continue
            if isinstance(admitted, DeadLetter):
                round_.letters.append(admitted)
                continue
            offsets, times = read[envelope.source]
            offsets.append(envelope.offset)
            times.append(admitted.ts)
            rows[envelope.partition].append(len(events))
            events.append(admitted)
        self.counters.events += len(events)
        self.counters.rejected += len(round_.letters)
        if events:
            frame = self._builder.build(events)
            for number, indices in rows.items():
                self._states[number].lane.offer(frame.take(np.asarray(indices, dtype=np.int64)))
        for (topic, number), (offsets, times) in read.items():
            state = self._states[number]
            state.note(topic, offsets, times, last[topic, number])
            state.merge.saw(topic, max(times, default=None), now)
            if times and state.idle:
                state.idle = False
                round_.before.append(state.watermark(idle=False))

    def _check_place(self, envelope: Envelope) -> None:
        """Count records whose key Kafka's default partitioner would have put elsewhere (one a batch)."""
        if envelope.key is not None and partition_of(envelope.key, self._settings.partitions) != envelope.partition:
            self.counters.misplaced += 1

    def _offer_control(self, events: Sequence[ControlEvent]) -> None:
        if not events:
            return
        for state in self._states.values():
            own = self._control.of(state.partition, events)
            if own:
                state.lane.offer(self._builder.build(own))
                state.idle = state.idle and state.lane.pending == 0

    def _advance(self, state: PartitionState, now: float, round_: Round) -> None:
        self._progress(state)
        round_.ticks.extend(state.close(now))
        if state.idle or not state.merge.silent(now):
            return
        # A paused topic is not asked for news by polls, so ask before calling the partition silent.
        if not self._source.refresh_ends(state.topic_partitions):
            return
        self._progress(state)
        if state.merge.silent(now):
            round_.ticks.extend(state.flush())
            state.idle = True
            round_.after.append(state.watermark(idle=True))

    def _progress(self, state: PartitionState) -> None:
        # The consumer's own position, because it also steps over the markers of transactions.
        for partition in state.topic_partitions:
            state.merge.progress(
                partition[0], position=self._source.position(partition), end=self._source.end(partition)
            )

    def _write(self, round_: Round) -> None:
        owner = 0 in self._states
        control_letters = self._control.letters() if owner else []
        round_.letters.extend(control_letters)
        offsets: dict[TopicPartition, int] = {}
        for state in self._states.values():
            offsets.update(state.to_commit())
        if not round_ and not offsets:
            return
        committed = self._checkpoint.write(
            letters=round_.letters, before=round_.before, ticks=round_.ticks, after=round_.after, offsets=offsets
        )
        self.counters.ticks += len(round_.ticks)
        self.counters.alerts += sum(len(tick.alerts) for tick in round_.ticks)
        if control_letters:
            self.counters.rejected += len(control_letters)
            self._control.letters_written()
        if not committed:
            self.counters.refused_commits += 1
            return
        for (topic, number), offset in offsets.items():
            self._states[number].committed[topic, number] = offset

    def _pace(self, state: PartitionState, now: float) -> None:
        ahead = state.merge.ahead(state.lane.pending, now)
        if ahead != state.paused:
            self._source.pause([(topic, state.partition) for topic in ahead - state.paused])
            self._source.resume([(topic, state.partition) for topic in state.paused - ahead])
            state.paused = ahead


def status(loop: DetectLoop, *, since: Counters, seconds: float) -> dict[str, Any]:
    """The fields of a status line: rates since the last one, totals of what went wrong."""
    now = loop.counters
    return {
        "events_per_s": round((now.events - since.events) / seconds, 1) if seconds > 0 else 0.0,
        "events": now.events,
        "rejected": now.rejected,
        "ticks": now.ticks,
        "alerts": now.alerts,
        "lag": loop.lag,
        "pending": loop.pending,
        "partitions": ",".join(str(number) for number in loop.partitions),
        "misplaced": now.misplaced,
        "refused_commits": now.refused_commits,
        "dropped_control_letters": loop.dropped_control_letters,
    }
