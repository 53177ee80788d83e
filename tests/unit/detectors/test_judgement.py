"""Campaigns, and the honest groups that look like them."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from detectors.campaign_state import Cohort
from detectors.judgement import Judgement, is_member, judge, merge_variants
from detectors.membership import Traits
from detectors.params import CampaignParams
from detectors.population import FIELDS
from detectors.sketches import BottomK
from schemas.evidence import MemberRow
from tests.unit.detectors.rows import honest, member, pool, population
from tests.unit.detectors.test_sketches import hashes
from tests.unit.detectors.traffic import DAY, START

PARAMS = CampaignParams()
RATES = {
    **dict.fromkeys(("replay", "leak", "technique", "grading", "cleaning"), 0.001),
    "elicitation": 0.0005,
    "turns": 0.002,
    "accounts": 5000.0,
}


def weigh(
    members: list[MemberRow],
    *,
    kind: str = "template",
    variants: int = 64,
    rates: dict[str, float] | None = None,
    **more: Any,
) -> Judgement:
    """The judgement of a cohort in which `variants` different tasks were seen, at further `rates`."""
    cohort = Cohort(
        kind,
        "k1",
        variants=BottomK(64, hashes(0, variants).tolist()).values,
        members={one.row.account: one for one in members},
        **more,
    )
    return judge(cohort, population(), RATES | (rates or {}), PARAMS)


def as_members(count: int, seed: int, **changes: Any) -> list[MemberRow]:
    """Honest accounts of which a part of the requests fell into the cohort."""
    return [
        MemberRow(msgspec.structs.replace(one, **changes), one.requests, 0, 0, START, START)
        for one in honest(count, seed, prefix="member")
    ]


class TestCampaigns:
    def test_a_pool_that_asks_for_reasoning_alerts(self) -> None:
        verdict = weigh(pool(40), variants=400)
        assert verdict.alerts(PARAMS)
        assert verdict.owner is None
        assert set(verdict.harvest) == {"template_family", "elicitation"}
        assert all(test.bits > 0 for test in verdict.coordination.values())

    def test_a_pool_that_asks_only_weakly_alerts_by_its_sweep_and_coordination(self) -> None:
        assert weigh(pool(80, elicit_strong=0, elicit_weak=9), variants=900).alerts(PARAMS)

    def test_a_pool_in_a_relay_is_found_by_foreign_signatures(self) -> None:
        verdict = weigh(pool(60, elicit_strong=0, replayed=3), variants=500)
        assert verdict.alerts(PARAMS)
        assert verdict.harvest["signature_replay"].evidence["accounts"] == 60

    def test_a_pool_that_replays_its_users_is_found_by_foreign_turns(self) -> None:
        verdict = weigh(pool(60, elicit_strong=0, foreign_turns=9), variants=500)
        assert verdict.alerts(PARAMS)
        assert verdict.harvest["foreign_turns"].evidence == {"accounts": 60, "expected": 0.12}
        assert verdict.harvest["foreign_turns"].bits < PARAMS.signal_cap_bits, "they have honest causes as well"

    def test_a_pool_that_forces_reasoning_into_tags_is_found_by_what_leaked(self) -> None:
        verdict = weigh(pool(60, elicit_strong=0, leaked=9), variants=500)
        assert verdict.alerts(PARAMS)
        assert verdict.harvest["leakage"].evidence == {"accounts": 60, "expected": 0.06}

    @pytest.mark.parametrize(("name", "column"), [("technique_sweep", "techniques"), ("trace_cleaning", "cleaned")])
    def test_a_pool_that_sweeps_or_cleans_is_found_by_it(self, name: str, column: str) -> None:
        verdict = weigh(pool(60, elicit_strong=0, **{column: 9}), variants=500)
        assert verdict.alerts(PARAMS)
        assert verdict.harvest[name].evidence == {"accounts": 60, "expected": 0.06}
        assert verdict.harvest[name].bits < PARAMS.signal_cap_bits, "researchers and editors do so as well"

    @pytest.mark.parametrize("kind", ["elicitation", "replay", "turns", "leak", "technique", "cleaning"])
    def test_suspects_of_one_finding_with_common_infrastructure_alert(self, kind: str) -> None:
        verdict = weigh(pool(40), kind=kind)
        assert verdict.alerts(PARAMS)
        (test,) = verdict.harvest.values()
        assert test.evidence["accounts"] == 40
        assert test.evidence["expected"] == pytest.approx(RATES[kind] * 5000)

    def test_without_enrichment_evenness_and_networks_remain_and_the_rest_is_called_blind(self) -> None:
        blind: dict[str, Any] = {"created": None, "payment": None, "email_domain": None, "signup": None}
        verdict = weigh(pool(60, **blind), variants=600)
        assert set(verdict.blind) == set(blind)
        assert verdict.alerts(PARAMS)


class TestLookAlikes:
    """Each shares something with a campaign, and none may alert."""

    @pytest.mark.parametrize("found", [{"foreign_turns": 9}, {"leaked": 9}])
    def test_carriers_of_a_common_phrase_among_whom_some_have_a_finding_with_honest_causes(
        self, found: dict[str, int]
    ) -> None:
        """A pool shares phrases with everybody: what a few of the carriers do is not what the phrase is for."""
        some, others = pool(14, elicit_strong=0, **found), as_members(16, seed=29)
        verdict = weigh([*some, *others], variants=90)
        assert set(verdict.harvest) == {"template_family"}
        assert not verdict.alerts(PARAMS)

    def test_strangers_whose_products_think_aloud_in_tags(self) -> None:
        assert not weigh(as_members(300, seed=28, leaked=12), kind="leak", variants=900).alerts(PARAMS)

    @pytest.mark.parametrize("kind", ["template", "turns"])
    def test_strangers_who_bring_conversations_from_another_provider(self, kind: str) -> None:
        assert not weigh(as_members(300, seed=27, foreign_turns=12), kind=kind, variants=900).alerts(PARAMS)

    def test_a_framework_s_prompt_over_thousands_of_strangers(self) -> None:
        assert not weigh(as_members(1500, seed=21), variants=3000).alerts(PARAMS)

    def test_a_framework_whose_prompt_asks_for_reasoning(self) -> None:
        for weak, strong in ((5, 0), (0, 5)):
            verdict = weigh(as_members(1500, seed=22, elicit_weak=weak, elicit_strong=strong), variants=3000)
            assert not verdict.alerts(PARAMS), "strangers in common use are not coordinated"

    @pytest.mark.parametrize("count", [20, 80, 300])
    def test_a_company_s_roll_out(self, count: int) -> None:
        """One payment, mail domain, network and sign-up day, an internal app's prompt, even use."""
        rng = random.Random(5)
        members = [
            member(
                f"staff{n}",
                requests=20 + rng.randrange(15),
                created=START - DAY + n * 1000,
                payment=1,
                email_domain=2,
                signup=3,
                ip_prefix=4,
                asn_agent=25,
                tls_agent=45,
            )
            for n in range(count)
        ]
        verdict = weigh(members, variants=3000)
        assert set(verdict.coordination) == {"even_shares"}, "what its staff share is explained"
        assert not verdict.alerts(PARAMS)

    def test_a_school_class_with_one_assignment(self) -> None:
        """Private accounts behind one network, one template in one hour, nearly the same questions."""
        rng = random.Random(6)
        members = [
            member(
                f"pupil{n}",
                requests=3 + rng.randrange(6),
                elicit_weak=1,
                created=START - int(rng.uniform(0, 400) * DAY),
                email_domain=2 if n % 10 else 11,
                signup=2_500_000 + n,
                ip_prefix=4,
                asn_agent=25,
                tls_agent=40 + n % 12,
            )
            for n in range(28)
        ]
        verdict = weigh(members, variants=20)
        assert not verdict.alerts(PARAMS)

    def test_new_customers_after_a_launch(self) -> None:
        rng = random.Random(7)
        young = [
            MemberRow(
                msgspec.structs.replace(one, created=START - int(rng.uniform(0, 2) * DAY), elicit_weak=1),
                one.requests,
                0,
                1,
                START,
                START,
            )
            for one in honest(400, seed=23, prefix="new")
        ]
        verdict = weigh(young, variants=900)
        assert verdict.coordination["young_accounts"].bits > 0
        assert not verdict.alerts(PARAMS)

    def test_a_few_curious_users_who_each_tried_an_elicitation(self) -> None:
        members = [
            MemberRow(msgspec.structs.replace(one, elicit_strong=1), 1, 1, 0, START, START)
            for one in honest(14, seed=24, prefix="curious")
        ]
        assert not weigh(members, kind="elicitation").alerts(PARAMS)

    def test_coordination_alone_is_no_campaign(self) -> None:
        verdict = weigh(pool(40, elicit_strong=0), variants=2)
        assert verdict.coordination_bits >= PARAMS.coordination_bits
        assert not verdict.alerts(PARAMS)

    def test_harvest_alone_is_no_campaign(self) -> None:
        verdict = weigh(as_members(200, seed=25, elicit_strong=5, replayed=2), variants=3000)
        assert verdict.harvest_bits >= PARAMS.total_bits
        assert not verdict.alerts(PARAMS)


class TestGrading:
    """Tests of a product grade as well: it counts up to a cap, and never makes a case by itself."""

    def test_a_pool_that_only_grades_needs_more(self) -> None:
        verdict = weigh(pool(60, elicit_strong=0, graded=20), variants=2)
        assert verdict.harvest["grading"].evidence == {"accounts": 60, "expected": 0.06}
        assert 0 < verdict.harvest["grading"].bits <= verdict.harvest_bits < PARAMS.harvest_bits
        assert not verdict.alerts(PARAMS)

    def test_some_carriers_of_a_template_grade(self) -> None:
        members = [*pool(20, elicit_strong=0, graded=20), *as_members(40, seed=26)]
        assert "grading" not in weigh(members, variants=2).harvest


class TestCoverage:
    """Steady novelty is what honest programs show as well: it counts up to a cap, and never makes a case by itself."""

    def test_a_pool_in_which_most_have_it_needs_more(self) -> None:
        verdict = weigh(pool(60, elicit_strong=0, covered=3), variants=2, rates={"coverage": 0.002})
        assert verdict.harvest["coverage"].evidence == {"accounts": 60, "expected": 0.12}
        assert 0 < verdict.harvest_bits < PARAMS.harvest_bits
        assert verdict.coordination_bits >= PARAMS.coordination_bits
        assert not verdict.alerts(PARAMS)

    def test_some_carriers_of_a_template_have_it(self) -> None:
        members = [*pool(20, elicit_strong=0, covered=3), *as_members(40, seed=26)]
        assert "coverage" not in weigh(members, variants=2, rates={"coverage": 0.002}).harvest

    def test_what_most_accounts_do_says_nothing(self) -> None:
        verdict = weigh(pool(60, elicit_strong=0, covered=3), variants=2, rates={"coverage": 0.9})
        assert verdict.harvest["coverage"].bits == 0


class TestOwner:
    def test_a_pool_beside_one_customer_still_makes_its_case(self) -> None:
        """A roll-out that uses the same public template must not shield the pool, nor be shielded against."""
        staff = [member(f"staff{n}", requests=20, payment=1, email_domain=2) for n in range(60)]
        verdict = weigh([*staff, *pool(60)], variants=900)
        assert verdict.alerts(PARAMS)
        assert verdict.owner is None, "under the share that declares an owner"
        more = [member(f"more{n}", requests=20, payment=1, email_domain=2) for n in range(60)]
        verdict = weigh([*staff, *more, *pool(60)], variants=900)
        assert verdict.owner is not None
        assert (verdict.owner.field, verdict.owner.value, len(verdict.owner.accounts)) == ("payment", 1, 120)
        assert not weigh([*staff, *pool(5)], variants=900).alerts(PARAMS)


class TestSweep:
    def bits(self, requests: int, variants: int) -> float:
        members = [member(f"m{n}", requests=requests // 20) for n in range(20)]
        return weigh(members, variants=variants).harvest["template_family"].bits

    def test_more_different_tasks_are_more_evidence_up_to_the_cap(self) -> None:
        bits = [self.bits(count, count) for count in (20, 200, 2000, 20_000)]
        assert bits == sorted(bits)
        assert bits[0] < 1
        assert bits[-1] <= 2.0

    def test_repeats_take_from_it(self) -> None:
        assert self.bits(2000, 50) < self.bits(50 // 20 * 20, 40)

    def test_there_are_no_more_variants_than_requests(self) -> None:
        members = [member(f"m{n}") for n in range(20)]
        assert weigh(members, variants=5000).harvest["template_family"].evidence["variants"] == 20


def test_harvest_of_a_template_does_not_grow_with_its_accounts() -> None:
    few, many = (weigh(pool(count), variants=200).harvest["elicitation"].bits for count in (20, 2000))
    assert few == many


def test_no_signal_counts_for_more_than_its_cap() -> None:
    for kind in ("template", "elicitation", "replay", "turns", "leak"):
        verdict = weigh(pool(2000, replayed=9, foreign_turns=9, leaked=9), kind=kind, variants=64)
        for test in (*verdict.harvest.values(), *verdict.coordination.values()):
            assert test.bits <= PARAMS.signal_cap_bits


def test_the_judgement_does_not_depend_on_the_order_of_members() -> None:
    members = pool(80)
    assert weigh(members) == weigh(members[::-1])


def test_blind_are_the_fields_that_most_members_lack() -> None:
    assert weigh([member(f"m{n}", payment=n + 1 if n < 9 else None) for n in range(20)]).blind == list(FIELDS)
    assert "payment" not in weigh([member(f"m{n}", payment=n + 1 if n < 12 else None) for n in range(20)]).blind


def test_variants_merge() -> None:
    values = hashes(0, 300).tolist()
    assert merge_variants(values[:100], values[50:]) == sorted(values)[:64]


OWN = ("payment", "ip_prefix")


class TestMembership:
    """Who of an alerting cohort belongs to the campaign, and who merely touched it."""

    POOL = Traits(prior=0.5, holds={"payment": {1: 3.0}}, lacks={"payment": -0.5})

    def of(
        self, one: MemberRow, kind: str = "template", owners: list[tuple[str, int]] | None = None, as_one: bool = True
    ) -> bool:
        asked = Cohort(kind, "k1", owners=owners or [], acts_as_one=as_one)
        elsewhere = is_member(one, asked, self.POOL)
        # What the cohort's own pool shares and what the campaign's accounts share elsewhere name alike.
        assert is_member(one, msgspec.structs.replace(asked, traits=self.POOL), Traits()) == elsewhere
        return elsewhere

    def test_of_a_template_belongs_who_mostly_does_its_work(self) -> None:
        assert self.of(member("a", requests=10, part=5))
        assert not self.of(member("a", requests=10, part=4))

    def test_or_who_holds_the_campaign_s_infrastructure(self) -> None:
        assert self.of(member("a", requests=10, part=1, payment=1))
        assert not self.of(member("a", requests=10, part=1, payment=2))

    @pytest.mark.parametrize("kind", ["elicitation", "replay"])
    def test_one_finding_of_a_stranger_does_not_make_a_member(self, kind: str) -> None:
        assert not self.of(member("a", requests=1), kind)
        assert self.of(member("a", requests=3, part=2), kind)
        assert self.of(member("a", requests=9, part=1, payment=1), kind)

    def test_a_turn_of_phrase_makes_no_member_where_only_some_of_its_users_belong_together(self) -> None:
        assert not self.of(member("a", requests=9), "elicitation", as_one=False)
        assert self.of(member("a", requests=9, payment=1), "elicitation", as_one=False)
        assert self.of(member("a", requests=9), "replay", as_one=False)
        assert not self.of(member("a", requests=9), "template", as_one=False)

    def test_a_text_of_a_pool_names_whom_little_is_known_of(self) -> None:
        for prior, named in ((1.2, True), (0.5, False)):
            pool = Traits(prior=prior, holds={"payment": {1: 3.0}}, lacks={"payment": -0.5})
            asked = Cohort("template", "k1", traits=pool)
            assert is_member(member("a", requests=9), asked, Traits()) is named
            assert not is_member(member("a", requests=9, payment=2), asked, Traits())

    @pytest.mark.parametrize("kind", ["turns", "leak"])
    def test_a_finding_with_honest_causes_names_only_who_holds_the_infrastructure(self, kind: str) -> None:
        assert not self.of(member("router", requests=900), kind)
        assert self.of(member("a", requests=9, part=4, payment=1), kind)

    @pytest.mark.parametrize("kind", ["template", "elicitation", "replay"])
    def test_who_belongs_to_an_open_customer_needs_the_infrastructure(self, kind: str) -> None:
        owners = [("email_domain", 7)]
        assert not self.of(member("a", requests=9, email_domain=7), kind, owners)
        assert self.of(member("a", requests=9, email_domain=7, payment=1), kind, owners)
        assert self.of(member("a", requests=9, email_domain=8), kind, owners)

    def test_who_has_everything_for_itself_that_the_pool_shares_is_not_of_it(self) -> None:
        """One program of many customers: each pays alone, from a network of its own."""
        pool = Traits(prior=1.0, holds={"payment": {1: 3.0}, "ip_prefix": {2: 3.0}}, lacks=dict.fromkeys(OWN, -0.8))
        asked = Cohort("template", "k1", acts_as_one=True, traits=pool)
        assert is_member(member("a", requests=10), asked, Traits())
        assert is_member(member("a", requests=10, payment=9), asked, Traits())
        assert not is_member(member("a", requests=10, payment=9, ip_prefix=9), asked, Traits())
