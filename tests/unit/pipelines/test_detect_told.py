"""Results that are told before the state they come from: nothing is missing, nothing is there twice."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.blocks import Blocks, Part, whole, whole_of
from pipelines.detect.changelog import HEAD, StateError, encode
from pipelines.detect.ports import TickOutput
from pipelines.detect.told import MOST_CUTS, TOLD, Cut, Piece, Retelling, Told, decode_told, encode_told
from schemas.events import Enforcement, encode_event
from schemas.evidence import Watermark
from tests.unit.pipelines.detect_fakes import (
    TICK_MS,
    FakeFrame,
    FakeLane,
    Rig,
    Tick,
    drain,
    fill,
    name_of,
    request,
    response,
)

Said = list[tuple[int, list[str]]]


class CountingLane(FakeLane):
    """Counts an event that comes late in the first tick still open, as the real one does, and knows all it said."""

    said: Said

    def __init__(self, partition: int) -> None:
        super().__init__(partition)
        self.said = []

    def offer(self, frame: FakeFrame) -> None:
        for event in frame.events:
            end = max(event.ts // TICK_MS * TICK_MS, self.closed) + TICK_MS
            self.open.setdefault(end, []).append(name_of(event))

    def close_until(self, watermark: int) -> Iterator[TickOutput]:
        for output in super().close_until(watermark):
            assert isinstance(output, Tick)
            self.said.append((output.tick, sorted(output.ids)))
            yield output

    def parts(self) -> dict[str, Part]:
        return {"lane": whole(msgspec.msgpack.encode((self.closed, self.said)))}

    def restore_parts(self, parts: Blocks) -> None:
        self.closed, self.said = msgspec.msgpack.decode(whole_of(parts["lane"]), type=tuple[int, Said])


class TellingRig(Rig):
    """Checkpoints are rare, so that most ticks are told between them."""

    def __init__(self, *, checkpoint_ms: int = 20_000) -> None:
        super().__init__(checkpoint_ms=checkpoint_ms, idle_close_ms=3_000)

    def _lane(self, partition: int) -> FakeLane:
        self.lanes.append(CountingLane(partition))
        return self.lanes[-1]

    @property
    def lane(self) -> CountingLane:
        lane = self.lanes[-1]
        assert isinstance(lane, CountingLane)
        return lane

    @property
    def ticks(self) -> Said:
        """Ticks that can be read, in order."""
        return [(entry[1], entry[2]) for entry in self.entries("tick")]

    @property
    def checkpoints(self) -> int:
        return sum(entry[2] == HEAD for entry in self.entries("state"))

    def begin(self) -> None:
        """A worker that has made its first checkpoint; results of later ticks can be told on top of it."""
        fill(self, 25)
        self.source.assign(0)
        self.step()
        assert self.checkpoints == 1
        assert [tick for tick, _ in self.ticks] == [1_000, 2_000]

    def take_over(self, **changed: str) -> None:
        """The worker is killed, and another one is given the partition."""
        for name, value in changed.items():
            setattr(self, name, value)
        self.restart()
        self.source.assign(0)


def test_a_closed_tick_is_told_at_once_and_its_state_later() -> None:
    rig = TellingRig()
    rig.begin()
    committed = dict(rig.source.stored)
    fill(rig, 25, start=25)
    rig.step(seconds=0.1)
    assert [tick for tick, _ in rig.ticks] == [1_000, 2_000, 3_000, 4_000]
    assert rig.checkpoints == 1
    assert rig.source.stored == committed, "a crash goes back to the state"
    assert rig.entries("state")[-1][2] == TOLD
    rig.step(seconds=21.0)
    assert rig.checkpoints == 2
    assert TOLD not in rig.changelog.state[0]


def test_a_partition_that_was_empty_at_first_does_not_wait_for_a_checkpoint_either() -> None:
    rig = TellingRig()
    rig.source.assign(0)
    rig.step(4, seconds=1.5)
    assert rig.checkpoints == 1, "it is idle, and has nothing to commit"
    fill(rig, 25)
    rig.step(2, seconds=0.1)
    assert [tick for tick, _ in rig.ticks] == [1_000, 2_000]


def test_what_was_told_is_not_said_again_by_whoever_takes_over() -> None:
    rig = TellingRig()
    rig.begin()
    fill(rig, 25, start=25)
    rig.step(seconds=0.1)
    rig.take_over()
    drain(rig)
    assert rig.ticks == rig.lane.said
    assert len(rig.ids) == len(set(rig.ids)) == 100
    active = [one for _, one in rig.entries("evidence") if isinstance(one, Watermark) and not one.idle]
    assert [mark.ts for mark in active] == [0, 4_000], "the campaign stage is not told an earlier time than before"


def test_the_first_ticks_bring_the_state_on_which_the_next_ones_are_told() -> None:
    rig = TellingRig()
    fill(rig, 5)
    rig.source.assign(0)
    rig.step()
    assert not rig.checkpoints, "no tick is closed"
    fill(rig, 20, start=5)
    rig.step(2, seconds=0.1)
    assert (len(rig.ticks), rig.checkpoints) == (2, 1)
    fill(rig, 25, start=25)
    rig.step(seconds=0.1)
    assert (len(rig.ticks), rig.checkpoints) == (4, 1)


def test_another_config_says_what_it_finds_itself() -> None:
    rig = TellingRig()
    rig.begin()
    fill(rig, 25, start=25)
    rig.step(seconds=0.1)
    rig.take_over(config="another")
    drain(rig)
    assert [tick for tick, _ in rig.ticks][2:6] == [3_000, 4_000, 3_000, 4_000]
    assert rig.ticks[2:4] == rig.ticks[4:6]


def test_a_refused_telling_comes_again() -> None:
    rig = TellingRig()
    rig.begin()
    fill(rig, 25, start=25)
    rig.changelog.refuse = True
    rig.step(seconds=0.1)
    assert len(rig.ticks) == 2
    rig.changelog.refuse = False
    rig.step(seconds=0.1)
    assert rig.ticks == rig.lane.said


def test_a_partition_that_comes_back_is_as_it_was_left_only_if_nobody_has_told_anything() -> None:
    for others in (False, True):
        rig = TellingRig()
        rig.begin()
        lane = rig.lane
        rig.source.revoke()
        if others:
            # Offsets stay where they were, so these do not tell.
            rig.source.noted["requests", 0] = "told to 4000"
        rig.source.assign(0)
        rig.step(seconds=0.1)
        assert (rig.lane is lane) is not others


def test_a_rebalance_while_records_wait_for_their_cut_reads_on_behind_them() -> None:
    rig = TellingRig()
    rig.begin()
    fill(rig, 25, start=25)
    rig.step(seconds=0.1)
    rig.take_over()
    rig.source.unread_at_once = 8
    rig.step(seconds=0.1)
    assert rig.loop.pending, "the cut is not read whole"
    rig.source.revoke()
    rig.source.assign(0)
    rig.step(seconds=0.1)
    drain(rig)
    assert rig.ticks == rig.lane.said
    assert len(rig.ids) == len(set(rig.ids)) == 100


def test_a_ban_counts_in_the_tick_in_which_it_counted_the_first_time() -> None:
    rig = TellingRig()
    rig.begin()
    for number, account in enumerate(("a", "b", "c")):
        fill(rig, 10, start=25 + 10 * number)
        rig.control.rows.append(encode_event(Enforcement(ts=rig.lane.closed + 1, account=account, action="ban")))
        rig.step(seconds=0.3)
    first = rig.lane.said
    rig.take_over()
    rig.step(2, seconds=0.1)
    assert rig.lane.said == first
    assert sum("ban-" in name for _, ids in first for name in ids) >= 1


def test_records_that_are_gone_do_not_hold_a_partition_up() -> None:
    rig = TellingRig()
    rig.begin()
    fill(rig, 25, start=25)
    rig.step(seconds=0.1)
    for topic in ("requests", "responses"):
        del rig.source.records[topic, 0][40:]
    rig.take_over()
    drain(rig)
    assert "what was told cannot be read again, and is told anew" in [line["event"] for line in rig.told.entries]


def test_so_many_cuts_at_most_are_told_on_one_state() -> None:
    rig = TellingRig(checkpoint_ms=100_000_000)
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    for number in range(MOST_CUTS + 5):
        rig.source.event("requests", 0, request(f"x{number}", 3_000 + number * TICK_MS))
        rig.source.event("responses", 0, response(f"y{number}", 3_000 + number * TICK_MS))
        rig.step(seconds=0.001)
    assert rig.checkpoints == 2
    assert len(decode_told(rig.changelog.state[0][TOLD]).cuts) < 10  # type: ignore[union-attr]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_killed_or_moved_anywhere_with_late_events_everything_is_said_once_and_the_state_knows_it(
    data: st.DataObject,
) -> None:
    rig = TellingRig()
    rig.begin()
    rig.source.unread_at_once = data.draw(st.integers(1, 30), label="records a poll")
    sent, now = 0, 2_500
    for _ in range(data.draw(st.integers(3, 12), label="rounds")):
        for _ in range(data.draw(st.integers(0, 12), label="events")):
            now += data.draw(st.integers(0, 900))
            late = data.draw(st.sampled_from([0, 0, 0, 1_500, 4_000]))
            topic = data.draw(st.sampled_from(["requests", "requests", "responses"]))
            event = request if topic == "requests" else response
            rig.source.event(topic, 0, event(f"e{sent}", max(now - late, 0)))
            sent += 1
        rig.step(data.draw(st.integers(1, 3)), seconds=data.draw(st.sampled_from([0.05, 0.4, 2.0, 9.0])))
        match data.draw(st.sampled_from(["nothing", "kill", "kill", "rebalance"])):
            case "kill":
                rig.take_over()
            case "rebalance":
                rig.source.revoke()
                rig.source.assign(0)
    drain(rig)
    assert rig.ticks == rig.lane.said
    assert len(rig.ids) == len(set(rig.ids)) == 50 + sent


def test_records_come_in_the_cut_that_their_offset_says() -> None:
    cuts = [Cut(1_000, {"a": 3, "b": 0}, 0), Cut(2_000, {"a": 3, "b": 2}, 0), Cut(3_000, {"a": 5, "b": 2}, 0)]
    retelling = Retelling(cuts)

    def read(topic: str, *offsets: int) -> None:
        rows = np.array(offsets, np.int64)
        frame = FakeFrame([request(f"{topic}{offset}", offset) for offset in offsets])
        retelling.take(Piece(topic, rows, rows, offsets[-1] + 1, frame))

    def names(pieces: list[Piece]) -> list[str]:
        return [name_of(event) for piece in pieces if piece.frame is not None for event in piece.frame.events]

    read("a", 0, 1, 2, 3)
    assert retelling.held == 4
    first = retelling.due({"a": 4, "b": 0})
    assert first is not None
    assert (first[0], names(first[1])) == (cuts[0], ["a0", "a1", "a2"])
    assert retelling.due({"a": 4, "b": 1}) is None, "b is not read so far"
    read("b", 0, 1, 2)
    second = retelling.due({"a": 4, "b": 3})
    assert second is not None
    assert names(second[1]) == ["b0", "b1"]
    read("a", 4, 5, 6)
    third = retelling.due({"a": 7, "b": 3})
    assert third is not None
    assert names(third[1]) == ["a3", "a4"]
    assert retelling.due({"a": 7, "b": 3}) is None
    assert sorted(names(retelling.rest())) == ["a5", "a6", "b2"]
    assert retelling.held == 0


@pytest.mark.parametrize("value", [b"dw", encode(b"\x91")])
def test_a_damaged_record_of_what_was_told_is_named(value: bytes) -> None:
    with pytest.raises(StateError, match="record told is"):
        decode_told(value)
    told = Told("config", [Cut(1, {"a": 1}, 0)])
    assert decode_told(encode_told(told)) == told
