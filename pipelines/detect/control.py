"""The control topic: bans and releases that concern every worker.

Every worker reads the topic whole at its start, before any event, and follows it from then on. It keeps
what it read, because a lane that is assigned later needs it too; no position is stored, so a restart is
the same as a start. Only the worker that owns partition 0 writes the topic's dead letters, so N workers
do not write N of each, and only those not yet covered by its stored position.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from pipelines.detect.intake import Intake
from pipelines.detect.ports import ControlSource
from pipelines.kafka_io import partition_of
from schemas.deadletters import DeadLetter
from schemas.events import Enforcement, Release

ControlEvent = Enforcement | Release

# A month of bans of a large provider; the topic's own retention is a month as well.
MAX_HISTORY: Final = 200_000


# Rejected control records that wait for the worker that owns partition 0 to write them. Workers that do not
# own it keep them as well, in case they come to own it; the topic is small, and its garbage should be.
MAX_LETTER_BYTES: Final = 256 * 1024 * 1024
# What a letter weighs beside its bytes, so that many empty ones are bounded too.
_LETTER_OVERHEAD: Final = 1_024


class Control:
    """Control events so far, and the way of new ones to their lanes.

    Attributes:
        dropped_letters: rejected records that found no room and were not written by this worker.
        position: offset after the last record read.
    """

    def __init__(
        self,
        source: ControlSource,
        intake: Intake,
        partitions: int,
        *,
        max_history: int = MAX_HISTORY,
        max_letter_bytes: int = MAX_LETTER_BYTES,
    ) -> None:
        self._source = source
        self._intake = intake
        self._partitions = partitions
        self._history: deque[tuple[int, ControlEvent]] = deque(maxlen=max_history)
        self._letters: deque[DeadLetter] = deque()
        self._max_letter_bytes = max_letter_bytes
        self._letter_bytes = 0
        self.dropped_letters = 0
        self.position = 0

    def poll(self) -> None:
        """Read what is new."""
        now_ms = self._intake.now_ms()
        for envelope in self._source.poll():
            admitted = self._intake.admit(envelope, now_ms)
            if isinstance(admitted, DeadLetter):
                self._keep(admitted)
            elif isinstance(admitted, Enforcement | Release):
                self._history.append((envelope.offset, admitted))
            self.position = envelope.next_offset

    def _keep(self, letter: DeadLetter) -> None:
        self._letters.append(letter)
        self._letter_bytes += len(letter.raw) + _LETTER_OVERHEAD
        while self._letter_bytes > self._max_letter_bytes:
            gone = self._letters.popleft()
            self._letter_bytes -= len(gone.raw) + _LETTER_OVERHEAD
            self.dropped_letters += 1

    def letters(self) -> list[DeadLetter]:
        """Letters that nobody has written yet; for the worker that owns partition 0."""
        if not self._letters:
            return []
        reported = self._source.reported()
        return [letter for letter in self._letters if letter.offset >= reported]

    def letters_written(self) -> None:
        """The letters are on the broker; remember that beyond a restart."""
        self._letters.clear()
        self._letter_bytes = 0
        self._source.report(self.position)

    def between(self, partition: int, start: int, end: int) -> list[ControlEvent]:
        """The events of offsets from `start` and before `end` that concern a lane, oldest first.

        Those are every release, and enforcement against its own accounts.
        """
        found = []
        for offset, event in reversed(self._history):
            if offset < start:
                break
            if offset < end and self._concerns(event, partition):
                found.append(event)
        return found[::-1]

    def _concerns(self, event: ControlEvent, partition: int) -> bool:
        return isinstance(event, Release) or partition_of(event.account.encode(), self._partitions) == partition
