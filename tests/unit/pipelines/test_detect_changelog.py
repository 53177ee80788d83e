"""The state changelog: what its records hold, what is written, and what is made of damaged ones."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.blocks import Part, whole
from pipelines.detect.changelog import (
    HEAD,
    BlockWriter,
    Head,
    State,
    StateError,
    TopicProgress,
    assemble,
    decode,
    encode,
    extent,
)
from tests.unit.pipelines.detect_fakes import Rig, drain, fill, request, response

Contents = dict[str, dict[int, bytes]]

# Parts of successive blocks, from any number on; with the blocks that change at each step.
contents = st.dictionaries(
    st.sampled_from(["rows", "names", "lane"]),
    st.builds(
        lambda first, blocks: dict(enumerate(blocks, first)),
        st.integers(0, 3),
        st.lists(st.binary(max_size=4), max_size=4),
    ),
)


def parts_of(now: Contents, before: Contents, *, mark: bool = True) -> dict[str, Part]:
    """Parts that mark what is different from before, once."""

    def part(name: str) -> Part:
        blocks = now[name]
        marked = [n for n, block in blocks.items() if before.get(name, {}).get(n) != block]
        marked += [n for n in before.get(name, {}) if n not in blocks]
        return Part(min(blocks, default=0), len(blocks), blocks.__getitem__, lambda: marked if mark else None)

    return {name: part(name) for name in now}


def head_of(parts: dict[str, Part], **topics: TopicProgress) -> Head:
    return Head("group", "layout", 5, topics, extent(parts))


def write(topic: dict[bytes, bytes], writer: BlockWriter, parts: dict[str, Part]) -> list[bytes]:
    """One checkpoint; the keys that it wrote."""
    keys = []
    for key, value in writer.changes(head_of(parts), parts):
        keys.append(key)
        if value is None:
            topic.pop(key, None)
        else:
            topic[key] = value
    writer.durable()
    return keys


@given(st.binary(max_size=5_000))
def test_a_record_gives_back_what_was_put_in(payload: bytes) -> None:
    assert decode(encode(payload)) == payload


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_record_cut_anywhere_is_refused(payload: bytes, data: st.DataObject) -> None:
    value = encode(payload)
    with pytest.raises(StateError, match=r"truncated|damaged"):
        decode(value[: data.draw(st.integers(0, len(value) - 1))])


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_record_with_one_flipped_bit_is_refused_or_still_right(payload: bytes, data: st.DataObject) -> None:
    value = bytearray(encode(payload))
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    value[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(StateError):
        # A few bits of a frame's own header mean nothing.
        assert decode(bytes(value)) == payload


def test_another_version_and_another_kind_of_record_are_named() -> None:
    value = encode(b"x")
    with pytest.raises(StateError, match="of version 9; this program reads version 1"):
        decode(value[:2] + b"\x09" + value[3:])
    with pytest.raises(StateError, match="not a state record"):
        decode(b"{}" + value[2:])
    with pytest.raises(StateError, match="claims 4294967295 bytes"):
        decode(value[:4] + b"\xff" * 4 + value[8:])


@given(st.lists(st.tuples(contents, st.booleans()), min_size=1, max_size=5), st.booleans())
def test_the_newest_of_each_key_is_the_last_state(history: list[tuple[Contents, bool]], mark: bool) -> None:
    topic: dict[bytes, bytes] = {}
    writer = BlockWriter()
    before: Contents = {}
    for now, taken in history:
        parts = parts_of(now, before, mark=mark)
        if taken:
            write(topic, writer, parts)
        else:
            # What a refused checkpoint had marked comes with the next one.
            list(writer.changes(head_of(parts), parts))
        before = now
    parts = parts_of(before, before, mark=mark)
    write(topic, writer, parts)
    state = assemble(topic)
    assert state is not None
    assert state.parts == {name: list(blocks.values()) for name, blocks in before.items()}
    held = [block for blocks in before.values() for block in blocks.values() if block]
    assert len(topic) == len(held) + 1, "blocks that are gone or empty have tombstones"


def test_only_marked_blocks_are_looked_at_and_written() -> None:
    topic: dict[bytes, bytes] = {}
    writer = BlockWriter()
    looked: list[int] = []
    marked = [7, 8]
    blocks = [b"%d" % n for n in range(100)]

    def read(number: int) -> bytes:
        looked.append(number)
        return blocks[number]

    parts = {"rows": Part(0, 100, read, lambda: marked), "lane": whole(b"1")}
    assert len(write(topic, writer, parts)) == 102
    assert len(looked) == 100
    looked.clear()
    blocks[7] = b"changed"
    assert write(topic, writer, parts) == [b"rows:7", b"rows:8", HEAD], "a mark is believed"
    assert looked == [7, 8]
    marked.clear()
    assert write(topic, writer, parts) == [HEAD]


def test_of_a_part_without_marks_only_what_changed_is_written() -> None:
    topic: dict[bytes, bytes] = {}
    writer = BlockWriter()
    before, after = b"a" * 150_000, b"a" * 149_999 + b"b"
    assert write(topic, writer, {"lane": whole(before)}) == [b"lane:0", b"lane:1", b"lane:2", HEAD]
    assert write(topic, writer, {"lane": whole(after)}) == [b"lane:2", HEAD]


def test_what_was_not_made_durable_is_written_again() -> None:
    writer = BlockWriter()
    parts = {"lane": whole(b"1")}
    first = list(writer.changes(head_of(parts), parts))
    assert list(writer.changes(head_of(parts), parts)) == first
    writer.durable()
    assert [key for key, _ in writer.changes(head_of(parts), parts)] == [HEAD]


def test_a_restored_state_is_not_written_again() -> None:
    parts = {"lane": whole(b"1"), "rows": whole(b"r" * 100_000)}
    writer = BlockWriter()
    writer.adopt(State(head_of(parts), {name: part.blocks() for name, part in parts.items()}), parts)
    assert [key for key, _ in writer.changes(head_of(parts), parts)] == [HEAD]


def test_a_state_after_an_unusable_one_leaves_nothing_of_it() -> None:
    topic = {b"old:3": b"?", b"lane:0": b"?", HEAD: b"?"}
    writer = BlockWriter()
    writer.forget(topic)
    write(topic, writer, {"lane": whole(b"1")})
    assert sorted(topic) == [HEAD, b"lane:0"]


@pytest.mark.parametrize(
    ("key", "damage", "why"),
    [
        (b"lane:0", "missing", "it has 1 blocks, 2 are needed"),
        (b"lane:0", "truncated", "record lane:0 is truncated"),
        (b"lane:0", "foreign", "record lane:0 is not a state record"),
        (HEAD, "missing", "there are blocks and no head"),
        (HEAD, "truncated", "record head is truncated"),
        (HEAD, "foreign", "record head is not a state record"),
    ],
)
def test_a_state_with_a_bad_record_is_refused_by_its_key(key: bytes, damage: str, why: str) -> None:
    topic: dict[bytes, bytes] = {}
    write(topic, BlockWriter(), {"lane": whole(b"1"), "rest": whole(b"2")})
    if damage == "missing":
        del topic[key]
    else:
        topic[key] = topic[key][:-2] if damage == "truncated" else b"{}" + topic[key][2:]
    with pytest.raises(StateError, match=why):
        assemble(topic)


def test_what_others_may_have_written_is_gone_where_this_state_has_nothing() -> None:
    topic: dict[bytes, bytes] = {}
    writer = BlockWriter()
    empty = {"bits": Part(0, 2, lambda _: b"", list)}
    assert write(topic, writer, empty) == [HEAD]
    topic[b"bits:1"] = b"of another worker"
    writer.rewrite()
    for key, value in writer.changes(head_of(empty), empty):
        topic.pop(key, None)
        if value is not None:
            topic[key] = value
    assert sorted(topic) == [HEAD]


def test_an_empty_topic_is_no_state_and_no_error() -> None:
    assert assemble({}) is None


def everything(count: int) -> set[str]:
    return {f"r{n}" for n in range(count)} | {f"re-r{n}" for n in range(count)}


def test_a_restarted_worker_goes_on_with_the_state_of_the_checkpoint() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    done = list(rig.lanes[0].done)
    assert done
    rig.restart()
    rig.source.assign(0)
    rig.step()
    assert rig.lanes[-1].done[: len(done)] == done
    drain(rig)
    assert sorted(rig.ids) == sorted(everything(25)), "every event once"


def test_a_record_of_a_closed_tick_behind_an_open_one_is_not_taken_twice() -> None:
    rig = Rig()
    for name, ts in [("r0", 100), ("early", 2_900), ("r1", 200), ("r2", 1_500), ("r3", 2_500)]:
        rig.source.event("requests", 0, request(name, ts))
    rig.source.append("requests", 0, b"not json")
    rig.source.assign(0)
    rig.step()
    assert rig.source.stored == {("requests", 0): 1}, "of an open tick"
    rig.restart()
    rig.source.assign(0)
    drain(rig)
    assert sorted(rig.ids) == ["early", "r0", "r1", "r2", "r3"]
    assert len(rig.entries("letter")) == 1
    assert rig.lanes[-1].late == []
    assert rig.source.stored == {("requests", 0): 6}


def ticks_of(rig: Rig) -> list[tuple[int, list[str]]]:
    return [(entry[1], entry[2]) for entry in rig.entries("tick")]


@given(
    requests=st.lists(st.integers(0, 9_999), min_size=2, max_size=40),
    responses=st.lists(st.integers(0, 9_999), min_size=2, max_size=40),
    at_once=st.integers(1, 7),
    lives=st.lists(st.integers(1, 9), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_killed_workers_put_the_same_events_into_the_same_ticks(
    requests: list[int], responses: list[int], at_once: int, lives: list[int]
) -> None:
    def rig() -> Rig:
        made = Rig(max_skew_ms=1_000)
        made.source.unread_at_once = at_once
        for n, ts in enumerate(sorted(requests)):
            made.source.event("requests", 0, request(f"r{n}", ts))
        for n, ts in enumerate(sorted(responses)):
            made.source.event("responses", 0, response(f"r{n}", ts))
        made.source.assign(0)
        return made

    undisturbed, killed = rig(), rig()
    drain(undisturbed)
    for steps in lives:
        killed.step(steps)
        killed.restart()
        killed.source.assign(0)
    drain(killed)
    assert ticks_of(killed) == ticks_of(undisturbed)
    assert all(not lane.late for lane in killed.lanes)
    assert killed.source.stored == undisturbed.source.stored


def test_a_checkpoint_waits_for_its_interval_and_a_stop_does_not() -> None:
    rig = Rig(checkpoint_ms=5_000)
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    rig.journal.clear()
    fill(rig, 25, start=25)
    rig.step(seconds=1.0)
    assert HEAD not in [entry[2] for entry in rig.entries("state")], "the state waits"
    rig.journal.clear()
    rig.loop.finish()
    assert [kind for kind, _ in itertools.groupby(entry[0] for entry in rig.journal)] == ["state", "commit"]
    assert HEAD in [entry[2] for entry in rig.entries("state")]
    rig.journal.clear()
    fill(rig, 25, start=50)
    rig.step(seconds=1.0)
    rig.step(seconds=4.1)
    assert HEAD in [entry[2] for entry in rig.entries("state")]


def test_checkpoints_that_take_long_come_more_rarely_but_within_a_minute() -> None:
    rig = Rig(checkpoint_ms=1_000, idle_close_ms=100_000)

    def take() -> None:
        rig.clock.now += 0.3

    rig.changelog.takes = take
    written = []
    rig.source.assign(0)
    for number in range(80):
        fill(rig, 25, start=25 * number)
        rig.journal.clear()
        rig.step(seconds=1.0)
        if (0, HEAD) in [entry[1:3] for entry in rig.entries("state")]:
            written.append(rig.clock.now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(written)]
    assert len(gaps) >= 4
    assert all(10 <= gap <= 13 for gap in gaps[2:]), "a thirtieth of the time"
    rig.changelog.takes = lambda: setattr(rig.clock, "now", rig.clock.now + 50)
    written.clear()
    for number in range(80, 260):
        fill(rig, 25, start=25 * number)
        rig.journal.clear()
        rig.step(seconds=1.0)
        if (0, HEAD) in [entry[1:3] for entry in rig.entries("state")]:
            written.append(rig.clock.now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(written)]
    assert gaps
    assert max(gaps) <= 50 + 62


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda state: state.update({b"lane:0": state[b"lane:0"][:9]}), "record lane:0 is truncated"),
        (lambda state: state.update({HEAD: b"dw\x07" + state[HEAD][3:]}), "record head is of version 7"),
        (lambda state: state.pop(HEAD), "there are blocks and no head"),
    ],
)
def test_a_damaged_state_costs_the_state_and_not_the_partition(damage: object, why: str) -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    damage(rig.changelog.state[0])  # type: ignore[operator]
    rig.restart()
    rig.source.assign(0)
    drain(rig)
    assert rig.loop.counters.lost_states == 1
    assert [why in entry["why"] for entry in rig.told.entries if entry["log_level"] == "error"] == [True]
    assert set(rig.ids) == everything(25)
    # And it is whole again.
    rig.restart()
    rig.source.assign(0)
    rig.step()
    assert rig.loop.counters.lost_states == 0


def test_a_state_of_other_offsets_is_not_used() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    rig.source.stored["requests", 0] = 3
    rig.restart()
    rig.source.assign(0)
    rig.step()
    assert rig.loop.counters.lost_states == 1
    assert rig.lanes[-1].seen[0] == "r3"


def test_a_state_of_another_group_is_not_used() -> None:
    """Its offsets are others, though this group has none to tell it by."""
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    rig.source.stored.clear()
    rig.changelog.group = "another"
    rig.restart()
    rig.source.assign(0)
    drain(rig)
    assert rig.loop.counters.lost_states == 1
    assert set(rig.lanes[-1].done) == everything(25)


def test_a_worker_that_was_shut_out_writes_nothing_more() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    rig.changelog.open(0)
    before = list(rig.journal)
    fill(rig, 25, start=25)
    rig.step(seconds=1.0)
    assert rig.journal == before
    assert rig.loop.counters.refused_commits == 1


def test_all_partitions_are_announced_before_any_tick() -> None:
    rig = Rig()
    for number in range(3):
        fill(rig, 25, partition=number)
    rig.source.assign(0, 1, 2)
    rig.step()
    kinds = [entry[0] for entry in rig.journal if entry[0] in ("evidence", "tick")]
    assert kinds[:3] == ["evidence"] * 3
    assert "evidence" not in kinds[3:]


def test_a_client_that_is_stuck_is_replaced_and_all_of_it_comes_again() -> None:
    rig = Rig()
    rig.source.assign(0)
    fill(rig, 25)
    rig.step()
    opened = rig.changelog.opened
    fill(rig, 25, start=25)
    rig.changelog.stuck = 1
    rig.step()
    assert set(rig.ids) < everything(50)
    assert rig.loop.counters.refused_commits >= 1
    # No broker answers at first.
    rig.changelog.away = 1
    rig.step()
    drain(rig)
    assert rig.changelog.opened == opened + 1
    assert set(rig.ids) == everything(50)
    # And its state is whole.
    rig.restart()
    rig.source.assign(0)
    rig.step()
    assert rig.loop.counters.lost_states == 0
