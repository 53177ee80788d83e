"""The written texts: templates with alternatives in brackets, and examples drawn from them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from random import Random
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

_ALTERNATIVES: Final = re.compile(r"\[([^\[\]]*)\]")
_SLOT: Final = re.compile(r"\{(\w+)\}")
_FOLDS: Final = 5


class Template(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a file: ``[a|b]`` stands for one of its alternatives, which may hold further ones.

    Attributes:
        label: an ordinary task, a wish that is flagged, an honest look-alike, or a slot: what ``{kind}`` stands
            for in the other lines of its file.
        kind: technique of `patterns.toml` for flagged ones, else what the look-alike is about.
    """

    label: Literal["task", "flagged", "honest", "slot"]
    kind: str
    text: str
    language: str = ""

    @property
    def fold(self) -> int:
        """Which of five folds it belongs to; all that is drawn from one template is in one fold."""
        return int.from_bytes(hashlib.blake2b(self.text.encode(), digest_size=4).digest()) % _FOLDS


class Example(NamedTuple):
    """A text, the characters of its wish (0, 0 for none), where it comes from, and its fold."""

    text: str
    start: int
    end: int
    label: str
    kind: str
    language: str
    fold: int = 0


def read_templates() -> list[Template]:
    """All templates, in order of language and line, their slots filled in."""
    files = sorted(
        (file for file in resources.files("infra.elicitation.fit").iterdir() if file.name.endswith(".jsonl")),
        key=lambda file: file.name,
    )
    out: list[Template] = []
    for file in files:
        lines = [msgspec.json.decode(line, type=Template) for line in file.read_bytes().splitlines()]
        slots = {line.kind: line.text for line in lines if line.label == "slot"}
        language = file.name.removesuffix(".jsonl")
        out += [
            msgspec.structs.replace(line, language=language, text=fill(line.text, slots))
            for line in lines
            if line.label != "slot"
        ]
    return out


def read_development() -> list[Example]:
    """The development set: whole texts in another manner than the templates, on which models are chosen."""
    data = resources.files("infra.elicitation.fit").joinpath("development.ndjson").read_bytes()
    lines = [msgspec.json.decode(line, type=Template) for line in data.splitlines()]
    return [Example(line.text, 0, len(line.text), *_origin(line)) for line in lines]


def fill(text: str, slots: Mapping[str, str]) -> str:
    """A template with its slots filled in; other braces stand.

    >>> fill("{verb} it as {json}", {"verb": "[print|show]"})
    '[print|show] it as {json}'
    """
    return _SLOT.sub(lambda found: slots.get(found[1], found[0]), text)


def expand(text: str, rng: Random) -> str:
    """One of the texts that a template stands for.

    >>> expand("[a|a] cup of [tea]", Random(1))
    'a cup of tea'
    """
    chosen, found = text, 1
    while found:  # the innermost first
        chosen, found = _ALTERNATIVES.subn(lambda group: rng.choice(group[1].split("|")), chosen)
    return re.sub(r" +([,.;:!?])", r"\1", re.sub(r"  +", " ", chosen)).strip()


def draw(templates: Sequence[Template], others: Sequence[str], per_template: int, rng: Random) -> Iterator[Example]:
    """Examples from templates: wishes alone, and before, after and amid tasks; tasks alone.

    Args:
        templates: of one or more folds.
        others: ordinary prompts that wishes are put beside, as are the tasks of a wish's own language.
    """
    tasks: dict[str, list[str]] = {}
    for template in templates:
        if template.label == "task":
            tasks.setdefault(template.language, []).append(template.text)
    for template in templates:
        seen = set()
        for i in range(per_template):
            wish = expand(template.text, rng)
            around = tasks.get(template.language, [])
            before, after = ("", "") if template.label == "task" else _place(around, others, i, rng)
            text = f"{before}{wish}{after}"
            if text not in seen:
                seen.add(text)
                yield Example(text, len(before), len(before) + len(wish), *_origin(template))


def _origin(template: Template) -> tuple[str, str, str, int]:
    return template.label, template.kind, template.language, template.fold


def _place(tasks: Sequence[str], others: Sequence[str], turn: int, rng: Random) -> tuple[str, str]:
    def task() -> str:
        return rng.choice(others) if not tasks or rng.random() < 0.3 else expand(rng.choice(tasks), rng)

    joint = rng.choice([" ", "\n\n", "\n\n"])
    match turn % 5:
        case 0 | 1:
            return "", ""
        case 2:
            return task() + joint, ""
        case 3:
            return "", joint + task()
        case _:
            return task() + joint, joint + task()
