"""The detect loop: poll, decode, features once, lanes, ticks, checkpoint. One thread, no broker in sight.

How far a restart goes back: to the last checkpoint. Whoever is given a partition takes its lane's state from the
changelog and reads on at the offsets committed with it, which lie at the oldest open tick; what was read and is in
the state already is passed over. Results are told between checkpoints as well (:mod:`pipelines.detect.told`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipelines.detect.checkpoint import Checkpoint
from pipelines.detect.control import Control
from pipelines.detect.intake import Intake
from pipelines.detect.merge import same_partition
from pipelines.detect.ports import (
    Change,
    Changelog,
    Clock,
    Envelope,
    FrameBuilder,
    Lane,
    Source,
    TopicPartition,
)
from pipelines.detect.state import PartitionState
from pipelines.detect.takeover import Takeover
from pipelines.detect.tallies import Counters, Tallies
from pipelines.detect.told import Piece
from pipelines.errors import Failure
from pipelines.kafka_io import partition_of
from pipelines.settings import StreamSettings
from schemas.deadletters import DeadLetter
from schemas.events import Event
from schemas.evidence import Watermark

# A quiet worker wakes this often: often enough to close idle partitions in time.
_POLL_MS: Final = 100
_CONTROL_EVERY_S: Final = 0.2
# A group may hand out nothing in its first round, before its leader has seen the topics' partitions.
_NO_SHARE_S: Final = 5.0


class DetectLoop:
    """Drives the lanes of the partitions that the group assigns to this worker.

    Args:
        source: consumer of the account topics.
        control: the control topic.
        intake: decoder; its roles name the account topics and the control topic.
        topics: names of the account topics; a worker must own the same partitions of each.
        builder: features, once a poll for all lanes.
        new_lane: makes the lane of a partition.
        changelog: state as it was, and where state, ticks and letters go.
        config: version of what decides.
        settings: idle time, skew, bounds.
        steady: a clock that never goes back, seconds.
        log: a structlog logger.
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
        changelog: Changelog,
        config: str,
        settings: StreamSettings,
        steady: Clock,
        log: Any,
    ) -> None:
        self._source = source
        self._control = control
        self._intake = intake
        self._topics = frozenset(topics)
        self._builder = builder
        self._changelog = changelog
        self._config = config
        self._log = log
        self._settings = settings
        self._steady = steady
        self._states: dict[int, PartitionState] = {}
        self._suspended: dict[int, PartitionState] = {}
        self._assigned_at: float | None = None
        self._control_at = 0.0
        self._started = False
        self.counters = Counters()
        self.tallies = Tallies()
        self._takeover = Takeover(
            source=source,
            topics=self._topics,
            new_lane=new_lane,
            settings=settings,
            steady=steady,
            log=log,
            counters=self.counters,
            tallies=self.tallies,
        )

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
        firsts: dict[TopicPartition, int] = {}
        for envelope in envelopes:
            firsts.setdefault(envelope.source, envelope.offset)
        dropped: set[TopicPartition] = set()
        for change in self._source.changes():
            dropped = self._apply(change, firsts)
        taken = [one for one in envelopes if one.partition in self._states and one.source not in dropped]
        self._take(taken, now)
        if now - self._control_at >= _CONTROL_EVERY_S:
            self._control_at = now
            self._control.poll()
            for state in self._states.values():
                if state.retelling is None:
                    self._offer_control(state, self._control.position)
        for state in self._states.values():
            self._advance(state, now)
        self._write(now)
        for state in self._states.values():
            self._pace(state, now)

    def finish(self) -> None:
        """Write what waits for its checkpoint."""
        self._write(self._steady(), at_once=True)

    def close(self) -> None:
        """Give all partitions up."""
        for state in (*self._states.values(), *self._suspended.values()):
            state.checkpoint.close()

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
        return all(state.merge.behind == 0 and not state.unwritten for state in self._states.values())

    @property
    def lag(self) -> int:
        """Records on the broker that are not read yet."""
        return sum(state.merge.behind for state in self._states.values())

    @property
    def pending(self) -> int:
        """Events in open ticks."""
        return sum(state.pending for state in self._states.values())

    @property
    def shares(self) -> list[PartitionState]:
        """The partitions held, in order; to look at."""
        return [self._states[number] for number in self.partitions]

    @property
    def waits_for(self) -> str | None:
        """What is missing before the worker does its work; None where nothing is. A held state is a restored one."""
        if self._suspended:
            return "a rebalance is under way"
        return None if self._states else "no partition is assigned"

    @property
    def dropped_control_letters(self) -> int:
        """Rejected control records that this worker had no room to keep."""
        return self._control.dropped_letters

    @property
    def partitions(self) -> list[int]:
        """Assigned partitions."""
        return sorted(self._states)

    def _apply(self, change: Change, firsts: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """Follow a rebalance; returns where the records of this poll are not the ones to go on with.

        `firsts`: offsets of the first records of this poll, which was made under the newest assignment.
        """
        numbers = {partition for _, partition in change.partitions}
        if change.kind == "lost":
            for number in numbers:
                for held in (self._states, self._suspended):
                    if number in held:
                        held.pop(number).checkpoint.close()
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
        # First of all, end what earlier owners have under way: no offset is told while it may still change.
        opened: dict[int, Checkpoint] = {}
        for number in sorted(numbers):
            if number in self._suspended:
                self._suspended[number].reopen()
            else:
                opened[number] = Checkpoint(self._changelog, number, self._config)
        for number in sorted(numbers):
            kept = self._suspended.pop(number, None)
            if kept is not None and self._is_as_left(kept):
                state = kept
            else:
                # Somebody else has read on in between, or this is the first time.
                state = self._start(number, firsts, opened[number] if kept is None else kept.checkpoint)
            self._states[number] = state
            for partition in state.topic_partitions:
                if not self._read_from(partition, state.next_offset(partition[0]), firsts):
                    dropped.add(partition)
        for gone in self._suspended.values():
            gone.checkpoint.close()
        self._suspended.clear()
        return dropped

    def _is_as_left(self, kept: PartitionState) -> bool:
        committed = self._source.committed(kept.topic_partitions)
        return committed == kept.committed and self._source.notes(kept.topic_partitions) == kept.notes

    def _start(self, number: int, firsts: Mapping[TopicPartition, int], checkpoint: Checkpoint) -> PartitionState:
        state = self._takeover.start(number, checkpoint, lambda one: self._next_read(one, firsts))
        first = state.retelling.cuts[0].control if state.retelling is not None else self._control.position
        self._offer_control(state, first)
        state.activate()
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

    def _take(self, envelopes: Sequence[Envelope], now: float) -> None:
        events: list[Event] = []
        read: dict[TopicPartition, tuple[list[int], list[int], list[int]]] = {}
        last: dict[TopicPartition, int] = {}
        now_ms = self._intake.now_ms()
        for envelope in envelopes:
            if envelope.source not in read:
                read[envelope.source] = ([], [], [])
                self._check_place(envelope)
            last[envelope.source] = envelope.next_offset
            state = self._states[envelope.partition]
            if state.offsets[envelope.topic].is_known(envelope.offset):
                continue
            admitted = self._intake.admit(envelope, now_ms)
            if admitted is None:
                continue
            if isinstance(admitted, DeadLetter):
                state.reject(admitted)
                self.counters.rejected += 1
                self.tallies.rejected[admitted.reason] += 1
                continue
            offsets, times, rows = read[envelope.source]
            offsets.append(envelope.offset)
            times.append(admitted.ts)
            rows.append(len(events))
            events.append(admitted)
        self.counters.events += len(events)
        frame = self._builder.build(events) if events else None
        together: dict[int, list[int]] = defaultdict(list)
        for (topic, number), (offsets, times, rows) in read.items():
            state = self._states[number]
            if state.retelling is None:
                state.note(topic, offsets, times, last[topic, number])
                together[number] += rows
            else:
                state.retelling.take(_piece(topic, offsets, times, last[topic, number], frame, rows))
            state.merge.saw(topic, times, now)
            self.tallies.events[topic] += len(times)
            if times and state.idle:
                state.activate()
        for number, rows in together.items():
            if rows and frame is not None:
                self._states[number].lane.offer(frame.take(np.asarray(rows, dtype=np.int64)))

    def _check_place(self, envelope: Envelope) -> None:
        """Count records whose key Kafka's default partitioner would have put elsewhere (one a batch)."""
        if envelope.key is not None and partition_of(envelope.key, self._settings.partitions) != envelope.partition:
            self.counters.misplaced += 1

    def _offer_control(self, state: PartitionState, end: int) -> None:
        """Give a lane the control events before an offset that it does not have yet."""
        events = self._control.between(state.partition, state.control_at, end)
        state.control_at = end
        if events:
            state.lane.offer(self._builder.build(events))
            state.idle = state.idle and state.lane.pending == 0

    def _retell(self, state: PartitionState, now: float) -> bool:
        """Go on with what an earlier owner told; False where more of it has to be read first."""
        while (cut := state.next_cut()) is not None:
            self._offer_control(state, cut.control)
            state.close_again(cut)
        if state.retelling is None:
            self._offer_control(state, self._control.position)
            return True
        if state.merge.silent(now) and self._source.refresh_ends(state.topic_partitions):
            self._progress(state)
            if state.merge.silent(now):
                # Deleted in the meantime, say. What is left of it comes once more.
                self._log.error("what was told cannot be read again whole", partition=state.partition)
                state.end_retelling()
        return False

    def _advance(self, state: PartitionState, now: float) -> None:
        self._progress(state)
        if state.retelling is not None and not self._retell(state, now):
            return
        state.close(now)
        if state.idle or not state.merge.silent(now):
            return
        # A paused topic is not asked for news by polls, so ask before calling the partition silent.
        if not self._source.refresh_ends(state.topic_partitions):
            return
        self._progress(state)
        if state.merge.silent(now):
            state.flush()

    def _progress(self, state: PartitionState) -> None:
        # The consumer's own position, because it also steps over the markers of transactions.
        for partition in state.topic_partitions:
            state.merge.progress(
                partition[0], position=self._source.position(partition), end=self._source.end(partition)
            )

    def _write(self, now: float, *, at_once: bool = False) -> None:
        """Checkpoint the partitions that are due, once the campaign stage knows of all of them."""
        waiting = [state for state in self._states.values() if state.announced is not None]
        announced = [state.announce() for state in self._states.values()]
        self.tallies.evidence += sum(state.announced is None for state in waiting)
        if not all(announced):
            self.counters.refused_commits += 1
            return
        every_s = self._settings.checkpoint_ms / 1000
        for number, state in self._states.items():
            if state.retelling is not None:
                continue
            control = self._control.letters() if number == 0 else []
            due = state.unwritten if at_once else state.is_due(now, every_s, len(self._states))
            ticks = [one for one in state.said if not isinstance(one, Watermark)]
            marks, began = len(state.said) - len(ticks), self._steady()
            if control or due:
                done = state.write(self._steady, control)
            elif state.is_tellable(now, len(self._states)):
                done = state.tell(self._steady)
            else:
                continue
            if not done:
                self.counters.refused_commits += 1
                continue
            self.counters.ticks += len(ticks)
            self.counters.alerts += sum(len(tick.alerts) for tick in ticks)
            if not (control or due):
                self.tallies.told(ticks, marks)
                continue
            self.tallies.wrote(ticks, marks, state.checkpoint.wrote, self._steady() - began)
            if control:
                self.tallies.reject(control)
                self.counters.rejected += len(control)
                self._control.letters_written()

    def _pace(self, state: PartitionState, now: float) -> None:
        ahead = state.merge.ahead(state.pending, now)
        if ahead != state.paused:
            self._source.pause([(topic, state.partition) for topic in ahead - state.paused])
            self._source.resume([(topic, state.partition) for topic in state.paused - ahead])
            state.paused = ahead


def _piece(
    topic: str, offsets: Sequence[int], times: Sequence[int], position: int, frame: Any, rows: Sequence[int]
) -> Piece:
    place = np.asarray(rows, dtype=np.int64)
    return Piece(
        topic,
        np.asarray(offsets, dtype=np.int64),
        np.asarray(times, dtype=np.int64),
        position,
        frame.take(place) if rows else None,
    )
