"""`distillwatch convert`: gateway records to events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import ConfigDir


def convert(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Files or directories of gateway records, one JSON a line.")
    ],
    adapter: Annotated[
        str,
        typer.Option("--from", metavar="NAME", help="anthropic_messages, litellm, openai_chat or otel_genai."),
    ],
    out: Annotated[Path, typer.Option(metavar="OUT.jsonl", help="Where to write the events.")],
    dead_letters: Annotated[
        Path | None,
        typer.Option(metavar="OUT.jsonl", help="Where refused records go  [default: beside --out]"),
    ] = None,
    config: ConfigDir = None,
    progress: Annotated[bool, typer.Option(help="Show progress on stderr.")] = True,
) -> None:
    """Turn a gateway's records into events that `replay` and the topics take.

    What a record does not say stays absent. Records that the adapter cannot read go to the dead letters with
    the reason and their original bytes.

    Example: distillwatch convert litellm.jsonl --from litellm --out events.jsonl
    """
    from pipelines import convert as runner
    from pipelines.config import load_config

    rejected = dead_letters or out.with_name(f"{out.stem}.dead-letters.jsonl")
    done = runner.convert(
        paths,
        adapter=adapter,
        out=out,
        dead_letters=rejected,
        max_bytes=load_config(config).pipeline.input.max_event_bytes,
        progress=progress,
    )
    typer.echo(f"{done.records:,} records: {done.events:,} events in {out}", err=True)
    if done.bad:
        typer.echo(
            f"{done.bad:,} records were refused; see: distillwatch dead-letters list --file {rejected}", err=True
        )
