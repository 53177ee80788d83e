"""`distillwatch demo`: a campaign in simulated traffic, found and explained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Directory for everything that the demo writes.")] = Path("build/demo"),
    prompts: Annotated[
        Path | None,
        typer.Option(help="Directory that already holds the two prompt wheels; without it they are downloaded."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Config directory; what it lacks is the default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed simulates other accounts and times.")] = None,
) -> None:
    """Simulate traffic with a distillation campaign in it, and find it: no broker, no server.

    Real prompts come from two packages of the Python package index; accounts and times are simulated.
    Exits with 1 if the campaign is not found or a benign account is named.
    """
    from pipelines.config import load_config
    from pipelines.demo import story
    from pipelines.demo.run import run_demo
    from pipelines.demo.scenario import SEED

    outcome = run_demo(
        out,
        config=load_config(config),
        console=story.console(),
        prompts_dir=prompts,
        seed=SEED if seed is None else seed,
        # Without an active environment the plain name would not be found.
        program="distillwatch" if shutil.which("distillwatch") else ".venv/bin/distillwatch",
    )
    if outcome.problems:
        raise typer.Exit(1)
