"""The state changelog: what its records hold, what is written, and what is made of damaged ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.detect.changelog import (
    HEAD,
    BlockWriter,
    Head,
    State,
    StateError,
    TopicProgress,
    assemble,
    block_size,
    decode,
    encode,
)
from tests.unit.pipelines.detect_fakes import Rig, drain, fill, request

Parts = dict[str, bytes]

# Names with blocks of both sizes; contents around the borders between blocks.
contents = st.builds(
    lambda unit, length: (unit * (length // max(len(unit), 1) + 1))[:length],
    st.binary(min_size=1, max_size=8),
    st.integers(0, 3 * 8 * 1024),
)
states = st.dictionaries(st.sampled_from(["accounts/rows", "accounts/names", "cohorts/bucket-1", "lane"]), contents)


def head_of(parts: Parts, **topics: TopicProgress) -> Head:
    return Head("layout", 5, topics, {name: len(data) for name, data in parts.items()})


def write(topic: dict[bytes, bytes], writer: BlockWriter, parts: Parts) -> list[bytes]:
    """One checkpoint; the keys that it wrote."""
    keys = []
    for key, value in writer.changes(head_of(parts), parts):
        keys.append(key)
        if value is None:
            del topic[key]
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


@given(st.lists(states, min_size=1, max_size=5))
def test_the_newest_of_each_key_is_the_last_state(history: list[Parts]) -> None:
    topic: dict[bytes, bytes] = {}
    writer = BlockWriter()
    for parts in history:
        write(topic, writer, parts)
    state = assemble(topic)
    assert state is not None
    assert state.parts == history[-1]
    kept = sum(-(-len(data) // block_size(name)) for name, data in history[-1].items())
    assert len(topic) == kept + 1, "blocks that are gone have tombstones"


def test_only_changed_blocks_are_written() -> None:
    topic: dict[bytes, bytes] = {}
    writer = BlockWriter()
    size = block_size("accounts/rows")
    rows = bytearray(100 * size)
    assert len(write(topic, writer, {"accounts/rows": bytes(rows), "lane": b"1"})) == 102
    rows[7 * size + 3] = 1
    assert write(topic, writer, {"accounts/rows": bytes(rows), "lane": b"1"}) == [b"accounts/rows:7", HEAD]
    assert write(topic, writer, {"accounts/rows": bytes(rows), "lane": b"1"}) == [HEAD]


def test_what_was_not_made_durable_is_written_again() -> None:
    writer = BlockWriter()
    parts = {"lane": b"1"}
    first = list(writer.changes(head_of(parts), parts))
    assert list(writer.changes(head_of(parts), parts)) == first
    writer.durable()
    assert [key for key, _ in writer.changes(head_of(parts), parts)] == [HEAD]


def test_a_restored_state_is_not_written_again() -> None:
    parts = {"lane": b"1", "accounts/rows": b"r" * 10_000}
    writer = BlockWriter()
    writer.adopt(State(head_of(parts), parts))
    assert [key for key, _ in writer.changes(head_of(parts), parts)] == [HEAD]


@pytest.mark.parametrize("key", [b"lane:0", HEAD])
@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_state_with_a_bad_record_is_refused_by_its_key(key: bytes, damage: str) -> None:
    topic: dict[bytes, bytes] = {}
    write(topic, BlockWriter(), {"lane": b"1"})
    if damage == "missing":
        del topic[key]
    else:
        topic[key] = topic[key][:-2] if damage == "truncated" else b"{}" + topic[key][2:]
    with pytest.raises(StateError, match="no head" if (key, damage) == (HEAD, "missing") else key.decode()):
        assemble(topic)


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


def test_a_checkpoint_waits_for_its_interval_and_a_stop_does_not() -> None:
    rig = Rig(checkpoint_ms=5_000)
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    fill(rig, 25, start=25)
    rig.journal.clear()
    rig.step(seconds=1.0)
    assert rig.journal == []
    rig.loop.finish()
    assert [entry[0] for entry in rig.journal] == ["tick", "tick", "state", "state", "commit"]
    rig.journal.clear()
    fill(rig, 25, start=50)
    rig.step(seconds=1.0)
    rig.step(seconds=4.1)
    assert rig.entries("commit")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda state: state.update({b"lane:0": state[b"lane:0"][:9]}), "record lane:0 is truncated"),
        (lambda state: state.update({HEAD: b"dw\x07" + state[HEAD][3:]}), "record head is of version 7"),
        (lambda state: state.pop(HEAD), "there are blocks and no head"),
    ],
)
def test_a_damaged_state_costs_the_state_and_not_the_partition(
    damage: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    damage(rig.changelog.state[0])  # type: ignore[operator]
    rig.restart()
    rig.source.assign(0)
    drain(rig)
    assert rig.loop.counters.lost_states == 1
    assert why in capsys.readouterr().out
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
