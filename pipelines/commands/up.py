"""`distillwatch up`: the whole stream on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import ConfigDir


def up(
    config: ConfigDir = None,
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Data and logs of all parts; kept between runs.")
    ] = Path("build/up"),
    kafka_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the broker; 0 takes a free one.")] = 9092,
    clickhouse_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the ClickHouse endpoint; 0 takes a free one.")
    ] = 8123,
    topics: Annotated[
        bool, typer.Option("--topics", help="Start nothing: create the topics on your own brokers and end.")
    ] = False,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="With --topics: brokers, instead of kafka.bootstrap in pipeline.toml."),
    ] = None,
) -> None:
    """Start a Kafka broker, a ClickHouse endpoint, and the workers detect, correlate and sink, until Ctrl-C.

    Everything binds loopback. Kafka needs Java 17 and Maven; its jars are fetched once. When a part ends by
    itself, its log is shown and all parts stop.
    """
    from pipelines.config import load_config
    from pipelines.errors import UsageError
    from pipelines.launch import override
    from pipelines.stopping import stop_on_signals
    from pipelines.up import make_topics, run_up

    loaded = load_config(config)
    if topics:
        names = make_topics(override(loaded, bootstrap=bootstrap))
        typer.echo("topics: " + ", ".join(sorted(names.values())))
        return
    if bootstrap is not None:
        raise UsageError("--bootstrap goes with --topics: `distillwatch up` starts a broker of its own")
    with stop_on_signals() as stopped:
        run_up(
            loaded,
            config_dir=config,
            folder=folder,
            kafka_port=kafka_port,
            clickhouse_port=clickhouse_port,
            stopped=stopped,
            say=typer.echo,
        )
