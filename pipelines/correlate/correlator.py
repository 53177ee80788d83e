"""What the app's one agent does: take evidence in order, write state now and then, commit what is durable.

A message counts as done when the changelog has the state that it left; the group's offset follows that and
nothing else. A rebalance begins a new epoch: what was under way in the one before is never committed, and
whoever has the partition next takes it again from the group's offset on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pipelines.correlate.pace import Pace
from pipelines.correlate.sequence import MessageSequence
from pipelines.correlate.stage import CampaignStage, Message

PARTITION: Final = 0
"""Evidence has one partition: the campaign stage sees all of it in one place."""

# State is written once for so many messages, or after so long, where the pace allows it: some entries change with
# every message.
_SETTLE_MESSAGES: Final = 64
_SETTLE_AFTER_S: Final = 0.1
# Groups of messages whose state is on its way to the changelog; beyond it the agent waits.
_UNACKNOWLEDGED: Final = 16
# A commit waits for the fetch in progress, up to a second.
_COMMIT_EVERY_S: Final = 3.0
_COMMIT_PATIENCE_S: Final = 60.0
# How long a rebalance or a stop waits for what is on its way to the changelog.
_DRAIN_S: Final = 5.0


class Input(Protocol):
    """The evidence partition and the group's offset in it."""

    def is_ready(self) -> bool:
        """Is the partition assigned, and its table recovered?"""

    async def settled(self) -> None:
        """Return outside a rebalance."""

    async def commit(self, offset: int) -> bool:
        """Commit; False where a rebalance is in the way."""

    async def end(self) -> int:
        """Offset after the last evidence on the broker."""

    async def is_done(self) -> bool:
        """Has the group committed all evidence?"""


@dataclass(frozen=True, slots=True)
class _Group:
    """Messages whose state is on its way to the changelog."""

    epoch: int
    messages: int
    next_offset: int
    written: list[Awaitable[Any]]
    last: bool


class Correlator:
    """The agent's body, and how it ends.

    Attributes:
        stage: the campaign stage behind the agent.
        finished: set when a `once` run has decided on everything and its group has committed it.
        failed: set when something stopped the agent, which `failure` then holds.
        acknowledged: messages whose effects are durable.
    """

    def __init__(
        self,
        stage: CampaignStage,
        source: Input,
        sequence: MessageSequence,
        *,
        once: bool,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage = stage
        self.finished = asyncio.Event()
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self.acknowledged = 0
        self._input = source
        self._sequence = sequence
        self._once = once
        self._epoch = 0
        self._stopping = False
        self._known_end = 0
        self._held = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None
        self._steady = steady
        self._pace = Pace(steady)
        self._context = contextvars.copy_context()
        self._queue: asyncio.Queue[_Group] = asyncio.Queue(_UNACKNOWLEDGED)
        self._decided = False
        self._durable: int | None = None
        self._committed: int | None = None
        self._committing = asyncio.Lock()

    @property
    def waits_for(self) -> str | None:
        """What is missing before the worker does its work; None where nothing is."""
        if self.failure is not None:
            return "the worker failed"
        # One process has the evidence and the others stand by.
        return None if self._input.is_ready() else "the evidence is not assigned, or its table not recovered"

    async def behind(self) -> int | None:
        """Offsets of the evidence that are not taken yet; None where this worker does not know.

        Raises:
            KafkaError: the broker does not answer.
            TimeoutError: it does not give the records that it says it has.
        """
        if self.stage.campaigns is None or not self._input.is_ready():
            return None
        return max(0, await self._input.end() - self.stage.next_offset)

    def fail(self, error: BaseException) -> None:
        """Remember the first failure; from now on nothing is committed."""
        if self.failure is None:
            self.failure = error
        self.failed.set()

    def restart(self) -> None:
        """Begin a new epoch: what was under way is not this one's, and what the stage knows may be out of date."""
        self._epoch += 1
        self._stop_timer()
        self._held = 0
        self._decided = False
        self._durable = self._committed = None
        self._sequence.reset()
        self._pace.again()
        self.stage.forget()

    async def revoked(self) -> None:
        """The partition is being taken away; return when what was written of its table has arrived."""
        self.restart()
        await self._arrived()

    async def run_agent(self, stream: Any) -> None:
        """Body of the agent: take every message in order; settle every few."""
        arriving = asyncio.get_running_loop().create_task(self._follow_changelog())
        try:
            async for event in stream.events():
                # Settling in the middle of a message would record its decision before its alerts are out.
                self._stop_timer()
                if self.failure is not None:
                    break
                self._idle.clear()
                last = await self._take(event.message)
                if last or (self._held >= _SETTLE_MESSAGES and not self._wait()):
                    await self._queue.put(self._settle(last=last))
                if self._held:
                    # In this moment's context the store finds the current partition.
                    self._context = contextvars.copy_context()
                    self._timer = asyncio.get_running_loop().call_later(
                        max(_SETTLE_AFTER_S, self._wait()), self._settle_quiet
                    )
                else:
                    self._idle.set()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(error)
        finally:
            self._stop_timer()
            self._idle.set()
            arriving.cancel()
        # Returning would let Faust start the agent anew, behind a message that failed.
        await asyncio.Event().wait()

    async def _take(self, message: Any) -> bool:
        """Take a message if it is its turn; is it the last one of a `once` run?"""
        epoch = self._epoch
        if self._stopping:
            return False
        await self._input.settled()
        expected = await self.stage.expected()
        if epoch != self._epoch:
            # The state may have been loaded in the middle of a recovery.
            self.stage.forget()
            return False
        if not await self._sequence.admits(message.offset, expected) or epoch != self._epoch:
            return False
        await self.stage.handle(
            Message(
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                key=message.key,
                value=message.value,
            )
        )
        last = self._once and await self._is_last(message.offset + 1)
        if last and epoch == self._epoch:
            await self.stage.flush()
        if epoch != self._epoch:
            return False
        self._held += 1
        return last

    async def _is_last(self, next_offset: int) -> bool:
        """Whether nothing follows; asks the broker only where its last answer says so."""
        if next_offset >= self._known_end:
            self._known_end = await self._input.end()
        return next_offset >= self._known_end

    def _wait(self) -> float:
        """Seconds before state is written again."""
        return 0.0 if self._stopping else self._pace.wait()

    def _settle(self, *, last: bool) -> _Group:
        held, self._held = self._held, 0
        began = self._steady()
        written = self.stage.settle()
        self._pace.wrote(self._steady() - began)
        return _Group(self._epoch, held, self.stage.next_offset, written, last)

    def _settle_quiet(self) -> None:
        self._timer = None
        try:
            if self._queue.full():
                self._timer = asyncio.get_running_loop().call_later(_SETTLE_AFTER_S, self._settle_quiet)
            else:
                self._queue.put_nowait(self._settle(last=False))
                self._idle.set()
        except Exception as error:
            self.fail(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _follow_changelog(self) -> None:
        try:
            while self.failure is None:
                group = await self._queue.get()
                for one in group.written:
                    await one
                self._queue.task_done()
                if group.epoch == self._epoch:
                    self.acknowledged += group.messages
                    self._durable = group.next_offset
                    self._decided |= group.last
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(error)

    async def _arrived(self) -> None:
        if self.failure is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._queue.join(), _DRAIN_S)

    async def keep_committing(self) -> None:
        """Commit every few seconds, until cancelled or failed."""
        while self.failure is None:
            await asyncio.sleep(_COMMIT_EVERY_S)
            await self.commit()

    async def commit(self) -> None:
        """Commit what is durable. Where a rebalance refuses it, the next call tries again."""
        try:
            async with self._committing:
                epoch, offset = self._epoch, self._durable
                if self.failure is not None or offset is None or offset == self._committed:
                    return
                if await self._input.commit(offset) and epoch == self._epoch:
                    self._committed = offset
        except Exception as error:
            self.fail(error)

    async def finish_once(self, *, every_s: float = 0.3, patience_s: float = _COMMIT_PATIENCE_S) -> None:
        """Finish a `once` run when the group has committed all evidence, whoever decided on it.

        Args:
            every_s: how often to ask.
            patience_s: how long a commit may take after everything was decided on.
        """
        deadline: float | None = None
        loop = asyncio.get_running_loop()
        while self.failure is None:
            await asyncio.sleep(every_s)
            try:
                if self._decided:
                    await self.commit()
                if self._input.is_ready() and await self._input.is_done():
                    self.finished.set()
                    return
            except Exception as error:
                self.fail(error)
            if not self._decided:
                deadline = None
            elif deadline is None:
                deadline = loop.time() + patience_s
            elif loop.time() > deadline:
                self.fail(RuntimeError("everything is decided on, but the group's offset could not be committed"))

    async def drain(self) -> None:
        """Before the app stops: take nothing more, and commit what was taken."""
        self._stopping = True
        if self._timer is not None:
            # What was taken would wait for its time.
            self._stop_timer()
            self._context.run(self._settle_quiet)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), _DRAIN_S)
        await self._arrived()
        await self.commit()
        self._sequence.reset()
