"""What `config check` says: the patterns' own cases, and a summary of what is in force."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.config import Config, ConfigFile, locate
from pipelines.errors import Problem


def check_cases(config: Config, files: Mapping[str, ConfigFile]) -> list[Problem]:
    """Run the cases inside `patterns.toml`; one problem a case that came out wrong, at its pattern's line."""
    from detectors.elicitation import check_cases as run_cases

    file = files["patterns.toml"]
    problems = []
    for complaint in run_cases(config.patterns):
        named = [index for index, pattern in enumerate(config.patterns.pattern) if pattern.name in complaint]
        # Where names contain each other, the longest one is meant.
        index = max(named, key=lambda item: len(config.patterns.pattern[item].name), default=None)
        line = None if index is None else locate(file, ("pattern", index, "name"))
        path = "" if index is None else f"pattern[{index}]"
        problems.append(Problem(file.name, line, path, complaint))
    return problems


def summary(config: Config, files: Mapping[str, ConfigFile]) -> str:
    """A few lines on a config that is right: version, files, and every detector that is not at work."""
    from detectors.registry import REGISTRY

    lines = [f"config version {config.version}: all good", ""]
    lines += [f"  {name:16} {'built in' if file.built_in else file.name}" for name, file in files.items()]
    lines.append("")
    sections = {name: getattr(config.detectors, name) for name in REGISTRY}
    sections["paraphrase"] = config.detectors.elicitation.paraphrase
    for name, section in sections.items():
        if not section.enabled:
            state = "off: it sees nothing"
        elif section.shadow:
            state = "in shadow: it reports signals and counts for nothing"
        else:
            state = "at work"
        lines.append(f"  {name:16} {state}")
    strong = sum(pattern.strength == "strong" for pattern in config.patterns.pattern)
    lines.append(f"  {'patterns':16} {len(config.patterns.pattern)}, of which {strong} strong; their cases hold")
    return "\n".join(lines)
