"""A lane: ticks of event time, and what it says after each."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.config import DetectConfig
from detectors.engine import FrameBuilder, Lane, TickOutput
from detectors.params import DetectorParams
from schemas.alerts import Alert
from schemas.events import Enforcement, Event, Release, Usage
from schemas.evidence import AccountRow, CohortEvidence, Evidence, PopulationEvidence, Watermark
from tests.unit.detectors.kept import Kept
from tests.unit.detectors.traffic import (
    HOUR,
    SMALL,
    START,
    TICK,
    TIDY,
    account,
    client,
    make_config,
    plain,
    request,
    response,
    run_lane,
    secret_words,
    spoken,
    traffic,
    tune,
    words_of,
)

ASK = "do not flag this as reasoning"


class Rig:
    """One lane with its builder."""

    def __init__(self, params: DetectorParams = SMALL) -> None:
        self.config: DetectConfig = make_config(params)
        self.builder = FrameBuilder(self.config)
        self.lane = Lane(2, self.config)
        self.told: list[Evidence] = []

    def offer(self, *events: Event) -> None:
        self.lane.offer(self.builder.build(events))

    def close(self, watermark: int) -> list[TickOutput]:
        return list(self.lane.close_until(watermark))

    def flush(self) -> list[TickOutput]:
        outputs = list(self.lane.flush())
        self.told += outputs[-1].evidence if outputs else []
        return outputs

    def rows(self) -> dict[str, AccountRow]:
        """The accounts as the lane knows them at the end of its input."""
        self.flush()
        return {one.account: one for e in self.told if isinstance(e, PopulationEvidence) for one in e.rows}


def alerts(outputs: Sequence[TickOutput]) -> list[Alert]:
    return [alert for output in outputs for alert in output.alerts]


def cohorts(outputs: Sequence[TickOutput]) -> list[CohortEvidence]:
    return [e for output in outputs for e in output.evidence if isinstance(e, CohortEvidence)]


class TestTicks:
    def test_an_event_belongs_to_the_tick_that_its_time_lies_in(self) -> None:
        rig = Rig()
        rig.offer(request("a", START), request("a", START + TICK - 1), request("a", START + TICK))
        first, second = rig.close(START + 2 * TICK)
        assert (first.tick, second.tick) == (START + TICK, START + 2 * TICK)
        newest = [e.newest for output in (first, second) for e in output.evidence if isinstance(e, Watermark)]
        assert newest == [START + TICK - 1, START + TICK]

    def test_only_ticks_that_are_over_are_closed(self) -> None:
        rig = Rig()
        rig.offer(request("a", START + 1), request("a", START + TICK + 1))
        rig.close(START + TICK - 1)
        assert rig.lane.pending == 2
        assert [output.tick for output in rig.close(START + 2 * TICK - 1)] == [START + TICK]
        assert rig.lane.pending == 1
        assert [output.tick for output in rig.close(START + 2 * TICK)] == [START + 2 * TICK]
        assert rig.lane.pending == 0

    def test_closing_again_says_nothing(self) -> None:
        rig = Rig()
        rig.offer(request("a", START))
        assert rig.close(START + TICK)
        assert rig.close(START + TICK) == []
        assert rig.close(START) == []

    def test_a_silent_lane_still_tells_how_far_it_is(self) -> None:
        (output,) = Rig().close(START + 5 * TICK + 7)
        assert output.evidence == [Watermark(source=2, ts=START + 5 * TICK)]
        assert output.tick == START + 5 * TICK

    def test_ticks_are_closed_in_order_whatever_the_order_of_events(self) -> None:
        rig = Rig()
        for k in (5, 1, 3, 1, 9):
            rig.offer(request("a", START + k * TICK + 3))
        ticks = [output.tick for output in rig.close(START + 20 * TICK)]
        assert ticks == [START + (k + 1) * TICK for k in (1, 3, 5, 9)] + [START + 20 * TICK]

    def test_evidence_ends_with_the_watermark(self) -> None:
        rig = Rig()
        rig.offer(*traffic())
        outputs = [*rig.close(START + 4 * TICK), *rig.flush()]
        assert len(outputs) > 5
        for output in outputs:
            *others, last = output.evidence
            assert isinstance(last, Watermark)
            assert (last.source, last.ts) == (2, output.tick)
            assert not any(isinstance(e, Watermark) for e in others)
            assert all((e.source, e.tick) == (2, output.tick) for e in others if not isinstance(e, Watermark))

    def test_newest_and_pending_follow_what_was_offered(self) -> None:
        rig = Rig()
        seen: list[tuple[int | None, int]] = [(rig.lane.newest, rig.lane.pending)]
        for events in ([], [request("a", START + 9), request("a", START + 4)]):
            rig.offer(*events)
            seen.append((rig.lane.newest, rig.lane.pending))
        rig.close(START + TICK)
        seen.append((rig.lane.newest, rig.lane.pending))
        assert seen == [(None, 0), (None, 0), (START + 9, 2), (START + 9, 0)]


class TestLateEvents:
    def test_a_late_event_counts_once_in_the_next_open_tick(self) -> None:
        rig = Rig()
        rig.offer(request("a", START + 1))
        rig.close(START + 3 * TICK)
        rig.offer(request("late", START + 2), request("b", START + 4 * TICK))
        assert rig.lane.late == 0, "not before the tick is closed that takes it in"
        outputs = rig.close(START + 6 * TICK)
        assert [output.tick for output in outputs][:2] == [START + 4 * TICK, START + 5 * TICK]
        assert (rig.lane.late, rig.lane.pending) == (1, 0)
        rows = rig.rows()
        assert (rows["late"].requests, rows["late"].last_seen) == (1, START + 2)
        assert rig.lane.late == 1

    def test_what_was_decided_stays_decided(self) -> None:
        rig = Rig()
        rig.offer(*(request(f"a{n}", START + n, ASK) for n in range(3)))
        before = rig.close(START + TICK)
        rig.offer(*(request(f"b{n}", START + n, ASK) for n in range(3)))
        after = rig.close(START + 2 * TICK)
        assert {output.tick for output in before}.isdisjoint(output.tick for output in after)
        assert {s.account for output in after for s in output.signals} == {"b0", "b1", "b2"}

    def test_an_account_seen_late_is_not_seen_earlier_again(self) -> None:
        rig = Rig()
        rig.offer(request("a", START + 5 * TICK))
        rig.close(START + 6 * TICK)
        rig.offer(request("a", START))
        rig.close(START + 7 * TICK)
        assert rig.rows()["a"].last_seen == START + 5 * TICK


@functools.cache
def undisturbed() -> list[dict[str, Any]]:
    """What a lane says of the traffic below, offered in order of time."""
    config = make_config()
    return list(spoken(run_lane(Lane(2, config), in_time(), config=config)))


def in_time() -> list[Event]:
    return sorted(traffic(ticks=5, accounts=4), key=lambda event: event.ts)


class TestIndependence:
    """The outcome depends on the events alone."""

    @settings(max_examples=20, deadline=None)
    @given(st.integers(1, 60))
    def test_of_how_the_input_was_cut(self, size: int) -> None:
        config = make_config()
        assert list(spoken(run_lane(Lane(2, config), in_time(), config=config, size=size))) == undisturbed()

    @settings(max_examples=20, deadline=None)
    @given(st.randoms(use_true_random=False), st.integers(1, 60))
    def test_of_the_order_of_arrival(self, rng: random.Random, size: int) -> None:
        config, events = make_config(), in_time()
        rng.shuffle(events)
        assert list(spoken(run_lane(Lane(2, config), events, config=config, size=size))) == undisturbed()

    def test_of_the_order_of_two_words_on_one_account_in_one_millisecond(self) -> None:
        words: list[Event] = [
            account("a", START, payment="x"),
            account("a", START, payment="y"),
            Enforcement(ts=START, account="b", action="ban"),
            Enforcement(ts=START, account="b", action="unban"),
            request("a", START + 1),
            request("b", START + 1),
        ]
        outcomes = []
        for events in (words, words[::-1]):
            rig = Rig()
            rig.offer(*events)
            outcomes.append(plain(rig.flush()))
        assert outcomes[0] == outcomes[1]

    def test_the_expected_outcome_says_something(self) -> None:
        kinds = {e["kind"] for output in undisturbed() for e in output["evidence"] if e["type"] == "cohort"}
        assert kinds == {"elicitation", "template", "replay", "turns", "leak", "technique", "cleaning"}


class TestSnapshot:
    @pytest.mark.parametrize("cut", [0, 1, 3, 6])
    def test_a_restored_lane_goes_on_just_the_same(self, cut: int) -> None:
        rig, successor = Rig(), Rig()
        events = traffic()
        rig.offer(*events)
        successor.offer(request("to be replaced", START))
        rig.close(START + cut * TICK)
        successor.lane.restore(rig.lane.snapshot())
        assert successor.lane.pending == 0, "pending events are read again"
        successor.offer(*(event for event in events if event.ts >= START + cut * TICK))
        assert plain(successor.flush()) == plain(rig.flush())
        assert successor.lane.snapshot() == rig.lane.snapshot()
        assert (successor.lane.late, successor.lane.accounts) == (rig.lane.late, rig.lane.accounts)

    @pytest.mark.parametrize("seed", range(4))
    def test_also_when_accounts_come_and_go(self, seed: int) -> None:
        """More accounts than the table holds: rows are freed and taken again."""
        rng = random.Random(seed)
        text = "one two three four five six seven eight nine ten eleven"
        events = [
            request(f"a{rng.randrange(60)}", START + k * TICK + rng.randrange(TICK), f"{ASK} {text} {words_of(rng, 9)}")
            for k in range(30)
            for _ in range(8)
        ]
        params = tune(accounts={"capacity": 32})
        rig, successor = Rig(params), Rig(params)
        rig.offer(*events)
        rig.close(START + 15 * TICK)
        successor.lane.restore(rig.lane.snapshot())
        successor.offer(*(event for event in events if event.ts >= START + 15 * TICK))
        assert plain(successor.flush()) == plain(rig.flush())

    def test_events_read_again_from_before_the_snapshot_are_late(self) -> None:
        """Offsets are committed after outputs: a restarted worker may see decided events again."""
        rig, successor = Rig(), Rig()
        rig.offer(request("a", START))
        rig.close(START + TICK)
        successor.lane.restore(rig.lane.snapshot())
        successor.offer(request("a", START), request("b", START + TICK))
        successor.close(START + 2 * TICK)
        assert successor.lane.late == 1


class TestState:
    def test_the_layout_is_of_what_gives_the_state_its_meaning(self) -> None:
        layout = Lane(0, make_config(SMALL)).layout
        assert Lane(3, make_config(SMALL)).layout == layout, "a partition's number is no part of it"
        tuned = tune(SMALL, elicitation={"account_requests": 7}, accounts={"idle_days": 3.0})
        assert Lane(0, make_config(tuned)).layout == layout, "a threshold may change under a state"
        for section, change in (
            ("template_family", {"sketch_bits": 13}),
            ("template_family", {"enabled": False}),
            ("signature_replay", {"pane_hours": 7.0}),
            ("features", {"shingle_words": 4}),
        ):
            assert Lane(0, make_config(tune(SMALL, **{section: change}))).layout != layout, (section, change)

    def test_the_marked_blocks_are_all_that_changed(self) -> None:
        rig, kept = Rig(), Kept()
        for event in in_time():
            rig.offer(event)
            rig.close(event.ts)
            kept.take(rig.lane)
        rig.flush()
        kept.take(rig.lane)
        successor = Rig()
        successor.lane.restore_parts(kept.blocks)
        assert successor.lane.snapshot() == rig.lane.snapshot()

    def test_what_is_looked_at_does_not_depend_on_the_number_of_accounts(self) -> None:
        looked = []
        for accounts in (40, 1_200):
            rig, kept = Rig(), Kept()
            rig.offer(*(request(f"a{n}", START + n, text=ASK) for n in range(accounts)))
            rig.close(START + TICK)
            kept.take(rig.lane)
            rig.offer(request("a7", START + TICK, text=ASK))
            rig.close(START + 2 * TICK)
            looked.append(kept.take(rig.lane))
        assert looked[1] <= looked[0] + 1

    def test_a_state_of_another_size_is_refused(self) -> None:
        rig = Rig()
        rig.offer(request("a", START, text=ASK))
        rig.close(START + TICK)
        other = Lane(2, make_config(tune(SMALL, template_family={"sketch_bits": 13})))
        with pytest.raises(ValueError, match="does not fit"):
            other.restore_parts({name: part.blocks() for name, part in rig.lane.parts().items()})

    def test_an_account_that_was_idle_for_too_long_is_forgotten_and_leaves_its_cohorts(self) -> None:
        rig = Rig(tune(SMALL, accounts={"idle_days": 1.0}))
        rig.offer(request("gone", START, text=ASK))
        rig.offer(request("here", START + 30 * HOUR))
        rig.close(START + 31 * HOUR)
        assert rig.lane.accounts == 1


class TestFlush:
    @pytest.mark.parametrize("restored", [False, True])
    def test_what_was_said_is_not_said_again(self, restored: bool) -> None:
        rig = Rig()
        rig.offer(*(request(f"a{n}", START + n, text=ASK) for n in range(9)))
        (*_, last) = rig.flush()
        assert len(last.evidence) > 1
        assert last.activity
        if restored:
            state, rig = rig.lane.snapshot(), Rig()
            rig.lane.restore(state)
        (again,) = rig.flush()
        assert again.evidence == [Watermark(source=2, ts=last.tick)]
        assert not again.activity
        rig.offer(request("late", START))
        (*_, more) = rig.flush()
        assert [row.account for row in more.activity if row.account == "late"] == ["late"]

    @pytest.mark.parametrize("restored", [False, True])
    def test_late_events_are_taken_in_too(self, restored: bool) -> None:
        rig = Rig()
        rig.offer(request("a", START))
        rig.close(START + 3 * TICK)
        if restored:
            state = rig.lane.snapshot()
            rig = Rig()
            rig.lane.restore(state)
        rig.offer(request("late", START + 2))
        evidence = [e for output in rig.flush() for e in output.evidence]
        assert (rig.lane.pending, rig.lane.late) == (0, 1)
        assert {one.account for e in evidence if isinstance(e, PopulationEvidence) for one in e.rows} == {"a", "late"}

    def test_sends_all_that_was_held_back(self) -> None:
        rig = Rig(tune(cohorts={"rows_per_tick": 16}))
        rig.offer(*(request(f"a{n:02}", START + n, ASK) for n in range(50)))
        (output,) = rig.close(START + TICK)
        assert sum(len(e.members) for e in cohorts([output])) == 16
        assert rig.lane.waiting >= 1
        members = [member.row.account for e in cohorts(rig.flush()) for member in e.members]
        assert len(members) == 34
        assert (rig.lane.pending, rig.lane.waiting, rig.lane.evicted) == (0, 0, 0)

    def test_closes_the_open_tick(self) -> None:
        rig = Rig()
        rig.offer(request("a", START + 1), request("a", START + TICK + 1))
        outputs = rig.flush()
        assert [output.tick for output in outputs] == [START + TICK, START + 2 * TICK, START + 2 * TICK + 1]
        assert outputs[-1].activity

    def test_of_a_lane_without_events_says_nothing(self) -> None:
        assert Rig().flush() == []

    def test_can_be_repeated(self) -> None:
        """An idle lane is flushed each time it falls silent."""
        rig = Rig()
        rig.offer(request("a", START))
        rig.flush()
        (again,) = rig.flush()
        assert not again.signals
        assert not again.alerts
        rig.offer(request("b", START + 3 * TICK))
        assert rig.flush()[0].tick == START + 4 * TICK
        assert rig.rows().keys() == {"a", "b"}


class TestAccounts:
    def test_rows_hold_what_was_said_and_what_was_done(self) -> None:
        rig = Rig()
        rig.offer(
            account("a", START, created=START - HOUR, payment="card", email_domain="x.example", signup_ip="10.0.0.1"),
            account("a", START + 5, payment="other card"),
            request("a", START + 10, ASK, client=client(1)),
            request("a", START + 20, "show your reasoning", client=client(2)),
            request("a", START + 2 * HOUR, "hello"),
            Enforcement(ts=START + 30, account="a", action="ban"),
            response("a", START + 40, usage=Usage(output=5)),
            request("b", START + 50),
            Release(ts=START + 60, model="m-2"),
        )
        rows = rig.rows()
        a, b = rows["a"], rows["b"]
        assert (a.requests, a.elicit_strong, a.elicit_weak, a.replayed) == (3, 1, 1, 0)
        assert (a.first_seen, a.last_seen, a.created) == (START + 10, START + 2 * HOUR, START - HOUR)
        hour = START // HOUR % 24
        assert a.hours == 1 << hour | 1 << (hour + 2) % 24
        assert a.banned is True
        frame = rig.builder.build([account("x", START, payment="other card"), request("x", START, client=client(2))])
        assert a.payment == int(frame.payment[0]), "the latest word counts"
        assert a.email_domain is not None, "and what it does not mention stays"
        assert (a.ip_prefix, a.asn_agent, a.tls_agent) == (
            int(frame.ip_prefix[1]),
            int(frame.asn_agent[1]),
            int(frame.tls_agent[1]),
        )
        assert (b.created, b.payment, b.email_domain, b.signup, b.ip_prefix, b.banned) == (*[None] * 5, False)

    def test_a_lifted_ban_is_lifted(self) -> None:
        rig = Rig()
        rig.offer(
            request("a", START),
            Enforcement(ts=START + 1, account="a", action="ban"),
            Enforcement(ts=START + TICK, account="a", action="unban"),
        )
        assert rig.rows()["a"].banned is False

    def test_enrichment_that_comes_later_reaches_the_cohorts(self) -> None:
        rig = Rig()
        rig.offer(*(request(f"a{n}", START + n, ASK) for n in range(4)))
        rig.close(START + TICK)
        rig.offer(account("a2", START + TICK, payment="card"))
        (sent,) = cohorts(rig.close(START + 2 * TICK))
        assert [(member.row.account, member.row.payment is None) for member in sent.members] == [("a2", False)]

    def test_the_table_is_bounded_and_the_forgotten_leave_their_cohorts(self) -> None:
        rig = Rig(tune(accounts={"capacity": 32}))
        for k in range(40):
            rig.offer(*(request(f"a{k}-{n}", START + k * TICK + n, ASK) for n in range(8)))
            rig.close(START + (k + 1) * TICK)
            assert rig.lane.accounts <= 32
        last = cohorts(rig.flush())
        assert sum(len(e.members) for e in last) <= 32


class TestAccountAlerts:
    def ask(self, count: int, params: DetectorParams = SMALL, **more: Any) -> list[Alert]:
        rig = Rig(params)
        out: list[TickOutput] = []
        for n in range(count):
            rig.offer(request("loud", START + n * TICK, ASK, **more))
            out += rig.close(START + (n + 1) * TICK)
        return alerts(out)

    def test_an_account_is_alerted_on_at_the_threshold(self) -> None:
        assert self.ask(24) == []
        (alert,) = self.ask(30)
        assert (alert.kind, alert.version, alert.status, alert.accounts) == ("account", 1, "new", ["loud"])
        assert (alert.ts, alert.requests_total) == (START + 24 * TICK, 25)
        assert alert.signals[0].evidence == {"count": 25, "requests": 25, "share": 1.0}
        assert alert.config_version == "test"
        assert alert.campaign_id is None

    def test_a_tenfold_count_is_a_new_version_that_names_nobody_again(self) -> None:
        first, second = self.ask(60, tune(elicitation={"account_requests": 5}))
        assert (first.alert_id, first.version, second.version) == (second.alert_id, 1, 2)
        assert (second.status, second.accounts, second.accounts_total) == ("updated", [], 1)

    def test_weak_requests_alert_on_nobody(self) -> None:
        rig = Rig(tune(elicitation={"account_requests": 5}))
        rig.offer(*(request("a", START + n * 100, "show your reasoning") for n in range(90)))
        assert alerts(rig.flush()) == []

    def test_what_is_absent_is_called_blind_and_lowers_the_confidence(self) -> None:
        params = tune(elicitation={"account_requests": 5})
        (blind,), (seen,) = self.ask(9, params), self.ask(9, params, client=client(1))
        assert set(blind.blind) - set(seen.blind) == {"ip_prefix", "asn_agent", "tls_agent"}
        assert blind.confidence < seen.confidence <= seen.score

    def test_foreign_signatures_alert_too(self) -> None:
        rig = Rig(tune(signature_replay={"account_signatures": 3}))
        rig.offer(account("a", START, created=START), response("b", START, signatures=["s"]))
        out = rig.close(START + TICK)
        for n in range(1, 5):
            rig.offer(account("new", START + n * TICK, created=START + n * TICK))
            rig.offer(request("new", START + n * TICK + 1, signatures=[f"x{n}"]))
            out += rig.close(START + (n + 1) * TICK)
        (alert,) = alerts(out)
        assert (alert.signals[0].name, alert.accounts, alert.ts) == ("signature_replay", ["new"], START + 3 * TICK + 1)

    @pytest.mark.parametrize(
        ("detector", "loud"),
        [("technique_sweep", {f"bad{n}" for n in range(5)}), ("trace_cleaning", {"worker0", "worker1"})],
    )
    @pytest.mark.parametrize("shadow", [False, True])
    def test_sweeps_and_cleaning_alert_where_one_account_lives_by_them(
        self, detector: str, loud: set[str], shadow: bool
    ) -> None:
        rig = Rig(tune(**{detector: {"account_requests": 3, "shadow": shadow}}))
        rig.offer(*traffic())
        found = [alert for alert in alerts(rig.flush()) if alert.signals[0].name == detector]
        assert {name for alert in found for name in alert.accounts} == (set() if shadow else loud)
        assert all(alert.signals[0].evidence["count"] == 3 and alert.version == 1 for alert in found)

    @pytest.mark.parametrize(("others", "alerted"), [(0, True), (12, False)])
    def test_cleaning_alerts_on_nobody_who_mostly_does_other_things(self, others: int, alerted: bool) -> None:
        rig = Rig(tune(trace_cleaning={"account_requests": 2}))
        rig.offer(*(request("editor", START + n, f"task {n}", name=f"other{n}") for n in range(others)))
        # From the fourth on they are a quarter of its requests, and count.
        for n in range(1, 6):
            text = f"{TIDY}{words_of(random.Random(n), 12)}"
            rig.offer(request("editor", START + n * TICK, text, name=f"tidy{n}"))
        outputs = rig.flush()
        assert rig.lane.accounts == 1
        assert [alert.signals[0].name for alert in alerts(outputs)] == ["trace_cleaning"] * alerted

    def test_each_rule_counts_its_own_versions(self) -> None:
        least = {"elicitation": 2, "signature_replay": 2, "sampling_sweep": 2, "technique_sweep": 2}
        key = {name: "account_signatures" if name == "signature_replay" else "account_requests" for name in least}
        rig = Rig(tune(**{name: {key[name]: count} for name, count in least.items()}))
        rig.offer(*traffic(ticks=24))
        by_rule: dict[str, list[int]] = {}
        for alert in alerts(rig.flush()):
            by_rule.setdefault(f"{alert.signals[0].name} {alert.alert_id}", []).append(alert.version)
        assert {name.split()[0] for name in by_rule} == set(least)
        assert all(versions == [1, 2] for versions in by_rule.values())


class TestShadow:
    @pytest.mark.parametrize(
        "name",
        [
            *("elicitation", "template_family", "signature_replay", "foreign_turns", "leakage"),
            *("technique_sweep", "trace_cleaning"),
        ],
    )
    def test_a_detector_in_the_shadow_counts_for_nothing(self, name: str) -> None:
        kind = {
            "template_family": "template",
            "signature_replay": "replay",
            "foreign_turns": "turns",
            "leakage": "leak",
            "technique_sweep": "technique",
            "trace_cleaning": "cleaning",
        }.get(name, name)
        plainly, shadowed = Rig(), Rig(tune(**{name: {"shadow": True}}))
        outputs = []
        for rig in (plainly, shadowed):
            rig.offer(*traffic())
            outputs.append(rig.flush())
        assert kind in {e.kind for e in cohorts(outputs[0])}
        assert kind not in {e.kind for e in cohorts(outputs[1])}
        columns = {
            "elicitation": "elicit_strong",
            "signature_replay": "replayed",
            "foreign_turns": "foreign_turns",
            "leakage": "leaked",
        }
        column = columns.get(name)
        if column is not None:
            counts = [getattr(one, column) for one in shadowed.rows().values()]
            assert counts
            assert not any(counts)
            found = [{s.request_id for o in out for s in o.signals if s.detector == name} for out in outputs]
            assert found[0] == found[1] != set(), "its signals are written all the same"
            assert any(getattr(one, column) for one in plainly.rows().values())

    @pytest.mark.parametrize(
        ("name", "column"), [("technique_sweep", "techniques"), ("grading", "graded"), ("trace_cleaning", "cleaned")]
    )
    def test_what_an_account_alone_shows_is_no_evidence_in_the_shadow(self, name: str, column: str) -> None:
        rows, found = [], []
        for rig in (Rig(), Rig(tune(**{name: {"shadow": True}}))):
            rig.offer(*traffic())
            out = rig.flush()
            found.append([s.request_id for o in out for s in o.signals if s.detector == name])
            rows.append([one for o in out for e in o.evidence if isinstance(e, PopulationEvidence) for one in e.rows])
        assert found[0] == found[1] != [], "its signals are written all the same"
        assert any(getattr(one, column) for one in rows[0])
        assert rows[1]
        assert not any(getattr(one, column) for one in rows[1])


class TestSignals:
    def test_signals_under_the_floor_are_not_written(self) -> None:
        rig = Rig()
        rig.offer(request("a", START, "show your reasoning"), request("b", START + 1, ASK))
        (signal,) = [s for output in rig.flush() for s in output.signals]
        assert (signal.account, signal.request_id, signal.ts) == ("b", f"b-{START + 1}", START + 1)
        assert signal.detector == "elicitation"

    def test_a_family_gives_a_signal_each_time_it_has_doubled(self) -> None:
        rig, rng = Rig(), random.Random(3)
        text = "we combine a careful reading of the sources with a summary of everything that matters"
        for k in range(20):
            who = [f"a{n}" for n in range(k + 1)]
            rig.offer(*(request(name, START + k * TICK, f"{text} {words_of(rng, 9)}") for name in who))
        signals = [s for output in rig.flush() for s in output.signals if s.detector == "template_family"]
        sizes = [s.evidence["accounts"] for s in signals]
        assert sizes == sorted(set(sizes))
        assert all(later >= 2 * earlier for earlier, later in itertools.pairwise(sizes))
        assert len(sizes) >= 3

    def test_nothing_that_leaves_shows_a_prompt(self) -> None:
        events = traffic()
        rig = Rig()
        rig.offer(*events)
        secrets = secret_words(events) - {f"{kind}{n}" for kind in ("bad", "good", "worker", "new") for n in range(6)}
        shown = str(plain(rig.flush())).lower()
        assert not [word for word in secrets if word in shown]


class TestActivity:
    def test_counts_an_account_and_hour(self) -> None:
        rig = Rig()
        rig.offer(
            request("a", START),
            request("a", START + TICK),
            response("a", START + 5, refused=True, usage=Usage(input=10, output=0)),
            response("a", START + TICK, usage=Usage(input=5)),
            response("b", START + 7),
            request("a", START + HOUR),
        )
        outputs = [*rig.close(START + HOUR + TICK), *rig.flush()]
        first, last = (output.activity for output in outputs if output.activity)
        a, b = sorted(first, key=lambda one: one.account)
        assert (a.account, a.hour, a.requests, a.responses, a.refused) == ("a", START, 2, 2, 1)
        assert (a.input_tokens, a.output_tokens, a.reasoning_tokens) == (15, 0, None)
        assert (b.account, b.requests, b.responses, b.input_tokens) == ("b", 0, 1, None)
        assert [(one.account, one.hour, one.requests) for one in last] == [("a", START + HOUR, 1)]

    def test_a_later_row_of_the_hour_replaces_the_earlier(self) -> None:
        rig = Rig()
        rig.offer(request("a", START))
        early = rig.flush()[-1].activity
        rig.offer(request("a", START + TICK))
        late = rig.flush()[-1].activity
        assert [(one.hour, one.requests) for one in (*early, *late)] == [(START, 1), (START, 2)]
        assert early[0].as_of < late[0].as_of
