"""The correlate agent between a stream and its group's offset: what is committed, and what never is."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipelines.correlate import correlator as module
from pipelines.correlate.correlator import Correlator
from pipelines.correlate.pace import SHARE
from pipelines.correlate.sequence import MessageSequence
from pipelines.correlate.stage import CampaignStage, Message


class Stage:
    """Takes messages; what it writes arrives at once, or when `arrived` is set."""

    def __init__(self) -> None:
        self.next_offset = 0
        self.handled: list[int] = []
        self.forgotten = 0
        self.flushes = 0
        self.arrived = asyncio.Event()
        self.arrived.set()
        self.meanwhile: Callable[[int], Awaitable[None]] | None = None
        self.settled = 0
        self.settling: Callable[[], None] = lambda: None

    async def expected(self) -> int:
        return self.next_offset

    async def handle(self, message: Message) -> None:
        if self.meanwhile is not None:
            await self.meanwhile(message.offset)
        if message.offset >= self.next_offset:
            self.handled.append(message.offset)
            self.next_offset = message.offset + 1

    async def flush(self) -> None:
        self.flushes += 1

    def settle(self) -> list[Awaitable[Any]]:
        self.settled += 1
        self.settling()
        return [self.arrived.wait()]

    def forget(self) -> None:
        self.forgotten += 1


class Broker:
    """A partition, the group's offset in it, and a stream that delivers what it is given."""

    def __init__(self, end: int = 1_000) -> None:
        self.last = end
        self.group = 0
        self.refusals = 0
        self.seeks: list[int] = []
        self.queue: asyncio.Queue[int] = asyncio.Queue()

    def deliver(self, *offsets: int) -> None:
        for offset in offsets:
            self.queue.put_nowait(offset)

    async def events(self) -> AsyncIterator[Any]:
        while True:
            offset = await self.queue.get()
            yield SimpleNamespace(
                message=SimpleNamespace(topic="evidence", partition=0, offset=offset, key=None, value=b"")
            )

    def is_ready(self) -> bool:
        return True

    async def settled(self) -> None:
        pass

    async def end(self) -> int:
        return self.last

    async def first_from(self, offset: int) -> int:
        return offset

    async def seek(self, offset: int) -> None:
        self.seeks.append(offset)

    async def commit(self, offset: int) -> bool:
        if self.refusals:
            self.refusals -= 1
            return False
        self.group = offset
        return True

    async def is_done(self) -> bool:
        return self.group >= self.last


class Rig:
    def __init__(self, *, end: int = 1_000, once: bool = False, steady: Callable[[], float] = time.monotonic) -> None:
        self.stage, self.broker = Stage(), Broker(end)
        log = SimpleNamespace(warning=lambda *_, **__: None)
        self.agent = Correlator(
            cast(CampaignStage, self.stage), self.broker, MessageSequence(self.broker, log), once=once, steady=steady
        )
        self.task = asyncio.get_running_loop().create_task(self.agent.run_agent(self.broker))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - conditions of many kinds
                await asyncio.sleep(0.005)

    async def quiet(self) -> None:
        """All that was delivered is taken, and written."""
        await self.until(self.broker.queue.empty)
        await asyncio.sleep(module._SETTLE_AFTER_S * 2)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario()

    asyncio.run(run())


def test_only_what_the_changelog_has_is_committed() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.stage.arrived.clear()
        rig.broker.deliver(0, 1, 2)
        await rig.quiet()
        await rig.agent.commit()
        assert (rig.stage.handled, rig.broker.group) == ([0, 1, 2], 0)
        rig.stage.arrived.set()
        await rig.until(lambda: rig.agent.acknowledged == 3)
        await rig.agent.commit()
        assert rig.broker.group == 3

    play(scenario)


def test_a_message_that_was_lost_is_never_committed_past() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.broker.deliver(0, 1, 7, 8)
        await rig.quiet()
        await rig.agent.commit()
        assert (rig.stage.handled, rig.broker.group, rig.broker.seeks) == ([0, 1], 2, [2])
        rig.broker.deliver(*range(2, 10))
        await rig.quiet()
        await rig.agent.commit()
        assert (rig.stage.handled, rig.broker.group) == (list(range(10)), 10)

    play(scenario)


def test_what_was_under_way_in_a_rebalance_is_not_committed() -> None:
    async def scenario() -> None:
        rig = Rig()

        async def revoke(offset: int) -> None:
            if offset == 1:
                await rig.agent.revoked()
                rig.stage.meanwhile = None

        rig.stage.meanwhile = revoke
        rig.broker.deliver(0, 1)
        await rig.quiet()
        await rig.agent.commit()
        assert (rig.broker.group, rig.agent.acknowledged) == (0, 0)

        # With the next assignment both come again.
        rig.stage.next_offset = 0
        rig.broker.deliver(0, 1)
        await rig.quiet()
        await rig.agent.commit()
        assert rig.broker.group == 2

    play(scenario)


def test_a_rebalance_waits_for_what_was_written() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.stage.arrived.clear()
        rig.broker.deliver(0)
        await rig.quiet()
        revoking = asyncio.get_running_loop().create_task(rig.agent.revoked())
        await asyncio.sleep(0.02)
        assert not revoking.done()
        rig.stage.arrived.set()
        await asyncio.wait_for(revoking, 10)

    play(scenario)


def test_a_once_run_ends_when_the_commit_that_was_refused_has_succeeded() -> None:
    async def scenario() -> None:
        rig = Rig(end=3, once=True)
        rig.broker.refusals = 3
        finishing = asyncio.get_running_loop().create_task(rig.agent.finish_once(every_s=0.01))
        rig.broker.deliver(0, 1, 2)
        await asyncio.wait_for(finishing, 20)
        assert rig.agent.finished.is_set()
        assert (rig.stage.flushes, rig.broker.group, rig.broker.refusals) == (1, 3, 0)

    play(scenario)


def test_a_once_run_whose_commits_never_succeed_fails() -> None:
    async def scenario() -> None:
        rig = Rig(end=1, once=True)
        rig.broker.refusals = 10**9
        rig.broker.deliver(0)
        await asyncio.wait_for(rig.agent.finish_once(every_s=0.01, patience_s=0.05), 20)
        assert rig.agent.failed.is_set()
        assert not rig.agent.finished.is_set()

    play(scenario)


def test_a_once_run_ends_when_another_member_has_decided_on_everything() -> None:
    async def scenario() -> None:
        rig = Rig(end=5, once=True)
        rig.broker.group = 5
        await asyncio.wait_for(rig.agent.finish_once(every_s=0.01), 20)
        assert rig.agent.finished.is_set()
        assert rig.stage.flushes == 0

    play(scenario)


def test_stopping_commits_what_was_taken_and_takes_nothing_more() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.broker.deliver(0, 1)
        await rig.until(rig.broker.queue.empty)
        await rig.agent.drain()
        rig.broker.deliver(2)
        await rig.quiet()
        assert (rig.stage.handled, rig.broker.group) == ([0, 1], 2)

    play(scenario)


def test_after_a_failure_nothing_is_committed() -> None:
    async def scenario() -> None:
        rig = Rig()

        async def fail(offset: int) -> None:
            if offset == 1:
                raise OSError("no broker")

        rig.stage.meanwhile = fail
        rig.broker.deliver(0, 1, 2)
        await asyncio.wait_for(rig.agent.failed.wait(), 20)
        await rig.agent.drain()
        assert isinstance(rig.agent.failure, OSError)
        assert (rig.stage.handled, rig.broker.group) == ([0], 0)

    play(scenario)


@pytest.mark.parametrize("count", [1, module._SETTLE_MESSAGES, module._SETTLE_MESSAGES * 3 + 1])
def test_few_messages_settle_after_a_moment_and_many_at_once(count: int) -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.broker.deliver(*range(count))
        await rig.until(lambda: rig.agent.acknowledged == count)
        await rig.agent.commit()
        assert rig.broker.group == count

    play(scenario)


class Dear:
    """A clock that stands still, but for a state whose writing takes `took` seconds."""

    def __init__(self, took: float) -> None:
        self.now, self.took = 100.0, took

    def __call__(self) -> float:
        return self.now

    def write(self) -> None:
        self.now += self.took


def test_a_state_that_is_dear_to_write_is_written_rarely() -> None:
    async def scenario() -> None:
        clock = Dear(took=0.9)
        rig = Rig(steady=clock)
        rig.stage.settling = clock.write
        rig.broker.deliver(0)
        await rig.until(lambda: rig.agent.acknowledged == 1)
        # The next one is due in half a minute, however much comes until then.
        count = 3 * module._SETTLE_MESSAGES
        rig.broker.deliver(*range(1, count))
        await rig.until(lambda: len(rig.stage.handled) == count)
        await rig.quiet()
        await rig.agent.commit()
        assert (rig.stage.settled, rig.broker.group) == (1, 1)
        clock.now += 0.9 / SHARE
        rig.broker.deliver(count)
        await rig.until(lambda: rig.agent.acknowledged == count + 1)
        assert rig.stage.settled == 2

    play(scenario)


def test_what_waits_to_be_written_is_written_before_the_app_stops() -> None:
    partition: contextvars.ContextVar[str] = contextvars.ContextVar("partition", default="none")

    async def scenario() -> None:
        clock, seen = Dear(took=0.9), []

        def settle() -> None:
            clock.write()
            seen.append(partition.get())

        # The store finds the current partition in the context of the agent.
        partition.set("evidence-0")
        rig = Rig(steady=clock)
        partition.set("none")
        rig.stage.settling = settle
        rig.broker.deliver(0)
        await rig.until(lambda: rig.agent.acknowledged == 1)
        rig.broker.deliver(1, 2)
        await rig.until(lambda: len(rig.stage.handled) == 3)
        await asyncio.sleep(0)
        await rig.agent.drain()
        assert (rig.broker.group, seen) == (3, ["evidence-0"] * 2)

    play(scenario)


def test_the_next_owner_begins_to_write_at_once() -> None:
    async def scenario() -> None:
        clock = Dear(took=0.9)
        rig = Rig(steady=clock)
        rig.stage.settling = clock.write
        rig.broker.deliver(0)
        await rig.until(lambda: rig.agent.acknowledged == 1)
        await rig.agent.revoked()
        rig.stage.next_offset = 0
        rig.broker.deliver(0, 1)
        await rig.until(lambda: rig.agent.acknowledged == 3)
        assert rig.stage.settled == 2

    play(scenario)
