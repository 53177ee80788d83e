"""How often the campaign stage writes its state.

A cohort's members lie in few entries, each of which is written whole when one member in it changes. So what writing
costs follows from how often it happens, and hardly from how much came meanwhile. It happens at once while it is cheap,
and as rarely as keeps it to a small share of the time where it is not. A crash repeats what was taken since.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHARE: Final = 0.03
"""Of a worker's time that writing may take."""
LONGEST_S: Final = 60.0
"""Seconds after which it happens whatever it takes."""


class Pace:
    """Tells when to write next.

    Args:
        steady: a clock in seconds that never goes back.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._next = steady()

    def wait(self) -> float:
        """Seconds until the next writing, 0 where it may happen now."""
        return max(0.0, self._next - self._steady())

    def wrote(self, took: float) -> None:
        """It has just happened, and took so many seconds."""
        self._next = self._steady() + min(took / SHARE, LONGEST_S)

    def again(self) -> None:
        """Nothing is known of what it takes any more."""
        self._next = self._steady()
