"""The correlate agent between a stream and its group's offset: what is committed, and what never is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipelines.correlate import correlator as module
from pipelines.correlate.correlator import Correlator
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
    def __init__(self, *, end: int = 1_000, once: bool = False) -> None:
        self.stage, self.broker = Stage(), Broker(end)
        log = SimpleNamespace(warning=lambda *_, **__: None)
        self.agent = Correlator(
            cast(CampaignStage, self.stage), self.broker, MessageSequence(self.broker, log), once=once
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
