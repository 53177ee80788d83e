"""`distillwatch detect`: the worker on the event topics."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import ConfigDir, Instance, MetricsPort, Until


def detect(
    config: ConfigDir = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Kafka brokers, instead of kafka.bootstrap in pipeline.toml."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Stop when everything on the topics is read and decided.")
    ] = False,
    until: Until = None,
    instance: Instance = None,
    metrics_port: MetricsPort = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Read events from Kafka; write evidence, account alerts, signals and activity.

    Start as many as there are partitions: Kafka shares the partitions among the workers of the group.
    Rejected events go to the dead letters and never stop the worker.
    """
    from pipelines.detect.worker import run_detect
    from pipelines.launch import launch

    launch(
        run_detect,
        config=config,
        bootstrap=bootstrap,
        once=once,
        until=until,
        instance=instance,
        metrics_port=metrics_port,
        name="detect",
        log_level=log_level,
    )
