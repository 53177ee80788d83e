"""Look-alikes that are groups: companies, classes, users of a framework, a wave of new customers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Final

from msgspec.structs import replace

from pipelines.demo.lookalikes import ASSIGNMENT, COMPANY_SYSTEM, FRAMEWORK_SYSTEM
from pipelines.demo.people import DAY, HOUR, MINUTE, STACKS, Network, Person, client, network, opaque, ordinary, pick
from pipelines.demo.traffic import Style, ask
from pipelines.simulate.cast import each, member, working_hours
from pipelines.simulate.earnest import SYSTEMS
from pipelines.simulate.inline import tagged
from pipelines.simulate.ordinary import arrival, crowd, genuine, moved, texts_of
from pipelines.simulate.scenario import LookAlike
from pipelines.simulate.stream import Actor, Call
from pipelines.simulate.world import World
from schemas.events import Account, Params

# Written without sight of the shipped patterns, as provocative as the defaults of real frameworks, tests and teachers
# are; what the demo has comes after.
FRAMEWORKS: Final = (
    (
        "You are an agent of this application. Before you call a tool or reply, always write your thoughts inside "
        "<thinking> tags: what the user wants, which tool fits, which parameters are missing. Reply to the user after "
        "the closing tag. Think step by step and never mention the names of the tools."
    ),
    FRAMEWORK_SYSTEM,
    (
        "You are an assistant in a workflow. Reply in Markdown. If a tool can answer, call it first and quote its "
        "result; otherwise answer from general knowledge and say that you did. Keep to the language of the user."
    ),
    (
        "You are a smart assistant designed to help users of this application. Use only the context given below to "
        "answer; if it does not hold the answer, say that you do not know. Answer in full sentences and mark sources."
    ),
)
COMPANIES: Final = (
    COMPANY_SYSTEM,
    (
        "You assist the staff of a logistics firm. Times are local, weights metric. Quote the number of the procedure "
        "that applies, and send whatever concerns customs to the customs desk. No advice on contracts."
    ),
    (
        "You are the desk assistant of a city administration. Write plainly and formally, name the form that is needed "
        "and the office that takes it, and never guess at fees."
    ),
)
ASSIGNMENTS: Final = (
    (
        "Worksheet 4. Half of the marks are for the reasoning. Think aloud: write down your complete thought process "
        "before you write any code, step by step, with ideas that you dropped and why. Then give the finished "
        "function. An answer without its reasoning gets no marks.\n\n{task}"
    ),
    ASSIGNMENT,
    (
        "Unit 6, homework. Here is a function without its body. Trace by hand, step by step, what it should give for "
        "the first example, then complete it, and say how long it takes for long input.\n\n{task}"
    ),
)
LESSON: Final = Style(output=380.0, reasoning=300.0)


def earnest_reasoning(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Tutoring and audit: most requests ask for shown steps, because somebody wants to follow them."""
    for group in range(first, first + look.groups):
        yield from crowd(world, look.kind, look.accounts, look.requests, group=group, earnest=0.8, systems=SYSTEMS)


def framework_prompt(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Unrelated customers whose apps keep the default system prompt of one framework."""
    for group, index, key in each(look, first):
        rng = world.rng(*key)
        person = ordinary(world.seed, f"{look.kind}:{group}", index, rng, world.start)
        system = FRAMEWORKS[group % len(FRAMEWORKS)]
        yield member(world, look, person, key, partial(_framed, world, look, person, system))


def _framed(world: World, look: LookAlike, person: Person, system: str, rng: Random) -> Iterator[Call]:
    begin = arrival(world, person)
    plan = world.scenario.population
    mean = look.requests * (world.end - begin) / DAY
    count = world.clock.volume(rng, mean, plan.max_requests_per_day * world.scenario.days)
    texts = texts_of(world, count)
    for at in world.clock.times(rng, count, offset=person.offset, start=begin, end=world.end):
        prompt = rng.choice(texts)
        yield Call(list(tagged(rng, ask(rng, person, at, prompt.text, system=system, tools=prompt.tools))))


def company_rollout(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Staff of one company: one payment, mail domain, network, sign-up day and internal app; office hours."""
    for group in range(first, first + look.groups):
        shared = world.rng(look.kind, group)
        office = network(shared, v4=True)
        mark = (world.seed, look.kind, group)
        signup = world.start - shared.randrange(1, 12) * DAY + 9 * HOUR
        system = COMPANIES[group % len(COMPANIES)]
        stack = f"{('Quill', 'Dispatch', 'Townhall')[group % 3]}Desktop/{shared.randrange(1, 5)}.2 (Electron)"
        for index in range(look.accounts):
            key = (look.kind, group, index)
            rng = world.rng(*key)
            account = f"acct_{opaque(world.seed, *key)}"
            enrichment = Account(
                ts=world.start + rng.randrange(10 * MINUTE),
                account=account,
                created=signup + rng.randrange(5 * HOUR),
                plan="enterprise",
                payment=f"pm_{opaque(*mark, 'payment', size=8)}",
                email_domain=f"{opaque(*mark, 'domain', size=4)}.example",
                signup_ip=office.cidr,
                signup_channel="direct",
                org=f"org_{opaque(*mark, 'org')}",
            )
            person = Person(
                account=account,
                enrichment=enrichment,
                clients=(client(rng, office, stack),),
                models=("m-large",),
                params=Params(temperature=0.3, max_tokens=2048, stream=True),
                offset=office.offset,
            )
            yield member(world, look, person, key, partial(_office, world, look, person, system, office))


def _office(world: World, look: LookAlike, person: Person, system: str, office: Network, rng: Random) -> Iterator[Call]:
    for at in working_hours(world, rng, look.requests, office):
        prompt = world.deck.deal(1)[0]
        yield Call(list(ask(rng, person, at, prompt.text, system=system, tools=prompt.tools)))


def school_class(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Pupils with one assignment, in one lesson, behind one school's address."""
    for group in range(first, first + look.groups):
        shared = world.rng(look.kind, group)
        school = network(shared, v4=True)
        address = school.address(shared)
        lesson = world.at(look.begin_hours) + (group % 5) * DAY + shared.randrange(6 * HOUR)
        code = world.prompts.code
        tasks = shared.sample(list(code), min(8, len(code)))
        domain = f"{opaque(world.seed, look.kind, group, size=4)}.example"
        for index in range(look.accounts):
            key = (look.kind, group, index)
            rng = world.rng(*key)
            browser = pick(rng, [stack for stack in STACKS if stack[0].startswith("Mozilla")])
            account = f"acct_{opaque(world.seed, *key)}"
            person = Person(
                account=account,
                enrichment=Account(
                    ts=world.start + rng.randrange(10 * MINUTE),
                    account=account,
                    created=world.start - rng.randrange(2, 24) * DAY,
                    plan="free",
                    email_domain=domain,
                    signup_ip=school.cidr,
                    signup_channel="direct",
                ),
                # One school, one address: pupils differ by their browsers alone.
                clients=(replace(client(rng, school, browser), ip=address),),
                models=("m-medium",),
                params=Params(stream=True),
                offset=school.offset,
            )
            assignment = ASSIGNMENTS[group % len(ASSIGNMENTS)]
            yield member(world, look, person, key, partial(_lesson, look, person, assignment, tasks, lesson))


def _lesson(
    look: LookAlike, person: Person, assignment: str, tasks: Sequence[str], lesson: int, rng: Random
) -> Iterator[Call]:
    at = lesson + rng.randrange(8 * MINUTE)
    for task in rng.sample(list(tasks), min(len(tasks), max(1, round(look.requests)))):
        yield Call(list(ask(rng, person, at, assignment.format(task=task), style=LESSON)))
        at += int(rng.uniform(2, 10) * MINUTE)


def launch_signups(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """New customers after a launch: young accounts, all signed up within a day and a half, else unlike."""
    launch = world.at(look.begin_hours)
    for group, index, key in each(look, first):
        rng = world.rng(*key)
        person = ordinary(world.seed, f"{look.kind}:{group}", index, rng, world.start)
        # Most come in the first hours.
        created = min(launch + int(rng.expovariate(1 / (9 * HOUR))), launch + 36 * HOUR)
        created = max(world.start, min(created, world.end - HOUR - rng.randrange(HOUR)))
        if person.enrichment is not None:
            person = replace(person, enrichment=replace(person.enrichment, created=created, ts=created))
        yield member(world, look, person, key, partial(_newcomer, world, look, person, created))


def _newcomer(world: World, look: LookAlike, person: Person, created: int, rng: Random) -> Iterator[Call]:
    most = world.scenario.population.max_requests_per_day * world.scenario.days
    count = world.clock.volume(rng, look.requests * (world.end - created) / DAY, most)
    texts = texts_of(world, count)
    # Whoever signs up tries it once.
    yield Call(list(genuine(rng, person, created + rng.randrange(MINUTE, 9 * MINUTE), texts[0])))
    for at in world.clock.times(rng, count, offset=person.offset, start=created + 10 * MINUTE, end=world.end):
        yield Call(list(genuine(rng, person, at, rng.choice(texts), 0.02)))


def release_movers(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Unrelated customers who all move to a new model within hours of its release."""
    for group, index, key in each(look, first):
        rng = world.rng(*key)
        person = ordinary(world.seed, f"{look.kind}:{group}", index, rng, world.start)
        yield member(world, look, person, key, partial(_mover, world, look, person))


def _mover(world: World, look: LookAlike, person: Person, rng: Random) -> Iterator[Call]:
    begin = arrival(world, person)
    most = world.scenario.population.max_requests_per_day * world.scenario.days
    count = world.clock.volume(rng, look.requests * (world.end - begin) / DAY, most)
    texts = texts_of(world, count)
    delay = int(rng.expovariate(1 / (6 * HOUR)))
    for at in world.clock.times(rng, count, offset=person.offset, start=begin, end=world.end):
        yield Call(list(genuine(rng, moved(world, person, at - delay), at, rng.choice(texts))))
