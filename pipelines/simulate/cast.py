"""What the look-alikes have in common: established customers, programs, and members of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from random import Random
from typing import Final

from pipelines.demo.people import DAY, HOUR, MINUTE, Network, Person, client, network, opaque
from pipelines.simulate.ordinary import in_time, introduction
from pipelines.simulate.scenario import LookAlike
from pipelines.simulate.stream import Actor, Call
from pipelines.simulate.world import World
from schemas.events import Account, Params

Calls = Callable[[Random], Iterator[Call]]
Key = tuple[object, ...]

PROGRAMS: Final = ("python-httpx/0.27.2", "aiohttp/3.10.5", "Go-http-client/2.0", "node-fetch/1.0", "okhttp/4.12.0")


def member(world: World, look: LookAlike, person: Person, key: Key, calls: Calls) -> Actor:
    """An actor that introduces itself and then makes its calls, with random numbers of its own."""
    group = f"{key[0]}-{key[1]}" if look.accounts > 1 else None
    return Actor(person.account, look.kind, world.start, partial(_whole, world, person, key, calls), group=group)


def _whole(world: World, person: Person, key: Key, calls: Calls) -> Iterator[Call]:
    return in_time(chain(introduction(person), calls(world.rng(*key, "calls"))))


def program(
    world: World, look: LookAlike, key: Key, rng: Random, params: Params, *, stack: str | None = None, places: int = 2
) -> Person:
    """An established paying customer whose program calls from a few machines of one data centre."""
    site = network(rng, v4=True)
    stack = stack or rng.choice(PROGRAMS)
    account = f"acct_{opaque(world.seed, *key)}"
    enrichment = Account(
        ts=world.start + rng.randrange(10 * MINUTE),
        account=account,
        created=world.start - rng.randrange(60, 900) * DAY,
        plan=rng.choice(("paid", "paid", "enterprise")),
        payment=f"pm_{opaque(world.seed, *key, 'payment', size=8)}",
        email_domain=f"{opaque(world.seed, *key, 'own', size=4)}.example",
        signup_ip=site.cidr,
        signup_channel="direct",
    )
    return Person(
        account=account,
        enrichment=enrichment,
        clients=tuple(client(rng, site, stack) for _ in range(places)),
        models=("m-large",) if rng.random() < 0.6 else ("m-medium",),
        params=params,
        offset=site.offset,
    )


def each(look: LookAlike, first: int) -> Iterator[tuple[int, int, Key]]:
    """(group, index within it, key) of all accounts of a look-alike; groups count from `first` on."""
    for group in range(first, first + look.groups):
        for index in range(look.accounts):
            yield group, index, (look.kind, group, index)


def uneven(rng: Random, mean: float) -> int:
    """A number of requests around `mean`: no two programs are of one size."""
    return max(1, round(mean * rng.lognormvariate(-0.125, 0.5)))


def working_hours(world: World, rng: Random, per_day: float, net: Network) -> list[int]:
    """Times from 8 to 18 o'clock local time on weekdays, `per_day` of them a working day on average."""
    found: list[int] = []
    day = world.start - DAY
    while day < world.end + DAY:
        # 1970-01-01 was a Thursday.
        if (day // DAY + 3) % 7 < 5:
            count = max(0, round(rng.gauss(per_day, per_day**0.5)))
            for _ in range(count):
                hour = rng.choice((rng.uniform(8, 12.2), rng.uniform(13, 18)))
                found.append(day + int((hour - net.offset) * HOUR))
        day += DAY
    return sorted(at for at in found if world.start <= at < world.end)


def job(world: World, look: LookAlike, group: int, rng: Random) -> Iterator[int]:
    """Times of a job that works off `look.requests` items once, as fast as its rate limit lets it."""
    begin = min(world.at(look.begin_hours) + group * 3 * HOUR, max(world.start, world.end - 4 * HOUR))
    count = round(look.requests)
    gap = min(9_000.0, 0.9 * (world.end - begin) / count)
    at = float(begin)
    for _ in range(count):
        yield int(at)
        at += gap * rng.uniform(0.6, 1.4)
