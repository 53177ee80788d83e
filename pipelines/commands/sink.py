"""`distillwatch sink`: the worker that writes to ClickHouse."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import ConfigDir, Instance, MetricsPort, Until


def sink(
    config: ConfigDir = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Kafka brokers, instead of kafka.bootstrap in pipeline.toml."),
    ] = None,
    clickhouse: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="Where to write, instead of clickhouse.dsn in pipeline.toml."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when everything on the topics is written.")] = False,
    until: Until = None,
    instance: Instance = None,
    metrics_port: MetricsPort = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Read alerts, signals, activity and dead letters from Kafka; write them to ClickHouse.

    Tables are made and brought up to date at the start. Writing again changes nothing that a view shows, so
    the sink may be killed and started anywhere. While ClickHouse is away it waits and drops nothing.
    """
    from functools import partial

    from pipelines.launch import launch
    from pipelines.sink_kafka import run_sink

    worker = partial(run_sink, dsn=clickhouse)
    launch(
        worker,
        config=config,
        bootstrap=bootstrap,
        once=once,
        until=until,
        instance=instance,
        metrics_port=metrics_port,
        name="sink",
        log_level=log_level,
    )
