"""Options that several commands share, so that they are spelt and explained in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigDir = Annotated[
    Path | None,
    typer.Option("--config", metavar="DIR", help="Config directory; files that it lacks are the built-in ones."),
]
Bootstrap = Annotated[
    str | None, typer.Option("--bootstrap", metavar="HOST:PORT", help="Kafka brokers; read the alerts topic.")
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="Stop in order at this time, such as 2026-11-24T19:00:00Z; with --once, fail if not done by then.",
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Port of /metrics, /healthz and /readyz, instead of the one in [metrics] of pipeline.toml; 0: none.",
    ),
]
Instance = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Lasting name of this worker in its group, instead of kafka.group_instance_id; each worker another one.",
    ),
]
ClickHouse = Annotated[
    str | None, typer.Option("--clickhouse", metavar="DSN", help="chdb:///DIR, clickhouse://… or http(s)://… to ask.")
]
