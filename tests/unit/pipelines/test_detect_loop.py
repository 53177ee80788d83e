"""The detect loop on a broker in memory: order of durability, merging by time, rebalances, control."""

from __future__ import annotations

import pytest

from pipelines.detect.ports import TopicPartition
from pipelines.detect.tallies import Counters
from pipelines.detect.worker import status
from schemas.deadletters import DeadLetter
from schemas.events import Enforcement, Release, encode_event
from schemas.evidence import Watermark
from tests.unit.pipelines.detect_fakes import TICK_MS, BoomError, Rig, drain, fill, request, response

REQUESTS: TopicPartition = ("requests", 0)
RESPONSES: TopicPartition = ("responses", 0)


def test_dead_letters_then_ticks_then_state_then_offsets() -> None:
    rig = Rig()
    rig.source.append("requests", 0, b"not json")
    fill(rig, 30)
    rig.source.assign(0)
    rig.step()
    kinds = [entry[0] for entry in rig.journal]
    assert kinds == ["evidence", "commit", "letter", "tick", "tick", "state", "state", "commit"]
    assert [entry[2] for entry in rig.entries("state")] == [b"lane:0", b"head"]


def test_nothing_is_committed_past_an_open_tick() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    # The watermark is the newest request, 2400: ticks up to 2000 are closed, r20 to r24 wait.
    assert rig.source.stored == {REQUESTS: 20, RESPONSES: 20}
    drain(rig)
    assert rig.source.stored == {REQUESTS: 25, RESPONSES: 25}


def test_an_early_record_among_later_ones_holds_its_own_offset_back() -> None:
    rig = Rig()
    for name, ts in [("r0", 100), ("ahead", 2_900), ("r1", 200), ("r2", 1_500), ("r3", 3_500)]:
        rig.source.event("requests", 0, request(name, ts))
    rig.source.assign(0)
    rig.step()
    assert rig.source.stored == {REQUESTS: 4}
    rig = Rig()
    for name, ts in [("r0", 100), ("ahead", 5_900), ("r1", 200), ("r2", 1_500), ("r3", 6_500)]:
        rig.source.event("requests", 0, request(name, ts))
    # Another topic keeps the watermark at 1600 while more of it is unread.
    rig.source.event("responses", 0, response("r0", 1_600))
    rig.source.event("responses", 0, response("r1", 6_600))
    rig.source.assign(0)
    rig.source.records[RESPONSES], later = rig.source.records[RESPONSES][:1], rig.source.records[RESPONSES][1:]
    rig.step()
    assert rig.source.stored == {REQUESTS: 1}, "offset 1 is of an open tick, though 2 and 3 are not"
    rig.source.records[RESPONSES] += later
    drain(rig)
    assert rig.source.stored == {REQUESTS: 5, RESPONSES: 2}


@pytest.mark.parametrize("step", ["evidence", "letter", "tick", "state", "commit"])
def test_a_failure_at_any_step_commits_nothing_and_a_restart_loses_nothing(step: str) -> None:
    rig = Rig()
    rig.source.append("requests", 0, b"{")
    fill(rig, 30)
    rig.source.assign(0)
    rig.changelog.fail_at = step
    with pytest.raises(BoomError):
        rig.step()
    assert rig.source.stored == {}
    rig.changelog.fail_at = None
    rig.restart()
    rig.source.assign(0)
    drain(rig)
    assert rig.source.stored == {REQUESTS: 31, RESPONSES: 30}
    expected = {f"r{number}" for number in range(30)} | {f"re-r{number}" for number in range(30)}
    assert set(rig.ids) == expected
    assert {entry[1].offset for entry in rig.entries("letter")} == {0}


def test_a_worker_killed_between_checkpoints_repeats_only_open_ticks() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    first = set(rig.ids)
    rig.journal.clear()
    rig.restart()
    rig.source.assign(0)
    drain(rig)
    assert first.isdisjoint(rig.ids)
    assert first | set(rig.ids) == {f"r{n}" for n in range(25)} | {f"re-r{n}" for n in range(25)}


def test_rejected_records_carry_their_bytes_key_reason_and_place() -> None:
    rig = Rig()
    rig.source.append("responses", 0, b'{"type":"release","ts":1,"model":"m"}', key=b"k")
    rig.source.append("responses", 0, encode_event(response("r", 10_060_001)), key=b"k2")
    rig.source.append("responses", 0, b"\xff", key=None)
    rig.source.append("responses", 0, b"x" * 100_001)
    rig.source.assign(0)
    rig.step()
    letters: list[DeadLetter] = [entry[1] for entry in rig.entries("letter")]
    assert [(letter.reason, letter.offset, letter.key) for letter in letters] == [
        ("wrong_topic", 0, b"k"),
        ("in_future", 1, b"k2"),
        ("not_utf8", 2, None),
        ("too_large", 3, None),
    ]
    assert {(letter.source, letter.partition) for letter in letters} == {("responses", 0)}
    assert letters[0].raw == b'{"type":"release","ts":1,"model":"m"}'
    assert rig.source.stored == {RESPONSES: 4}, "rejected records are finished once their letters are"
    assert rig.loop.counters == Counters(rejected=4)


def test_a_tombstone_of_the_accounts_topic_is_no_error() -> None:
    rig = Rig()
    rig.source.append("accounts", 0, None, key=b"a")
    rig.source.append("requests", 0, None, key=b"a")
    rig.source.assign(0)
    rig.step()
    assert [(entry[1].source, entry[1].reason) for entry in rig.entries("letter")] == [("requests", "empty")]
    assert rig.source.stored == {("accounts", 0): 1, REQUESTS: 1}


def test_topics_are_merged_by_time_so_that_a_backlog_makes_nothing_late() -> None:
    rig = Rig(max_skew_ms=1_000)
    for number in range(100):
        rig.source.event("requests", 0, request(f"r{number}", number * 100))
    for number in range(10):
        rig.source.event("responses", 0, response(f"r{number}", number * 1_000 + 50))
    rig.source.unread_at_once = 7
    rig.source.assign(0)
    drain(rig)
    assert rig.lanes[0].late == []
    assert len(rig.ids) == 110
    ticks = [entry[1] for entry in rig.entries("tick")]
    assert ticks == sorted(ticks)


def test_a_topic_that_runs_ahead_is_paused_and_resumed() -> None:
    rig = Rig(max_skew_ms=1_000)
    for number in range(100):
        rig.source.event("requests", 0, request(f"r{number}", number * 100))
    for number in range(100):
        rig.source.event("responses", 0, response(f"r{number}", number * 10))
    for number in range(100, 200):
        rig.source.event("responses", 0, response(f"r{number}", number * 100))
    rig.source.unread_at_once = 20
    rig.source.assign(0)
    rig.step()
    assert rig.source.paused == {REQUESTS}
    drain(rig)
    assert rig.source.paused == set()
    assert rig.lanes[0].late == []


def test_pending_events_are_bounded_by_pausing_what_is_ahead() -> None:
    rig = Rig(max_pending_events=1_000, max_skew_ms=86_400_000)
    for number in range(20_000):
        rig.source.event("requests", 0, request(f"r{number}", number * 10))
    for number in range(2_000):
        rig.source.event("responses", 0, response(f"r{number}", number * 100))
    rig.source.unread_at_once = 200
    rig.source.assign(0)
    drain(rig)
    # One poll of every topic beyond the bound, and the events of the open tick.
    assert rig.lanes[0].most_pending <= 1_000 + 2 * 200 + 110
    assert len(rig.ids) == 22_000
    assert rig.lanes[0].late == []


def test_a_silent_topic_holds_the_watermark_only_for_the_idle_time() -> None:
    rig = Rig()
    rig.source.event("responses", 0, response("r0", 500))
    rig.source.assign(0)
    rig.step()
    rig.source.event("requests", 0, request("r1", 3_000))
    rig.step(seconds=0.5)
    assert rig.ids == [], "responses may still come: they were read half a second ago"
    rig.source.event("requests", 0, request("r2", 4_000))
    rig.step(seconds=2.0)
    assert rig.ids == ["re-r0", "r1"]


def test_an_idle_partition_says_so_and_says_when_it_is_back() -> None:
    rig = Rig()
    rig.source.event("requests", 0, request("r0", 500))
    rig.source.assign(0)
    drain(rig)
    assert [entry[1] for entry in rig.entries("evidence")] == [
        Watermark(source=0, ts=0),
        Watermark(source=0, ts=TICK_MS, idle=True),
    ]
    rig.journal.clear()
    rig.source.event("requests", 0, request("r1", 1_500))
    rig.step(seconds=0.1)
    assert [entry[1] for entry in rig.entries("evidence")] == [Watermark(source=0, ts=TICK_MS)]


def test_a_partition_is_not_called_silent_while_the_broker_is_away() -> None:
    rig = Rig()
    rig.source.event("requests", 0, request("r0", 500))
    rig.source.assign(0)
    rig.step()
    rig.source.away = True
    rig.step(5, seconds=1.0)
    assert rig.ids == []
    assert not rig.loop.done
    rig.source.away = False
    rig.step()
    assert rig.ids == ["r0"]


def test_an_empty_partition_is_idle_at_once() -> None:
    rig = Rig()
    rig.source.assign(2)
    rig.step()
    assert rig.loop.done
    assert [entry[1] for entry in rig.entries("evidence")] == [
        Watermark(source=2, ts=0),
        Watermark(source=2, ts=0, idle=True),
    ]


def test_features_are_computed_once_a_poll_for_all_lanes() -> None:
    rig = Rig()
    fill(rig, 10, partition=0)
    fill(rig, 10, partition=1, start=10)
    rig.source.assign(0, 1)
    rig.step()
    assert rig.builder.sizes == [40]
    assert {lane.partition: len(lane.seen) for lane in rig.lanes} == {0: 20, 1: 20}


def test_control_is_read_before_the_first_event_and_reaches_the_right_lanes() -> None:
    rig = Rig()
    # partition_of(b"acct-1", 4) is 2.
    rig.control.rows = [
        encode_event(Enforcement(ts=100, account="acct-1", action="ban")),
        encode_event(Release(ts=200, model="m-next")),
    ]
    fill(rig, 3, partition=1)
    fill(rig, 3, partition=2)
    rig.source.assign(1, 2)
    rig.step()
    seen = {lane.partition: lane.seen for lane in rig.lanes}
    assert seen[1][0] == "release-m-next"
    assert "ban-acct-1" not in seen[1]
    assert seen[2][:2] == ["ban-acct-1", "release-m-next"]


def test_control_events_that_come_later_reach_lanes_of_now_and_of_later() -> None:
    rig = Rig()
    rig.source.assign(0)
    rig.step()
    rig.control.rows.append(encode_event(Release(ts=200, model="m-next")))
    rig.step(seconds=1.0)
    rig.source.revoke()
    rig.source.assign(0, 1)
    rig.step(seconds=1.0)
    assert {lane.partition: lane.seen for lane in rig.lanes} == {0: ["release-m-next"], 1: ["release-m-next"]}


def test_rejected_control_records_become_one_letter_by_the_owner_of_partition_0() -> None:
    rig = Rig()
    rig.control.rows = [b"junk", encode_event(request("r", 1)), encode_event(Release(ts=1, model="m"))]
    rig.source.assign(1)
    rig.step()
    assert rig.entries("letter") == []
    rig.source.revoke()
    rig.source.assign(0, 1)
    rig.step()
    assert [entry[1].reason for entry in rig.entries("letter")] == ["not_json", "wrong_topic"]
    rig.journal.clear()
    rig.restart()
    rig.source.assign(0, 1)
    rig.step()
    assert rig.entries("letter") == [], "they were reported before the restart"


def test_records_keyed_by_a_foreign_partitioner_are_counted() -> None:
    rig = Rig()
    rig.source.append("requests", 0, encode_event(request("r", 1, "acct-1")), key=b"acct-1")
    rig.source.append("requests", 2, encode_event(request("r", 1, "acct-1")), key=b"acct-1")
    rig.source.assign(0, 2)
    rig.step()
    assert rig.loop.counters.misplaced == 1


def test_done_waits_for_everything_and_needs_an_assignment() -> None:
    rig = Rig()
    assert not rig.loop.done
    fill(rig, 5)
    rig.source.assign(0)
    rig.step()
    assert not rig.loop.done
    drain(rig)
    rig.source.event("requests", 0, request("more", 9_000))
    assert not rig.loop.done


def test_a_worker_that_stays_without_partitions_is_done() -> None:
    rig = Rig()
    rig.source.assign()
    rig.step()
    assert not rig.loop.done, "the group's first round may hand out nothing"
    rig.step(seconds=5.0)
    assert rig.loop.done


def test_the_status_line_names_rates_lag_and_pending() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.unread_at_once = 20
    rig.source.assign(0)
    rig.step()
    fields = status(rig.loop, since=Counters(events=10), seconds=2.0)
    assert fields["events_per_s"] == 15.0
    assert fields["lag"] == 10
    assert fields["pending"] == rig.loop.pending > 0
    assert fields["partitions"] == "0"
