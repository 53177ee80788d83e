"""Simulated events to Kafka, at the speed of their times or a multiple of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from pipelines.kafka_io import produce_events, topic_by_role
from pipelines.settings import KafkaSettings
from schemas.events import Event


def paced(
    events: Iterable[Event], speed: float, *, clock: Callable[[], float], sleep: Callable[[float], object]
) -> Iterator[Event]:
    """Hand events out when they are due: an event comes `(ts - first ts) / speed` after the first.

    Args:
        speed: 1 is real time, 60 an hour in a minute; 0 is as fast as they are taken.
        clock: seconds, never going back.
        sleep: waits so many seconds.

    Raises:
        ValueError: `speed` is below 0.
    """
    if speed < 0:
        raise ValueError(f"speed must be at least 0, got {speed}")
    began: float | None = None
    first = 0
    for event in events:
        if speed:
            if began is None:
                began, first = clock(), event.ts
            wait = began + (event.ts - first) / 1000 / speed - clock()
            if wait > 0:
                sleep(wait)
        yield event


def to_kafka(
    settings: KafkaSettings, speed: float, *, clock: Callable[[], float], sleep: Callable[[float], object]
) -> Callable[[Iterable[Event]], int]:
    """What sends events to their topics, keyed by account, and waits until the broker has them."""
    return partial(_send, settings, speed, clock, sleep)


def _send(
    settings: KafkaSettings,
    speed: float,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
    events: Iterable[Event],
) -> int:
    due = paced(events, speed, clock=clock, sleep=sleep)
    return produce_events(settings.bootstrap, topic_by_role(settings.topics), due, settings=settings)
