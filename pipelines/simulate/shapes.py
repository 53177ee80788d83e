"""What an account of each campaign shape sends: one function a shape."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from pipelines.demo.campaign import LONG
from pipelines.demo.people import Person
from pipelines.demo.traffic import Style, ask
from pipelines.simulate.scenario import Shape
from schemas.events import Event, Response

if TYPE_CHECKING:
    from pipelines.simulate.operation import Operation
    from pipelines.simulate.roster import Recruit


class Member(Struct):
    """One account of a campaign while it is at work."""

    person: Person
    recruit: Recruit
    sent: int = 0


Compose = Callable[["Operation", Member, Random, int], list[Event]]
"""From a campaign, one of its accounts, random numbers and a time (epoch ms) to a request and its answer."""

TAGS: Final = ("think", "thinking", "reasoning", "scratchpad")
INLINE: Final = Style(output=900.0, reasoning=60.0, refused=0.03)


def templated(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """A template around the next task of the list."""
    task = operation.work.take()
    system, text = operation.wording.next(rng, task.text)
    return list(ask(rng, member.person, at, text, system=system, tools=task.tools, style=LONG))


def inline_tags(operation: Operation, member: Member, rng: Random, at: int) -> list[Event]:
    """A fixed prompt forces the reasoning into tags before the answer; the answers show it."""
    task = operation.work.take()
    system, text = operation.wording.next(rng, task.text)
    events: list[Event] = list(ask(rng, member.person, at, text, system=system, style=INLINE))
    for event in events:
        if isinstance(event, Response) and event.text and not event.refused:
            tag = TAGS[0]
            event.text = f"<{tag}>{event.text} {rng.choice(TAGS)}</{tag}>\n{event.text[:60]}"
    return events


SHAPES: Final[dict[Shape, Compose]] = {
    "template": templated,
    "burst": templated,
    "two_pools": inline_tags,
}
