"""What an account of each campaign shape sends: one function a shape.

The shapes and their figures are those of public reports by providers and governments in 2026; they are named
by what they do, never by who is said to be behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from pipelines.demo.campaign import LONG
from pipelines.demo.people import HOUR, Person
from pipelines.demo.traffic import Style, ask, send
from pipelines.simulate.inline import tagged
from pipelines.simulate.scenario import Shape
from pipelines.simulate.techniques import technique
from schemas.events import Event, Message

if TYPE_CHECKING:
    from pipelines.simulate.operation import Operation
    from pipelines.simulate.roster import Recruit


class Member(Struct, frozen=True):
    """One account of a campaign while it is at work."""

    person: Person
    recruit: Recruit


Compose = Callable[["Operation", Member, Random, int], list[Event]]
"""From a campaign, one of its accounts, random numbers and a time (epoch ms) to a request and its answer."""

INLINE: Final = Style(output=900.0, reasoning=60.0, refused=0.03)
GRADED: Final = Style(output=45.0, reasoning=250.0, refused=0.01)
REFUSED: Final = Style(output=400.0, reasoning=300.0, refused=0.55)
AGENT_TOOLS: Final = ("bash", "read_file", "write_file", "search", "browser", "python")

# "Within 24 h of a model release nearly half its traffic moved to the new model" (Feb 2026).
PIVOT_SHARE: Final = 0.48
PIVOT_HOURS: Final = 24
# Of a sweep, this share of the time goes into trying; then the techniques that worked are used at scale.
SWEEP_TRIAL: Final = 0.5
SWEEP_WINNERS: Final = 6


def templated(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """A template around the next task of the list: one prompt with variations."""
    return _asked(operation, member.person, rng, at, LONG)


def load_balanced(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """Reasoning elicitation, rubric grading and rewrites in turn; the grading answers are short."""
    which = rng.randrange(operation.wording.templates)
    # The second template of the shape grades, with the model as a reward model.
    if which != 1:
        return _asked(operation, member.person, rng, at, LONG, which=which)
    task = operation.work.take()
    thoughts = operation.world.prompts.thoughts
    question, answer = rng.choice(thoughts) if thoughts else (task.text, _turn(rng, task.text))
    system, text = operation.wording.next(rng, f"Question: {question}\nResponse: {answer}", which=which)
    return list(ask(rng, member.person, at, text, system=system, style=GRADED))


def multi_path(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """Agentic work with tools; each access path (direct, marketplace, partner) has tools of its own."""
    task = operation.work.take()
    # Halfway through, plain agentic work gives way to the reconstruction of traces.
    late = at > operation.begin + (operation.end - operation.begin) // 2
    which = rng.randrange(max(1, operation.wording.templates - 1)) if not late else operation.wording.templates - 1
    system, text = operation.wording.next(rng, task.text, which=which)
    start = member.recruit.number % len(operation.campaign.infrastructure.channels)
    tools = task.tools or AGENT_TOOLS[start : start + 4]
    return list(ask(rng, member.person, at, text, system=system, tools=tools, style=LONG))


def pivot(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """Agentic coding that moves to a new model within a day of its release."""
    person = member.person
    released = [(out, model) for out, model in operation.world.releases if out <= at]
    if released:
        out, model = released[-1]
        share = PIVOT_SHARE * min(1.0, (at - out) / (PIVOT_HOURS * HOUR))
        if rng.random() < share:
            person = replace(person, models=(model,))
    return _asked(operation, person, rng, at, LONG, tools=AGENT_TOOLS[:4])


def inline_tags(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """A fixed prompt forces the reasoning into tags before the answer; the answers show it."""
    return list(tagged(rng, _asked(operation, member.person, rng, at, INLINE)))


def relay(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """Sessions carried over between accounts: the history bears reasoning signatures of other accounts."""
    task = operation.work.take()
    system, text = operation.wording.next(rng, task.text)
    others = [mark for ts, owner, mark in operation.recent(rng, 12) if ts < at and owner != member.person.account]
    history = [
        Message(role="user", content=operation.work.peek(rng).text),
        Message(role="assistant", content=_turn(rng, task.text)),
        Message(role="user", content=text),
    ]
    return list(send(rng, member.person, at, history, system=system, signatures=others[:2], style=LONG))


def cleaner(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """Another model's chain of thought, pasted in to be cleaned or judged."""
    thoughts = operation.world.prompts.thoughts
    task = operation.work.take()
    question, own = rng.choice(thoughts) if thoughts else (task.text, _thought(rng, task.text))
    system, text = operation.wording.next(rng, question, own)
    return list(ask(rng, member.person, at, text, system=system, style=Style(output=320.0, reasoning=200.0)))


def user_replay(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """The operator's users' sessions, replayed: assistant turns that this provider never produced."""
    first, second = operation.work.take(), operation.work.peek(rng)
    system, text = operation.wording.next(rng, second.text)
    history = [Message(role="user", content=first.text), Message(role="assistant", content=_turn(rng, first.text))]
    for _ in range(rng.randrange(3)):
        follow = operation.work.peek(rng).text
        history += [Message(role="user", content=follow), Message(role="assistant", content=_turn(rng, follow))]
    history.append(Message(role="user", content=text))
    return list(send(rng, member.person, at, history, system=system, tools=second.tools, style=LONG))


def technique_sweep(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """Each request another way of asking for hidden reasoning, much of it refused; then the winners at scale."""
    trial_ends = operation.begin + int(SWEEP_TRIAL * (operation.end - operation.begin))
    task = operation.work.take()
    if at < trial_ends:
        number, style = operation.serial(), REFUSED
    else:
        # Which ones worked follows from the campaign, not from luck with single answers.
        number, style = rng.randrange(SWEEP_WINNERS) * 997 + 11, Style(output=850.0, reasoning=250.0, refused=0.08)
    system, text = operation.wording.next(rng, task.text, technique(number))
    return list(ask(rng, member.person, at, text, system=system, style=style))


def _asked(
    operation: Operation,
    person: Person,
    rng: Random,
    at: int,
    style: Style,
    *,
    which: int | None = None,
    tools: Sequence[str] = (),
) -> list[Event]:
    task = operation.work.take()
    system, text = operation.wording.next(rng, task.text, which=which)
    return list(ask(rng, person, at, text, system=system, tools=tools or task.tools, style=style))


def _turn(rng: Random, text: str) -> str:
    """Stand-in for what another model answered."""
    return f"{rng.choice(('Of course.', 'Here is the answer.', 'Good question.'))} " + " ".join(
        rng.choices(text.split() or ["yes"], k=30)
    )


def _thought(rng: Random, text: str) -> str:
    """Stand-in for another model's reasoning, where no real one is at hand."""
    words = text.split() or ["this"]
    steps = (
        f"Step {number + 1}: {rng.choice(('so', 'then', 'hence', 'now'))} {' '.join(rng.choices(words, k=9))}."
        for number in range(rng.randrange(3, 7))
    )
    return "\n".join(steps)


SHAPES: Final[dict[Shape, Compose]] = {
    "load_balanced": load_balanced,
    "multi_path": multi_path,
    "pivot": pivot,
    # Both hide in genuine traffic and replace what is banned: that is in the scenario's numbers, not in the text.
    "hydra": templated,
    "template": templated,
    "burst": templated,
    # Language targets are slots of the template.
    "trace_coercion": templated,
    "two_pools": inline_tags,
    "relay": relay,
    "cleaner": cleaner,
    "user_replay": user_replay,
    "technique_sweep": technique_sweep,
}
