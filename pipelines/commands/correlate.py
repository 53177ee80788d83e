"""`distillwatch correlate`: the worker that finds campaigns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import ConfigDir, MetricsPort, Until


def correlate(
    config: ConfigDir = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Kafka brokers, instead of kafka.bootstrap in pipeline.toml."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory of the store, instead of correlate.data_dir in pipeline.toml."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when all evidence on the topic is decided on.")] = False,
    until: Until = None,
    metrics_port: MetricsPort = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Read evidence from Kafka, find campaigns, write their alerts.

    One process works; further ones stand by. Its state is kept in a changelog topic, so it may be killed
    and started anywhere.
    """
    from pipelines.correlate.worker import run_correlate
    from pipelines.launch import launch

    launch(
        run_correlate,
        config=config,
        bootstrap=bootstrap,
        once=once,
        until=until,
        metrics_port=metrics_port,
        name="correlate",
        log_level=log_level,
        data_dir=data_dir,
    )
