"""Taking a partition over: its lane as the last checkpoint left it, where reading goes on, and what was told since."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.detect.changelog import Head
from pipelines.detect.checkpoint import Checkpoint
from pipelines.detect.merge import PartitionMerge, TopicReader
from pipelines.detect.offsets import PendingOffsets
from pipelines.detect.ports import Clock, Lane, Source, TopicPartition
from pipelines.detect.state import PartitionState
from pipelines.detect.tallies import Counters, Tallies
from pipelines.detect.told import Cut
from pipelines.detect.topic_clock import jump_ms
from pipelines.settings import StreamSettings


class Takeover:
    """Makes the state of a partition that was assigned.

    Args: as :class:`pipelines.detect.loop.DetectLoop` has them; `counters` and `tallies` are the loop's own.
    """

    def __init__(
        self,
        *,
        source: Source,
        topics: frozenset[str],
        new_lane: Callable[[int], Lane],
        settings: StreamSettings,
        steady: Clock,
        log: Any,
        counters: Counters,
        tallies: Tallies,
    ) -> None:
        self._source = source
        self._topics = topics
        self._new_lane = new_lane
        self._settings = settings
        self._steady = steady
        self._log = log
        self._counters = counters
        self._tallies = tallies

    def start(self, number: int, checkpoint: Checkpoint, next_read: Callable[[TopicPartition], int]) -> PartitionState:
        """The partition, ready to be read on.

        Args:
            number: of the partition.
            checkpoint: open, so nothing of an earlier owner is under way.
            next_read: where reading stands, for topics without a committed offset.
        """
        partitions = [(topic, number) for topic in sorted(self._topics)]
        committed = self._source.committed(partitions)
        lane, head, cuts = self._lane(number, checkpoint, {topic: committed[topic, number] for topic in self._topics})
        known_ends = self._source.refresh_ends(partitions)
        closed = 0 if head is None else head.closed
        readers, offsets = {}, {}
        jump = jump_ms(self._settings.max_jump_ms, self._settings.idle_close_ms)
        for partition in partitions:
            known = None if head is None else head.topics.get(partition[0])
            position = committed[partition]
            if position is None:
                position = next_read(partition)
            end = self._source.end(partition)
            reader = readers[partition[0]] = TopicReader(position=position, end=end, max_jump_ms=jump)
            offsets[partition[0]] = PendingOffsets(position, known=known)
            if known is not None and known.newest is not None:
                # As if it had been read just now, so that it holds the watermark for the idle time. What waits for
                # its tick is read again, so the topic has shown no time behind the last closed tick.
                reader.clock.resume(min(known.newest, closed) if closed else None)
                reader.last_read = self._steady()
        if cuts and not _can_be_read(cuts[-1], readers, ends_are_known=known_ends):
            self._log.error("what was told cannot be read again, and is told anew", partition=number)
            cuts = []
        merge = PartitionMerge(
            readers,
            idle_close_s=self._settings.idle_close_ms / 1000,
            max_skew_ms=self._settings.max_skew_ms,
            max_pending=self._settings.max_pending_events,
        )
        return PartitionState(
            number,
            lane,
            merge,
            offsets,
            committed,
            checkpoint,
            notes=self._source.notes(partitions),
            began=self._steady(),
            closed=closed,
            cuts=cuts,
        )

    def _lane(
        self, number: int, checkpoint: Checkpoint, committed: Mapping[str, int | None]
    ) -> tuple[Lane, Head | None, list[Cut]]:
        """The lane of a partition with the state of its last checkpoint, or a fresh one; and what was told since."""
        lane, began = self._new_lane(number), self._steady()
        self._log.info("reading the state of a partition", partition=number)
        restored = checkpoint.restore(lane, committed)
        facts = {"partition": number, "records": restored.records, "bytes": restored.bytes}
        if restored.damage is not None:
            self._counters.lost_states += 1
            self._log.error("the state cannot be used; the partition starts without one", why=restored.damage, **facts)
            return self._new_lane(number), None, []
        seconds = self._steady() - began
        self._tallies.restored(restored.records, restored.bytes, seconds)
        self._log.info("state taken over", seconds=round(seconds, 3), told=len(restored.cuts), **facts)
        return lane, restored.head, restored.cuts


def _can_be_read(cut: Cut, readers: Mapping[str, TopicReader], *, ends_are_known: bool) -> bool:
    """Are the topics of a cut still those of the partition, and as long as they were?"""
    if not cut.positions.keys() <= readers.keys():
        return False
    return not ends_are_known or all(at <= readers[topic].end for topic, at in cut.positions.items())
