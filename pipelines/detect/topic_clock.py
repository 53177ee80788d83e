"""How far a topic has come in event time, whatever a few records with a wrong clock say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# A clock is believed once half of so many records in a row agree with it. With one record in ten wrong that happens
# once in 10^13 polls; with 16 records it would be once an hour.
_RECENT: Final = 64


def jump_ms(wanted_ms: int, idle_close_ms: int) -> int:
    """How far ahead a record may be: as wanted, but not less than what a slow topic needs.

    Half of the latest 64 records of a topic that is never silent for `idle_close_ms` span less than 32 times that, so
    with this its median is never so far behind that its own newest record is not believed.

    >>> jump_ms(120_000, 2_000), jump_ms(120_000, 10_000)
    (120000, 320000)
    """
    return max(wanted_ms, _RECENT // 2 * idle_close_ms)


class TopicClock:
    """Event time that one topic of a partition has reached.

    That is the greatest time of its records, but of those only that lie at most `max_jump_ms` ahead of the median of
    the latest 64. One record from tomorrow would otherwise close all ticks until tomorrow, and every other event
    would be late. After a pause of the topic itself the median follows within 32 records. To believe too little is
    safe: a tick closes later, with the same events in it.

    Attributes:
        newest: epoch ms; None before the first record. It never goes back.

    >>> clock = TopicClock(60_000)
    >>> clock.saw([1_000, 2_000, 90_000_000, 3_000])
    >>> clock.newest
    3000
    """

    def __init__(self, max_jump_ms: int) -> None:
        self.newest: int | None = None
        self._max_jump_ms = max_jump_ms
        self._recent: list[int] = []

    def saw(self, times: Sequence[int]) -> None:
        """Records were read, in this order."""
        if not times:
            return
        self._recent = [*self._recent, *times[-_RECENT:]][-_RECENT:]
        limit = sorted(self._recent)[(len(self._recent) - 1) // 2] + self._max_jump_ms
        newest: int | None = max(times)
        if newest is not None and newest > limit:
            newest = max((ts for ts in times if ts <= limit), default=None)
        if newest is not None:
            self.newest = newest if self.newest is None else max(self.newest, newest)

    def resume(self, newest: int | None) -> None:
        """Go on from what another clock of the topic had reached; it takes as many records as ever to leave that."""
        self.newest = newest
        if newest is not None:
            self._recent = [newest] * _RECENT
