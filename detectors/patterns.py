"""Elicitation patterns as data: what `patterns.toml` holds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class PatternCases(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Texts that a pattern must match and must leave alone; they run as tests and in `config check`."""

    match: Annotated[list[str], Meta(min_length=1)]
    leave: Annotated[list[str], Meta(min_length=1)]


class Pattern(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One way of asking for hidden reasoning, or one mark of other work on training data.

    `strength` is `strong` where no honest use is known, `weak` where honest users write it too: weak ones
    count only together with other evidence. A `marker` is no elicitation: only the detector of its technique
    reads it.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{2,63}$")]
    technique: Literal[
        "inline_tags",
        "verbatim_trace",
        "translate_memory",
        "debug_session",
        "real_system_prompt",
        "encoded",
        "language_coercion",
        "articulate_reasoning",
        "denial",
        "grading",
        "graded_material",
        "trace_cleaning",
        "pasted_trace",
    ]
    strength: Literal["strong", "weak", "marker"]
    any: Annotated[list[str], Meta(min_length=1, description="hyperscan expressions, case-insensitive, UTF-8")]
    atlas: tuple[str, ...] = ("AML.T0024.002",)
    cases: PatternCases


class PatternFile(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`patterns.toml`."""

    pattern: Annotated[list[Pattern], Meta(min_length=1, max_length=63)]  # one bit is the classifier's
