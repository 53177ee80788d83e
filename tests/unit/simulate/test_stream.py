"""Many accounts as one stream."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from pipelines.simulate.stream import Actor, Call, merged
from schemas.events import Event, Release, Request, Response


def calls_of(name: str, times: list[int], *, harvest: bool = False) -> Iterator[Call]:
    for at in times:
        events: list[Event] = [
            Request(id=f"{name}-{at}", ts=at, account=name, model="m"),
            Response(request_id=f"{name}-{at}", ts=at + 50, account=name, model="m"),
        ]
        yield Call(events, harvest)


def actor(name: str, times: list[int], **facts: object) -> Actor:
    harvest = bool(facts.get("campaign"))
    campaign = str(facts["campaign"]) if harvest else None
    return Actor(name, "kind", times[0], lambda: calls_of(name, times, harvest=harvest), campaign)


def ignore(_request: str, _campaign: str) -> None:
    """For streams of which nobody asks who harvests."""


def test_events_of_all_accounts_come_in_order() -> None:
    rng = Random(4)
    plans = {f"a{n}": sorted(rng.sample(range(5_000), 30)) for n in range(20)}
    events = list(merged([actor(name, times) for name, times in plans.items()], 10_000, ignore))
    assert len(events) == 20 * 30 * 2
    assert [event.ts for event in events] == sorted(event.ts for event in events)


def test_nothing_comes_at_or_after_the_end() -> None:
    events = list(merged([actor("a", [10, 60, 100])], 100, ignore))
    assert [(type(event).__name__, event.ts) for event in events] == [
        ("Request", 10), ("Response", 60), ("Request", 60),
    ]  # fmt: skip


def test_only_harvesting_requests_of_a_campaign_are_told() -> None:
    told: list[tuple[str, str]] = []
    actors = [actor("a", [1, 2], campaign="c1"), actor("b", [1, 3])]
    list(merged(actors, 1_000, lambda request, campaign: told.append((request, campaign))))
    assert told == [("a-1", "c1"), ("a-2", "c1")]


def test_an_account_opens_only_when_its_time_has_come() -> None:
    opened: list[str] = []

    def opening(name: str, times: list[int]) -> Iterator[Call]:
        opened.append(name)
        yield from calls_of(name, times)

    actors = [
        Actor("early", "kind", 0, lambda: opening("early", [0, 10])),
        Actor("late", "kind", 5_000, lambda: opening("late", [5_000])),
    ]
    stream = merged(actors, 10_000, ignore)
    assert next(stream).ts == 0
    assert opened == ["early"]
    assert len(list(stream)) == 5
    assert opened == ["early", "late"]


def test_calls_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="kind a: a call at 5 after one at 10"):
        list(merged([actor("a", [10, 5])], 1_000, ignore))


def test_the_provider_needs_no_account() -> None:
    release = Actor("", "", 7, lambda: iter([Call([Release(ts=7, model="m-next")])]))
    assert list(merged([release], 10, ignore)) == [Release(ts=7, model="m-next")]
