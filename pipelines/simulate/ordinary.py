"""Ordinary customers: the bulk of a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from random import Random
from typing import Final

from msgspec.structs import replace

from pipelines.demo.crowd import EXPLAINED
from pipelines.demo.people import DAY, HOUR, Person, ordinary
from pipelines.demo.prompts import Prompt
from pipelines.demo.traffic import PLAIN, ask, converse
from pipelines.simulate.earnest import wish
from pipelines.simulate.inline import tagged
from pipelines.simulate.stream import Actor, Call
from pipelines.simulate.world import World
from schemas.events import Event

# A heavy user is mostly a program that repeats itself: distinct texts grow as this power of the requests.
_DISTINCT: Final = 0.6
_MOST_TEXTS: Final = 60
_FOLLOWERS: Final = 0.35
_WITH_SYSTEM: Final = 0.5


def arrival(world: World, person: Person) -> int:
    """The first moment at which this account can send."""
    joined = person.enrichment.created if person.enrichment is not None else None
    return min(max(world.start, joined or world.start), world.end - HOUR)


def introduction(person: Person) -> Iterator[Call]:
    """The enrichment of an account, if it has any."""
    if person.enrichment is not None:
        yield Call([person.enrichment])


def in_time(calls: Iterator[Call]) -> Iterator[Call]:
    """Calls in their order, with the enrichment moved behind the first where it comes later."""
    first = next(calls, None)
    if first is None:
        return
    second = next(calls, None)
    if second is not None and second.ts < first.ts:
        first, second = Call([*second.events, *first.events], second.harvest), None
    yield first
    if second is not None:
        yield second
    yield from calls


def texts_of(world: World, count: int) -> list[Prompt]:
    """The distinct messages of an account of `count` requests."""
    return world.deck.deal(max(1, min(_MOST_TEXTS, round(count**_DISTINCT))))


def population(world: World) -> Iterator[Actor]:
    """The ordinary accounts of the scenario."""
    plan = world.scenario.population
    yield from crowd(
        world, "ordinary", plan.accounts, plan.requests_per_account_day, earnest=plan.earnest, chatty=plan.conversations
    )


def crowd(
    world: World,
    kind: str,
    count: int,
    per_day: float,
    *,
    group: int = 0,
    earnest: float = 0.0,
    chatty: float = 0.0,
    systems: Sequence[str] = (),
) -> Iterator[Actor]:
    """`count` unrelated customers of one kind.

    Args:
        group: tells crowds of one kind apart.
        per_day: requests of an account a day, on average over accounts; most send far fewer.
        earnest: share of the requests that ask for shown steps.
        chatty: share of the accounts that hold conversations.
        systems: system prompts, one of which half of the accounts use where a message brings none.
    """
    most = world.scenario.population.max_requests_per_day * world.scenario.days
    for index in range(count):
        rng = world.rng(kind, group, index)
        person = ordinary(world.seed, f"{kind}:{group}", index, rng, world.start)
        begin = arrival(world, person)
        number = world.clock.volume(rng, per_day * (world.end - begin) / (24 * HOUR), most)
        texts = texts_of(world, number)
        talks = rng.random() < chatty and bool(world.prompts.dialogues)
        if systems and rng.random() < _WITH_SYSTEM:
            system = rng.choice(systems)
            texts = [replace(text, system=text.system or system) for text in texts]
        yield Actor(
            person.account,
            kind,
            world.start,
            partial(_account, world, person, (kind, group, index), begin, number, texts, earnest, talks),
        )


def _account(
    world: World,
    person: Person,
    key: tuple[object, ...],
    begin: int,
    number: int,
    texts: list[Prompt],
    earnest: float,
    talks: bool,
) -> Iterator[Call]:
    return in_time(chain(introduction(person), _calls(world, person, key, begin, number, texts, earnest, talks)))


def _calls(
    world: World,
    person: Person,
    key: tuple[object, ...],
    begin: int,
    number: int,
    texts: list[Prompt],
    earnest: float,
    talks: bool,
) -> Iterator[Call]:
    rng = world.rng(*key, "calls")
    weights = [1 / (rank + 2) for rank in range(len(texts))]
    fresh = list(texts)
    # Some follow a release within days; most stay where they are.
    lag = int(rng.expovariate(1 / (2 * DAY))) if rng.random() < _FOLLOWERS else None
    for at in world.clock.times(rng, number, offset=person.offset, start=begin, end=world.end):
        if lag is not None:
            person = moved(world, person, at - lag)
        if talks and rng.random() < 0.3:
            yield Call(list(converse(rng, person, at, rng.choice(world.prompts.dialogues))))
            continue
        prompt = fresh.pop() if fresh else rng.choices(texts, weights=weights)[0]
        yield Call(list(genuine(rng, person, at, prompt, earnest)))


def moved(world: World, person: Person, at: int) -> Person:
    """The person on the newest model that was out at `at`, or as before."""
    model = world.newest(at)
    return person if model is None else replace(person, models=(model,))


def genuine(rng: Random, person: Person, at: int, prompt: Prompt, earnest: float = 0.0) -> Iterator[Event]:
    """One honest request and its answer."""
    text, style = prompt.text, PLAIN
    if earnest and rng.random() < earnest:
        text, style = f"{text}\n{wish(rng, text, prompt.system)}", EXPLAINED
    yield from tagged(rng, ask(rng, person, at, text, system=prompt.system, tools=prompt.tools, style=style))
