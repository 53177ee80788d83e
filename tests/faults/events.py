"""The traffic of the fault runs: a scenario simulated again and again, each time with accounts of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from infra.kafka.broker import Broker
from pipelines.kafka_io import ConfirmedProducer, make_producer, route_event
from pipelines.settings import KafkaSettings
from pipelines.simulate import Prompts, generate, load_scenario
from schemas.events import Account, Enforcement, Event, Release, Request, Response, encode_event

# Long ago, so that a million events are over before today.
START: Final = 1_736_121_600_000
_DAY_MS: Final = 86_400_000


def repeated(
    prompts: Prompts, *, seed: int, accounts: int, compress: float, scenario: str = "small"
) -> Iterator[Event]:
    """Events without end, ascending by `ts`, with the scenario's campaigns anew in each of its runs.

    Args:
        seed: of the first run; each further one takes the next.
        accounts: ordinary ones in each run.
        compress: event time passes so many times as fast as in the scenario, which fills the ticks.
    """
    begin = START
    for number in itertools.count():
        simulation = generate(load_scenario(scenario), prompts=prompts, seed=seed + number, accounts=accounts)
        for event in simulation.events(heard=lambda *_: None):
            yield _moved(event, f"~{number}", simulation.start, begin, compress)
        begin += int(simulation.scenario.days * _DAY_MS / compress)


def _moved(event: Event, suffix: str, start: int, begin: int, compress: float) -> Event:
    def at(ts: int) -> int:
        # What was before the run, such as the creation of an account, keeps its age.
        return begin + (int((ts - start) / compress) if ts >= start else ts - start)

    match event:
        case Request():
            conversation = None if event.conversation is None else event.conversation + suffix
            changes: dict[str, Any] = {
                "id": event.id + suffix,
                "account": event.account + suffix,
                "conversation": conversation,
            }
        case Response():
            changes = {"request_id": event.request_id + suffix, "account": event.account + suffix}
        case Account():
            changes = {"account": event.account + suffix}
            if event.payment is not None:
                changes["payment"] = event.payment + suffix
            if event.created is not None:
                changes["created"] = at(event.created)
        case Enforcement():
            changes = {"account": event.account + suffix}
        case Release():
            changes = {}
    return replace(event, ts=at(event.ts), **changes)


class Feed:
    """Puts events on a broker, each on its topic under its account."""

    def __init__(self, broker: Broker, topics: Mapping[str, str]) -> None:
        self._topics = topics
        self._producer = ConfirmedProducer(make_producer(KafkaSettings(bootstrap=broker.bootstrap)))
        self.requests: set[str] = set()
        self.sent = 0

    def send(self, event: Event) -> None:
        """Queue one event."""
        role, key = route_event(event)
        self._producer.send(
            self._topics[role], encode_event(event), key=key, partition=0 if role == "control" else None
        )
        if isinstance(event, Request):
            self.requests.add(event.id)
        self.sent += 1

    def close(self) -> None:
        """Return when the broker has all of them.

        Raises:
            DeliveryFailure: it did not take one.
        """
        try:
            self._producer.flush()
        finally:
            self._producer.close()
