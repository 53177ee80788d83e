"""What a detect worker counts: for its status line, and for its metrics by topic, by reason, by level."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

from pipelines.detect.ports import TickOutput
from schemas.deadletters import DeadLetter

# Whoever publishes takes them about once a second; where nobody does, the oldest give way.
_MOST_TIMES: Final = 4_096


def _times() -> deque[float]:
    return deque(maxlen=_MOST_TIMES)


class Counters(Struct):
    """What the worker has done since its start."""

    events: int = 0
    rejected: int = 0
    ticks: int = 0
    alerts: int = 0
    misplaced: int = 0
    refused_commits: int = 0
    lost_states: int = 0


class Tallies(Struct):
    """Totals since the worker's start; a batch costs one addition a topic, a checkpoint a few.

    Attributes:
        events: taken in, by topic. rejected: dead letters, by reason. alerts: by severity and kind.
        evidence: messages written. checkpoints, records, bytes: written, of state.
        restored_records, restored_bytes: of state taken over.
        checkpoint_s, restore_s: seconds of those that were not published yet.
    """

    events: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    evidence: int = 0
    checkpoints: int = 0
    records: int = 0
    bytes: int = 0
    restored_records: int = 0
    restored_bytes: int = 0
    checkpoint_s: deque[float] = field(default_factory=_times)
    restore_s: deque[float] = field(default_factory=_times)

    def reject(self, letters: Iterable[DeadLetter]) -> None:
        """Count dead letters."""
        self.rejected.update(letter.reason for letter in letters)

    def wrote(self, ticks: Iterable[TickOutput], watermarks: int, state: tuple[int, int], seconds: float) -> None:
        """Count a checkpoint: its ticks, the watermarks between them, records and bytes of state, and its time."""
        self.told(ticks, watermarks)
        self.checkpoints += 1
        self.records += state[0]
        self.bytes += state[1]
        self.checkpoint_s.append(seconds)

    def told(self, ticks: Iterable[TickOutput], watermarks: int) -> None:
        """Count ticks that can be read now, and the watermarks between them."""
        self.evidence += watermarks
        for tick in ticks:
            self.evidence += len(tick.evidence)
            self.alerts.update((alert.severity, alert.kind) for alert in tick.alerts)

    def restored(self, records: int, size: int, seconds: float) -> None:
        """Count a state that was taken over."""
        self.restored_records += records
        self.restored_bytes += size
        self.restore_s.append(seconds)


def drained(times: deque[float]) -> list[float]:
    """What is in it, and nothing is left."""
    taken = list(times)
    times.clear()
    return taken
