"""Merging the topics of one partition by event time: watermark, skew and silence.

A topic *holds* the watermark while it has records that were not read yet, or was read within the last
`idle_close` seconds of wall clock. The watermark is the least newest event time of the topics that hold:
with records in order of time within each topic nothing read later can be older. A topic that is caught up
and silent holds nobody up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipelines.detect.topic_clock import TopicClock


class TopicReader:
    """How far one topic of a partition has been read."""

    def __init__(self, *, position: int, end: int, max_jump_ms: int = 120_000) -> None:
        self.position = position
        self.end = end
        self.clock = TopicClock(max_jump_ms)
        self.last_read: float | None = None

    @property
    def newest(self) -> int | None:
        """Event time reached, epoch ms; None before the first record."""
        return self.clock.newest

    @property
    def behind(self) -> int:
        """Records known to be on the broker and not read yet."""
        return max(self.end - self.position, 0)


class PartitionMerge:
    """The topics of one partition.

    Args:
        readers: one reader a topic.
        idle_close_s: wall-clock seconds after which a caught-up topic counts as silent.
        max_skew_ms: event time that a topic may run ahead of the watermark.
        max_pending: events in open ticks above which only the topics that lag are read.
    """

    def __init__(
        self, readers: dict[str, TopicReader], *, idle_close_s: float, max_skew_ms: int, max_pending: int
    ) -> None:
        self.readers = readers
        self._idle_close_s = idle_close_s
        self._max_skew_ms = max_skew_ms
        self._max_pending = max_pending

    def saw(self, topic: str, times: Sequence[int], now: float) -> None:
        """Records of `topic` were read at `now` (steady clock); `times` of those that were not rejected."""
        reader = self.readers[topic]
        reader.last_read = now
        reader.clock.saw(times)

    def progress(self, topic: str, *, position: int, end: int) -> None:
        """Where reading stands."""
        reader = self.readers[topic]
        reader.position = position
        reader.end = max(end, position)

    def watermark(self, now: float) -> int | None:
        """Event time up to which nothing older is expected; None while a holding topic has not shown one."""
        newest = [reader.newest for reader in self.readers.values() if self._holds(reader, now)]
        known = [ts for ts in newest if ts is not None]
        if not known or len(known) < len(newest):
            return None
        return min(known)

    def _holds(self, reader: TopicReader, now: float) -> bool:
        if reader.behind > 0:
            return True
        if reader.last_read is None or now - reader.last_read >= self._idle_close_s:
            return False
        # Caught up with nothing but rejected records: there is no time to wait for.
        return reader.newest is not None

    def silent(self, now: float) -> bool:
        """Every topic is caught up and was silent for the idle time."""
        return not any(
            reader.behind > 0 or (reader.last_read is not None and now - reader.last_read < self._idle_close_s)
            for reader in self.readers.values()
        )

    def ahead(self, pending: int, now: float) -> set[str]:
        """Topics to pause: too far ahead in event time, or ahead at all while too much is pending.

        The topic with the least time is never among them, so the watermark always gets on.
        """
        watermark = self.watermark(now)
        if watermark is not None:
            limit = watermark if pending > self._max_pending else watermark + self._max_skew_ms
            return {
                name for name, reader in self.readers.items() if reader.newest is not None and reader.newest > limit
            }
        if pending > self._max_pending and any(
            reader.behind > 0 and reader.newest is None for reader in self.readers.values()
        ):
            return {name for name, reader in self.readers.items() if reader.newest is not None}
        return set()

    @property
    def behind(self) -> int:
        """Records known to be on the broker and not read yet, over all topics."""
        return sum(reader.behind for reader in self.readers.values())


def same_partition(partitions: Iterable[tuple[str, int]], topics: frozenset[str]) -> dict[int, frozenset[str]]:
    """Partitions that lack one of `topics`, with what they have; empty where the assignment is whole.

    >>> same_partition([("a", 0), ("b", 0), ("a", 1)], frozenset({"a", "b"}))
    {1: frozenset({'a'})}
    """
    have: dict[int, set[str]] = {}
    for topic, partition in partitions:
        have.setdefault(partition, set()).add(topic)
    return {partition: frozenset(names) for partition, names in have.items() if names != topics}
