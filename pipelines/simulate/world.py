"""What every simulated account draws on: the span, the texts, the clock, the models that come out."""

from __future__ import annotations

from random import Random

from pipelines.demo.people import DAY, HOUR
from pipelines.demo.traffic import Deck
from pipelines.simulate.arrivals import Clock
from pipelines.simulate.loading import start_ms
from pipelines.simulate.prompts import Prompts
from pipelines.simulate.scenario import Scenario


class World:
    """One run of a scenario.

    Attributes:
        start: epoch ms of the first event that may be; `end` of the first that may not.
        deck: single messages that honest accounts send.
    """

    def __init__(self, scenario: Scenario, prompts: Prompts, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.prompts = prompts.fold(scenario.fold)
        self.start = start_ms(scenario)
        self.end = self.start + int(scenario.days * DAY)
        self.clock = Clock(scenario.arrivals)
        self.deck = Deck(self.prompts.ordinary, Random(f"{seed}:deck"))
        self.releases = sorted((self.start + int(out.at_hours * HOUR), out.model) for out in scenario.release)

    def rng(self, *parts: object) -> Random:
        """Random numbers that belong to one account or group, whatever else is simulated."""
        return Random(":".join(map(str, (self.seed, *parts))))

    def at(self, hours: float) -> int:
        """Epoch ms so many hours after the start."""
        return self.start + int(hours * HOUR)

    def newest(self, ts: int) -> str | None:
        """The latest model that came out by `ts`, or None."""
        return next((model for at, model in reversed(self.releases) if at <= ts), None)
