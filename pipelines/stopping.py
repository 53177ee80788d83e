"""How a worker is told to stop, and what happens when it does not.

SIGTERM, SIGINT and the time of `--until` ask; the running step ends, what is decided becomes durable, clients are
closed. All of that has `workers.stop_s` seconds. Then the process ends where it stands, with exit code 1: whatever was
not durable is done again by whoever takes the partitions over, as after any crash.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from msgspec import Struct

from pipelines.errors import Failure, UsageError

_EXIT: Final = 1


class Job(Struct, frozen=True):
    """How long a worker runs: for ever, or `once` through everything there is, or until a time (epoch seconds)."""

    once: bool = False
    until: float | None = None


class Stop:
    """Asks a worker to stop, and holds it to its deadline. Use it around all of the worker, clients included.

    Args:
        job: what ends the worker beside signals.
        deadline_s: seconds from the request to the end of the `with` block.
        log: a structlog logger.
        wall: the wall clock, seconds since the epoch.
        end: ends the process at once with an exit code; a test gives another.
    """

    def __init__(
        self,
        job: Job,
        *,
        deadline_s: float,
        log: Any,
        wall: Callable[[], float] = time.time,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._job = job
        self._deadline_s = deadline_s
        self._log = log
        self._wall = wall
        self._end = end
        self._asked = False
        self._wanted = threading.Event()
        self._over = threading.Event()
        # Made now and not when a signal comes: a handler must not take locks that the code it interrupts may hold.
        self._watch = threading.Thread(target=self._hold_to_deadline, name="stop-deadline", daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._wanted.set()
        self._watch.join()

    def ask(self) -> None:
        """Ask for a stop; from a signal handler too, and from one that interrupts another."""
        if not self._asked:
            self._asked = True
            self._wanted.set()

    @property
    def came(self) -> bool:
        """Has the time of `--until` come?"""
        return self._job.until is not None and self._wall() >= self._job.until

    def asked(self) -> bool:
        """Is the worker to stop?"""
        return self._asked or self.came

    def check(self, *, done: bool) -> None:
        """Raise Failure where the job was to do everything, and its time came before that."""
        if self._job.once and not done and self.came:
            raise Failure("the time of --until came before everything was done; what was done is kept")

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[Self]:
        """Let SIGTERM and SIGINT ask."""
        with stop_on_signals(self.ask):
            yield self

    def _hold_to_deadline(self) -> None:
        # A step that hangs does not look at the clock, so this thread does.
        while not self._wanted.wait(None if self._job.until is None else max(0.0, self._job.until - self._wall())):
            if self.came:
                break
        if self._over.wait(self._deadline_s):
            return
        self._log.error("not stopped in time; ending here, the work since the last commit comes again",
                        stop_s=self._deadline_s)  # fmt: skip
        self._end(_EXIT)


@contextlib.contextmanager
def stop_on_signals(tell: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT ask for a stop after the running step; the handlers found are put back at the end.

    Args:
        tell: called at every such signal.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        tell()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse_until(text: str | None, now: float) -> float | None:
    """The value of `--until` in epoch seconds.

    >>> parse_until("2026-11-24T19:00:00Z", 0.0)
    1795546800.0

    Raises:
        UsageError: it is no time, has no zone, or has passed.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--until must be a time such as 2026-11-24T19:00:00Z, got {text}") from None
    if moment.tzinfo is None:
        raise UsageError(f"--until needs a time zone: {text}Z is UTC, {text}+01:00 an hour ahead of it")
    until = moment.timestamp()
    if until <= now:
        raise UsageError(f"--until {text} has passed")
    return until
