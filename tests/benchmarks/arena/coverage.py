"""Which detector is put to the test by which campaign shape; a new detector has to be entered here.

`tests/unit/benchmarks/test_arena_coverage.py` holds that every detector of the registry is in one of the two
tables, that the standard scenario has the shapes, and that the small arena's tolerances say how many accounts each
detector sees there. That a shape tests a detector does not mean that the detector passes.
"""

from __future__ import annotations

from typing import Final

COVERED: Final[dict[str, tuple[str, ...]]] = {
    "elicitation": ("load_balanced", "technique_sweep", "template", "two_pools", "trace_coercion"),
    "template_family": ("template", "burst", "two_pools"),
    "signature_replay": ("relay",),
    # A relay's histories are foreign as well. The cleaner pastes what another model thought into the user's turn, so
    # it holds no assistant turn at all.
    "foreign_turns": ("user_replay", "relay"),
    # Of the shapes, only this one's answers show reasoning in tags; a sweep's are refused.
    "leakage": ("two_pools", "technique_sweep"),
}

EXCLUSIONS: Final[dict[str, str]] = {
    "shift": "compares cohorts with accounts of a day before; in shadow, so no alert depends on it",
    "cadence": "compares accounts after days of use with many of their plan; in shadow, so no alert depends on it",
    "coverage": "compares accounts of 64 requests or more; the small arena has too few benign ones to compare with",
    "technique_sweep": "the small scenario has no sweep over techniques; of the standard one, its shape of that name",
    "grading": "the small scenario has nobody who grades; in the standard one, load_balanced beside the judges",
    "trace_cleaning": "the small scenario has no cleaner; the standard one has, as its shape of that name",
    "sampling_sweep": "no reported campaign varied its sampling parameters, so no shape of the simulator does",
}
"""Detector to the reason why no scenario can show what it does."""
