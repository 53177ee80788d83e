"""Honest customers who look like a campaign in one respect or another: one function a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pipelines.simulate.ordinary import crowd
from pipelines.simulate.scenario import LookAlike, LookAlikeKind
from pipelines.simulate.stream import Actor
from pipelines.simulate.world import World

Cast = Callable[[World, LookAlike], Iterator[Actor]]


def earnest_reasoning(world: World, look: LookAlike) -> Iterator[Actor]:
    """Tutoring and audit: most requests ask for shown steps, because somebody wants to follow them."""
    yield from crowd(world, look.kind, look.accounts * look.groups, look.requests, earnest=0.8)


LOOKALIKES: Final[dict[LookAlikeKind, Cast]] = {
    "earnest_reasoning": earnest_reasoning,
}
