"""Which offsets may be committed: never one past a record whose tick is still open."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from pipelines.detect.changelog import TopicProgress

Longs = npt.NDArray[np.int64]


class PendingOffsets:
    """Unfinished records of one topic-partition, in the order of their offsets.

    Only records in open ticks are held, so the memory is bounded by the lane's pending events (16 bytes
    each).
    """

    def __init__(self, position: int, *, known: TopicProgress | None = None) -> None:
        """`position`: offset of the next record to read; `known`: what a state that was taken over has of it."""
        self.start = position
        self.position = position
        self._known_end = position if known is None else known.position
        self._waiting = frozenset() if known is None else frozenset(known.waiting)
        self._unfinished: deque[tuple[Longs, Longs]] = deque()

    def is_known(self, offset: int) -> bool:
        """Is a record that is read again in the state already, or rejected already?"""
        return offset < self._known_end and offset not in self._waiting

    def progress(self, newest: int | None) -> TopicProgress:
        """For a state that is taken now; `newest`: greatest event time read."""
        # What was not read again yet is still as the state had it that was taken over.
        unread = [offset for offset in self._waiting if offset >= self.position]
        waiting = [offset for offsets, _ in self._unfinished for offset in offsets.tolist()]
        return TopicProgress(self.committable, max(self.position, self._known_end), sorted([*waiting, *unread]), newest)

    def read(self, offsets: Longs, times: Longs, position: int) -> None:
        """Take note of records that were offered to a lane.

        Args:
            offsets: ascending offsets of the records that wait for their tick; rejected ones are not among them.
            times: their event times, epoch ms, same shape.
            position: offset after the last record read, rejected or not.
        """
        if len(offsets):
            self._unfinished.append((offsets, times))
        self.position = position

    def close(self, tick: int) -> None:
        """Every tick that ends at or before `tick` is closed: records before it are finished."""
        still: deque[tuple[Longs, Longs]] = deque()
        for offsets, times in self._unfinished:
            keep = times >= tick
            if keep.all():
                still.append((offsets, times))
            elif keep.any():
                still.append((offsets[keep], times[keep]))
        self._unfinished = still

    def close_all(self) -> None:
        """The lane has no open tick: every record is finished."""
        self._unfinished.clear()

    @property
    def committable(self) -> int:
        """The lowest unfinished offset, or the position where nothing is unfinished."""
        if self._unfinished:
            return int(self._unfinished[0][0][0])
        return self.position

    @property
    def unfinished(self) -> int:
        """Records that wait for their tick."""
        return sum(len(offsets) for offsets, _ in self._unfinished)
