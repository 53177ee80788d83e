"""Every signal off in turn: what each of them is worth on the same events.

Detectors are switched off in the config, as an operator would. The coordination signals have no switch of
their own, so there the test is replaced, for this replay only, by one that finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest import mock

import msgspec

from detectors import coordination
from detectors.registry import REGISTRY
from pipelines import replay
from pipelines.config import Config, load_config

COORDINATION: Final = ("even_shares", "shared_infrastructure", "young_accounts")


def signals() -> list[str]:
    """All that can be off: detectors in the registry's order, then the coordination signals."""
    return [*REGISTRY, *COORDINATION]


def without(config: Config, signal: str) -> Config:
    """The config with one detector disabled; as it is where the signal is one of coordination.

    Raises:
        ValueError: there is no such signal.
    """
    if signal in COORDINATION:
        return config
    if signal not in REGISTRY:
        raise ValueError(f"no signal {signal}; there are {', '.join(signals())}")
    off = msgspec.structs.replace(getattr(config.detectors, signal), enabled=False)
    return msgspec.structs.replace(config, detectors=msgspec.structs.replace(config.detectors, **{signal: off}))


@contextmanager
def silenced(signal: str) -> Iterator[None]:
    """While it lasts, a coordination signal finds nothing; of no effect for detectors."""
    if signal not in COORDINATION:
        yield
        return
    with mock.patch.object(coordination, signal, autospec=True, return_value=coordination.Test(0.0, {})):
        yield


def run(
    events: Path, alerts: Path, config: Path | None, signal: str | None, *, findings: Path | None = None
) -> replay.ReplaySummary:
    """Replay the events with one signal off, or with all of them on (`None`).

    Args:
        events: file of a simulation.
        alerts: written as JSON lines, and so are the detectors' `findings` if given.
        config: directory, or None for the built-in one.

    Raises:
        ValueError: an event was rejected, so the figures would be of other traffic.
    """
    loaded = load_config(config)
    if signal is None:
        summary = replay.run([events], config=loaded, alerts=alerts, signals=findings)
    else:
        with silenced(signal):
            summary = replay.run([events], config=without(loaded, signal), alerts=alerts, signals=findings)
    if summary.bad:
        raise ValueError(f"the replay rejected {summary.bad} events of {events}")
    return summary
