"""`distillwatch replay`: event files to alerts, without a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import ConfigDir


def replay(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH…",
            help="Event files or directories of them: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; merged by `ts`.",
        ),
    ],
    alerts: Annotated[Path, typer.Option(metavar="OUT.jsonl", help="Where to write alerts, one JSON object a line.")],
    signals: Annotated[
        Path | None, typer.Option(metavar="OUT.jsonl", help="Where to write the detectors' findings, if wanted.")
    ] = None,
    dead_letters: Annotated[
        Path | None,
        typer.Option(metavar="OUT.jsonl", help="Where rejected lines go  [default: beside --alerts]"),
    ] = None,
    clickhouse: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="Also write to ClickHouse: chdb:///DIR, clickhouse://… or http(s)://…"),
    ] = None,
    config: ConfigDir = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Lines decoded at a time; never changes the result.")
    ] = 4096,
    progress: Annotated[bool, typer.Option(help="Show progress on stderr.")] = True,
) -> None:
    """Run the detectors and the campaign stage over event files, in event time, without a broker.

    The same events and the same config give the same alerts, byte for byte, however the input was cut.
    Lines that are no event go to the dead letters with the reason and their original bytes.

    Example: distillwatch replay events.jsonl --alerts alerts.jsonl --clickhouse chdb:///var/lib/distillwatch
    """
    from contextlib import ExitStack

    from pipelines import replay as runner
    from pipelines.config import load_config
    from pipelines.store import open_store

    loaded = load_config(config)
    rejected = dead_letters or alerts.with_name(f"{alerts.stem}.dead-letters.jsonl")
    with ExitStack() as stack:
        store = None
        if clickhouse is not None:
            store = open_store(clickhouse)
            stack.callback(store.close)
        summary = runner.run(
            paths,
            config=loaded,
            alerts=alerts,
            signals=signals,
            dead_letters=rejected,
            store=store,
            batch_size=batch_size,
            progress=progress,
        )
    rate = summary.events / summary.seconds if summary.seconds else 0.0
    typer.echo(
        f"{summary.events:,} events of {summary.accounts:,} accounts in {summary.seconds:.1f} s ({rate:,.0f}/s): "
        f"{summary.alerts:,} alert messages in {alerts}, {summary.signals:,} signals",
        err=True,
    )
    for path in summary.unordered:
        typer.echo(f"{path} was not in order of `ts`; it was sorted on the way", err=True)
    if summary.late:
        typer.echo(f"{summary.late:,} events were late: they counted, but only from the next tick on", err=True)
    if summary.bad:
        typer.echo(
            f"{summary.bad:,} lines were rejected; see: distillwatch dead-letters list --file {rejected}", err=True
        )
