"""Every signal off in turn: what each of them is worth on the same events.

Detectors say what they found by cohorts of a kind of their own and by columns of an account's row, and do not hear of
each other. So the campaign stage decides again on what one replay kept, without what one detector said: the same
namings as of a replay with that detector disabled, which a test compares, in a quarter of the time. The coordination
signals have no switch of their own, so there the test is replaced, for that decision only, by one that finds nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from unittest import mock

import msgspec
import zstandard

from detectors import coordination
from detectors.campaigns import CampaignCore
from detectors.registry import REGISTRY
from pipelines import replay
from pipelines.config import Config, load_config
from schemas.alerts import ALERT_DECODER, Alert
from schemas.evidence import ENCODER, EVIDENCE_DECODER, AccountRow, CohortEvidence, Evidence, PopulationEvidence
from tests.benchmarks.arena.progress import Lines, Tell, silent, told

COORDINATION: Final = ("even_shares", "shared_infrastructure", "young_accounts")


class Said(NamedTuple):
    """How a detector tells the campaign stage: its kind of cohort, and its columns of an account's row."""

    kind: str | None
    columns: tuple[str, ...] = ()


SAID: Final = {
    "elicitation": Said("elicitation", ("elicit_strong", "elicit_weak")),
    "template_family": Said("template"),
    "signature_replay": Said("replay", ("replayed",)),
    "foreign_turns": Said("turns", ("foreign_turns",)),
    "leakage": Said("leak", ("leaked", "refused")),
    "sampling_sweep": Said(None),
    "coverage": Said("coverage", ("covered",)),
    "technique_sweep": Said("technique", ("techniques",)),
    "grading": Said("grading", ("graded",)),
    "trace_cleaning": Said("cleaning", ("cleaned",)),
}
"""What each detector says; one that is not here, or in the shadow, says nothing to the campaign stage."""


def signals(config: Config) -> list[str]:
    """All that count in a config: detectors in the registry's order, then the coordination signals.

    A detector in the shadow counts for nothing, so there is nothing to switch off.
    """
    return [*(name for name in REGISTRY if counts(config, name)), *COORDINATION]


def counts(config: Config, detector: str) -> bool:
    """Is a detector on, and out of the shadow?"""
    params = getattr(config.detectors, detector)
    return bool(params.enabled and not params.shadow)


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


def all_but(config: Config, detector: str) -> list[str]:
    """All other detectors that count: off, they leave one alone with the coordination signals."""
    return [name for name in signals(config) if name not in (detector, *COORDINATION)]


def _left_without(off: Collection[str]) -> Callable[[Evidence], Evidence | None]:
    """What is left of a message without some detectors; None where nothing is."""
    said = [SAID[signal] for signal in off if signal in SAID]
    kinds = {one.kind for one in said}
    columns = [column for one in said for column in one.columns]

    def emptied(row: AccountRow) -> None:
        for column in columns:
            setattr(row, column, 0)

    def left(evidence: Evidence) -> Evidence | None:
        if isinstance(evidence, CohortEvidence):
            if evidence.kind in kinds:
                return None
            for member in evidence.members:
                emptied(member.row)
        elif isinstance(evidence, PopulationEvidence):
            for row in evidence.rows:
                emptied(row)
        return evidence

    return left


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


def decide_again(evidence: Path, alerts: Path, config: Path | None, off: Collection[str], tell: Tell = silent) -> None:
    """Write the alerts without some signals, from what a run with all of them on kept.

    The detectors do not hear back from the campaign stage, nor from each other.

    Args:
        evidence: as that run wrote it.
        off: detectors, and at most one coordination signal.
    """
    loaded = load_config(config)
    core = CampaignCore(loaded.campaigns, loaded.detectors, config_version=loaded.version)
    encode = msgspec.json.Encoder().encode
    left = _left_without(off)
    coordination_off = next((signal for signal in off if signal in COORDINATION), "")
    with silenced(coordination_off), alerts.open("wb") as out, zstandard.open(evidence, "rb") as file:
        with _others(evidence).open("rb") as others:
            out.writelines(line for line in others if ALERT_DECODER.decode(line).signals[0].name not in off)
        for line in told(io.BufferedReader(file), f"decisions without {', '.join(off)}: messages", tell):
            told_of = left(EVIDENCE_DECODER.decode(line))
            if told_of is not None:
                out.writelines(encode(alert) + b"\n" for alert in core.ingest(told_of))
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
