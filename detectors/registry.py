"""All detectors: a name, its parameters and how it is made. Add a detector here, and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from detectors.cadence import Cadence
from detectors.contract import Detector
from detectors.coverage import Coverage
from detectors.elicitation import Elicitation
from detectors.foreign_turns import ForeignTurns
from detectors.grading import Grading
from detectors.hashing import KeyedHasher
from detectors.leakage import Leakage
from detectors.params import DetectorParams
from detectors.pattern_scan import PatternScanner
from detectors.sampling_sweep import SamplingSweep
from detectors.shift_cohorts import ShiftCohorts
from detectors.shift_points import WordPoints
from detectors.signature_replay import SignatureReplay
from detectors.technique_sweep import TechniqueSweep
from detectors.template_family import TemplateFamily
from detectors.trace_cleaning import TraceCleaning


class Parts(NamedTuple):
    """What a detector may be built from."""

    params: DetectorParams
    scanner: PatternScanner
    hasher: KeyedHasher
    words: WordPoints | None = None


REGISTRY: Final[dict[str, Callable[[Parts], Detector]]] = {
    "elicitation": lambda parts: Elicitation(parts.params.elicitation, parts.scanner),
    "template_family": lambda parts: TemplateFamily(parts.params.template_family, parts.params.features),
    "signature_replay": lambda parts: SignatureReplay(parts.params.signature_replay, parts.hasher),
    "foreign_turns": lambda parts: ForeignTurns(parts.params.foreign_turns, parts.hasher),
    "leakage": lambda parts: Leakage(parts.params.leakage, parts.scanner),
    "sampling_sweep": lambda parts: SamplingSweep(parts.params.sampling_sweep, parts.hasher),
    "coverage": lambda parts: Coverage(parts.params.coverage),
    "technique_sweep": lambda parts: TechniqueSweep(parts.params.technique_sweep, parts.scanner, parts.hasher),
    "grading": lambda parts: Grading(parts.params.grading, parts.scanner.marks),
    "trace_cleaning": lambda parts: TraceCleaning(parts.params.trace_cleaning, parts.scanner.marks),
    "cadence": lambda parts: Cadence(parts.params.cadence),
    "shift": lambda parts: ShiftCohorts(parts.params.shift, parts.words, parts.hasher),
}


def build(parts: Parts) -> list[Detector]:
    """The enabled detectors, in the registry's order."""
    return [make(parts) for name, make in REGISTRY.items() if getattr(parts.params, name).enabled]
