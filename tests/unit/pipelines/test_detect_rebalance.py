"""The detect loop in rebalances: which lanes stay, where reading goes on, what is not written."""

from __future__ import annotations

import pytest

from pipelines.detect.ports import TopicPartition
from pipelines.errors import Failure
from tests.unit.pipelines.detect_fakes import Rig, drain, fill, request, response

REQUESTS: TopicPartition = ("requests", 0)
RESPONSES: TopicPartition = ("responses", 0)


def test_a_partition_that_stays_keeps_its_lane_and_reads_nothing_twice() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    rig.source.revoke()
    rig.source.assign(0)
    fill(rig, 5, start=25)
    drain(rig)
    assert len(rig.lanes) == 1
    assert sorted(rig.lanes[0].seen) == sorted(set(rig.lanes[0].seen))
    assert len(rig.ids) == 60


def test_a_topic_paused_before_a_rebalance_is_read_on_after_it() -> None:
    rig = Rig(max_skew_ms=1_000)
    for number in range(100):
        rig.source.event("requests", 0, request(f"r{number}", number * 100))
        rig.source.event("responses", 0, response(f"r{number}", number * 10))
    rig.source.unread_at_once = 20
    rig.source.assign(0)
    rig.step()
    assert rig.source.paused == {REQUESTS}
    rig.source.revoke()
    rig.source.assign(0)
    drain(rig)
    assert len(rig.ids) == 200
    assert len(rig.lanes) == 1


def test_a_new_lane_reads_from_what_the_other_worker_committed_not_from_its_own_position() -> None:
    rig = Rig()
    fill(rig, 40)
    rig.source.unread_at_once = 25
    rig.source.assign(0)
    rig.step()
    rig.source.revoke()
    rig.source.stored |= {REQUESTS: 22, RESPONSES: 21}
    rig.changelog.state.clear()
    rig.source.assign(0)
    drain(rig)
    assert len(rig.lanes) == 2
    assert rig.lanes[1].seen[0] == "r22"
    assert sorted(set(rig.lanes[1].seen)) == sorted(rig.lanes[1].seen)
    # r20 and r21 were the other worker's.
    assert {f"r{number}" for number in range(22, 40)} <= set(rig.ids)
    assert {"r20", "r21"}.isdisjoint(rig.ids)


def test_a_partition_that_another_worker_read_on_starts_with_a_new_lane() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    rig.source.revoke()
    rig.source.stored[REQUESTS] = 23
    rig.changelog.state.clear()
    rig.source.assign(0)
    drain(rig)
    assert len(rig.lanes) == 2
    assert [name for name in rig.lanes[1].seen if name.startswith("r2")] == ["r23", "r24"]


@pytest.mark.parametrize("kind", ["revoked", "lost"])
def test_a_partition_that_goes_is_dropped_without_closing_its_ticks(kind: str) -> None:
    rig = Rig()
    fill(rig, 25)
    fill(rig, 5, partition=1)
    rig.source.assign(0, 1)
    rig.step()
    rig.journal.clear()
    rig.source.revoke(kind)
    rig.source.assign(1)
    drain(rig)
    assert rig.loop.partitions == [1]
    assert not [entry for entry in rig.entries("commit") if REQUESTS in entry[1]]
    assert len(rig.lanes) == (3 if kind == "lost" else 2)


def test_between_revocation_and_assignment_nothing_is_written() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.step()
    rig.journal.clear()
    rig.source.revoke()
    rig.step(5, seconds=1.0)
    assert rig.journal == []
    assert not rig.loop.done


def test_a_refused_commit_is_tried_again_and_is_no_failure() -> None:
    rig = Rig()
    fill(rig, 25)
    rig.source.assign(0)
    rig.changelog.refuse = True
    rig.step()
    assert rig.source.stored == {}
    assert rig.loop.counters.refused_commits == 1
    rig.changelog.refuse = False
    rig.step(seconds=0.1)
    assert rig.source.stored == {REQUESTS: 20, RESPONSES: 20}


def test_a_split_assignment_stops_the_worker() -> None:
    rig = Rig()
    rig.source.assign(0, topics=("requests", "responses"))
    with pytest.raises(Failure, match="all workers of the group must run this version"):
        rig.step()
