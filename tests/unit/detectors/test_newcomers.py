"""Accounts that a campaign's payer pays for: told of by the lanes, named by the campaign stage before they ask."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.campaign_state import Changes
from detectors.campaigns import CampaignCore
from detectors.config import DetectConfig
from detectors.engine import FrameBuilder, Lane
from detectors.newcomers import KNOWN_PAYER, Arrivals, NewcomerBook
from detectors.params import DetectorParams
from schemas.alerts import Alert
from schemas.events import Event
from schemas.evidence import AccountRow, MemberRow, NewcomerEvidence
from tests.unit.detectors.campaign_stage import POPULATION, at, decided, make_core, named, ready
from tests.unit.detectors.rows import cohort, honest, pool, row, sample
from tests.unit.detectors.traffic import DAY, SMALL, START, TICK, account, make_config, request, tune


class Told:
    """A lane, and whom it told of."""

    def __init__(self, params: DetectorParams = SMALL) -> None:
        self.config: DetectConfig = make_config(params)
        self.lane = Lane(0, self.config)
        self._builder = FrameBuilder(self.config)

    def offer(self, *events: Event) -> None:
        self.lane.offer(self._builder.build(events))

    def close(self, k: int) -> list[AccountRow]:
        """Rows told of by the end of tick k."""
        return _rows(self.lane.close_until(START + (k + 1) * TICK))

    def flush(self) -> list[AccountRow]:
        return _rows(self.lane.flush())


def _rows(outputs: Any) -> list[AccountRow]:
    return [one for o in outputs for e in o.evidence if isinstance(e, NewcomerEvidence) for one in e.rows]


class TestLane:
    def test_a_new_payer_of_a_young_account_is_told_at_once(self) -> None:
        told = Told()
        told.offer(account("new", START, created=START - DAY, payment="card"))
        (found,) = told.close(0)
        assert (found.account, found.requests, found.created) == ("new", 0, START - DAY)
        assert found.payment is not None

    @pytest.mark.parametrize(
        "said",
        [
            {"created": START - 61 * DAY, "payment": "card"},  # an old customer
            {"created": START},  # nobody pays
        ],
    )
    def test_others_are_not(self, said: dict[str, Any]) -> None:
        told = Told()
        told.offer(account("a", START, **said))
        assert told.close(0) == []

    def test_an_account_without_a_date_may_be_young(self) -> None:
        told = Told()
        told.offer(account("a", START, payment="card"))
        assert [one.account for one in told.close(0)] == ["a"]

    def test_the_same_payer_again_is_no_news_and_another_one_is(self) -> None:
        told = Told()
        told.offer(account("a", START, created=START, payment="card"))
        first = told.close(0)
        told.offer(account("a", START + TICK, created=START, payment="card"))
        assert told.close(1) == []
        told.offer(account("a", START + 2 * TICK, created=START, payment="other"))
        second = told.close(2)
        assert len(first) == len(second) == 1
        assert first[0].payment != second[0].payment

    def test_the_first_request_of_an_account_with_a_payer_is_told_whatever_its_age(self) -> None:
        told = Told()
        told.offer(account("old", START, created=START - 300 * DAY, payment="card"))
        assert told.close(0) == []
        told.offer(request("old", START + TICK, "hello"), request("unpaid", START + TICK, "hello"))
        (found,) = told.close(1)
        assert (found.account, found.requests) == ("old", 1)
        told.offer(request("old", START + 2 * TICK, "hello again"))
        assert told.close(2) == []

    def test_a_tick_has_room_for_so_many_and_the_rest_waits(self) -> None:
        told = Told(tune(newcomers={"rows_per_tick": 2}))
        told.offer(*(account(f"a{n}", START + n, payment=f"card{n}") for n in range(7)))
        assert [one.account for one in told.close(0)] == ["a0", "a1"]
        told.offer(request("b", START + TICK, "hello"))
        assert [one.account for one in told.close(1)] == ["a2", "a3"]
        assert [one.account for one in told.flush()] == ["a4", "a5", "a6"], "nothing is held back at the end"

    def test_it_can_be_off(self) -> None:
        told = Told(tune(newcomers={"enabled": False}))
        told.offer(account("new", START, created=START, payment="card"), request("new", START + 1, "hello"))
        assert told.flush() == []

    def test_those_who_wait_are_part_of_the_state(self) -> None:
        params = tune(newcomers={"rows_per_tick": 2})
        before, after = Told(params), Told(params)
        before.offer(*(account(f"a{n}", START + n, payment=f"card{n}") for n in range(5)))
        before.close(0)
        after.lane.restore(before.lane.snapshot())
        assert [one.account for one in after.flush()] == ["a2", "a3", "a4"]


def test_waiting_accounts_are_bounded_and_the_oldest_go() -> None:
    waiting = Arrivals(3)
    waiting.add(f"a{n}" for n in range(5))
    assert waiting.take(2) == ["a2", "a3"]
    assert waiting.take(9) == ["a4"]


def held(book: NewcomerBook, *payers: int) -> set[str]:
    """The accounts of payers that are held, told by naming one more of each."""
    for payer in payers:
        book.put(row(f"named{payer}", payment=payer), "c")
    return {one.account for payer in book.news() for one in payer.rest}


class TestBook:
    def test_it_is_bounded_and_the_oldest_go(self) -> None:
        book = NewcomerBook(16, Changes())
        for n in range(40):
            book.put(row(f"a{n}", payment=1 + n % 3))
        assert len(book) == 16
        assert held(book, 1) == {f"a{n}" for n in range(24, 40) if n % 3 == 0} - {"a24"}, "one made room"
        assert len(book) == 16

    def test_an_account_without_a_payer_is_not_held(self) -> None:
        book = NewcomerBook(16, Changes())
        book.put(row("a", email_domain=5))
        assert len(book) == 0

    def test_a_new_payer_takes_the_place_of_the_old_one(self) -> None:
        book = NewcomerBook(16, Changes())
        book.put(row("a", payment=1))
        book.put(row("a", payment=2))
        assert held(book, 1) == set()
        assert held(book, 2) == {"a"}

    def test_only_payers_with_news_are_looked_at(self) -> None:
        book = NewcomerBook(16, Changes())
        book.put(row("idle", payment=1, requests=0))
        book.put(row("busy", payment=1))
        assert list(book.news()) == [], "nobody of this payer was named"
        book.put(row("bad", payment=1), "c")
        (payer,) = book.news()
        assert (payer.campaign, payer.named, payer.active) == ("c", 1, 2)
        assert [one.account for one in payer.rest] == ["idle", "busy"]
        assert list(book.news()) == []
        book.look_again([1, 99])
        assert [one.payment for one in book.news()] == [1]

    def test_a_campaign_that_became_another_takes_its_payers_with_it(self) -> None:
        book = NewcomerBook(16, Changes())
        book.put(row("bad", payment=1), "young")
        book.put(row("idle", payment=1))
        book.move("bad", "old")
        assert [payer.campaign for payer in book.news()] == ["old"]
        book.move("bad", None)
        assert list(book.news()) == []

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(1, 2**64 - 1)), max_size=60))
    def test_its_entries_are_its_state(self, steps: list[tuple[bool, int, int]]) -> None:
        changes = Changes()
        book, table = NewcomerBook(16, changes), {}
        for put, n, payer in steps:
            if put:
                book.put(row(f"a{n}", payment=payer), "c" if n % 2 else None)
            else:
                book.drop(f"a{n}")
            changed, gone = changes.take()
            table |= {key: book.entry(int(key.partition(":")[2])) for key in changed}
            for key in gone:
                table.pop(key, None)
        assert set(table) == book.keys()
        other = NewcomerBook(16, Changes())
        other.restore(table.values())
        assert len(other) == len(book)
        for each in (book, other):
            list(each.news())
            each.look_again(payer for _, _, payer in steps)
        assert list(other.news()) == list(book.news())


def newcomer(name: str, payment: int, **more: Any) -> AccountRow:
    return row(name, **({"requests": 0, "payment": payment, "email_domain": 11, "created": START} | more))


def arrive(core: CampaignCore, *rows: AccountRow, k: int = 2) -> list[Alert]:
    return decided(core, NewcomerEvidence(0, at(k), list(rows)), tick=at(k))


def cards(**more: Any) -> list[MemberRow]:
    """A pool whose cards 500, 501, ... pay for eight accounts each."""
    return [
        msgspec.structs.replace(one, row=msgspec.structs.replace(one.row, payment=500 + n // 8))
        for n, one in enumerate(pool(64, **more))
    ]


def with_campaign(members: list[MemberRow] | None = None, **params: Any) -> CampaignCore:
    """A core that knows a campaign."""
    core = ready(**params)
    alerts = decided(core, cohort(members or cards(), tick=at(1)), tick=at(1))
    assert len(named(alerts)) == 64
    return core


def judged(core: CampaignCore, one: AccountRow) -> float:
    """The evidence for an account, in bits, by the one campaign."""
    (campaign,) = core.campaigns.values()
    return campaign.traits.bits(one)


class TestCampaignStage:
    def test_a_payer_of_a_campaign_names_an_account_that_asked_for_nothing_yet(self) -> None:
        (alert,) = arrive(with_campaign(), newcomer("stock", 500), newcomer("other", 77))
        assert alert.accounts == ["stock"]
        assert (alert.accounts_total, alert.status) == (65, "updated")
        reason = alert.signals[-1]
        assert (reason.name, reason.evidence) == (KNOWN_PAYER, {"accounts": 1})

    def test_an_account_is_found_as_well_if_it_came_before_the_campaign(self) -> None:
        core = ready()
        assert arrive(core, newcomer("stock", 501), newcomer("other", 77), k=1) == []
        alerts = decided(core, cohort(cards(), tick=at(2)), tick=at(2))
        assert "stock" in named(alerts)
        assert "other" not in named(alerts)

    def test_nobody_is_named_for_a_network_or_a_mail_provider(self) -> None:
        stranger = newcomer("a", 77, signup=600, ip_prefix=700, asn_agent=25, tls_agent=45)
        unpaid = row("b", requests=0, email_domain=11, signup=600, ip_prefix=700, created=START)
        assert arrive(with_campaign(), stranger, unpaid) == []

    def test_a_card_of_two_accounts_is_not_enough(self) -> None:
        core = ready()
        alerts = decided(core, cohort([*pool(62), *pool(2, prefix="two", payment=888)], tick=at(1)), tick=at(1))
        assert len(named(alerts)) >= 62
        assert arrive(core, newcomer("third", 888)) == []

    def test_what_speaks_against_it_is_heard(self) -> None:
        members = cards(email_domain=4_000)
        alike, apart = newcomer("alike", 500, email_domain=4_000), newcomer("apart", 500, email_domain=5_000)
        assert judged(with_campaign(members), apart) < judged(with_campaign(members), alike)

    def test_a_message_that_comes_twice_changes_nothing(self) -> None:
        core = with_campaign()
        assert len(arrive(core, newcomer("stock", 500))) == 1
        assert arrive(core, newcomer("stock", 500), k=3) == []

    def test_what_it_does_later_counts_in_the_campaign(self) -> None:
        core = with_campaign()
        arrive(core, newcomer("stock", 500))
        worker = pool(1, prefix="stock", requests=90)[0]
        worker = msgspec.structs.replace(worker, row=msgspec.structs.replace(worker.row, account="stock", payment=500))
        decided(core, cohort([worker], tick=at(3)), tick=at(3))
        (campaign,) = core.campaigns.values()
        assert campaign.requests["stock"] == 90
        assert campaign.by_payer == 1

    def test_a_text_of_accounts_named_for_their_payer_becomes_part_of_their_campaign(self) -> None:
        core = with_campaign()
        members = cards(prefix="stock")
        arrive(core, *(msgspec.structs.replace(one.row, requests=0) for one in members))
        (campaign,) = core.campaigns.values()
        assert campaign.by_payer == 64
        alerts = decided(core, cohort(members, key="another", tick=at(3)), tick=at(3))
        assert [alert.campaign_id for alert in alerts] == [campaign.id]
        assert campaign.cohorts == ["template:another", "template:k1"]
        assert campaign.requests["stock0"] > 0

    def test_a_full_campaign_takes_nobody(self) -> None:
        alerts = arrive(with_campaign(max_members=100), *(newcomer(f"s{n}", 500) for n in range(40)))
        assert alerts[-1].accounts_total == 100

    def test_a_closed_campaign_takes_nobody(self) -> None:
        core = with_campaign(close_after_days=0.001)
        closing = decided(core, sample(honest(POPULATION), tick=at(40)), tick=at(40))
        assert [alert.status for alert in closing] == ["closed"]
        assert arrive(core, newcomer("stock", 500), k=41) == []

    def test_the_book_of_a_core_is_bounded(self) -> None:
        core = make_core(max_newcomers=16)
        arrive(core, *(newcomer(f"a{n}", 10_000 + n) for n in range(50)))
        entries = [key for key in core.snapshot() if key.startswith("newcomers:")]
        assert 0 < len(entries) <= 16
