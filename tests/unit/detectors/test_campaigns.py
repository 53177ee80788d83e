"""The campaign stage: evidence of all sources in, alerts out."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.params import CampaignParams
from schemas.alerts import ALERT_DECODER, ENCODER, MAX_ACCOUNTS_PER_MESSAGE, Alert
from schemas.evidence import AccountRow, MemberRow, Watermark
from tests.unit.detectors.campaign_stage import (
    POPULATION,
    at,
    decided,
    elsewhere,
    in_turn,
    interleaved,
    later,
    make_core,
    named,
    ready,
    run,
    streams,
)
from tests.unit.detectors.rows import cohort, honest, member, pool, sample
from tests.unit.detectors.traffic import DAY, START, TICK


class TestAlerts:
    def test_a_pool_is_a_campaign_and_its_accounts_are_named(self) -> None:
        (alert,) = decided(ready(), cohort(pool(40), tick=at(1), skeleton="do ⟨…⟩ well"), tick=at(1))
        assert (alert.kind, alert.status, alert.version, alert.shadow) == ("campaign", "new", 1, False)
        assert sorted(alert.accounts) == sorted(one.row.account for one in pool(40))
        assert (alert.accounts_total, alert.requests_total) == (40, sum(one.requests for one in pool(40)))
        assert (alert.ts, alert.first_seen, alert.last_seen) == (at(1) - 1, START, START)
        assert sum(share.contribution for share in alert.signals) == pytest.approx(1, abs=0.01)
        assert {"template_family", "elicitation", "shared_infrastructure"} <= {share.name for share in alert.signals}
        evidence = {share.name: share.evidence for share in alert.signals}
        assert evidence["template_family"]["skeleton"] == "do ⟨…⟩ well"
        assert 0.5 <= alert.confidence <= alert.score <= 1
        assert (alert.config_version, alert.blind) == ("test", [])
        assert "AML.T0024.002" in alert.atlas
        assert ALERT_DECODER.decode(ENCODER.encode(alert)) == alert

    def test_an_honest_cohort_is_none(self) -> None:
        core = ready()
        rows = [MemberRow(one, one.requests, 0, 0, START, START) for one in honest(80, seed=5, prefix="user")]
        assert decided(core, cohort(rows, tick=at(1)), tick=at(1)) == []
        assert not core.campaigns

    def test_a_cohort_under_the_least_size_is_not_judged(self) -> None:
        assert CampaignParams().min_accounts == 5
        assert decided(ready(), cohort(pool(4), tick=at(1)), tick=at(1)) == []
        assert decided(ready(), cohort(pool(12), tick=at(1)), tick=at(1)) != []

    def test_missing_fields_are_called_blind_and_lower_the_confidence(self) -> None:
        full = decided(ready(), cohort(pool(60), tick=at(1)), tick=at(1))[0]
        less = decided(ready(), cohort(pool(60, payment=None, created=None), tick=at(1)), tick=at(1))[0]
        assert less.blind == ["payment", "created"]
        assert less.confidence / less.score < full.confidence / full.score

    @pytest.mark.parametrize("unseen", [["signatures", "answers"], ["signatures"], ["answers"], []])
    def test_what_no_source_reports_of_responses_the_alert_calls_blind(self, unseen: list[str]) -> None:
        core = make_core()
        fields = {"signatures": 1.0, "answers": 1.0} | dict.fromkeys(unseen, 0.0)
        decided(core, sample(honest(POPULATION), fields=fields))
        (alert,) = decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        assert alert.blind == unseen

    def test_new_members_are_named_in_an_update(self) -> None:
        core = ready()
        first = decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        more = [one for one in pool(60) if one.row.account not in named(first)]
        second = decided(core, cohort(more, tick=at(2)), tick=at(2))
        assert [(alert.version, alert.status) for alert in (*first, *second)] == [(1, "new"), (2, "updated")]
        assert sorted(named(second)) == sorted(one.row.account for one in more)
        assert second[0].accounts_total == 60
        assert {alert.alert_id for alert in (*first, *second)} == {first[0].alert_id}

    def test_growth_of_its_traffic_alone_is_told_from_a_quarter_on(self) -> None:
        core = ready()
        decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        few = [later(one, 2, at(2)) for one in pool(40)[:4]]
        assert decided(core, cohort(few, tick=at(2)), tick=at(2)) == []
        many = [later(one, 2, at(3)) for one in pool(40)]
        (alert,) = decided(core, cohort(many, tick=at(3)), tick=at(3))
        assert (alert.version, alert.accounts, alert.accounts_total) == (2, [], 40)
        assert alert.requests_total == 2 * sum(one.requests for one in pool(40))

    def test_who_merely_touched_the_cohort_is_not_named(self) -> None:
        core = ready()
        guests = [member(f"guest{n}", requests=40, part=1, payment=90 + n) for n in range(10)]
        (alert,) = decided(core, cohort([*pool(40), *guests], tick=at(1)), tick=at(1))
        assert not [account for account in alert.accounts if account.startswith("guest")]
        assert alert.accounts_total == 40

    def test_guests_who_share_something_among_themselves_are_not_named(self) -> None:
        """Flat mates behind one address, who once used the template, are no part of it."""
        core = ready()
        guests = [member(f"guest{n}", requests=40, part=1, payment=90 + n // 2) for n in range(10)]
        (alert,) = decided(core, cohort([*pool(40), *guests], tick=at(1)), tick=at(1))
        assert not [account for account in alert.accounts if account.startswith("guest")]

    def test_the_staff_of_an_open_customer_is_not_named(self) -> None:
        """It is left out of the case, so it is left out of the campaign."""
        core = ready()
        staff = [member(f"staff{n}", requests=20, payment=1, email_domain=2) for n in range(110)]
        alerts = decided(core, cohort([*pool(60), *staff], tick=at(1), slots=list(range(64))), tick=at(1))
        assert sorted(named(alerts)) == sorted(one.row.account for one in pool(60))

    def test_nor_when_it_comes_after_the_pool(self) -> None:
        core = ready()
        decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        staff = [member(f"staff{n}", requests=20, payment=1, email_domain=2) for n in range(200)]
        assert named(decided(core, cohort(staff, tick=at(2)), tick=at(2))) == []

    def test_a_campaign_of_one_payment_names_its_accounts_or_is_not_told(self) -> None:
        one_card = pool(40, payment=1)
        alerts = decided(ready(), cohort(one_card, tick=at(1)), tick=at(1))
        assert alerts == [] or len(named(alerts)) == 40

    def test_more_than_a_thousand_accounts_are_split_over_messages(self) -> None:
        alerts = decided(ready(), cohort(pool(2300), tick=at(1)), tick=at(1))
        assert [len(alert.accounts) for alert in alerts] == [1000, 1000, 300]
        assert [alert.version for alert in alerts] == [1, 2, 3]
        assert [alert.status for alert in alerts] == ["new", "updated", "updated"]
        assert len(set(named(alerts))) == 2300
        assert MAX_ACCOUNTS_PER_MESSAGE == 1000
        assert {alert.severity for alert in alerts} == {"critical"}

    def test_a_cohort_on_the_same_infrastructure_joins_the_campaign(self) -> None:
        core = ready()
        (first,) = decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        alerts = decided(core, cohort(pool(40, seed=9, prefix="pool-b"), key="k2", tick=at(2)), tick=at(2))
        assert {alert.campaign_id for alert in alerts} == {first.campaign_id}
        assert len(core.campaigns) == 1

    def test_pools_that_share_nothing_are_two_campaigns(self) -> None:
        core = ready()
        (first,) = decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        other = elsewhere(pool(40, prefix="other"))
        (second,) = decided(core, cohort(other, key="k2", tick=at(2)), tick=at(2))
        assert first.campaign_id != second.campaign_id
        assert first.alert_id != second.alert_id

    def test_campaigns_with_the_same_payers_become_one(self) -> None:
        core = ready()
        (first,) = decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        apart = elsewhere(pool(40, prefix="other"))
        (second,) = decided(core, cohort(apart, key="k2", tick=at(2)), tick=at(2))
        assert second.campaign_id != first.campaign_id
        # Now the second pool turns out to be paid for by the payers of the first.
        more = elsewhere(pool(60, prefix="more"), but="payment")
        *_, closed, joined = decided(core, cohort([*apart, *more], key="k2", tick=at(3)), tick=at(3))
        assert (closed.campaign_id, closed.status, closed.accounts) == (second.campaign_id, "closed", [])
        assert closed.signals[0].evidence == {"campaign": first.campaign_id}
        assert (joined.campaign_id, joined.status) == (first.campaign_id, "updated")
        assert set(joined.accounts) == {one.row.account for one in (*apart, *more)}
        assert joined.accounts_total == 140
        assert joined.requests_total == sum(one.requests for one in (*pool(40), *apart, *more))
        # What the second one's cohort does from now on is the first one's.
        restored = make_core()
        restored.restore(core.snapshot())
        for stage in (core, restored):
            (later_,) = decided(
                stage, cohort(elsewhere(pool(5, prefix="late"), but="payment"), key="k2", tick=at(4)), tick=at(4)
            )
            assert (later_.campaign_id, len(later_.accounts)) == (first.campaign_id, 5)

    def test_pools_that_rent_the_same_networks_stay_two_campaigns(self) -> None:
        core = ready()
        (first,) = decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        other = elsewhere(pool(80, prefix="other"))
        (second,) = decided(core, cohort(other[:40], key="k2", tick=at(2)), tick=at(2))
        rented = [
            MemberRow(msgspec.structs.replace(one.row, ip_prefix=700 + n // 5), *msgspec.structs.astuple(one)[1:])
            for n, one in enumerate(other[40:])
        ]
        (third,) = decided(core, cohort([*other[:40], *rented], key="k2", tick=at(3)), tick=at(3))
        assert third.campaign_id == second.campaign_id != first.campaign_id
        assert third.accounts_total == 80
        assert [campaign.status for campaign in core.campaigns.values()] == ["new", "updated"]

    def test_without_a_population_nothing_is_called(self) -> None:
        core = make_core()
        assert decided(core, sample(honest(49)), cohort(pool(40))) == []
        assert not core.campaigns
        # Once there is one, the cohort is judged with its next evidence.
        assert decided(core, sample(honest(120), tick=at(1)), cohort(pool(3), tick=at(1)), tick=at(1)) != []

    def test_the_population_s_own_members_of_the_cohort_do_not_count_as_benign(self) -> None:
        """Half of the sample belongs to the pool: against itself it would look usual."""
        core = make_core()
        rows: list[AccountRow] = [*honest(120), *(one.row for one in pool(120))]
        assert decided(core, sample(rows), cohort(pool(120))) != []

    def test_a_campaign_is_closed_after_silence_and_only_once(self) -> None:
        core = ready(close_after_days=1.0)
        decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        assert decided(core, tick=START + DAY) == []
        closed = decided(core, tick=START + DAY + TICK)
        assert [(alert.status, alert.version, alert.accounts) for alert in closed] == [("closed", 2, [])]
        assert decided(core, tick=START + 5 * DAY) == []

    def test_a_closed_campaign_that_names_somebody_is_open_again(self) -> None:
        core = ready(close_after_days=1.0)
        decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        decided(core, tick=START + 2 * DAY)
        now = START + 2 * DAY + TICK
        fresh = [later(one, 1, now) for one in pool(44)[40:]]
        (alert,) = decided(core, cohort(fresh, tick=now), tick=now)
        assert (alert.status, len(alert.accounts)) == ("updated", 4)

    def test_a_closed_campaign_whose_accounts_go_on_is_open_again_and_closed_again(self) -> None:
        core = ready(close_after_days=1.0)
        decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        decided(core, tick=START + 2 * DAY)
        now = START + 2 * DAY
        (alert,) = decided(core, cohort([later(one, 3, now) for one in pool(40)], tick=now), tick=now + TICK)
        assert (alert.status, alert.accounts) == ("updated", [])
        assert [again.status for again in decided(core, tick=now + 2 * DAY)] == ["closed"]

    def test_a_flush_brings_every_alert_up_to_date(self) -> None:
        core = ready()
        decided(core, cohort(pool(40), tick=at(1)), tick=at(1))
        core.ingest(cohort([later(one, 2, at(2)) for one in pool(40)[:2]], tick=at(2)))
        (alert,) = core.flush()
        total = sum(one.requests for one in pool(40)) + sum(one.requests for one in pool(40)[:2])
        assert (alert.version, alert.requests_total, alert.accounts) == (2, total, [])
        assert core.flush() == []

    @pytest.mark.parametrize("kind", ["leak", "turns", "replay", "technique", "cleaning"])
    def test_a_rare_client_alone_ties_nobody_to_a_campaign(self, kind: str) -> None:
        core = ready()
        decided(core, cohort(pool(60, tls_agent=999), tick=at(1)), tick=at(1))
        columns = {"leak": "leaked", "turns": "foreign_turns", "replay": "replayed", "technique": "techniques"}
        findings = {columns.get(kind, "cleaned"): 5}
        rows = [one.row for one in pool(40, prefix="other", elicit_strong=0, tls_agent=999, **findings)]
        others = [
            msgspec.structs.replace(row, **{f: getattr(row, f) + 5000 for f in ("payment", "signup", "ip_prefix")})
            for row in rows
        ]
        suspects = [MemberRow(row, row.requests, 0, 0, row.first_seen, row.last_seen) for row in others]
        alerts = decided(core, cohort(suspects, kind=kind, key="k9", tick=at(2)), tick=at(2))
        assert len(named(alerts)) == 40
        assert len(core.campaigns) == 2


class TestSources:
    """Decisions depend neither on the order in which sources speak nor on repeated messages."""

    def expected(self) -> list[Alert]:
        alerts = run(make_core(), in_turn(streams()))
        assert len(alerts) >= 3
        assert any(alert.accounts for alert in alerts[1:])
        return alerts

    @settings(max_examples=20, deadline=None)
    @given(st.randoms(use_true_random=False))
    def test_the_order_over_sources_does_not_matter(self, rng: random.Random) -> None:
        assert run(make_core(), interleaved(streams(), rng)) == self.expected()

    def test_a_message_that_comes_twice_in_a_row_counts_once(self) -> None:
        twice = [evidence for one in in_turn(streams()) for evidence in (one, one)]
        assert run(make_core(), twice) == self.expected()

    def test_a_stream_that_is_sent_again_says_nothing_new(self) -> None:
        core = make_core()
        assert run(core, in_turn(streams())) == self.expected()
        assert run(core, in_turn(streams())) == []

    @settings(max_examples=10, deadline=None)
    @given(st.integers(1, 80), st.integers(1, 40))
    def test_a_restart_that_reads_some_messages_again_changes_nothing(self, cut: int, back: int) -> None:
        messages = in_turn(streams())
        core = make_core()
        alerts = run(core, messages[:cut])
        alerts += run(core, messages[max(0, cut - back) :])
        found: dict[tuple[str, int], Alert] = {(alert.alert_id, alert.version): alert for alert in alerts}
        assert sorted(named(found.values())) == sorted(named(self.expected()))

    def test_nobody_is_named_twice_or_in_two_campaigns(self) -> None:
        accounts = named(self.expected())
        assert len(accounts) == len(set(accounts))
        core = make_core()
        run(core, in_turn(streams()))
        held = [account for campaign in core.campaigns.values() for account in campaign.requests]
        assert sorted(held) == sorted(accounts)

    def test_evidence_waits_for_the_slowest_source(self) -> None:
        core = make_core()
        run(core, [Watermark(source=n, ts=0) for n in (0, 1)])
        assert decided(core, sample(honest(POPULATION)), cohort(pool(40)), tick=at(5)) == []
        assert decided(core, tick=at(0) - 1, source=1) == []
        assert decided(core, tick=at(0), source=1) != []

    def test_an_idle_source_holds_nobody_up(self) -> None:
        core = make_core()
        run(core, [Watermark(source=n, ts=0) for n in (0, 1)])
        core.ingest(Watermark(source=1, ts=START, idle=True))
        assert decided(core, sample(honest(POPULATION)), cohort(pool(40))) != []

    def test_a_source_that_falls_idle_lets_the_others_go_on(self) -> None:
        core = make_core()
        run(core, [Watermark(source=n, ts=0) for n in (0, 1)])
        assert decided(core, sample(honest(POPULATION)), cohort(pool(40))) == []
        assert core.ingest(Watermark(source=1, ts=START, idle=True)) != []

    def test_a_source_that_wakes_up_is_waited_for_again(self) -> None:
        core = make_core()
        core.ingest(Watermark(source=1, ts=START, idle=True))
        core.ingest(Watermark(source=1, ts=START))
        assert decided(core, sample(honest(POPULATION)), cohort(pool(40))) == []

    def test_when_all_are_idle_the_furthest_decides(self) -> None:
        core = make_core()
        core.ingest(Watermark(source=1, ts=START, idle=True))
        run(core, [sample(honest(POPULATION)), cohort(pool(40))])
        assert core.ingest(Watermark(source=0, ts=at(0), idle=True)) != []

    def test_evidence_for_a_tick_that_was_decided_counts_in_the_next_decision(self) -> None:
        core = ready()
        assert decided(core, tick=at(9)) == []
        assert decided(core, cohort(pool(40), tick=at(1)), tick=at(10)) != []

    def test_older_rows_do_not_replace_newer_ones(self) -> None:
        core = ready()
        grown = [later(one, 3, at(1)) for one in pool(40)]
        (first,) = decided(core, cohort(grown, tick=at(1)), tick=at(1))
        assert decided(core, cohort(pool(40), tick=at(2)), tick=at(2)) == []
        (campaign,) = core.campaigns.values()
        assert campaign.requests_total == first.requests_total
