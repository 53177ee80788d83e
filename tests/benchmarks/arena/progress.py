"""What a long run is doing: lines with the time since it began, from all of its processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Self, TypeVar

from msgspec import Struct

EVERY_SECONDS: Final = 20.0

Tell = Callable[[str], object]
Item = TypeVar("Item")


class Clock(Struct, frozen=True):
    """Prints lines to stderr; it can be handed to another process.

    Attributes:
        begun: when the run began, by `time.time()`.
    """

    begun: float

    def __call__(self, text: str) -> None:
        minutes, seconds = divmod(int(time.time() - self.begun), 60)
        print(f"[{minutes:3}:{seconds:02}] {text}", file=sys.stderr, flush=True)  # noqa: T201 - for people


def silent(_: str) -> None:
    """Tell nobody."""


def told(items: Iterable[Item], what: str, tell: Tell, total: int | None = None) -> Iterator[Item]:
    """The same items, with a line now and then on how many have passed."""
    advance = _Counter(what, tell, total).advance
    for item in items:
        advance(1)
        yield item


class Lines:
    """Stands in for :class:`pipelines.progress.Progress` where several processes share a terminal, or there is none."""

    def __init__(self, what: str, tell: Tell) -> None:
        self._what = what
        self._tell = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @contextmanager
    def bar(self, what: str, total: int | None) -> Iterator[Callable[[int], object]]:
        """See the other one."""
        yield _Counter(f"{self._what}: {what}" if self._what else what, self._tell, total).advance


class _Counter:
    """Tells no more often than every :data:`EVERY_SECONDS`."""

    def __init__(self, what: str, tell: Tell, total: int | None) -> None:
        self._what = what
        self._tell = tell
        self._of = "" if total is None else f" of {total:,}"
        self._done = self._looked = 0
        self._last = time.monotonic()

    def advance(self, steps: int) -> None:
        self._done += steps
        if self._done - self._looked < _LOOK_EVERY:
            return
        self._looked = self._done
        now = time.monotonic()
        if now - self._last >= EVERY_SECONDS:
            self._last = now
            self._tell(f"{self._what}: {self._done:,}{self._of}")


_LOOK_EVERY: Final = 1_000
