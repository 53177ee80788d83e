"""The simulated distillation campaign, in the shape that a provider reported in February 2026.

Variations of one prompt over hundreds of accounts, each of which sends a handful of requests. The fixed part
is the prompt that the report printed; the tasks behind it are real prompts that nobody else in the demo sends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from pipelines.demo.people import (
    DAY,
    DISPOSABLE_MAIL,
    HOUR,
    MINUTE,
    PUBLIC_MAIL,
    Person,
    client,
    network,
    opaque,
    pick,
)
from pipelines.demo.prompts import Prompt
from pipelines.demo.traffic import Style, ask, in_order
from schemas.events import Account, Event, Params

KIND: Final = "campaign"
PUBLISHED_PROMPT: Final = (
    "You are an expert data analyst combining statistical rigor with deep domain knowledge. Your goal is to deliver "
    "data-driven insights — not summaries or visualizations — grounded in real data and supported by complete and "
    "transparent reasoning."
)
PUBLISHED_BY: Final = "published by a provider in February 2026"

MIN_REQUESTS: Final = 3
MAX_REQUESTS: Final = 6
BEGIN_MS: Final = 26 * HOUR
SPAN_MS: Final = 30 * HOUR
ACCOUNTS_PER_PAYMENT: Final = 15

# What the operators' hosts show: a common program, a rare one, and a build of a common one that only they use.
OPERATOR_STACKS: Final = (("python-httpx/0.27.2", 0), ("aiohttp/3.9.1", 0), ("python-httpx/0.28.1", 3))
HARNESS: Final = Params(temperature=1.0, top_p=0.95, max_tokens=4096, n=1, stream=False)
LONG: Final = Style(output=750.0, reasoning=600.0, refused=0.03)


def sizes(seed: int, accounts: int) -> list[int]:
    """Requests of each account: a load balancer's even shares, 3 to 6.

    >>> sizes(1, 3)
    [5, 4, 4]
    """
    rng = Random(f"{seed}:{KIND}:sizes")
    return rng.choices(range(MIN_REQUESTS, MAX_REQUESTS + 1), weights=(22, 40, 28, 10), k=accounts)


def campaign(
    seed: int, counts: Sequence[int], tasks: Sequence[Prompt], *, start: int
) -> Iterator[tuple[str, list[Event]]]:
    """The accounts of one campaign: (account, its events in order).

    Args:
        counts: requests of each account, see :func:`sizes`.
        tasks: as many prompts as requests in all; each is sent once.
        start: epoch ms at which the simulation begins; the campaign begins :data:`BEGIN_MS` later.

    Raises:
        ValueError: there are too few tasks.
    """
    if len(tasks) < sum(counts):
        raise ValueError(f"the campaign needs {sum(counts)} tasks, got {len(tasks)}")
    work = iter(tasks)
    shared = Random(f"{seed}:{KIND}")
    begin = start + BEGIN_MS
    payments = [
        f"pm_{opaque(seed, KIND, 'payment', n, size=8)}" for n in range(-(-len(counts) // ACCOUNTS_PER_PAYMENT))
    ]
    # Accounts enter one after another over most of the span; the order says nothing about their sign-up.
    entries = [
        begin + int((slot + shared.random()) / len(counts) * (SPAN_MS - 5 * HOUR)) for slot in range(len(counts))
    ]
    for index, (count, entry) in enumerate(zip(counts, entries, strict=True)):
        rng = Random(f"{seed}:{KIND}:{index}")
        person = _recruit(seed, index, rng, payments, start=start, entry=entry)
        events: list[Event] = [person.enrichment] if person.enrichment is not None else []
        at = entry
        for _ in range(count):
            text = f"{PUBLISHED_PROMPT}\n\n{next(work).text}"
            events += ask(rng, person, at, text, style=LONG)
            # The queue behind the accounts hands each of them its next task after half an hour to two hours.
            at += int(rng.uniform(30, 120) * MINUTE)
        yield person.account, in_order(events)


def _recruit(seed: int, index: int, rng: Random, payments: Sequence[str], *, start: int, entry: int) -> Person:
    """One account: bought cards and mail addresses, a residential address of its own."""
    account = f"acct_{opaque(seed, KIND, index)}"
    home = network(rng)
    stack, build = rng.choice(OPERATOR_STACKS)
    created = int(entry - rng.uniform(2 * HOUR, 14 * DAY))
    paid = rng.random() < 0.8
    enrichment = Account(
        ts=max(start + rng.randrange(10 * MINUTE), created),
        account=account,
        created=created,
        plan="paid" if paid else "free",
        payment=rng.choice(payments) if paid else None,
        email_domain=pick(rng, DISPOSABLE_MAIL if rng.random() < 0.55 else PUBLIC_MAIL),
        signup_ip=home.cidr if rng.random() < 0.6 else network(rng).cidr,
        signup_channel="direct",
    )
    places = [home] if rng.random() < 0.7 else [home, network(rng)]
    return Person(
        account=account,
        enrichment=None if rng.random() < 0.15 else enrichment,
        clients=tuple(client(rng, place, stack, build=build) for place in places),
        models=("m-large", "m-large", "m-large", "m-medium"),
        params=HARNESS,
        offset=home.offset,
    )
