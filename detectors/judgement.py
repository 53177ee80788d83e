"""Is a cohort a campaign? Harvest evidence says what is done, coordination evidence who belongs together.

Sharing is normal, so coordination alone never makes a campaign; and what one template asks for is one fact,
however many accounts carry it, so harvest evidence does not grow with the accounts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from detectors import coordination
from detectors.campaign_state import Cohort
from detectors.coordination import Owner, Test, bits_of, poisson_tail
from detectors.coverage import KIND as COVERAGE
from detectors.elicitation import KIND as ELICITATION
from detectors.foreign_turns import KIND as TURNS
from detectors.grading import KIND as GRADING
from detectors.leakage import KIND as LEAK
from detectors.membership import Traits
from detectors.params import CampaignParams
from detectors.population import FIELDS
from detectors.reference import Reference
from detectors.signature_replay import KIND as REPLAY
from detectors.sketches import BottomK
from detectors.technique_sweep import KIND as TECHNIQUE
from detectors.template_family import KIND as TEMPLATE
from detectors.trace_cleaning import KIND as CLEANING
from schemas.evidence import MemberRow

# A template that asks for hidden reasoning: none is known among public prompt collections (1,529 role
# prompts and 5,000 chat prompts), so under 1 in 10,000 counts as shown; one that asks for reasoning at
# all is about one in twenty.
_STRONG_TEMPLATE_BITS: Final = 4.0
_WEAK_TEMPLATE_BITS: Final = 1.3
_SWEEP_CAP: Final = 2.0
# Customers who bring conversations from another provider, edit what they were answered, or have their model think
# aloud in tags are common enough: their number alone leaves most of the case to be made.
_HONEST_CAP: Final = 3.0
# Steady novelty is also what a customer's batch, index or assistant for many users shows: never a case of its own.
_COVERAGE_CAP: Final = 0.3
# Nor is grading, which tests of a product do as well.
_GRADING_CAP: Final = 0.3
_VARIANTS: Final = 64
_MOST: Final = 0.5
_ALIKE: Final = 0.954  # bits: odds of nine to one

HONEST_CAUSES: Final = frozenset({TURNS, LEAK, COVERAGE, TECHNIQUE, GRADING, CLEANING})
"""Kinds of cohort whose finding honest accounts have too, if few."""

_Harvest = Callable[[Cohort, list[MemberRow], dict[str, float], CampaignParams], dict[str, Test]]


class Judgement(NamedTuple):
    """The evidence of one cohort, in bits, signal by signal.

    `owner` is an open customer, `place` one network, whose members were left out of the case; None where
    there is none, or where they had to be part of it. `customers` are further ones, of any size.
    """

    harvest: dict[str, Test]
    coordination: dict[str, Test]
    owner: Owner | None
    blind: list[str]
    place: Owner | None = None
    customers: Sequence[Owner] = ()

    @property
    def harvest_bits(self) -> float:
        return sum(test.bits for test in self.harvest.values())

    @property
    def coordination_bits(self) -> float:
        return sum(test.bits for test in self.coordination.values())

    @property
    def total_bits(self) -> float:
        return self.harvest_bits + self.coordination_bits

    def alerts(self, params: CampaignParams) -> bool:
        """Is the evidence enough?"""
        return (
            self.harvest_bits >= params.harvest_bits
            and self.coordination_bits >= params.coordination_bits
            and self.total_bits >= params.total_bits
        )


def judge(cohort: Cohort, reference: Reference, rates: dict[str, float], params: CampaignParams) -> Judgement:
    """Weigh a cohort against the reference.

    Args:
        cohort: at least `params.min_accounts` members.
        reference: benign accounts, the cohort's own excluded.
        rates: share of benign accounts with any finding, per suspect kind; and `accounts`, how many there are.
        params: `campaigns.toml`.
    """
    members = [cohort.members[account] for account in sorted(cohort.members)]
    rows = [member.row for member in members]
    owner = coordination.declared_owner(rows, reference, params.declared_share)
    place = coordination.one_place(rows)
    customers: Sequence[Owner] = coordination.customers(rows, reference)
    # Members of an open customer, or in one place, are explained by it: the others have to make the case.
    groups = [group for group in (owner, place, *customers) if group is not None]
    explained = {account for group in groups for account in group.accounts}
    others = [member for member in members if member.row.account not in explained]
    seed = int.from_bytes(hashlib.blake2b(cohort.id.encode(), digest_size=8).digest(), "little")
    if len(others) >= params.min_accounts:
        strangers = [member.row for member in others]
        tests = {
            "even_shares": coordination.even_shares(others, reference, seed),
            "shared_infrastructure": coordination.shared_infrastructure(strangers, reference, params.signal_cap_bits),
            "young_accounts": coordination.young_accounts(others, reference),
        }
    else:
        # Too few others: all members are the case, without what one customer or one place explains.
        owner, place, customers, others = None, None, (), members
        tests = {"even_shares": coordination.even_shares(members, reference, seed)}
    blind = [field for field in FIELDS if sum(getattr(row, field) is not None for row in rows) < _MOST * len(rows)]
    harvest = _HARVEST[cohort.kind](cohort, others, rates, params)
    return Judgement(harvest, tests, owner, blind, place, customers)


def _template(
    cohort: Cohort, members: list[MemberRow], rates: dict[str, float], params: CampaignParams
) -> dict[str, Test]:
    requests = sum(member.requests for member in members)
    variants = min(BottomK(_VARIANTS, cohort.variants).estimate(), float(requests))
    # Volume of different tasks through one skeleton; repeats (a class with one assignment) take from it.
    sweep = min(math.log10(1 + variants / 10) * min(1.0, variants / max(requests, 1) * 1.25), _SWEEP_CAP)
    evidence: dict[str, Any] = {
        "cohort": cohort.key,
        "accounts": len(members),
        "requests": requests,
        "variants": round(variants),
        "skeleton": cohort.skeleton,
    }
    harvest = {"template_family": Test(sweep, evidence)}
    strong = sum(member.elicit_strong > 0 for member in members) / len(members)
    weak = sum(member.elicit_weak > 0 for member in members) / len(members)
    bits = _STRONG_TEMPLATE_BITS if strong >= _MOST else _WEAK_TEMPLATE_BITS if weak >= _MOST else 0.0
    if bits:
        harvest["elicitation"] = Test(
            bits, {"strong_share": round(strong, 4), "weak_share": round(weak, 4), "patterns": cohort.patterns}
        )
    found = {
        "signature_replay": (REPLAY, sum(member.row.replayed > 0 for member in members), params.signal_cap_bits),
        "foreign_turns": (TURNS, sum(member.row.foreign_turns > 0 for member in members), _HONEST_CAP),
        "leakage": (LEAK, sum(member.row.leaked > 0 for member in members), _HONEST_CAP),
        "coverage": (COVERAGE, sum(member.row.covered > 0 for member in members), _COVERAGE_CAP),
        "technique_sweep": (TECHNIQUE, sum(member.row.techniques > 0 for member in members), _HONEST_CAP),
        "grading": (GRADING, sum(member.row.graded > 0 for member in members), _GRADING_CAP),
        "trace_cleaning": (CLEANING, sum(member.row.cleaned > 0 for member in members), _HONEST_CAP),
    }
    for name, (kind, count, cap) in found.items():
        # Some strangers among the carriers of a common phrase do anything; it takes most of them to say what it is for.
        if count and (kind not in HONEST_CAUSES or count >= _MOST * len(members)):
            expected = max(rates[kind] * len(members), 1e-9)
            harvest[name] = Test(
                min(bits_of(poisson_tail(count, expected)), cap, params.signal_cap_bits),
                {"accounts": count, "expected": round(expected, 4)},
            )
    return harvest


def _suspects(name: str, cap: float = math.inf) -> _Harvest:
    """Harvest evidence of a cohort whose members were picked by the finding itself: their number."""

    def harvest(
        cohort: Cohort, members: list[MemberRow], rates: dict[str, float], params: CampaignParams
    ) -> dict[str, Test]:
        expected = max(rates[cohort.kind] * rates["accounts"], 1e-9)
        evidence: dict[str, Any] = {
            "cohort": cohort.key,
            "accounts": len(members),
            "expected": round(expected, 3),
            "requests": sum(member.requests for member in members),
        }
        if cohort.patterns:
            evidence["patterns"] = cohort.patterns
        bits = min(bits_of(poisson_tail(len(members), expected)), cap, params.signal_cap_bits)
        return {name: Test(bits, evidence)}

    return harvest


_HARVEST: Final[dict[str, _Harvest]] = {
    TEMPLATE: _template,
    ELICITATION: _suspects("elicitation"),
    REPLAY: _suspects("signature_replay"),
    TURNS: _suspects("foreign_turns", _HONEST_CAP),
    LEAK: _suspects("leakage", _HONEST_CAP),
    TECHNIQUE: _suspects("technique_sweep", _HONEST_CAP),
    CLEANING: _suspects("trace_cleaning", _HONEST_CAP),
}


def merge_variants(ours: list[int], theirs: list[int]) -> list[int]:
    """The union of two sketches of what varies between a cohort's requests."""
    sketch = BottomK(_VARIANTS, ours)
    sketch.update(theirs)
    return sketch.values


def owners(verdict: Judgement) -> list[tuple[str, int]]:
    """What the customers and the place are known by whose members a verdict left out."""
    groups = (verdict.owner, verdict.place, *verdict.customers)
    return sorted({(group.field, group.value) for group in groups if group is not None})


def acts_as_one(verdict: Judgement, params: CampaignParams) -> bool:
    """Is the whole cohort coordinated, and not just those of it that share infrastructure?"""
    shared = verdict.coordination.get("shared_infrastructure")
    return verdict.coordination_bits - (shared.bits if shared else 0.0) >= params.coordination_bits


def works_for(member: MemberRow) -> bool:
    """Is most of what the account does the cohort's work?"""
    return member.requests >= _MOST * member.row.requests


def is_owned(member: MemberRow, owners: list[tuple[str, int]]) -> bool:
    """Does the account belong to an open customer, whose members were left out of the case?"""
    return any(getattr(member.row, field) == value for field, value in owners)


def is_alike(member: MemberRow, traits: Traits) -> bool:
    """Does what an account shares with a pool make it one of it, with nine chances in ten?"""
    bits = traits.bits(member.row)
    return bits >= _ALIKE and bits + traits.prior >= _ALIKE


def is_member(member: MemberRow, cohort: Cohort, campaign: Traits) -> bool:
    """Does an account of an alerting cohort belong to the campaign, or did it merely touch the cohort?

    It shares what the pool shares and strangers do not, in this cohort or in another of the campaign; or most of what
    it does is the cohort's work, and nothing sets it apart. The latter is not enough

    - for the members of an open customer, whom the case left out, and suspects of a finding with honest causes;
    - for one who has the finding of a request-side detector but once;
    - where sharing makes the case, for carriers of one text or turn of phrase are not yet a group. Then whoever does
      not share is named only with a text nearly all of whose other carriers do.
    """
    bits = cohort.traits.bits(member.row)
    likely = bits + cohort.traits.prior >= _ALIKE
    if (likely and bits >= _ALIKE) or is_alike(member, campaign):
        return True
    if is_owned(member, cohort.owners) or cohort.kind in HONEST_CAUSES or bits <= -_ALIKE:
        return False
    if not cohort.acts_as_one and (cohort.kind == ELICITATION or (cohort.kind == TEMPLATE and not likely)):
        return False
    return works_for(member) and (cohort.kind == TEMPLATE or member.requests > 1)
