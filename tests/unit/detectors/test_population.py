"""The sample of a lane's accounts, and the reference that the samples of all lanes make."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.accounts import AccountTable
from detectors.hashing import hash_strings
from detectors.params import PopulationParams
from detectors.population import ANSWERS, FIELDS, SIGNATURES, PopulationSample
from detectors.reference import FINGERPRINTS, age_days, build
from schemas.evidence import PopulationEvidence
from tests.unit.detectors.rows import honest, row
from tests.unit.detectors.traffic import DAY, HOUR, START, TICK


def fill(table: AccountTable, names: list[str], now: int = START, requests: int = 1) -> None:
    slots, _ = table.slots(names, hash_strings(names), now)
    table["requests"][slots] += requests
    table["last_seen"][slots] = now


def accounts(count: int, prefix: str = "a") -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


def due(one: PopulationSample, table: AccountTable, tick: int, **how: bool) -> PopulationEvidence:
    evidence = one.due(3, tick, table, seen={}, **how)
    assert evidence is not None
    return evidence


def test_is_sent_when_the_population_has_grown_and_each_hour() -> None:
    one, table = PopulationSample(PopulationParams()), AccountTable(5000, DAY)
    fill(table, accounts(7))
    assert one.due(3, START, table, seen={}) is None, "a handful says nothing"
    fill(table, accounts(100))
    assert len(due(one, table, START + TICK).rows) == 100
    assert one.due(3, START + 2 * TICK, table, seen={}) is None
    fill(table, accounts(24, "b"))
    assert one.due(3, START + 3 * TICK, table, seen={}) is None
    fill(table, accounts(30, "b"))
    assert len(table) == 130
    assert due(one, table, START + 4 * TICK).accounts == 130
    assert one.due(3, START + 4 * TICK + HOUR - 1, table, seen={}) is None
    assert one.due(3, START + 4 * TICK + HOUR, table, seen={}) is not None
    assert due(one, table, START + 4 * TICK + HOUR, everything=True).source == 3


def test_the_sample_is_the_accounts_of_least_hash_so_that_samples_merge() -> None:
    names = accounts(1000)
    halves = [AccountTable(5000, DAY), AccountTable(5000, DAY)]
    for i, name in enumerate(names):
        fill(halves[i % 2], [name])
    sent = [due(PopulationSample(PopulationParams(sample=64, min_accounts=8)), half, START) for half in halves]
    assert [len(evidence.rows) for evidence in sent] == [64, 64]
    assert [evidence.accounts for evidence in sent] == [500, 500]
    merged = build([one for evidence in sent for one in evidence.rows], 64, ())
    hashes = hash_strings(names)
    least = [names[i] for i in np.argsort(hashes)[:64]]
    assert list(merged.accounts) == sorted(least)


def test_only_accounts_with_requests_are_sampled() -> None:
    one, table = PopulationSample(PopulationParams()), AccountTable(5000, DAY)
    fill(table, accounts(20))
    fill(table, accounts(30, "enriched only"), requests=0)
    evidence = due(one, table, START + TICK)
    assert {sent.account for sent in evidence.rows} == set(accounts(20))
    assert (evidence.accounts, evidence.requests) == (20, 20)


def test_says_how_many_of_the_sample_have_each_field() -> None:
    one, table = PopulationSample(PopulationParams()), AccountTable(5000, DAY)
    fill(table, accounts(20))
    half = np.array([table.slot(name) for name in accounts(10)])
    table["payment"][half] = 9
    table["created"][half[:5]] = 0
    fields = due(one, table, START + TICK).fields
    assert set(fields) == set(FIELDS)
    assert (fields["payment"], fields["created"], fields["signup"]) == (0.5, 0.25, 0.0)


@pytest.mark.parametrize("seen", [False, True])
def test_says_what_responses_carried_so_far(seen: bool) -> None:
    table = AccountTable(100, DAY)
    fill(table, accounts(20))
    evidence = PopulationSample(PopulationParams()).due(3, START, table, seen={SIGNATURES: seen, ANSWERS: True})
    assert evidence is not None
    assert (evidence.fields[SIGNATURES], evidence.fields[ANSWERS]) == (float(seen), 1.0)


def test_only_rows_that_may_have_changed_are_sent_again() -> None:
    one, table = PopulationSample(PopulationParams()), AccountTable(5000, 30 * DAY)
    fill(table, accounts(100))
    due(one, table, START + TICK)
    due(one, table, START + 3 * HOUR)
    fill(table, accounts(3), now=START + 5 * HOUR)
    evidence = due(one, table, START + 5 * HOUR + TICK)
    assert {sent.account for sent in evidence.rows} == set(accounts(3))
    assert evidence.accounts == 100


def test_snapshot() -> None:
    one, table = PopulationSample(PopulationParams()), AccountTable(5000, DAY)
    fill(table, accounts(100))
    due(one, table, START + TICK)
    other = PopulationSample(PopulationParams())
    other.restore(one.snapshot())
    for tick in (START + 2 * TICK, START + HOUR, START + TICK + HOUR):
        assert other.due(3, tick, table, seen={}) == one.due(3, tick, table, seen={})
    assert other.snapshot() == one.snapshot()


def test_an_empty_table_gives_an_empty_sample() -> None:
    evidence = due(PopulationSample(PopulationParams()), AccountTable(100, DAY), START, everything=True)
    assert (evidence.rows, evidence.accounts, set(evidence.fields.values())) == ([], 0, {0.0})


class TestReference:
    def test_leaves_out_the_excluded(self) -> None:
        reference = build(honest(100), 2048, {"honest3"})
        assert "honest3" not in reference.accounts
        assert len(reference) == len(reference.accounts) == len(reference.requests) == len(reference.age_days) == 99

    def test_is_the_same_for_rows_in_any_order(self) -> None:
        rows = honest(50)
        ours, theirs = build(rows, 20, ()), build(rows[::-1], 20, ())
        assert len(ours) == 20
        assert ours.accounts.tolist() == theirs.accounts.tolist()
        assert ours.requests.tolist() == theirs.requests.tolist()

    def test_without_some_accounts_it_is_as_if_they_had_never_been_there(self) -> None:
        gone = {f"honest{n}" for n in range(30)} | {"nobody"}
        ours, theirs = build(honest(80), 2048, ()).without(gone), build(honest(80), 2048, gone)
        assert ours.accounts.tolist() == theirs.accounts.tolist()
        assert ours.requests.tolist() == theirs.requests.tolist()
        assert ours.age_days.tolist() == theirs.age_days.tolist()
        for field in FINGERPRINTS:
            assert ours.held(field) == theirs.held(field) == 50
        for value in (11, 12, 13_040):
            assert ours.frequency("email_domain", value) == theirs.frequency("email_domain", value)

    def test_frequency_is_over_accounts_that_have_the_field(self) -> None:
        rows = [row(f"a{n}", email_domain=1 if n < 3 else None if n < 6 else 2) for n in range(10)]
        reference = build(rows, 100, ())
        assert reference.held("email_domain") == 7
        assert reference.frequency("email_domain", 1) == pytest.approx(3 / 7)
        assert reference.frequency("email_domain", 99) == pytest.approx(0.5 / 7), "unseen is not impossible"
        assert reference.held("payment") == 0
        assert reference.frequency("payment", 1) == 0.5, "where nobody has the field, nothing is rare"

    def test_values_of_64_bits_are_told_apart(self) -> None:
        reference = build([row(f"a{n}", payment=2**64 - 1 - n) for n in range(10)], 100, ())
        assert reference.frequency("payment", 2**64 - 1) == 0.1
        assert reference.frequency("payment", 2**64 - 500) == 0.05

    def test_remembers_who_ever_had_a_finding(self) -> None:
        rows = [row("a", elicit_strong=2), row("b", elicit_weak=9), row("c", replayed=1)]
        suspects = build(rows, 100, ()).suspects
        assert suspects["elicitation"].tolist() == [True, False, False]
        assert suspects["replay"].tolist() == [False, False, True]

    def test_an_unknown_age_is_unknown(self) -> None:
        assert math.isnan(age_days(row("a")))
        assert age_days(row("a", created=START - 3 * DAY)) == 3.0
        assert age_days(row("a", created=START + DAY)) == 0.0, "clocks differ; no age is negative"
        assert np.isnan(build([row("a"), row("b", created=0)], 9, ()).age_days).tolist() == [True, False]
