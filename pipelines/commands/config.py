"""`distillwatch config`: check a config directory, show what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)

Directory = Annotated[
    Path | None,
    typer.Option("--config", metavar="DIR", help="Config directory; files that it lacks are the built-in ones."),
]


@app.command()
def check(config: Directory = None) -> None:
    """Check every config file and print all problems, each with its file, line and remedy.

    The cases inside patterns.toml run as well: what a pattern must match, and what it must leave alone.

    \b
    Example:
      distillwatch config check --config deploy/config
      deploy/config/detectors.toml:7: elicitation.report_flor is not a key of this table; did you mean `report_floor`?

    Exit code 2 if anything is wrong.
    """
    from pipelines.config import build_config, read_files
    from pipelines.config_report import check_cases, summary
    from pipelines.errors import ConfigError

    files = read_files(config)
    loaded = build_config(files)
    problems = check_cases(loaded, files)
    if problems:
        raise ConfigError(problems)
    typer.echo(summary(loaded, files))


@app.command()
def show(config: Directory = None) -> None:
    """Print the config in force as JSON: built-in values, with those of DIR over them.

    \b
    Example:
      distillwatch config show --config deploy/config
    """
    import msgspec

    from pipelines.config import load_config

    shown = msgspec.structs.asdict(load_config(config))
    for name in ("paraphrase", "words"):
        shown[name] = f"built in, {len(shown[name])} bytes"
    typer.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
