"""That the campaign stage sees every message once its turn has come, whatever lies between it and the broker.

Around a rebalance Faust may deliver what it fetched before, and then drop the lower offsets that it fetches
again, for it takes them for delivered. So nothing is believed about a jump: the broker is asked which record
comes next, and where that one was lost on the way, reading goes back to it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Protocol

_AGAIN_EVERY_S: Final = 2.0


class Source(Protocol):
    """The partition, as far as a jump in it is concerned."""

    async def first_from(self, offset: int) -> int:
        """Offset of the first record at or behind an offset; `offset` itself where that cannot be told."""

    async def seek(self, offset: int) -> None:
        """Read from here on."""


@dataclass(slots=True)
class _Awaited:
    offset: int


class MessageSequence:
    """Tells messages whose turn has come from those that jumped ahead, and has lost ones read again.

    Args:
        log: a structlog logger.
        again_every_s: how often to seek until the lost message is there. What was fetched before a seek may
            still come behind it, and then the seek was in vain.
    """

    def __init__(self, source: Source, log: Any, *, again_every_s: float = _AGAIN_EVERY_S) -> None:
        self._source = source
        self._log = log
        self._every_s = again_every_s
        self._awaited: _Awaited | None = None
        self._seeking: asyncio.Task[None] | None = None
        self._resets = 0

    async def admits(self, offset: int, expected: int) -> bool:
        """Whether to take a message: the expected one, a repeat, or the first behind a true gap.

        A message that is not taken must not be acknowledged either; it comes again.

        Args:
            offset: of the message that arrived.
            expected: offset behind the last message that was taken.
        """
        if offset > expected:
            if self._awaited is None:
                resets = self._resets
                first = await self._source.first_from(expected)
                if resets != self._resets:
                    return False
                if first < offset:
                    self._log.warning("evidence was lost on the way; reading it again", next=first, got=offset)
                    self._read_again(_Awaited(first))
            if self._awaited is not None and offset > self._awaited.offset:
                return False
        if offset >= expected:
            self._awaited = None
        return True

    def reset(self) -> None:
        """The partition was taken away: what was awaited is another's now, or comes with the next assignment."""
        self._awaited = None
        self._resets += 1

    def _read_again(self, awaited: _Awaited) -> None:
        self._awaited = awaited
        # Held, for the loop holds its tasks weakly. It ends by itself when this is not awaited any more.
        self._seeking = asyncio.get_running_loop().create_task(self._keep_seeking(awaited))

    async def _keep_seeking(self, awaited: _Awaited) -> None:
        while self._awaited is awaited:
            try:
                await self._source.seek(awaited.offset)
                await asyncio.sleep(self._every_s)
                if self._awaited is awaited:
                    # Retention may have taken the awaited record meanwhile.
                    awaited.offset = await self._source.first_from(awaited.offset)
            except Exception as error:
                # A rebalance has begun, or the broker is away; later is early enough in both cases.
                self._log.warning("evidence could not be read again yet", error=type(error).__name__)
                await asyncio.sleep(self._every_s)
