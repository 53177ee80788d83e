"""Honest customers who look like a distillation campaign in one respect or another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from msgspec.structs import replace

from pipelines.demo.crowd import volume
from pipelines.demo.people import (
    DAY,
    HOUR,
    MINUTE,
    STACKS,
    Person,
    client,
    network,
    opaque,
    ordinary,
    pick,
)
from pipelines.demo.traffic import Deck, Style, ask, in_order, spaced, times
from schemas.events import Account, Event, Params

Cast = Iterator[tuple[str, list[Event]]]

HARNESS_WRAPPER: Final = (
    "Complete the following Python function. Return only the finished function, without explanation or tests.\n\n"
    "```python\n{task}```"
)
BATCH_TEMPLATE: Final = (
    "Classify the customer message below into exactly one of the categories billing, booking, technical, account, "
    "smalltalk, other. Also extract every date, place and amount that it mentions. Answer with one JSON object with "
    'the keys "category", "dates", "places", "amounts" and nothing else.\n\nMessage:\n"""\n{row}\n"""'
)
FRAMEWORK_SYSTEM: Final = (
    "You are a helpful assistant built with a general agent framework. Answer the following questions as best you "
    "can. You may use the tools that are listed with the request. Always use this format: Thought: think about what "
    "to do; Action: the tool to use; Action Input: the input of the tool; Observation: the result of the tool; "
    "repeat as often as needed; Final Answer: the answer to the original question. Begin!"
)
COMPANY_SYSTEM: Final = (
    "You are Quill, the internal assistant of our company. You help staff with e-mail, meeting notes, data look-ups "
    "and travel booking. Follow the style guide: plain words, short sentences, British spelling. Never reveal customer "
    "data to other customers. If a request concerns payroll or legal matters, refer to the responsible department."
)
ASSIGNMENT: Final = (
    "Introduction to Programming, assignment 3. Read the function header and its description below. Explain in your "
    "own words what the function has to do, show your reasoning step by step, and write the body of the function. "
    "Finally name one input that a careless solution would get wrong.\n\n{task}"
)


def evaluation_harness(seed: int, code: Sequence[str], *, start: int, passes: int) -> Cast:
    """One account that runs a public benchmark in full, night after night, with one wrapper."""
    rng = Random(f"{seed}:evaluation_harness")
    person = _program(seed, "evaluation_harness", rng, start, "python-httpx/0.27.2", Params(temperature=0.0, seed=7))
    events: list[Event] = [person.enrichment] if person.enrichment is not None else []
    for night in range(passes):
        for at, task in zip(spaced(rng, len(code), start=start + night * DAY + 2 * HOUR, gap=6_000), code, strict=True):
            events += ask(
                rng, person, at, HARNESS_WRAPPER.format(task=task), style=Style(output=150.0, reasoning=200.0)
            )
    yield person.account, in_order(events)


def batch_template(seed: int, deck: Deck, rows: int, *, start: int) -> Cast:
    """One account that runs one template over a table of rows, within a few hours."""
    rng = Random(f"{seed}:batch_template")
    params = Params(temperature=0.0, max_tokens=256, stream=False)
    person = _program(seed, "batch_template", rng, start, "aiohttp/3.10.5", params)
    events: list[Event] = [person.enrichment] if person.enrichment is not None else []
    for at, prompt in zip(spaced(rng, rows, start=start + 33 * HOUR, gap=9_000), deck.deal(rows), strict=True):
        events += ask(rng, person, at, BATCH_TEMPLATE.format(row=prompt.text), style=Style(output=60.0, reasoning=80.0))
    yield person.account, in_order(events)


def framework_prompt(seed: int, count: int, deck: Deck, *, start: int, end: int) -> Cast:
    """Unrelated customers whose apps keep the default system prompt of one framework."""
    for index in range(count):
        rng = Random(f"{seed}:framework_prompt:{index}")
        person = ordinary(seed, "framework_prompt", index, rng, start)
        events: list[Event] = [person.enrichment] if person.enrichment is not None else []
        number = volume(rng)
        begin = min(max(start, person.enrichment.created or 0), end - HOUR) if person.enrichment else start
        moments = times(rng, number, offset=person.offset, start=begin, end=end)
        texts = deck.deal(max(1, round(number**0.8)))
        for turn, at in enumerate(moments):
            prompt = texts[turn % len(texts)]
            events += ask(rng, person, at, prompt.text, system=FRAMEWORK_SYSTEM, tools=prompt.tools)
        yield person.account, in_order(events)


def company_rollout(seed: int, count: int, deck: Deck, *, start: int, days: int) -> Cast:
    """Staff accounts of one company: one payment, mail domain, network, sign-up day and internal app."""
    shared = Random(f"{seed}:company_rollout")
    office = network(shared, v4=True)
    domain = f"{opaque(seed, 'company', size=4)}.example"
    payment = f"pm_{opaque(seed, 'company', 'payment', size=8)}"
    org = f"org_{opaque(seed, 'company', 'org')}"
    signup = start - 9 * DAY + 9 * HOUR
    for index in range(count):
        rng = Random(f"{seed}:company_rollout:{index}")
        account = f"acct_{opaque(seed, 'company_rollout', index)}"
        enrichment = Account(
            ts=start + rng.randrange(10 * MINUTE),
            account=account,
            created=signup + rng.randrange(5 * HOUR),
            plan="enterprise",
            payment=payment,
            email_domain=domain,
            signup_ip=office.cidr,
            signup_channel="direct",
            org=org,
        )
        person = Person(
            account=account,
            enrichment=enrichment,
            clients=(client(rng, office, "QuillDesktop/3.2 (Electron)"),),
            models=("m-large",),
            params=Params(temperature=0.3, max_tokens=2048, stream=True),
            offset=office.offset,
        )
        moments = _office_hours(rng, 8 + rng.randrange(9), person.offset, start, days)
        events: list[Event] = [enrichment]
        for at, prompt in zip(moments, deck.deal(len(moments)), strict=True):
            events += ask(rng, person, at, prompt.text, system=COMPANY_SYSTEM, tools=prompt.tools)
        yield account, in_order(events)


def school_class(seed: int, count: int, code: Sequence[str], *, start: int) -> Cast:
    """Pupils with one assignment, in one lesson, behind one school's address."""
    shared = Random(f"{seed}:school_class")
    school = network(shared, v4=True)
    address = school.address(shared)
    domain = f"{opaque(seed, 'school', size=4)}.example"
    lesson = start + DAY + (10 - school.offset) * HOUR
    tasks = shared.sample(list(code), min(8, len(code)))
    for index in range(count):
        rng = Random(f"{seed}:school_class:{index}")
        account = f"acct_{opaque(seed, 'school_class', index)}"
        enrichment = Account(
            ts=start + rng.randrange(10 * MINUTE),
            account=account,
            created=start - 20 * DAY + rng.randrange(4 * DAY),
            plan="free",
            email_domain=domain,
            signup_ip=school.cidr,
            signup_channel="direct",
        )
        browser = pick(rng, [stack for stack in STACKS if stack[0].startswith("Mozilla")])
        # One school, one address: pupils differ by their browsers alone.
        place = replace(client(rng, school, browser), ip=address)
        person = Person(
            account=account,
            enrichment=enrichment,
            clients=(place,),
            models=("m-medium",),
            params=Params(stream=True),
            offset=school.offset,
        )
        events: list[Event] = [enrichment]
        at = lesson + rng.randrange(8 * MINUTE)
        for task in rng.sample(tasks, rng.randrange(len(tasks) // 2, len(tasks) + 1)):
            events += ask(rng, person, at, ASSIGNMENT.format(task=task), style=Style(output=380.0, reasoning=300.0))
            at += int(rng.uniform(2, 10) * MINUTE)
        yield account, in_order(events)


def _program(seed: int, kind: str, rng: Random, start: int, stack: str, params: Params) -> Person:
    """An established paying customer whose program calls from two machines of one data centre."""
    account = f"acct_{opaque(seed, kind)}"
    site = network(rng, v4=True)
    enrichment = Account(
        ts=start + rng.randrange(10 * MINUTE),
        account=account,
        created=start - rng.randrange(200, 600) * DAY,
        plan="paid",
        payment=f"pm_{opaque(seed, kind, 'payment', size=8)}",
        email_domain=f"{opaque(seed, kind, 'own', size=4)}.example",
        signup_ip=site.cidr,
        signup_channel="direct",
    )
    return Person(
        account=account,
        enrichment=enrichment,
        clients=tuple(client(rng, site, stack) for _ in range(2)),
        models=("m-large",),
        params=params,
        offset=site.offset,
    )


def _office_hours(rng: Random, count: int, offset: int, start: int, days: int) -> list[int]:
    """`count` times between 8 and 18 o'clock local time, with a lunch break."""
    found: list[int] = []
    while len(found) < count:
        hour = rng.uniform(8, 18)
        if 12.2 < hour < 13.0:
            continue
        at = start + rng.randrange(days) * DAY + int((hour - offset) * HOUR)
        if at >= start:
            found.append(at)
    return sorted(found)
