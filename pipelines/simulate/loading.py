"""Read and check scenario files and the templates that they name; every problem at once, with its line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipelines import toml_lines
from pipelines.config import parse_toml
from pipelines.errors import ConfigError, Problem, UsageError
from pipelines.simulate.scenario import Scenario, Template, TemplateFile, Variant
from pipelines.validation import validate

BUILT_IN: Final = "infra/scenarios"
TEMPLATES: Final = "templates.toml"
FILLED_IN: Final = frozenset({"task", "own"})

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_HOUR_MS: Final = 3_600_000

T = TypeVar("T", bound=Struct)


def scenario_names() -> list[str]:
    """The scenarios that are shipped."""
    folder = resources.files("infra") / "scenarios"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml") and entry.name != TEMPLATES
    )


def load_scenario(name_or_path: str | Path) -> Scenario:
    """A shipped scenario by its name, or one of your own by its path.

    Raises:
        UsageError: no such scenario.
        ConfigError: with all problems of the file.

    >>> load_scenario("small").name
    'small'
    """
    raw, shown = read_scenario(name_or_path)
    data, lines = _parsed(raw, shown)
    if "base" in data:
        return _varied(_validated(data, lines, shown, Variant), shown, lines)
    scenario = _validated(data, lines, shown, Scenario)
    problems = list(_cross_checks(scenario, load_templates(), shown, lines))
    if problems:
        raise ConfigError(problems)
    return scenario


def read_scenario(name_or_path: str | Path) -> tuple[bytes, str]:
    """The bytes of a scenario's file and the file's name as the user knows it.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = Path(name_or_path)
    try:
        if path.suffix == ".toml":
            return path.read_bytes(), str(path)
        if str(name_or_path) in scenario_names():
            name = f"{name_or_path}.toml"
            return (resources.files("infra") / "scenarios" / name).read_bytes(), f"{BUILT_IN}/{name}"
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    raise UsageError(
        f"no scenario {str(name_or_path)!r}; there are {', '.join(scenario_names())}, or give a path that ends in .toml"
    )


def load_templates() -> dict[str, Template]:
    """All templates by name.

    Raises:
        ConfigError: with all problems of the file.
    """
    raw = (resources.files("infra") / "scenarios" / TEMPLATES).read_bytes()
    shown = f"{BUILT_IN}/{TEMPLATES}"
    data, lines = _parsed(raw, shown)
    found = _validated(data, lines, shown, TemplateFile).template
    problems = list(_template_problems(found, shown, lines))
    if problems:
        raise ConfigError(problems)
    return {template.name: template for template in found}


def start_ms(scenario: Scenario) -> int:
    """Epoch ms of the scenario's first midnight."""
    return int(datetime.fromisoformat(scenario.start).replace(tzinfo=UTC).timestamp()) * 1000


def _varied(variant: Variant, shown: str, lines: Mapping[toml_lines.Path, int]) -> Scenario:
    bases = [name for name in scenario_names() if "base" not in _parsed(*read_scenario(name))[0]]
    if variant.base not in bases:
        message = f'base names no scenario of its own: "{variant.base}"'
        raise ConfigError([Problem(shown, lines.get(("base",), 1), "base", message, f"there are {', '.join(bases)}")])
    base = load_scenario(variant.base)
    return replace(
        base,
        name=variant.name,
        description=variant.description,
        seed=variant.seed,
        campaign=[replace(campaign, evasion=variant.evasion) for campaign in base.campaign],
    )


def _parsed(raw: bytes, shown: str) -> tuple[dict[str, Any], dict[toml_lines.Path, int]]:
    parsed = parse_toml(raw, shown)
    if isinstance(parsed, Problem):
        raise ConfigError([parsed])
    return parsed


def _validated(data: Mapping[str, Any], lines: Mapping[toml_lines.Path, int], shown: str, kind: type[T]) -> T:
    problems = validate(data, kind, file=shown, lines=lines)
    if problems:
        raise ConfigError(problems)
    return msgspec.convert(data, kind)


def _cross_checks(
    scenario: Scenario, templates: Mapping[str, Template], shown: str, lines: Mapping[toml_lines.Path, int]
) -> Iterator[Problem]:
    """What no single key shows."""

    def problem(path: toml_lines.Path, message: str, remedy: str) -> Problem:
        place = path
        while place and place not in lines:
            place = place[:-1]
        dotted = ".".join(str(part) for part in path)
        return Problem(shown, lines.get(place, 1), dotted, f"{dotted} {message}", remedy)

    try:
        start_ms(scenario)
    except ValueError as error:
        yield problem(("start",), f"is no date: {error}", "write YYYY-MM-DD")
    names = Counter(campaign.name for campaign in scenario.campaign)
    hours = scenario.days * 24
    for index, campaign in enumerate(scenario.campaign):
        if names[campaign.name] > 1:
            yield problem(("campaign", index, "name"), f'must be unique, got "{campaign.name}" twice', "rename one")
        if campaign.begin_hours >= hours:
            message = f"begins at hour {campaign.begin_hours:g} of {hours:g}"
            yield problem(("campaign", index, "begin_hours"), message, "begin it earlier, or lengthen `days`")
        for place, template in enumerate(campaign.templates):
            if template not in templates:
                yield problem(
                    ("campaign", index, "templates", place),
                    f'names no template: "{template}"',
                    f"templates are {', '.join(templates)}",
                )
        if {"mixture_5", "mixture_25"} <= set(campaign.evasion):
            yield problem(("campaign", index, "evasion"), "asks for two mixtures", "give mixture_5 or mixture_25")
        if campaign.bans.reaction == "second_pool" and campaign.accounts < 2:
            yield problem(("campaign", index, "accounts"), "must be at least 2 for a second pool", "raise it")
    for index, look in enumerate(scenario.lookalike):
        if look.begin_hours >= hours:
            yield problem(("lookalike", index, "begin_hours"), "is after the end", f"the scenario has {hours:g} hours")


def _template_problems(
    templates: list[Template], shown: str, lines: Mapping[toml_lines.Path, int]
) -> Iterator[Problem]:
    names = Counter(template.name for template in templates)
    for index, template in enumerate(templates):
        where = f"template[{index}]"
        line = lines.get(("template", index), 1)
        if names[template.name] > 1:
            yield Problem(shown, line, where, f'{where}.name must be unique, got "{template.name}" twice')
        allowed = FILLED_IN | set(template.slots)
        for text in (template.system, template.text, *template.paraphrases):
            for name in sorted(set(_PLACEHOLDER.findall(text)) - allowed):
                message = f"{where} uses {{{name}}}, which is neither a slot nor one of {', '.join(sorted(FILLED_IN))}"
                yield Problem(shown, line, where, message, "list its values under slots")
        for text in (template.text, *template.paraphrases):
            if "{task}" not in text and "{own}" not in text:
                yield Problem(shown, line, where, f"{where} has a text without {{task}} and without {{own}}")
