"""One assigned partition: its lane, its reading positions and its unfinished offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from pipelines.detect.changelog import Head, extent
from pipelines.detect.checkpoint import Checkpoint, Said
from pipelines.detect.merge import PartitionMerge
from pipelines.detect.offsets import PendingOffsets
from pipelines.detect.ports import Clock, Lane, TickOutput, TopicPartition
from schemas.deadletters import DeadLetter
from schemas.evidence import Watermark

# In a backlog a checkpoint writes much, so it comes rarely enough to take no more than this share of the time, but
# never so rarely that alerts wait for longer than this, nor that more than so many rows wait for it in memory.
_SHARE: Final = 0.03
_LONGEST_S: Final = 60.0
_MOST_HELD: Final = 50_000
# Rejected records are held whole, and a producer gone wrong sends nothing else.
_MOST_LETTER_BYTES: Final = 32 * 1024 * 1024
_LETTER_OVERHEAD: Final = 1_024


class PartitionState:
    """Everything a worker holds for one partition.

    A lane lives as long as its partition stays with this worker; its state goes on in the changelog.

    Attributes:
        announced: said to be active, and not yet on the broker. said, letters: what waits for the checkpoint.
    """

    def __init__(
        self,
        partition: int,
        lane: Lane,
        merge: PartitionMerge,
        offsets: dict[str, PendingOffsets],
        committed: dict[TopicPartition, int | None],
        checkpoint: Checkpoint,
        *,
        began: float,
        closed: int = 0,
    ) -> None:
        self.partition = partition
        self.lane = lane
        self.merge = merge
        self.offsets = offsets
        self.committed = committed
        self.closed = closed
        self.idle = False
        self.checkpoint = checkpoint
        self.announced: Watermark | None = None
        self.said: list[Said] = []
        self.letters: list[DeadLetter] = []
        # What was taken over is what the last checkpoint had.
        self._written_at = began
        self._took_s = 0.0
        self._held = 0
        self._letter_bytes = 0
        self._changed = True
        self._extent: dict[str, tuple[int, int]] = {}
        self.paused: set[str] = set()

    @property
    def topic_partitions(self) -> list[TopicPartition]:
        """The topics of this partition."""
        return [(topic, self.partition) for topic in self.offsets]

    def note(self, topic: str, offsets: Sequence[int], times: Sequence[int], next_offset: int) -> None:
        """Note what was read of `topic`: records that were offered to the lane, and where reading stands."""
        self.offsets[topic].read(np.asarray(offsets, dtype=np.int64), np.asarray(times, dtype=np.int64), next_offset)

    def reject(self, letter: DeadLetter) -> None:
        """Hold a rejected record for the next checkpoint."""
        self.letters.append(letter)
        self._letter_bytes += len(letter.raw) + _LETTER_OVERHEAD

    def close(self, now: float) -> None:
        """Close the ticks that the watermark has passed."""
        watermark = self.merge.watermark(now)
        if watermark is not None:
            self._finish(list(self.lane.close_until(watermark)))

    def flush(self) -> None:
        """Close all ticks; the partition is caught up and silent."""
        self._finish(list(self.lane.flush()))
        self.idle = True
        self.said.append(Watermark(source=self.partition, ts=self.closed, idle=True))

    def activate(self) -> None:
        """Say that the campaign stage has to wait for this source from now on."""
        self.idle = False
        watermark = Watermark(source=self.partition, ts=self.closed)
        if self.said:
            self.said.append(watermark)
        else:
            self.announced = watermark

    def _finish(self, outputs: Sequence[TickOutput]) -> None:
        self._changed = self._changed or bool(outputs)
        before = self.closed
        self.said += outputs
        self._held += sum(len(o.evidence) + len(o.signals) + len(o.alerts) + len(o.activity) for o in outputs)
        self.closed = max([before, *(output.tick for output in outputs)])
        for pending in self.offsets.values():
            # With nothing pending even a record that came too late for its tick is done with.
            if self.lane.pending == 0:
                pending.close_all()
            elif self.closed > before:
                pending.close(self.closed)

    def to_commit(self) -> dict[TopicPartition, int]:
        """Offsets that may be committed and were not yet."""
        offsets = {}
        for topic, pending in self.offsets.items():
            committed = self.committed[topic, self.partition]
            known = pending.start if committed is None else committed
            if pending.committable != known:
                offsets[topic, self.partition] = pending.committable
        return offsets

    def reopen(self) -> None:
        """The partition stays, after a rebalance in which others may have had it."""
        self.checkpoint.reopen()
        self.paused = set()
        self._changed = True

    @property
    def unwritten(self) -> bool:
        """Is there anything for a checkpoint?"""
        return bool(self.said or self.letters or self.to_commit())

    def is_due(self, now: float, every_s: float, partitions: int) -> bool:
        """Is it time for a checkpoint? At once where nothing more is to come.

        Args:
            now: steady clock, seconds.
            every_s: at most one in this time; 0 for one after every tick, whatever that takes.
            partitions: that share the worker's time.
        """
        if not self.unwritten:
            return False
        wait = max(every_s, min(self._took_s * partitions / _SHARE, _LONGEST_S)) if every_s else 0.0
        full = self._held + len(self.letters) >= _MOST_HELD or self._letter_bytes >= _MOST_LETTER_BYTES
        return self.idle or full or now - self._written_at >= wait

    def announce(self) -> bool:
        """Send what :meth:`activate` has to say; False where that did not work yet."""
        if self.announced is None:
            return True
        if not self.checkpoint.announce(self.announced):
            self._changed = True  # see `write`
            return False
        self.announced = None
        return True

    def write(self, steady: Clock, more_letters: Sequence[DeadLetter] = ()) -> bool:
        """Make everything durable, further letters too; False where the group takes no offsets now."""
        began = steady()
        offsets = self.to_commit()
        topics = {topic: pending.progress(self.merge.readers[topic].newest) for topic, pending in self.offsets.items()}
        parts = self.lane.parts() if self._changed else None
        if parts is not None:
            self._extent = extent(parts)
        written = self.checkpoint.write(
            letters=[*self.letters, *more_letters],
            said=self.said,
            head=Head(self.checkpoint.group, self.lane.layout, self.closed, topics, self._extent),
            parts=parts,
            offsets=offsets,
        )
        if written:
            self.letters, self.said, self._held, self._letter_bytes = [], [], 0, 0
            self.committed.update(offsets)
            self._written_at, self._changed = began, False
            self._took_s = steady() - began
        else:
            # A client that took its place writes the whole state first.
            self._changed = True
        return written
