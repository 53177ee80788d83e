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
ClickHouse = Annotated[
    str | None, typer.Option("--clickhouse", metavar="DSN", help="chdb:///DIR, clickhouse://… or http(s)://… to ask.")
]
