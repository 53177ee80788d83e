"""Every signal off in turn: what each of them is worth on the same events.

Detectors are switched off in the config, as an operator would. The coordination signals have no switch of
their own, so there the test is replaced, for this replay only, by one that finds nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from unittest import mock

import msgspec
import zstandard

from detectors import coordination
from detectors.campaigns import CampaignCore
from detectors.registry import REGISTRY
from pipelines import replay
from pipelines.config import Config, load_config
from schemas.alerts import ALERT_DECODER, Alert
from schemas.evidence import ENCODER, EVIDENCE_DECODER, Evidence
from tests.benchmarks.arena.progress import Lines, Tell, silent, told

COORDINATION: Final = ("even_shares", "shared_infrastructure", "young_accounts")


def signals(config: Config) -> list[str]:
    """All that a config has on: detectors in the registry's order, then the coordination signals."""
    return [*(name for name in REGISTRY if getattr(config.detectors, name).enabled), *COORDINATION]


def without(config: Config, signal: str) -> Config:
    """The config with one detector disabled; as it is where the signal is one of coordination.

    Raises:
        ValueError: there is no such signal.
    """
    if signal in COORDINATION:
        return config
    if signal not in REGISTRY:
        raise ValueError(f"no signal {signal}; there are {', '.join((*REGISTRY, *COORDINATION))}")
    off = msgspec.structs.replace(getattr(config.detectors, signal), enabled=False)
    return msgspec.structs.replace(config, detectors=msgspec.structs.replace(config.detectors, **{signal: off}))


@contextmanager
def silenced(signal: str) -> Iterator[None]:
    """While it lasts, a coordination signal finds nothing; of no effect for detectors."""
    if signal not in COORDINATION:
        yield
        return
    # Not a mock: it would remember the arguments of every call, gigabytes of them.
    with mock.patch.object(coordination, signal, _nothing_found):
        yield


def _nothing_found(*_: object) -> coordination.Test:
    return coordination.Test(0.0, {})


def run(
    events: Path,
    alerts: Path,
    config: Path | None,
    signal: str | None,
    *,
    findings: Path | None = None,
    evidence: Path | None = None,
    tell: Tell = silent,
) -> replay.ReplaySummary:
    """Replay the events with one signal off, or with all of them on (`None`).

    Args:
        events: file of a simulation.
        alerts: written as JSON lines, and so are the detectors' `findings` if given.
        config: directory, or None for the built-in one.
        evidence: written if given, for :func:`decide_again`.
        tell: called with lines on how far it is.

    Raises:
        ValueError: an event was rejected, so the figures would be of other traffic.
    """
    loaded = load_config(config)
    lines = partial(_lines, "replay" if signal is None else f"replay without {signal}", tell)
    with silenced(signal or ""), _kept(evidence, alerts), mock.patch.object(replay, "Progress", lines):
        using = loaded if signal is None else without(loaded, signal)
        summary = replay.run([events], config=using, alerts=alerts, signals=findings)
    if summary.bad:
        raise ValueError(f"the replay rejected {summary.bad} events of {events}")
    return summary


def decide_again(evidence: Path, alerts: Path, config: Path | None, signal: str, tell: Tell = silent) -> None:
    """What :func:`run` with a coordination signal off writes, from what a run with all of them on kept.

    Only the campaign stage looks at coordination, and the detectors do not hear back from it.

    Args:
        evidence: as that run wrote it.
    """
    loaded = load_config(config)
    core = CampaignCore(loaded.campaigns, loaded.detectors, config_version=loaded.version)
    encode = msgspec.json.Encoder().encode
    with silenced(signal), alerts.open("wb") as out, zstandard.open(evidence, "rb") as file:
        out.write(_others(evidence).read_bytes())
        for line in told(io.BufferedReader(file), f"decisions without {signal}: messages", tell):
            out.writelines(encode(alert) + b"\n" for alert in core.ingest(EVIDENCE_DECODER.decode(line)))
        out.writelines(encode(alert) + b"\n" for alert in core.flush())


@contextmanager
def _kept(evidence: Path | None, alerts: Path) -> Iterator[None]:
    """While it lasts, the campaign stage of a replay writes down what it is told; then, the alerts of others."""
    if evidence is None:
        yield
        return
    own: set[str] = set()

    class Keeping(CampaignCore):
        def ingest(self, evidence: Evidence) -> list[Alert]:
            file.write(ENCODER.encode(evidence) + b"\n")
            return noted(super().ingest(evidence))

        def flush(self) -> list[Alert]:
            return noted(super().flush())

    def noted(alerts: list[Alert]) -> list[Alert]:
        own.update(alert.alert_id for alert in alerts)
        return alerts

    cctx = zstandard.ZstdCompressor(level=1)
    with zstandard.open(evidence, "wb", cctx=cctx) as file, mock.patch.object(replay, "CampaignCore", Keeping):
        yield
    with alerts.open("rb") as lines, _others(evidence).open("wb") as out:
        out.writelines(line for line in lines if ALERT_DECODER.decode(line).alert_id not in own)


def _others(evidence: Path) -> Path:
    return evidence.with_suffix(".alerts")


def _lines(what: str, tell: Tell, *, enabled: bool) -> Lines:
    """A replay's bars as lines: it is asked for none, for several replays share a terminal."""
    del enabled
    return Lines(what, tell)
