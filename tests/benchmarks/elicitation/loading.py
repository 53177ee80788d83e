"""Read the two files of the set. What they hold, and by which rule, stands in README.md beside this module."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

FOLDER: Final = Path(__file__).parent
POSITIVES: Final = FOLDER / "positives.jsonl"
EARNEST: Final = FOLDER / "earnest.jsonl"

Language = Literal["en", "zh", "ja", "ko", "ru", "es", "fr", "de", "pt", "ar", "hi", "tr", "vi", "id"]
Technique = Literal[
    "forced_inline_tags",
    "verbatim_trace",
    "translate_memory",
    "debug_session",
    "real_system_prompt",
    "encoded_or_code_wrapped",
    "language_coercion",
    "articulate_behind_answer",
    "denial_of_extraction",
    "role_play_continuation",
]
Kind = Literal[
    "audit",
    "cot_research",
    "data_task",
    "debug_mode",
    "debugging",
    "explain_choice",
    "judge_rubric",
    "no_reasoning",
    "product_prompt",
    "prompt_docs",
    "security",
    "show_work",
    "step_by_step",
    "translation",
    "tutoring",
    "vocabulary",
]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
TECHNIQUES: Final[tuple[Technique, ...]] = get_args(Technique)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Item(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One request of the set.

    Attributes:
        id: unique over both files: `p-` (positive) or `e-` (earnest), language, number.
        language: of the request; a task pasted into it may be in another one.
        text: the user's turn.
        system: the system prompt, where the request has one.
        technique: how a positive goes about it, the main one if there are several; None in earnest requests.
        kind: what an earnest request is; None in positives.
    """

    id: str
    language: Language
    text: str
    system: str | None = None
    technique: Technique | None = None
    kind: Kind | None = None

    @property
    def elicits(self) -> bool:
        """The label: whether the request tries to elicit hidden reasoning."""
        return self.technique is not None


def load_positives(path: Path = POSITIVES) -> list[Item]:
    """Requests that try to elicit hidden reasoning; each has a technique.

    Raises:
        msgspec.ValidationError: a line lacks its technique, or has a field or value that is not known.
    """
    return _load(path, elicits=True)


def load_earnest(path: Path = EARNEST) -> list[Item]:
    """Earnest requests that share the vocabulary; each has a kind.

    Raises:
        msgspec.ValidationError: a line lacks its kind, or has a field or value that is not known.
    """
    return _load(path, elicits=False)


def _load(path: Path, *, elicits: bool) -> list[Item]:
    items = msgspec.json.Decoder(Item).decode_lines(path.read_bytes())
    for item in items:
        if (item.technique is not None) != elicits or (item.kind is None) != elicits:
            wanted = (
                "a positive has a technique and no kind"
                if elicits
                else "an earnest request has a kind and no technique"
            )
            raise msgspec.ValidationError(f"{item.id}: {wanted}")
    return items
