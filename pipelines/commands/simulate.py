"""`distillwatch simulate`: labelled traffic from a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands.options import ConfigDir


def simulate(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A shipped scenario's name, or a .toml file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for events, labels, harvest and scenario.")],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Instead of the scenario's own; another seed, other events.")
    ] = None,
    accounts: Annotated[
        int | None, typer.Option(min=1, help="Ordinary accounts; look-alikes and campaigns stay as they are.")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.25, help="Only so many days from the start.")] = None,
    form: Annotated[
        Literal["jsonl", "zst", "parquet"], typer.Option("--format", help="JSON lines, zstd of them, or Parquet.")
    ] = "jsonl",
    to: Annotated[
        Literal["file", "kafka"], typer.Option(help="Events into DIR, or to the topics of a broker.")
    ] = "file",
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="With --to kafka: the brokers  [default: the config's]")
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0, help="With --to kafka: 1 is real time, 60 an hour in a minute, 0 as fast as it goes."),
    ] = 1.0,
    config: ConfigDir = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Richer prompt sets and real arrival traces; `none` for the wheels alone  "
            "[default: $DISTILLWATCH_DATA, else ../shared/data]",
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
    requests that harvest) and scenario.toml (what was simulated, with its seed, ready to be simulated again).
    """
    import time

    from msgspec.structs import replace

    from pipelines.config import load_config
    from pipelines.progress import Progress
    from pipelines.simulate import data_directory, generate, load_prompts, load_scenario
    from pipelines.simulate.kafka import to_kafka
    from pipelines.simulate.output import NOTICE, to_file, write

    loaded = load_scenario(scenario)
    if to == "kafka":
        kafka = load_config(config).pipeline.kafka
        kafka = kafka if bootstrap is None else replace(kafka, bootstrap=bootstrap)
        where, deliver = kafka.bootstrap, to_kafka(kafka, speed, clock=time.monotonic, sleep=time.sleep)
    else:
        path, deliver = to_file(out, form)
        where = str(path)
    texts = load_prompts(cache, wheels=prompts, data=data_directory(data))
    simulation = generate(loaded, prompts=texts, seed=seed, accounts=accounts, days=days)
    hours = round(simulation.scenario.days * 24)
    with Progress(enabled=progress) as bars, bars.bar("simulated hours", hours) as advance:
        done = write(simulation, out, deliver=deliver, advance=advance)
    typer.echo(
        f"{done.events:,} events of {done.accounts:,} accounts, {done.harvest:,} harvesting requests, to {where} "
        f"(seed {simulation.seed}); labels in {out}",
        err=True,
    )
    for source in simulation.sources:
        typer.echo(f"prompts: {source}", err=True)
    typer.echo(NOTICE, err=True)
