"""The columns that the compared methods read instead of events."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.events import Account, Client, Enforcement, Event, Message, Part, Request, Response, Usage
from tests.benchmarks.arena import budget
from tests.benchmarks.peers import PEERS, setting_with
from tests.benchmarks.peers.columns import Columns, Writer, gathered
from tests.scenarios import campaign, everyday, in_order, strong_elicitation

TURNS = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="first"),
    Message(role="user", content=[Part(type="text", text="größer"), Part(type="image")]),
]
EVENTS: list[Event] = [
    Account(ts=1, account="a", created=0),
    Account(ts=1, account="b"),
    Request(id="r1", ts=2, account="a", model="m", messages=TURNS, client=Client(ip="192.0.2.1")),
    Request(id="r2", ts=3, account="b", model="n"),
    Request(id="r3", ts=3, account="b", model="n", client=Client(ip="192.0.2.1", user_agent="x", asn=5)),
    Response(request_id="r1", ts=4, account="a", model="m", refused=False, usage=Usage(input=9, output=0)),
    Response(request_id="r2", ts=5, account="b", model="n"),
    Enforcement(ts=6, account="b", action="ban"),
]


def test_what_is_read_comes_back_and_the_rest_does_not(tmp_path: Path) -> None:
    found = gathered(EVENTS, tmp_path / "columns.arrow")
    assert list(found) == [
        Account(ts=1, account="a", created=0),
        Account(ts=1, account="b"),
        Request(
            id="-",
            ts=2,
            account="a",
            model="m",
            messages=[Message(role="user", content="größer")],
            client=Client(ip="192.0.2.1"),
        ),
        Request(id="-", ts=3, account="b", model="n"),
        Request(id="-", ts=3, account="b", model="n", client=Client(ip="192.0.2.1", user_agent="x")),
        Response(request_id="-", ts=4, account="a", model="m", refused=False, usage=Usage(output=0)),
        Response(request_id="-", ts=5, account="b", model="n"),
    ]
    assert len(found) == 7
    assert list(found) == list(found)


def test_events_pass_a_tap_unchanged(tmp_path: Path) -> None:
    writer = Writer()
    assert list(writer.tap(EVENTS)) == EVENTS
    writer.save(tmp_path / "columns.arrow")
    assert len(Columns(tmp_path / "columns.arrow")) == 7


def test_no_events_are_no_rows(tmp_path: Path) -> None:
    assert list(gathered([], tmp_path / "columns.arrow")) == []


@pytest.mark.parametrize("name", list(PEERS))
def test_every_peer_finds_in_columns_what_it_finds_in_events(name: str, tmp_path: Path) -> None:
    events = in_order([*everyday(1, 30, days=1), *campaign(2, "thief", 12, strong_elicitation, hours=3)])
    texts = [f"What is the tallest hill near town number {number}?" for number in range(40)]
    peer = PEERS[name](setting_with("hashed", [*texts, *(f"sort list {n} in place" for n in range(40))]))
    found = budget.records(peer.score(gathered(events, tmp_path / "columns.arrow")))
    assert found.equals(budget.records(peer.score(events)))
