"""One assigned partition: its lane, its reading positions and its unfinished offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from pipelines.detect.changelog import Head, extent
from pipelines.detect.checkpoint import Checkpoint, Said, note_of
from pipelines.detect.merge import PartitionMerge
from pipelines.detect.offsets import PendingOffsets
from pipelines.detect.ports import Clock, Lane, TickOutput, TopicPartition
from pipelines.detect.told import MOST_CUTS, Cut, Piece, Retelling
from schemas.deadletters import DeadLetter
from schemas.evidence import Watermark

# In a backlog a checkpoint writes much, so it comes rarely enough to take no more than this share of the time, but
# never so rarely that a crash repeats more than this.
_SHARE: Final = 0.03
_LONGEST_S: Final = 60.0
# Telling may take more of the time of a worker that is not behind by so many records; it would wait for new ones else.
_IDLE_SHARE: Final = 0.25
_BACKLOG: Final = 2_000
# Rows that wait in memory to be told.
_MOST_HELD: Final = 50_000
# Rejected records are held whole, and a producer gone wrong sends nothing else.
_MOST_LETTER_BYTES: Final = 32 * 1024 * 1024
_LETTER_OVERHEAD: Final = 1_024


class PartitionState:
    """Everything a worker holds for one partition.

    A lane lives as long as its partition stays with this worker; its state goes on in the changelog.

    Attributes:
        announced: said to be active, and not yet on the broker.
        said: what cannot be read yet. letters: what waits for the checkpoint.
        notes: what stands beside the committed offsets.
        cuts: since the last checkpoint.
        retelling: of the cuts that an earlier owner told; None once that is done.
        control_at: offset of the next control record for the lane.
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
        notes: dict[TopicPartition, str],
        began: float,
        closed: int = 0,
        cuts: Sequence[Cut] = (),
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
        self.notes = notes
        self.cuts: list[Cut] = []
        self.retelling = Retelling(cuts) if cuts else None
        self.control_at = 0
        self._told_at, self._telling_s, self._flushed = began, 0.0, False
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

    @property
    def pending(self) -> int:
        """Events that were read and are in no closed tick."""
        return self.lane.pending + (0 if self.retelling is None else self.retelling.held)

    def reject(self, letter: DeadLetter) -> None:
        """Hold a rejected record for the next checkpoint."""
        self.letters.append(letter)
        self._letter_bytes += len(letter.raw) + _LETTER_OVERHEAD

    def close(self, now: float) -> None:
        """Close the ticks that the watermark has passed."""
        watermark = self.merge.watermark(now)
        outputs = [] if watermark is None else list(self.lane.close_until(watermark))
        self._finish(outputs)
        if outputs:
            positions = {topic: pending.position for topic, pending in self.offsets.items()}
            self.cuts.append(Cut(self.closed, positions, self.control_at))
            self._say(outputs)

    def next_offset(self, topic: str) -> int:
        """Where reading of a topic goes on."""
        given = self.offsets[topic].position
        return given if self.retelling is None else max(given, self.retelling.read.get(topic, given))

    def next_cut(self) -> Cut | None:
        """Give the lane what was in the next cut that an earlier owner told; None while that is not read whole.

        Once none is left, the rest is given to the lane, and the partition goes on as any other.
        """
        if self.retelling is None:
            return None
        due = self.retelling.due({topic: reader.position for topic, reader in self.merge.readers.items()})
        if due is not None:
            self._give(due[1])
            return due[0]
        if not self.retelling.cuts:
            self.end_retelling()
        return None

    def close_again(self, cut: Cut) -> None:
        """Close the ticks of a cut once more; what they say was told."""
        self._finish(list(self.lane.close_until(cut.closed)))
        self.cuts.append(cut)

    def end_retelling(self) -> None:
        """Go on behind the cuts that were told, or behind those of them that could be read again."""
        if self.retelling is not None:
            self._give(self.retelling.rest())
            self.retelling = None

    def _give(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if piece.frame is not None:
                self.lane.offer(piece.frame)
            self.offsets[piece.topic].read(piece.offsets, piece.times, piece.position)

    def flush(self) -> None:
        """Close all ticks; the partition is caught up and silent."""
        outputs = list(self.lane.flush())
        self._finish(outputs)
        self._say(outputs)
        # No cut of the input makes a lane say this again, so only a checkpoint can tell it.
        self.idle = self._flushed = True
        self.said.append(Watermark(source=self.partition, ts=self.closed, idle=True))

    def activate(self) -> None:
        """Say that the campaign stage has to wait for this source from now on."""
        self.idle = False
        told = self.retelling.cuts[-1].closed if self.retelling is not None else self.closed
        watermark = Watermark(source=self.partition, ts=told)
        if self.said:
            self.said.append(watermark)
        else:
            self.announced = watermark

    def _finish(self, outputs: Sequence[TickOutput]) -> None:
        self._changed = self._changed or bool(outputs)
        before = self.closed
        self.closed = max([before, *(output.tick for output in outputs)])
        for pending in self.offsets.values():
            # With nothing pending even a record that came too late for its tick is done with.
            if self.lane.pending == 0:
                pending.close_all()
            elif self.closed > before:
                pending.close(self.closed)

    def _say(self, outputs: Sequence[TickOutput]) -> None:
        self.said += outputs
        self._held += sum(len(o.evidence) + len(o.signals) + len(o.alerts) + len(o.activity) for o in outputs)

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
        """Is it time for a checkpoint? At once where there was none, and where nothing more is to come.

        Args:
            now: steady clock, seconds.
            every_s: at most one in this time; 0 for one after every tick, whatever that takes.
            partitions: that share the worker's time.
        """
        if self.retelling is not None or not self.unwritten:
            return False
        wait = max(every_s, min(self._took_s * partitions / _SHARE, _LONGEST_S)) if every_s else 0.0
        full = (
            len(self.cuts) >= MOST_CUTS
            or (self._held >= _MOST_HELD and not self._can_tell)
            or len(self.letters) >= _MOST_HELD
            or self._letter_bytes >= _MOST_LETTER_BYTES
        )
        # Nothing can be told before there is a state for it to stand on.
        first = bool(self.said) and not self._has_base
        return self.idle or self._flushed or first or full or now - self._written_at >= wait

    def is_tellable(self, now: float, partitions: int) -> bool:
        """Can results become readable before the next checkpoint, and is there time for that?"""
        if self.retelling is not None or not self.said or not self._can_tell:
            return False
        share = _SHARE if self.merge.behind > _BACKLOG else _IDLE_SHARE
        return self._held >= _MOST_HELD or now - self._told_at >= self._telling_s * partitions / share

    @property
    def _has_base(self) -> bool:
        # What was told stands beside an offset; a partition that was empty at first has a state and no offset.
        return self.checkpoint.based and any(offset is not None for offset in self.committed.values())

    @property
    def _can_tell(self) -> bool:
        return self._has_base and not self._flushed and len(self.cuts) < MOST_CUTS

    def tell(self, steady: Clock) -> bool:
        """Make what is said readable on top of the last checkpoint; False where the group takes no offsets now."""
        began = steady()
        known = [(one, offset) for one, offset in sorted(self.committed.items()) if offset is not None]
        if not self.checkpoint.tell(self.said, self.cuts, dict(known[:1])):
            self._changed = True  # see `write`
            return False
        self.notes[known[0][0]] = note_of(self.cuts)
        self.said, self._held = [], 0
        self._told_at, self._telling_s = began, steady() - began
        return True

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
            self.letters, self.said, self.cuts, self._held, self._flushed = [], [], [], 0, False
            self._letter_bytes = 0
            self.committed.update(offsets)
            self.notes.update(dict.fromkeys(offsets, ""))
            self._written_at, self._changed = began, False
            self._took_s = steady() - began
        else:
            # A client that took its place writes the whole state first.
            self._changed = True
        return written
