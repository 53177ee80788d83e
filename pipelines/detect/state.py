"""One assigned partition: its lane, its reading positions and its unfinished offsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.detect.merge import PartitionMerge
from pipelines.detect.offsets import PendingOffsets
from pipelines.detect.ports import Lane, TickOutput, TopicPartition
from schemas.evidence import Watermark


class PartitionState:
    """Everything a worker holds for one partition.

    A lane lives as long as its partition stays with this worker. A lane that starts at committed offsets
    does not know what came before them: durable lane snapshots are the business of the state changelog.
    """

    def __init__(
        self,
        partition: int,
        lane: Lane,
        merge: PartitionMerge,
        offsets: dict[str, PendingOffsets],
        committed: dict[TopicPartition, int | None],
    ) -> None:
        self.partition = partition
        self.lane = lane
        self.merge = merge
        self.offsets = offsets
        self.committed = committed
        self.closed = 0
        self.idle = False
        self.paused: set[str] = set()

    @property
    def topic_partitions(self) -> list[TopicPartition]:
        """The topics of this partition."""
        return [(topic, self.partition) for topic in self.offsets]

    def note(self, topic: str, offsets: Sequence[int], times: Sequence[int], next_offset: int) -> None:
        """Note what was read of `topic`: records that were offered to the lane, and where reading stands."""
        self.offsets[topic].read(np.asarray(offsets, dtype=np.int64), np.asarray(times, dtype=np.int64), next_offset)

    def close(self, now: float) -> list[TickOutput]:
        """Close the ticks that the watermark has passed."""
        watermark = self.merge.watermark(now)
        outputs = [] if watermark is None else list(self.lane.close_until(watermark))
        self._finish(outputs)
        return outputs

    def flush(self) -> list[TickOutput]:
        """Close all ticks; the partition is caught up and silent."""
        outputs = list(self.lane.flush())
        self._finish(outputs)
        return outputs

    def _finish(self, outputs: Sequence[TickOutput]) -> None:
        before = self.closed
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

    def watermark(self, *, idle: bool) -> Watermark:
        """What the campaign stage is told of this partition beside its ticks."""
        return Watermark(source=self.partition, ts=self.closed, idle=idle)
