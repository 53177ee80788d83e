"""The order in which the campaign stage takes evidence, and what happens to messages lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pipelines.correlate.sequence import MessageSequence


class Log:
    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, object]]] = []

    def warning(self, event: str, **values: object) -> None:
        self.warnings.append((event, values))


class Partition:
    """Offsets that have a record, and the seeks that were asked for."""

    def __init__(self, records: range | list[int] = range(1_000)) -> None:
        self.records = list(records)
        self.asked: list[int] = []
        self.seeks: list[int] = []
        self.refuse = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def first_from(self, offset: int) -> int:
        self.asked.append(offset)
        self.meanwhile()
        return min(one for one in self.records if one >= offset)

    async def seek(self, offset: int) -> None:
        self.seeks.append(offset)
        if self.refuse:
            self.refuse -= 1
            raise RuntimeError("no such partition in the assignment")


Scenario = Callable[[MessageSequence, Partition, Log], Awaitable[None]]


def play(scenario: Scenario, partition: Partition | None = None) -> tuple[Partition, Log]:
    partition, log = partition or Partition(), Log()

    async def run() -> None:
        await scenario(MessageSequence(partition, log, again_every_s=0.01), partition, log)

    asyncio.run(run())
    return partition, log


def test_what_is_expected_and_what_repeats_is_taken_without_asking() -> None:
    async def scenario(sequence: MessageSequence, _partition: Partition, _log: Log) -> None:
        assert await sequence.admits(5, 5)
        assert await sequence.admits(6, 6)
        assert await sequence.admits(3, 7)

    partition, log = play(scenario)
    assert (partition.asked, partition.seeks, log.warnings) == ([], [], [])


def test_offsets_that_have_no_record_are_passed_over() -> None:
    async def scenario(sequence: MessageSequence, _partition: Partition, _log: Log) -> None:
        assert await sequence.admits(20, 5)
        assert await sequence.admits(21, 21)

    partition, log = play(scenario, Partition([20, 21]))
    assert (partition.asked, partition.seeks, log.warnings) == ([5], [], [])


def test_lost_messages_are_read_again_and_nothing_behind_them_is_taken_before() -> None:
    async def scenario(sequence: MessageSequence, partition: Partition, _log: Log) -> None:
        for offset in (9, 10, 11):
            assert not await sequence.admits(offset, 5)
        await asyncio.sleep(0)
        assert partition.seeks == [5]
        for offset in (5, 6, 7):
            assert await sequence.admits(offset, offset)
        await asyncio.sleep(0.03)

    partition, log = play(scenario)
    assert partition.asked == [5], "the broker is asked once for a jump, not for each message behind it"
    assert partition.seeks == [5], "what has come is not awaited any more"
    assert log.warnings == [("evidence was lost on the way; reading it again", {"next": 5, "got": 9})]


def test_a_gap_in_front_of_lost_messages_does_not_hold_them_up() -> None:
    async def scenario(sequence: MessageSequence, _partition: Partition, _log: Log) -> None:
        assert not await sequence.admits(40, 5)
        await asyncio.sleep(0)
        assert await sequence.admits(3, 5), "the seek may go back too far"
        assert await sequence.admits(20, 5)
        assert await sequence.admits(21, 21)

    partition, _ = play(scenario, Partition(range(20, 50)))
    assert partition.seeks == [20]


def test_a_seek_in_vain_is_repeated_until_the_message_is_there() -> None:
    async def scenario(sequence: MessageSequence, partition: Partition, _log: Log) -> None:
        partition.refuse = 2
        assert not await sequence.admits(9, 5)
        while len(partition.seeks) < 4:
            assert not await sequence.admits(9, 5)
            await asyncio.sleep(0.005)
        assert await sequence.admits(5, 5)
        seeks = len(partition.seeks)
        await asyncio.sleep(0.03)
        assert len(partition.seeks) == seeks

    _, log = play(scenario)
    assert [event for event, _ in log.warnings].count("evidence could not be read again yet") == 2


def test_a_lost_message_that_retention_takes_meanwhile_is_not_awaited_for_ever() -> None:
    async def scenario(sequence: MessageSequence, partition: Partition, _log: Log) -> None:
        assert not await sequence.admits(9, 5)
        partition.records = [8, 9]
        await asyncio.sleep(0.03)
        assert partition.seeks[-1] == 8
        assert await sequence.admits(8, 5)

    play(scenario)


def test_a_rebalance_ends_the_waiting() -> None:
    async def scenario(sequence: MessageSequence, partition: Partition, _log: Log) -> None:
        assert not await sequence.admits(9, 5)
        await asyncio.sleep(0)
        sequence.reset()
        await asyncio.sleep(0.03)
        assert partition.seeks == [5]
        assert await sequence.admits(9, 9)

    play(scenario)


def test_a_rebalance_while_the_broker_is_asked_leaves_the_message_to_the_next_assignment() -> None:
    async def scenario(sequence: MessageSequence, partition: Partition, _log: Log) -> None:
        partition.meanwhile = sequence.reset
        assert not await sequence.admits(9, 5)
        await asyncio.sleep(0.03)

    partition, log = play(scenario)
    assert (partition.seeks, log.warnings) == ([], [])


def test_lost_again_while_the_first_search_sleeps_there_is_one_search() -> None:
    async def scenario(sequence: MessageSequence, partition: Partition, _log: Log) -> None:
        assert not await sequence.admits(9, 5)
        await asyncio.sleep(0)
        assert await sequence.admits(5, 5)
        assert not await sequence.admits(12, 6)
        await asyncio.sleep(0.025)
        sequence.reset()
        assert partition.seeks[:2] == [5, 6]
        assert set(partition.seeks[1:]) == {6}
        assert len(partition.seeks) <= 4

    play(scenario)
