"""One piece of evidence after the other through the campaign core; in which order its effects leave.

Order for each message: alerts sent and acknowledged, then the changed entries of the core's state written
to the table (the entry `meta`, which says what was decided, last), then, once the changelog has these, the
message is acknowledged. A kill between any two steps repeats messages; the core takes a repeated message
without effect, and an alert decided again has the id, the version and the content it had.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import DecodeError, Struct

from pipelines.dead_letters import PROCESSING_FAILED
from schemas.alerts import Alert
from schemas.deadletters import DeadLetter
from schemas.evidence import EVIDENCE_DECODER, Evidence

LAST_ENTRY: Final = "meta"


class CampaignCore(Protocol):
    """What the stage needs of :class:`detectors.campaigns.CampaignCore`."""

    def ingest(self, evidence: Evidence) -> list[Alert]:
        """Take evidence; the alerts that became due."""

    def flush(self) -> list[Alert]:
        """Decide on everything taken so far."""

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Become what a core was whose entries these are."""

    def changed(self) -> dict[str, bytes | None]:
        """Entries that changed since the last call; None where one is gone."""


class StateTable(Protocol):
    """The table that holds the core's entries."""

    def load(self) -> dict[str, bytes]:
        """All entries."""

    def write(self, name: str, value: bytes | None) -> Awaitable[Any]:
        """Set or delete an entry; the result is done when the changelog has it."""


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


class CampaignStage:
    """Feeds the core and keeps its state in a table.

    Args:
        new_core: makes an empty core.
        table: where the core's entries live between processes.
        publisher: where alerts and dead letters go.
        wall: the wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        *,
        new_core: Callable[[], CampaignCore],
        table: StateTable,
        publisher: Publisher,
        wall: Callable[[], float],
    ) -> None:
        self._new_core = new_core
        self._table = table
        self._publisher = publisher
        self._wall = wall
        self._core: CampaignCore | None = None
        self.messages = 0
        self.rejected = 0
        self.alerts = 0

    def forget(self) -> None:
        """The partition was taken away: another process may write the table now."""
        self._core = None

    async def handle(self, message: Message) -> list[Awaitable[Any]]:
        """Take one message.

        Returns:
            What must be done before the message may be acknowledged.

        Raises:
            Exception: an alert or a dead letter was not acknowledged; nothing may be acknowledged any more.
        """
        core = self._core_now()
        self.messages += 1
        try:
            due = core.ingest(EVIDENCE_DECODER.decode(message.value or b""))
        except DecodeError as error:
            await self._reject(message, "empty" if not message.value else "wrong_type", str(error))
            return []
        except Exception as error:
            # A stuck partition would silence every later campaign, so one message gives way.
            await self._reject(message, PROCESSING_FAILED, f"{type(error).__name__} in the campaign core")
            due = []
        return await self._settle(core, due)

    async def flush(self) -> list[Awaitable[Any]]:
        """Decide on everything taken so far (end of a `--once` run); result as :meth:`handle`."""
        core = self._core_now()
        return await self._settle(core, core.flush())

    async def _settle(self, core: CampaignCore, due: Sequence[Alert]) -> list[Awaitable[Any]]:
        if due:
            await self._publisher.alerts(due)
            self.alerts += len(due)
        return [self._table.write(name, value) for name, value in in_writing_order(core.changed().items())]

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

    def _core_now(self) -> CampaignCore:
        if self._core is None:
            core = self._new_core()
            entries = self._table.load()
            if entries:
                core.restore(entries)
            self._core = core
        return self._core


def in_writing_order(entries: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """Entries by name, `meta` last: a state cut off in the middle then decides again instead of never.

    >>> in_writing_order([("meta", b"1"), ("campaign:a", b"2")])
    [('campaign:a', b'2'), ('meta', b'1')]
    """
    return sorted(entries, key=lambda entry: (entry[0] == LAST_ENTRY, entry[0]))
