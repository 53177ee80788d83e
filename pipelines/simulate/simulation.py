"""A scenario as events and labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pipelines.simulate.loading import load_templates, start_ms
from pipelines.simulate.lookalikes import lookalikes
from pipelines.simulate.operation import KIND, Operation
from pipelines.simulate.ordinary import population
from pipelines.simulate.prompts import Prompts
from pipelines.simulate.scenario import MIN_DAYS, Scenario
from pipelines.simulate.stream import Actor, Call, Heard, merged
from pipelines.simulate.world import World
from schemas.events import Event, Release

if TYPE_CHECKING:
    import pyarrow as pa


class Simulation:
    """One run of a scenario: real prompts, assigned to simulated accounts and times.

    Attributes:
        harvest: request id to campaign, for the requests that a campaign is for; it fills up as :meth:`events`
            goes on, unless a caller takes them one by one.
    """

    def __init__(self, scenario: Scenario, prompts: Prompts, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.harvest: dict[str, str] = {}
        self._prompts = prompts

    @property
    def start(self) -> int:
        """Epoch ms of the first midnight."""
        return start_ms(self.scenario)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the texts come from."""
        return self._prompts.sources

    def events(self, heard: Heard | None = None) -> Iterator[Event]:
        """All events, ascending by `ts`; the same each time. Memory grows with the accounts, not the events.

        Args:
            heard: called with id and campaign of each harvesting request, before the request is yielded;
                without it they are kept in :attr:`harvest`.
        """
        world = World(self.scenario, self._prompts, self.seed)
        return merged(_actors(world), world.end, self.harvest.__setitem__ if heard is None else heard)

    @property
    def labels(self) -> pa.Table:
        """What each account really is: account, kind, campaign, shape, evasion, group; in the order of the accounts."""
        import pyarrow as pa

        world = World(self.scenario, self._prompts, self.seed)
        known = [actor for actor in _actors(world) if actor.kind and actor.begin < world.end]
        return pa.table(
            {
                "account": pa.array([actor.account for actor in known], pa.string()),
                "kind": pa.array([actor.kind for actor in known], pa.string()),
                "campaign": pa.array([actor.campaign for actor in known], pa.string()),
                "shape": pa.array([actor.shape for actor in known], pa.string()),
                "evasion": pa.array([actor.evasion for actor in known], pa.string()),
                "group": pa.array([actor.group for actor in known], pa.string()),
            }
        )


def generate(
    scenario: Scenario,
    *,
    prompts: Prompts,
    seed: int | None = None,
    accounts: int | None = None,
    days: float | None = None,
) -> Simulation:
    """Simulate a scenario.

    Args:
        seed: instead of the scenario's own.
        accounts: ordinary accounts, instead of the scenario's; look-alikes and campaigns stay as they are.
        days: only so many days from the start; campaigns end with them, later ones fall away.

    Raises:
        ValueError: `accounts` is below 1, or `days` below :data:`pipelines.simulate.scenario.MIN_DAYS`.
    """
    if accounts is not None:
        if accounts < 1:
            raise ValueError(f"accounts must be at least 1, got {accounts}")
        scenario = replace(scenario, population=replace(scenario.population, accounts=accounts))
    if days is not None:
        if not days >= MIN_DAYS:
            raise ValueError(f"days must be at least {MIN_DAYS}, got {days}")
        scenario = _shortened(scenario, days)
    if prompts.arrivals is not None and scenario.arrivals.source == prompts.arrivals.source:
        scenario = replace(scenario, arrivals=prompts.arrivals)
    return Simulation(scenario, prompts, scenario.seed if seed is None else seed)


def _shortened(scenario: Scenario, days: float) -> Scenario:
    """The scenario without what would begin after its new end; what has begun is cut off there."""
    hours = days * 24
    return replace(
        scenario,
        days=days,
        lookalike=[look for look in scenario.lookalike if look.begin_hours < hours],
        campaign=[campaign for campaign in scenario.campaign if campaign.begin_hours < hours],
        release=[out for out in scenario.release if out.at_hours < hours],
    )


def _actors(world: World) -> Iterator[Actor]:
    """Everybody in the scenario, in an order that only the scenario decides."""
    yield from population(world)
    yield from lookalikes(world)
    templates = load_templates()
    for campaign in world.scenario.campaign:
        yield from Operation(world, campaign, templates).actors()
    for at, model in world.releases:
        yield Actor("", "", at, partial(_release, at, model))


def _release(at: int, model: str) -> Iterator[Call]:
    yield Call([Release(ts=at, model=model)])


__all__ = ["KIND", "Simulation", "generate"]
