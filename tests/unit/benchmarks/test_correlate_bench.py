"""The bench of the campaign stage: what it feeds is bounded as the config says, and the stage makes campaigns of it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from detectors.params import CohortParams, DetectorParams
from pipelines.correlate.pace import SHARE
from schemas.evidence import CohortEvidence, Evidence, PopulationEvidence, Watermark
from tests.benchmarks.correlate.__main__ import feed, told
from tests.benchmarks.correlate.traffic import Shape, Workers, rows_of

SMALL = Shape(
    accounts=4_000, campaigns=2, members=300, partitions=4, events_per_s=200, campaign_requests=6_000, minutes=4
)


def rows(evidence: Iterable[Evidence]) -> int:
    return sum(map(rows_of, evidence))


def test_a_tick_of_a_partition_is_bounded_by_the_config() -> None:
    params = DetectorParams(cohorts=CohortParams(rows_per_tick=16))
    workers, free = Workers(SMALL, params), Workers(SMALL, DetectorParams())
    sizes, waited = [], 0
    for burst in workers.bursts():
        sizes.append(rows(burst.evidence))
        # A message of a cohort holds a row at least; then there are the sample and the watermark.
        assert len(burst.evidence) <= 16 + 2
        waited = max(waited, workers.waiting)
    assert max(sizes) == 16
    assert waited, "the bound was met"
    assert max(rows(burst.evidence) for burst in free.bursts()) > 16


def test_what_is_sent_is_what_a_lane_would_send() -> None:
    workers = Workers(SMALL, DetectorParams())
    sampled: dict[int, int] = {}
    members: dict[str, set[str]] = {}
    for burst in workers.bursts():
        assert isinstance(burst.evidence[-1], Watermark)
        for evidence in burst.evidence:
            assert evidence.source == burst.partition
            if isinstance(evidence, PopulationEvidence):
                sampled[evidence.source] = evidence.accounts
            elif isinstance(evidence, CohortEvidence):
                accounts = {member.row.account for member in evidence.members}
                assert all(int(account[5:]) % SMALL.partitions == burst.partition for account in accounts)
                assert all(1 <= member.requests <= member.row.requests for member in evidence.members)
                members.setdefault(evidence.key, set()).update(accounts)
    assert sampled.keys() == set(range(SMALL.partitions))
    assert workers.seen / 1.25**2 <= sum(sampled.values()) <= workers.seen
    pools = [{f"acct_{n:08d}" for n in range(begin, begin + SMALL.members)} for begin in (0, SMALL.members)]
    for pool in pools:
        # Each template of a campaign is a cohort of its accounts alone.
        assert sum(accounts <= pool and len(accounts) > SMALL.members / 2 for accounts in members.values()) == 3


def test_campaigns_that_leave_nobody_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nobody of 500 accounts"):
        Workers(Shape(accounts=500, campaigns=2, members=250), DetectorParams())


@pytest.mark.slow
@pytest.mark.parametrize("eager", [True, False])
def test_the_stage_finds_the_campaigns_and_says_what_they_cost(eager: bool) -> None:
    fed = feed(SMALL, DetectorParams(), eager=eager)
    costs = fed.costs
    assert costs.campaigns >= 2
    assert costs.named >= 0.8 * 600
    assert costs.handle_s > costs.longest_decision_s >= costs.longest_judgement_s > 0
    assert costs.handle_s >= costs.judging_s > 0
    assert costs.peak_mb >= costs.resident_mb > costs.empty_mb > 10
    bursts = SMALL.partitions * SMALL.minutes * 6
    if eager:
        assert costs.settles == bursts
    else:
        assert 1 <= costs.settles <= bursts
        assert costs.settle_s <= SHARE * SMALL.minutes * 60 + costs.longest_settle_s
    assert costs.state_bytes > costs.state_records > 0
    assert f"{costs.campaigns} campaigns found" in "\n".join(told(fed))
