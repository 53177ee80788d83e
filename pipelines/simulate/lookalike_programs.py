"""Look-alikes that are programs: one account each, and much of one kind of request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle
from random import Random
from typing import Final

from msgspec.structs import replace

from pipelines.demo.lookalikes import HARNESS_WRAPPER
from pipelines.demo.people import DAY, HOUR, STACKS, Person, client, network, pick
from pipelines.demo.traffic import Style, ask, send
from pipelines.simulate.cast import each, job, member, program, uneven
from pipelines.simulate.ordinary import genuine, texts_of
from pipelines.simulate.scenario import LookAlike
from pipelines.simulate.stream import Actor, Call
from pipelines.simulate.world import World
from schemas.events import Event, Message, Params, Request, Response

SHORT: Final = Style(output=70.0, reasoning=80.0)
MIDDLE: Final = Style(output=260.0, reasoning=200.0)

# Wordings of real programs, in the vocabulary that campaigns use too; written without sight of the shipped patterns.
WRAPPERS: Final = (
    (
        "Solve the following task. Think step by step and write your reasoning first, then give the finished code "
        "between <answer> and </answer>. Only what is between these tags will be run.\n\n{task}"
    ),
    HARNESS_WRAPPER,
    "Below is a task from our regression suite. Give the solution only; it is run and compared.\n\n{task}",
    "Finish this code so that its doctests pass.\n\n{task}",
)
# One template over a table of rows: classification, extraction, translation, summary.
BATCHES: Final = (
    (
        "Sort the message below into one of: billing, booking, technical, account, other. Think it through first. "
        'Reply with JSON: {"reasoning": "your step-by-step reasoning in two or three sentences", "category": "...", '
        '"confidence": 0 to 1}.\n\nMessage: {row}'
    ),
    'From the text in triple quotes list every person, organisation, date and sum as JSON. Text:\n"""\n{row}\n"""',
    "Translate the following into Dutch for our help centre. Keep names and numbers as they are.\n\n{row}",
    "Sum up the following in at most two sentences for the ticket list.\n\n{row}",
)
BACKFILL: Final = (
    "Passage {number} of the knowledge base:\n\n{row}\n\nWrite three questions that this passage answers, one a line.",
    "Give a title and five key words for the index entry of this passage.\n\n{row}",
)
SYNTHETIC: Final = (
    (
        "We train the intent classifier of our {product} and need more data. Write {count} different messages that a "
        "{tone} customer might send with the same intent as the example. Before each message give one line of "
        "reasoning on what this customer really wants.\n\nExample: {row}"
    ),
    (
        "You make test data for our {product}. Write {count} messages that a {tone} customer could send, on the "
        "subject of this one, and no two alike. One a line, without numbering.\n\nExample: {row}"
    ),
    (
        "Create {count} question and answer pairs for the staff training of our {product}. The customer is {tone}. "
        "Each answer has to contain a worked, step-by-step explanation that a trainee can follow.\n\nTopic: {row}"
    ),
)
PRODUCTS: Final = ("booking app", "bank chat", "parts shop", "clinic portal", "energy tariff page")
TONES: Final = ("hurried", "polite", "angry", "confused", "chatty", "terse")
JUDGES: Final = (
    (
        "You are an impartial judge of chatbot answers. Rate the response from 1 to 10 for helpfulness, accuracy and "
        "clarity. Output only the three scores, separated by commas, without any explanation.\n\n"
        "[Question]\n{row}\n\n[Response, version {version}]\n{answer}"
    ),
    (
        "You check the answers of our support bot. Rate the answer from 1 to 10 for correctness, tone and "
        'completeness, with one sentence of grounds each, as JSON with the keys "correctness", "tone", '
        '"completeness".\n\n'
        "Question:\n{row}\n\nAnswer of version {version}:\n{answer}"
    ),
    (
        "Evaluate the answer against the rubric: 5 = fully correct and well reasoned, 3 = partly correct, 1 = wrong. "
        "First explain your reasoning step by step, then write the score on the last line as 'Score: N'.\n\n"
        "Question: {row}\n\nAnswer ({version}): {answer}"
    ),
)
CI_SYSTEM: Final = (
    "You are the maintenance agent of this repository. Read the failing test, find the cause, and propose the smallest "
    "patch. Think step by step and write your reasoning before each tool call, so that reviewers can follow it in the "
    "log. Do not touch files outside the package."
)
CI_TOOLS: Final = ("read_file", "search", "run_tests", "apply_patch")
ROUTER_SYSTEM: Final = (
    "You continue conversations of our assistant. Earlier turns may have been written by another model; keep to what "
    "they said and do not repeat their reasoning unless the user asks."
)


def evaluation_harness(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """A public benchmark in full, night after night, with one wrapper."""
    for group, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params(temperature=0.0, seed=7))
        yield member(world, look, person, key, partial(_nightly, world, look, person, WRAPPERS[group % len(WRAPPERS)]))


def _nightly(world: World, look: LookAlike, person: Person, wrapper: str, rng: Random) -> Iterator[Call]:
    tasks = world.prompts.code[: round(look.requests)]
    night = world.start + rng.randrange(4 * HOUR)
    while night < world.end:
        at = float(night)
        for task in tasks:
            yield Call(list(ask(rng, person, int(at), wrapper.format(task=task), style=MIDDLE)))
            at += 6_000 * rng.uniform(0.6, 1.4)
        night += DAY


def batch_template(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """One template over a table of rows, once."""
    for group, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params(temperature=0.0, max_tokens=256, stream=False))
        yield member(world, look, person, key, partial(_rows, world, look, person, group))


def _rows(world: World, look: LookAlike, person: Person, group: int, rng: Random) -> Iterator[Call]:
    rows: Sequence[str]
    jobs = [name for name in world.prompts.rows if name != "customer_messages"]
    if group >= len(BATCHES) and jobs:
        # Sets that hold whole messages: the template is in them already.
        wrapper, rows = "{row}", world.prompts.rows[jobs[group % len(jobs)]]
    else:
        wrapper, rows = BATCHES[group % len(BATCHES)], _table(world)
    for at, row in zip(job(world, look, group, rng), cycle(rows), strict=False):
        yield Call(list(ask(rng, person, at, wrapper.replace("{row}", row), style=SHORT)))


def _table(world: World) -> Sequence[str]:
    """Customer messages, or in their absence what users asked."""
    return world.prompts.rows.get("customer_messages") or [prompt.text for prompt in world.prompts.ordinary]


def rag_backfill(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Every passage of a knowledge base, once, for its index."""
    for group, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params(temperature=0.0, max_tokens=512, stream=False))
        yield member(world, look, person, key, partial(_passages, world, look, person, group))


def _passages(world: World, look: LookAlike, person: Person, group: int, rng: Random) -> Iterator[Call]:
    passages = world.prompts.passages or [prompt.text for prompt in world.prompts.ordinary if len(prompt.text) > 120]
    wrapper = BACKFILL[group % len(BACKFILL)]
    for number, (at, row) in enumerate(zip(job(world, look, group, rng), cycle(passages), strict=False)):
        text = wrapper.replace("{number}", str(number)).replace("{row}", row)
        yield Call(list(ask(rng, person, at, text, style=SHORT)))


def synthetic_data(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Test data for the customer's own product: slots enumerated, much output."""
    for group, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params(temperature=1.0, max_tokens=2048, stream=False))
        yield member(world, look, person, key, partial(_synthetic, world, look, person, group))


def _synthetic(world: World, look: LookAlike, person: Person, group: int, rng: Random) -> Iterator[Call]:
    rows = _table(world)
    for number, at in enumerate(job(world, look, group, rng)):
        text = SYNTHETIC[group % len(SYNTHETIC)].format(
            product=PRODUCTS[group % len(PRODUCTS)],
            count=(5, 10, 20)[number // len(TONES) % 3],
            tone=TONES[number % len(TONES)],
            row=rows[(number // (3 * len(TONES))) % len(rows)],
        )
        yield Call(list(ask(rng, person, at, text, style=Style(output=700.0, reasoning=150.0))))


def judge(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """A model as judge in the customer's own tests: one rubric, two versions of a bot."""
    for group, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params(temperature=0.0, max_tokens=512, stream=False))
        yield member(world, look, person, key, partial(_judged, world, look, person, JUDGES[group % len(JUDGES)]))


def _judged(world: World, look: LookAlike, person: Person, rubric: str, rng: Random) -> Iterator[Call]:
    rows = _table(world)
    cases = [rows[rng.randrange(len(rows))] for _ in range(max(1, round(look.requests / 2)))]
    night = world.start + rng.randrange(12 * HOUR)
    while night < world.end:
        at = float(night)
        for version in (1, 2):
            for row in cases:
                answer = " ".join(rng.choices(row.split(), k=24))
                text = rubric.replace("{row}", row).replace("{version}", str(version)).replace("{answer}", answer)
                yield Call(list(ask(rng, person, int(at), text, style=SHORT)))
                at += 4_000 * rng.uniform(0.6, 1.4)
        night += DAY


def ci_agent(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """An agent in continuous integration: bursts of tool calls with growing history after each push."""
    for _, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params(temperature=0.2, max_tokens=4096, stream=True))
        yield member(world, look, person, key, partial(_pushes, world, look, person))


def _pushes(world: World, look: LookAlike, person: Person, rng: Random) -> Iterator[Call]:
    turns = 8
    count = uneven(rng, look.requests * world.scenario.days / turns)
    code = world.prompts.code
    for at in world.clock.times(rng, count, offset=person.offset, start=world.start, end=world.end, gap=600_000):
        task = rng.choice(code)
        lines = [line for line in task.splitlines() if line.strip()] or [task]
        history = [Message(role="user", content=f"Build {rng.randrange(10_000)} fails. The test exercises:\n\n{task}")]
        moment = at
        events: list[Event] = []
        for _ in range(rng.randrange(3, 2 * turns - 3)):
            made = list(send(rng, person, moment, history, system=CI_SYSTEM, tools=CI_TOOLS, style=SHORT))
            events += made
            last = made[-1]
            # An agent goes on from what it was answered, and stops where it was not.
            if not isinstance(last, Response) or last.text is None:
                break
            moment = last.ts + int(rng.lognormvariate(math.log(8_000), 0.6))
            output = "\n".join(rng.choices(lines, k=3))
            history = [
                *history,
                Message(role="assistant", content=last.text),
                Message(role="tool", content=f"exit {rng.randrange(2)}\n{output}"),
            ]
        yield Call(events)


def fallback_router(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """A router between providers: assistant turns in the history that this provider never produced."""
    for _, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params(temperature=0.7, max_tokens=1024, stream=True))
        yield member(world, look, person, key, partial(_routed, world, look, person))


def _routed(world: World, look: LookAlike, person: Person, rng: Random) -> Iterator[Call]:
    count = uneven(rng, look.requests * world.scenario.days)
    texts = texts_of(world, count)
    for at in world.clock.times(rng, count, offset=person.offset, start=world.start, end=world.end):
        first, second = rng.choice(texts), rng.choice(texts)
        turn = " ".join(rng.choices(first.text.split(), k=40))
        history = [
            Message(role="user", content=first.text),
            Message(role="assistant", content=f"Certainly. {turn}"),
            Message(role="user", content=second.text),
        ]
        yield Call(list(send(rng, person, at, history, system=ROUTER_SYSTEM, tools=second.tools)))


def shared_team_key(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Many people, addresses and programs behind one key."""
    for _, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params())
        homes = [client(rng, network(rng), pick(rng, STACKS), build=rng.choice((0, 0, 1))) for _ in range(35)]
        person = replace(person, clients=(*person.clients, *homes), models=("m-large", "m-medium", "m-small"))
        yield member(world, look, person, key, partial(_team, world, look, person))


def _team(world: World, look: LookAlike, person: Person, rng: Random) -> Iterator[Call]:
    count = uneven(rng, look.requests * world.scenario.days)
    texts = world.deck.deal(min(count, 400))
    for at in world.clock.times(rng, count, offset=person.offset, start=world.start, end=world.end):
        yield Call(list(genuine(rng, person, at, rng.choice(texts), 0.03)))


def gateway_reseller(world: World, look: LookAlike, first: int) -> Iterator[Actor]:
    """Thousands of end users behind one account, from the gateway's own machines, day and night."""
    for _, _, key in each(look, first):
        rng = world.rng(*key)
        person = program(world, look, key, rng, Params(), places=8)
        person = replace(person, models=("m-large", "m-medium", "m-medium", "m-small"))
        yield member(world, look, person, key, partial(_resold, world, look, person))


def _resold(world: World, look: LookAlike, person: Person, rng: Random) -> Iterator[Call]:
    texts = world.prompts.ordinary
    rate = look.requests / DAY
    at = world.start + rng.expovariate(rate)
    while at < world.end:
        # Users of a gateway are as unlike as accounts: a few send most of it.
        user = f"user_{int(rng.paretovariate(0.6)) % 6000}"
        events = list(genuine(rng, person, int(at), texts[rng.randrange(len(texts))], 0.02))
        for event in events:
            if isinstance(event, Request):
                event.end_user = user
        yield Call(events)
        at += rng.expovariate(rate)
