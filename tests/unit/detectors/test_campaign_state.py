"""What the campaign stage remembers: restarts, the entries of its changelog, and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.campaign_state import SHARDS, Campaign, Cohort
from detectors.campaigns import CampaignCore
from detectors.params import CampaignParams, PopulationParams
from schemas.evidence import MemberRow, Watermark
from tests.unit.detectors.campaign_stage import (
    POPULATION,
    at,
    decided,
    in_turn,
    later,
    make_core,
    named,
    ready,
    run,
    streams,
)
from tests.unit.detectors.rows import cohort, honest, member, pool, row, sample
from tests.unit.detectors.traffic import DAY, HOUR, START, TICK, tune


class TestState:
    """Entries small enough for one record of a changelog each."""

    @pytest.mark.parametrize("cut", [0, 1, 7, 20, 37, 60, 78])
    def test_a_restored_core_has_the_same_future(self, cut: int) -> None:
        messages = in_turn(streams())
        core, successor = make_core(), make_core()
        run(core, messages[:cut])
        run(successor, [cohort(pool(5, prefix="to be replaced")), Watermark(source=7, ts=at(3))])
        successor.restore(core.snapshot())
        assert run(successor, messages[cut:]) == run(core, messages[cut:])
        assert read(successor.snapshot()) == read(core.snapshot())
        assert successor.flush() == core.flush()

    @settings(max_examples=10, deadline=None)
    @given(st.lists(st.integers(1, 12), min_size=20, max_size=20), st.integers(1, 79))
    def test_accumulated_changes_are_as_good_as_a_snapshot(self, batches: list[int], cut: int) -> None:
        messages = in_turn(streams())
        core, table = make_core(), Table()
        done = 0
        while done < cut:
            size = min(batches.pop() if batches else 5, cut - done)
            run(core, messages[done : done + size])
            done += size
            table.apply(core.changed())
        assert core.changed() == {}
        successor = make_core()
        successor.restore(table.entries)
        assert run(successor, messages[done:]) == run(core, messages[done:])

    def test_accumulated_changes_are_the_snapshot(self) -> None:
        core, table = make_core(max_cohorts=16), Table()
        for k in range(40):
            decided(core, sample(honest(60), tick=at(k)), cohort(pool(14), key=f"k{k % 25}", tick=at(k)), tick=at(k))
            table.apply(core.changed())
        assert table.entries == core.snapshot()

    def test_only_what_changed_is_written(self) -> None:
        core = ready()
        decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        core.changed()
        decided(core, cohort([later(pool(1)[0], 2, at(2))], tick=at(2)), tick=at(2))
        kinds = sorted(key.partition(":")[0] for key in core.changed())
        assert kinds.count("members") == 1
        assert "population" not in kinds

    def test_a_cohort_s_members_are_spread_over_shards(self) -> None:
        core = ready()
        decided(core, cohort(pool(2000), tick=at(1)), tick=at(1))
        shards = [key for key in core.snapshot() if key.startswith("members:")]
        assert len(shards) == SHARDS

    def test_the_longest_idle_cohort_goes_also_after_a_restart(self) -> None:
        def held(restarted: bool) -> list[str]:
            core = ready(max_cohorts=16)
            for n in range(16):
                decided(core, cohort([member(f"a{n}")], key=f"k{15 - n:02}", tick=at(n)), tick=at(n))
            if restarted:
                state, core = core.snapshot(), make_core(max_cohorts=16)
                core.restore(state)
            decided(core, cohort([member("z")], key="new", tick=at(20)), tick=at(20))
            return sorted(key for key in core.snapshot() if key.startswith("cohort:"))

        assert held(restarted=True) == held(restarted=False)
        assert "cohort:template:k15" not in held(restarted=True)

    def test_entries_of_other_kinds_are_left_alone(self) -> None:
        core, successor = ready(), make_core()
        successor.restore({**core.snapshot(), "offset:3": b"what the worker keeps beside it"})
        assert successor.snapshot() == core.snapshot()

    def test_an_empty_state(self) -> None:
        core = ready()
        core.restore({})
        assert core.snapshot().keys() == make_core().snapshot().keys()
        assert decided(core, cohort(pool(40)), sample(honest(POPULATION))) != []


def read(entries: Mapping[str, bytes]) -> dict[str, Any]:
    """Entries as values; the order of the members in a shard says nothing."""
    values = {key: msgspec.json.decode(value) for key, value in entries.items()}
    return {key: sorted(value, key=str) if key.startswith("members:") else value for key, value in values.items()}


class Table:
    """A table that takes changes the way the correlate worker writes them."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    def apply(self, changes: Mapping[str, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value


class TestBounds:
    def test_members_of_a_cohort(self) -> None:
        core = ready(max_members=100)
        alerts = decided(core, cohort(pool(300), tick=at(1)), tick=at(1))
        assert len(named(alerts)) == 100
        grown = [later(one, 2, at(2)) for one in pool(300)]
        alerts = decided(core, cohort(grown, tick=at(2)), tick=at(2))
        assert named(alerts) == []
        assert alerts[0].requests_total == sum(one.requests for one in grown[:100]), "known members go on"

    def test_cohorts(self) -> None:
        core = ready(max_cohorts=16)
        for n in range(100):
            decided(core, cohort([member(f"a{n}")], key=f"k{n}", tick=at(n)), tick=at(n))
        held = [key for key in core.snapshot() if key.startswith("cohort:")]
        assert sorted(held) == sorted(f"cohort:template:k{n}" for n in range(84, 100))

    def test_cohorts_of_open_campaigns_stay_as_long_as_there_are_others(self) -> None:
        core = ready(max_cohorts=16)
        (alert,) = decided(core, cohort(pool(40), key="campaign", tick=at(1)), tick=at(1))
        for n in range(2, 50):
            decided(core, cohort([member(f"a{n}")], key=f"k{n}", tick=at(n)), tick=at(n))
        fresh = [later(one, 1, at(50)) for one in pool(44)[40:]]
        (update,) = decided(core, cohort(fresh, key="campaign", tick=at(50)), tick=at(50))
        assert (update.campaign_id, update.accounts_total) == (alert.campaign_id, 44)

    def test_there_is_room_for_a_cohort_where_all_belong_to_campaigns(self) -> None:
        core = make_core(max_cohorts=16)
        names = [f"template:{n}" for n in range(16)]
        state = {
            f"cohort:{name}": msgspec.json.encode(Cohort("template", name.partition(":")[2], campaign="c"))
            for name in names
        }
        state["campaign:c"] = msgspec.json.encode(Campaign(id="c", founded=START, cohorts=names, last_seen=START))
        core.restore(state)
        decided(core, cohort([member("a")], key="new"))
        held = [key for key in core.snapshot() if key.startswith("cohort:")]
        assert len(held) == 16
        assert "cohort:template:new" in held

    def test_the_population_of_a_source(self) -> None:
        params = tune(population={"sample": 64, "min_accounts": 8})
        assert params.population == PopulationParams(sample=64, min_accounts=8)
        core = CampaignCore(CampaignParams(), params, config_version="test")
        for k in range(20):
            decided(core, sample([row(f"a{k}-{n}") for n in range(60)], tick=at(k)), tick=at(k))
        entry = msgspec.json.decode(core.snapshot()["population:0"])
        assert len(entry["rows"]) <= 2 * 64

    def test_evidence_that_was_decided_on_is_let_go(self) -> None:
        core = ready()
        for k in range(1, 50):
            decided(core, cohort([member("a", requests=k)], tick=at(k)), tick=at(k))
        assert not [key for key in core.snapshot() if key.startswith("waiting:")]

    def test_campaigns(self) -> None:
        core = ready(max_campaigns=8)
        for n in range(12):
            values: dict[str, Any] = {
                "payment": 50_000 + n,
                "signup": 60_000 + n,
                "ip_prefix": 70_000 + n,
            }
            rows = [
                MemberRow(
                    msgspec.structs.replace(
                        one.row, **{name: value + 1000 * (k // 4) for name, value in values.items()}
                    ),
                    *(one.requests, 5, 0, START, at(n)),
                )
                for k, one in enumerate(pool(40, prefix=f"pool{n}-"))
            ]
            assert len(named(decided(core, cohort(rows, key=f"k{n}", tick=at(n)), tick=at(n)))) == 40
            assert len(core.campaigns) == min(n + 1, 8)
        held = [key for key in core.snapshot() if key.startswith("named:")]
        assert {key.split(":")[1] for key in held} == set(core.campaigns)

    def test_evidence_behind_a_source_that_lags(self) -> None:
        """A source that says nothing and is not idle is waited for only while there is room."""
        core = make_core(max_waiting=100)
        run(core, [Watermark(source=n, ts=0) for n in (0, 1)])
        alerts = decided(core, sample(honest(POPULATION)), cohort(pool(40)))
        assert alerts == []
        for k in range(1, 80):
            alerts += decided(core, cohort([member("a", requests=k)], key="other", tick=at(k)), tick=at(k))
            assert len([key for key in core.snapshot() if key.startswith("waiting:")]) <= 100
        assert len(named(alerts)) == 40
        # What the lagging source had to say is late, and counts all the same.
        fresh = [later(one, 1, at(3)) for one in pool(44)[40:]]
        alerts = decided(core, cohort(fresh, source=1, tick=at(3)), tick=at(80), source=1)
        assert sorted(named(alerts)) == sorted(one.row.account for one in fresh)

    def test_a_campaign_closed_for_long_is_forgotten(self) -> None:
        core = ready(close_after_days=1.0)
        decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        decided(core, tick=START + DAY + HOUR)
        assert core.campaigns
        decided(core, tick=START + 3 * DAY)
        assert not core.campaigns
        assert not [key for key in core.snapshot() if key.startswith(("named:", "campaign:"))]


def test_a_campaign_found_again_after_it_was_forgotten_is_another() -> None:
    """The highest version of an alert holds: under the old id its first versions would be lost."""
    core = ready(close_after_days=1.0)
    (first,) = decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
    for now in (START + DAY + HOUR, START + 3 * DAY):
        decided(core, tick=now)
    now = START + 3 * DAY + TICK
    (again,) = decided(core, cohort([later(one, 2, now) for one in pool(40)], tick=now), tick=now)
    assert (again.version, again.status) == (1, "new")
    assert again.alert_id != first.alert_id
    assert again.campaign_id != first.campaign_id


def test_a_judged_cohort_is_judged_again_when_it_grew_or_an_hour_later() -> None:
    """The pool's cards come to light only after it was judged: it is found within the hour."""
    core = ready()
    bare = pool(40, payment=None, signup=None, ip_prefix=None, created=None, elicit_strong=0)
    assert decided(core, cohort(bare, tick=at(1), slots=[1]), tick=at(1)) == []
    full = [later(one, 2, at(2)) for one in pool(40, elicit_strong=0, elicit_weak=0)]
    assert decided(core, cohort(full, tick=at(2)), tick=at(2)) == []
    now = at(1) + HOUR
    alerts = decided(core, cohort([later(one, 3, now) for one in pool(40)], tick=now), tick=now)
    assert len(named(alerts)) == 40
