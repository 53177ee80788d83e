"""Tests of a group of accounts against what benign ones are like."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.coordination import (
    bits_of,
    customers,
    declared_owner,
    even_shares,
    poisson_tail,
    shared_infrastructure,
    young_accounts,
)
from detectors.reference import FINGERPRINTS, build
from schemas.evidence import AccountRow, MemberRow
from tests.unit.detectors.rows import honest, member, pool, population, row
from tests.unit.detectors.traffic import DAY, START


def exact_tail(observed: int, mean: float) -> float:
    """P(X >= observed), term by term from `observed` on."""
    terms = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(observed, observed + 400)]
    return min(math.fsum(terms), 1.0)


class TestPoissonTail:
    @settings(max_examples=200, deadline=None)
    @given(st.integers(1, 300), st.floats(1e-6, 120))
    def test_is_never_under_the_exact_sum_and_close_to_it(self, observed: int, mean: float) -> None:
        tail, exact = poisson_tail(observed, mean), exact_tail(observed, mean)
        if observed <= mean:
            assert tail == 0.5, "no evidence, and no need to know how little"
        else:
            assert exact * (1 - 1e-6) - 1e-12 <= tail <= 1
        if observed > mean + 5 * math.sqrt(mean) + 1:
            # Where it decides, well beyond the mean, it is off by less than a fifth of a digit.
            assert tail <= max(1.6 * exact, 1e-300)

    @given(st.floats(0.01, 100))
    @settings(max_examples=30, deadline=None)
    def test_falls_with_what_was_observed(self, mean: float) -> None:
        start = int(mean + 5 * math.sqrt(mean)) + 1
        tails = [poisson_tail(observed, mean) for observed in range(start, start + 150, 3)]
        assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(tails))

    def test_what_was_expected_is_no_evidence(self) -> None:
        assert poisson_tail(0, 3.0) == 1.0
        assert bits_of(poisson_tail(3, 3.0)) == bits_of(poisson_tail(4, 3.0)) == 0.0

    def test_does_not_underflow(self) -> None:
        assert bits_of(poisson_tail(5000, 1.0)) == 60.0


def test_bits_are_digits_and_chance_counts_for_nothing() -> None:
    assert bits_of(0.001) == pytest.approx(3)
    assert bits_of(0.11) == bits_of(1.0) == 0.0
    assert bits_of(0.0) == 60.0


class TestEvenShares:
    def uneven(self, count: int, seed: int) -> list[MemberRow]:
        rng = random.Random(seed)
        return [member(f"m{n}", requests=max(1, int(rng.lognormvariate(1.5, 1.2)))) for n in range(count)]

    def test_equal_shares_are_evidence(self) -> None:
        test = even_shares(pool(40), population(), seed=1)
        assert test.bits >= 2.5
        assert test.evidence["log_deviation"] < test.evidence["log_deviation_benign"]

    def test_heavy_tails_as_everybody_has_them_are_none(self) -> None:
        found = [even_shares(self.uneven(40, seed), population(), seed=seed).bits for seed in range(40)]
        assert sum(bits > 0 for bits in found) <= 10, "one bit is met by chance one time in ten"
        assert max(found) < 2.5

    @pytest.mark.parametrize("requests", [1, 500, 5000])
    def test_one_loud_or_silent_stranger_does_not_hide_the_rest(self, requests: int) -> None:
        members = [*pool(40), member("stranger", requests=requests)]
        assert even_shares(members, population(), seed=1).bits >= 1

    def test_groups_of_ones_are_always_even(self) -> None:
        assert even_shares([member(f"m{n}") for n in range(50)], population(), seed=1).bits == 0

    def test_more_accounts_are_more_evidence_up_to_the_cap(self) -> None:
        spread = [[member(f"m{n}", requests=4 + n % 5) for n in range(count)] for count in (6, 12, 24, 48, 3000)]
        bits = [even_shares(members, population(), seed=1).bits for members in spread]
        assert bits == sorted(bits)
        assert bits[0] < bits[-1] <= 3.0

    def test_an_account_without_requests_of_its_own_is_no_error(self) -> None:
        """It may have been forgotten, and have come back by an enrichment alone."""
        assert even_shares([member("back", requests=0), *pool(40)], population(), seed=1).bits > 0

    def test_is_the_same_each_time(self) -> None:
        assert even_shares(pool(40), population(), seed=5) == even_shares(pool(40), population(), seed=5)

    def test_says_nothing_against_a_handful(self) -> None:
        assert even_shares(pool(40), population(5), seed=1).bits == 0

    def test_a_population_in_which_all_are_alike_makes_nothing_even(self) -> None:
        reference = build([row(f"a{n}", requests=10) for n in range(100)], 2048, ())
        assert even_shares([member(f"m{n}", requests=10) for n in range(20)], reference, seed=1).bits == 0


class TestYoungAccounts:
    def test_young_pools_are_evidence_up_to_the_cap(self) -> None:
        test = young_accounts(pool(30), population())
        assert 1 <= test.bits <= 1.5
        assert test.evidence["median_age_days"] < test.evidence["median_age_days_benign"]

    def test_ages_like_everybody_s_are_none(self) -> None:
        members = [MemberRow(one, 1, 0, 0, START, START) for one in honest(40, seed=99, prefix="other")]
        assert young_accounts(members, population()).bits == 0

    def test_unknown_ages_are_left_out(self) -> None:
        members = [*pool(4), *(member(f"m{n}") for n in range(50))]
        test = young_accounts(members, population())
        assert (test.bits, test.evidence) == (0.0, {"known": 4})


def share(count: int, **fields: Any) -> list[AccountRow]:
    """Accounts that share the given values, and have cards, networks and clients of their own otherwise."""
    own: dict[str, Any] = {"payment": 9000, "signup": 8000, "ip_prefix": 7000, "email_domain": 11}
    return [
        row(f"s{n}", **{f: fields.get(f, v if f == "email_domain" else v + n) for f, v in own.items()})
        for n in range(count)
    ]


class TestSharedInfrastructure:
    def bits(self, rows: list[AccountRow], cap: float = 60.0) -> float:
        return shared_infrastructure(rows, population(), cap).bits

    def test_strangers_share_nothing(self) -> None:
        assert self.bits(honest(60, seed=4, prefix="stranger")) == 0

    def test_a_public_mail_domain_and_a_common_client_add_nothing(self) -> None:
        assert self.bits(share(60)) == 0
        assert self.bits([row(f"s{n}", email_domain=11, asn_agent=25, tls_agent=45) for n in range(60)]) == 0

    @pytest.mark.parametrize("field", ["payment", "email_domain", "signup", "ip_prefix"])
    def test_a_rare_value_in_common_is_evidence(self, field: str) -> None:
        test = shared_infrastructure(share(20, **{field: 4242}), population(), 60.0)
        assert test.bits >= 2
        assert set(test.evidence["fields"]) == {field}
        evidence = test.evidence["fields"][field]
        assert (evidence["sharing"], evidence["of"], evidence["values"]) == (20, 20, 1)
        assert evidence["expected"] < 20

    def test_pairs_are_evidence_too(self) -> None:
        """A campaign spreads over many cards, a few accounts each."""
        assert self.bits([row(f"s{n}", payment=500 + n // 2) for n in range(20)]) >= 2

    def test_a_single_pair_among_many_is_chance(self) -> None:
        rows = share(60)
        rows[1] = row("s1", payment=rows[0].payment)
        assert self.bits(rows) == 0

    def test_fields_that_say_the_same_count_once(self) -> None:
        signup = self.bits(share(20, signup=1))
        assert self.bits(share(20, signup=1, ip_prefix=2)) == signup
        assert self.bits(share(20, signup=1, payment=2)) > signup

    def test_is_capped(self) -> None:
        rows = share(40, payment=1, email_domain=2, signup=3, ip_prefix=4)
        assert self.bits(rows, cap=6.0) == 6.0
        assert self.bits(rows) > 6.0

    def test_absent_fields_are_no_evidence(self) -> None:
        assert self.bits([row(f"s{n}") for n in range(50)]) == 0
        assert self.bits([*share(4, payment=1), *(row(f"x{n}") for n in range(50))]) == 0

    def test_large_groups_are_looked_at_in_part(self) -> None:
        assert self.bits(share(6000, payment=1)) >= 2
        assert self.bits(honest(3000, seed=5, prefix="stranger")) == 0


class TestDeclaredOwner:
    def owner(self, rows: list[AccountRow], share: float = 0.8) -> tuple[str, int] | None:
        found = declared_owner(rows, population(), share)
        return None if found is None else (found.field, len(found.accounts))

    def test_one_payment_over_nearly_all_is_a_customer(self) -> None:
        assert self.owner(share(20, payment=1)) == ("payment", 20)
        rows = [row(f"s{n}", payment=1 if n < 17 else 100 + n) for n in range(20)]
        assert self.owner(rows) == ("payment", 17)

    def test_an_own_mail_domain_over_nearly_all_is_a_customer(self) -> None:
        assert self.owner(share(20, email_domain=77)) == ("email_domain", 20)

    def test_a_public_mail_domain_declares_nothing(self) -> None:
        assert self.owner(share(20)) is None

    def test_a_pool_over_several_cards_declares_nothing(self) -> None:
        assert self.owner([one.row for one in pool(40)]) is None

    def test_an_own_mail_domain_of_accounts_that_pay_with_several_cards_declares_nothing(self) -> None:
        def paid(cards: int | None) -> list[AccountRow]:
            return [row(f"s{n}", email_domain=77, payment=None if cards is None else n // cards) for n in range(40)]

        assert self.owner(paid(8)) is None
        # A university: whoever pays, pays for himself. A company: one card. Or nobody pays yet.
        assert self.owner(paid(1)) == self.owner(paid(None)) == ("email_domain", 40)
        assert self.owner(paid(40)) is not None

    def test_a_few_known_values_declare_nothing(self) -> None:
        assert self.owner([*share(4, payment=1), *(row(f"x{n}") for n in range(3))]) is None

    def test_the_field_that_explains_more_accounts_counts(self) -> None:
        rows = [row(f"s{n}", payment=1 if n < 16 else None, email_domain=77) for n in range(20)]
        assert self.owner(rows) == ("email_domain", 20)


class TestCustomers:
    """Several companies or schools in one cohort: none of them is most of it, and each is explained."""

    def found(self, rows: list[AccountRow]) -> list[tuple[str, int]]:
        return [(one.field, len(one.accounts)) for one in customers(rows, population())]

    def company(self, number: int, size: int, **more: int) -> list[AccountRow]:
        what = {"payment": 900 + number, "email_domain": 700 + number, "ip_prefix": 500 + number} | more
        return [row(f"c{number}-{n}", **what) for n in range(size)]

    def test_each_is_found_however_many_there_are(self) -> None:
        rows = [one for number in range(5) for one in self.company(number, 12)]
        assert self.found(rows) == [("email_domain", 12)] * 5 + [("payment", 12)] * 5

    def test_a_school_without_payments_on_its_own_network(self) -> None:
        rows = [row(f"p{n}", email_domain=77, ip_prefix=5) for n in range(14)]
        assert self.found(rows) == [("email_domain", 14)]

    def test_a_shared_card_alone_is_not_a_customer(self) -> None:
        assert self.found([row(f"s{n}", payment=1, ip_prefix=n + 10, signup=n + 10) for n in range(20)]) == []

    def test_a_public_mail_domain_is_nobody_s(self) -> None:
        assert self.found([row(f"s{n}", email_domain=11, ip_prefix=5) for n in range(20)]) == []

    def test_a_small_group_in_one_place(self) -> None:
        assert self.found(self.company(1, 3)) == [("email_domain", 3)]
        assert self.found(self.company(1, 2)) == []

    def test_a_card_with_a_machine_of_its_own_is_no_team(self) -> None:
        assert self.found(self.company(1, 5, email_domain=11)) == []

    def test_a_small_group_all_over_the_place_may_be_a_pool_s_card(self) -> None:
        scattered = [row(f"c{n}", payment=900, email_domain=700, ip_prefix=500 + n // 2) for n in range(6)]
        assert self.found(scattered) == []

    def test_a_pool_over_several_cards_and_networks_has_none(self) -> None:
        assert self.found([one.row for one in pool(40)]) == []


def test_no_evidence_is_made_of_nationality() -> None:
    """Country and language are not among the fields that are ever compared."""
    assert set(FINGERPRINTS).isdisjoint({"country", "language", "locale"})
    assert not {"country", "language"} & set(AccountRow.__struct_fields__)


def test_ages_are_taken_at_the_first_request() -> None:
    old = [member(f"m{n}", created=START - 400 * DAY, first_seen=START - 399 * DAY, last_seen=START) for n in range(20)]
    assert young_accounts(old, population()).evidence["median_age_days"] == 1.0
