"""One piece of evidence after the other through the campaign core; in which order its effects leave.

For each message: the alerts that it made due are sent and acknowledged. For every few messages: what
changed of the core's state is written as one group (:mod:`pipelines.correlate.journal`) together with the
offset of the next message; once the changelog has all of it, the messages are acknowledged.

A kill between any two steps repeats messages. Those whose effects are in the table are recognised by their
offset and skipped; the others are taken from the very state that they met the first time, so an alert
decided again has the id, the version and the content it had.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import DecodeError, Struct, ValidationError

from pipelines.correlate.journal import Journal, StateTable
from pipelines.dead_letters import PROCESSING_FAILED
from schemas.alerts import Alert
from schemas.deadletters import DeadLetter
from schemas.errors import Reason
from schemas.evidence import EVIDENCE_DECODER, Evidence


class CampaignCore(Protocol):
    """What the stage needs of :class:`detectors.campaigns.CampaignCore`."""

    @property
    def campaigns(self) -> Mapping[str, Any]:
        """Campaigns by id, each with its `status` and the `requests` of the accounts that it names."""

    def ingest(self, evidence: Evidence) -> list[Alert]:
        """Take evidence; the alerts that became due."""

    def flush(self) -> list[Alert]:
        """Decide on everything taken so far."""

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Become what a core was whose entries these are."""

    def changed(self) -> dict[str, bytes | None]:
        """Entries that changed since the last call; None where one is gone."""


class Publisher(Protocol):
    """Sends and waits for the broker's acknowledgement."""

    async def alerts(self, alerts: Sequence[Alert]) -> None:
        """Send alerts, keyed by their ids; return when all are acknowledged."""

    async def letter(self, letter: DeadLetter) -> None:
        """Send a dead letter; return when it is acknowledged."""


class Message(Struct, frozen=True, kw_only=True):
    """One evidence record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

    @property
    def next_offset(self) -> int:
        """Where reading goes on after this message."""
        return self.offset + 1


class CampaignStage:
    """Feeds the core and keeps its state in a table.

    Args:
        new_core: makes an empty core.
        table: where the core's entries live between processes.
        publisher: where alerts and dead letters go.
        start: asks the broker where the group goes on reading.
        end: asks the broker for the offset after the last message of the evidence topic.
        wall: the wall clock, seconds since the epoch. steady: one that never goes back.
    """

    def __init__(
        self,
        *,
        new_core: Callable[[], CampaignCore],
        table: StateTable,
        publisher: Publisher,
        start: Callable[[], Awaitable[int]],
        end: Callable[[], Awaitable[int]],
        wall: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_core = new_core
        self._journal = Journal(table)
        self._publisher = publisher
        self._start = start
        self._end = end
        self._wall = wall
        self._steady = steady
        self._core: CampaignCore | None = None
        self._next = 0
        self.messages = 0
        self.skipped = 0
        self.rejected = 0
        self.alerts = 0
        self.rejected_by: Counter[str] = Counter()
        self.alerts_by: Counter[tuple[str, str]] = Counter()
        self.restored = 0
        self.restore_s: deque[float] = deque(maxlen=4_096)

    @property
    def campaigns(self) -> Mapping[str, Any] | None:
        """Campaigns by id, to look at; None where no state is loaded."""
        return None if self._core is None else self._core.campaigns

    @property
    def next_offset(self) -> int:
        """Offset after the last message taken; only while the state is loaded."""
        return self._next

    async def expected(self) -> int:
        """Offset of the next message to take; loads the state where that was not done yet."""
        await self._core_now()
        return self._next

    def forget(self) -> None:
        """The partition was taken away: another process may write the table now."""
        self._core = None

    async def handle(self, message: Message) -> None:
        """Take one message; return when the alerts that it made due are acknowledged.

        Raises:
            Exception: an alert or a dead letter was not acknowledged; nothing may be acknowledged any more.
        """
        core = await self._core_now()
        self.messages += 1
        if message.offset < self._next:
            self.skipped += 1
            return
        try:
            due = core.ingest(EVIDENCE_DECODER.decode(message.value or b""))
        except DecodeError as error:
            due = []
            await self._reject(message, _reason(message, error), str(error))
        except Exception as error:
            # A stuck partition would silence every later campaign, so one message gives way.
            due = []
            await self._reject(message, PROCESSING_FAILED, f"{type(error).__name__} in the campaign core")
        await self._send(due)
        self._next = message.next_offset

    async def flush(self) -> None:
        """Decide on everything taken so far (end of a `--once` run)."""
        core = await self._core_now()
        await self._send(core.flush())

    def settle(self) -> list[Awaitable[Any]]:
        """Write what changed; the messages handled so far may be acknowledged once all of the result is done."""
        if self._core is None:
            return []
        return self._journal.write(self._core.changed(), self._next)

    async def _send(self, due: Sequence[Alert]) -> None:
        if due:
            await self._publisher.alerts(due)
            self.alerts += len(due)
            self.alerts_by.update((alert.severity, alert.kind) for alert in due)

    async def _reject(self, message: Message, reason: str, detail: str) -> None:
        await self._publisher.letter(
            DeadLetter(
                reason=reason,
                detail=detail,
                source=message.topic,
                partition=message.partition,
                offset=message.offset,
                ts=int(self._wall() * 1000),
                raw=message.value or b"",
                key=message.key,
            )
        )
        self.rejected += 1
        self.rejected_by[reason] += 1

    async def _core_now(self) -> CampaignCore:
        if self._core is None:
            start, end = await self._start(), await self._end()
            began = self._steady()
            entries = self._journal.load()
            progress = self._journal.next_offset
            # A topic made anew starts at 0 again: its messages must not pass for ones seen before. And a table
            # that was lost knows less than the group does.
            self._next = max(progress if progress <= end else 0, start)
            core = self._new_core()
            if entries:
                core.restore(entries)
            self.restored += len(entries)
            self.restore_s.append(self._steady() - began)
            self._core = core
        return self._core


def _reason(message: Message, error: DecodeError) -> Reason:
    if not message.value:
        return "empty"
    return "wrong_type" if isinstance(error, ValidationError) else "not_json"
