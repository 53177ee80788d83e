"""When how many events were done: the one clock that all contenders carry."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from msgspec import Struct


class Mark(Struct, frozen=True, array_like=True):
    """At `at` (seconds, monotonic, the same for all processes) `done` events were done, at `cpu` seconds of work."""

    at: float
    done: int
    cpu: float


class Timing(Struct, frozen=True):
    """What one run took from its first event on, by the clock and by processor time of all its threads."""

    events: int
    seconds: float
    cpu_seconds: float

    @property
    def events_per_s(self) -> float:
        """By the clock."""
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time an event, microseconds."""
        return self.cpu_seconds / self.events * 1e6


class Stopwatch:
    """Marks of one process; `deadline` is when a bounded run has to stop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._marks: list[Mark] = []
        self.done = 0

    def mark(self, more: int) -> None:
        """`more` events were done since the last mark."""
        self.done += more
        self._marks.append(Mark(time.monotonic(), self.done, time.process_time()))

    @property
    def over(self) -> bool:
        """Has the run had its time, counted from the first mark?"""
        return bool(self._marks) and time.monotonic() - self._marks[0].at >= self._seconds

    def save(self, path: Path) -> None:
        """For :func:`load` in the process that compares."""
        path.write_bytes(msgspec.json.encode(self._marks))


def load(path: Path) -> list[Mark]:
    """Marks that another process saved."""
    return msgspec.json.decode(path.read_bytes(), type=list[Mark])


def timing(marks: list[Mark]) -> Timing:
    """From the moment the first events were there to the moment the last one was done.

    What is worked off after the last event (a tick that closes late) counts by its processor time; the wait
    for it does not.

    Raises:
        ValueError: nothing was done.
    """
    if not marks or not marks[-1].done:
        raise ValueError("no event was done, so there is nothing to time")
    begin = [mark for mark in marks if not mark.done][-1]
    end = next(mark for mark in marks if mark.done == marks[-1].done)
    rest = marks[-1].cpu - end.cpu
    return Timing(end.done, end.at - begin.at + rest, marks[-1].cpu - begin.cpu)


def together(runs: list[list[Mark]]) -> float:
    """Events a second of several processes while all of them were at work.

    Raises:
        ValueError: they were never at work at the same time.
    """
    begins = [next((mark.at for mark in marks if mark.done), float("inf")) for marks in runs]
    ends = [next(mark.at for mark in marks if mark.done == marks[-1].done) for marks in runs]
    begin, end = max(begins), min(ends)
    if end <= begin:
        raise ValueError("the workers were never at work at the same time")
    return sum(_between(marks, begin, end) for marks in runs) / (end - begin)


def _between(marks: list[Mark], begin: float, end: float) -> float:
    import numpy as np

    times, done = [mark.at for mark in marks], [mark.done for mark in marks]
    return float(np.interp(end, times, done) - np.interp(begin, times, done))
