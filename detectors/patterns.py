"""Elicitation patterns as data: what `patterns.toml` holds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class PatternCases(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Texts that a pattern must match and must leave alone; they run as tests and in `config check`."""

    match: Annotated[list[str], Meta(min_length=1)]
    leave: Annotated[list[str], Meta(min_length=1)]


class Pattern(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One way of asking for hidden reasoning.

    `strength` is `strong` where no honest use is known, `weak` where honest users write it too: weak ones
    count only together with other evidence.
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
    ]
    strength: Literal["strong", "weak"]
    any: Annotated[list[str], Meta(min_length=1, description="hyperscan expressions, case-insensitive, UTF-8")]
    atlas: tuple[str, ...] = ("AML.T0024.002",)
    cases: PatternCases


class Mark(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One thing that work on training data has, and much other text as well: it counts for nothing alone.

    The detectors of such work look at the structure of texts that have several kinds of marks.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{2,63}$")]
    kind: Literal[
        "grading_request",
        "grading_scale",
        "bare_verdict",
        "labelled_answer",
        "trace_request",
        "trace",
        "text_request",
        "thought",
        "model_source",
        "trace_work",
        "own_source",
    ]
    any: Annotated[list[str], Meta(min_length=1, description="hyperscan expressions over the bytes of normalised text")]
    cases: PatternCases


Word = Annotated[str, Meta(min_length=2, max_length=64, description="plain, as in normalised text")]


class Hints(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Words without which a text is not searched for marks."""

    judging: list[Word] = []
    judged: list[Word] = []
    thought: list[Word] = []


class PatternFile(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`patterns.toml`."""

    pattern: Annotated[list[Pattern], Meta(min_length=1, max_length=63)]  # one bit is the classifier's
    hints: Hints = Hints()
    mark: Annotated[list[Mark], Meta(max_length=64)] = []
