"""`distillwatch alerts`: what was found, from a file, a topic or ClickHouse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Bootstrap, ClickHouse, ConfigDir


def alerts(
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON lines written by `replay --alerts`.")] = None,
    bootstrap: Bootstrap = None,
    clickhouse: ClickHouse = None,
    config: ConfigDir = None,
    severity: Annotated[str | None, typer.Option(help="At least: low, medium, high or critical.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Alerts shown, the newest first.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", help="Then print each message as it comes, until Ctrl-C.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="JSON lines; `accounts` holds all that were named so far.")
    ] = False,
) -> None:
    """List alerts: the highest version of each, the newest first.

    Without a source, ClickHouse is asked at clickhouse.dsn of pipeline.toml.

    \b
    Examples:
      distillwatch alerts --file build/demo/alerts.jsonl
      distillwatch alerts --bootstrap 127.0.0.1:9092 --follow
      distillwatch alerts --clickhouse http://127.0.0.1:8123/default --severity high --json
    """
    from pipelines.alert_listing import list_alerts
    from pipelines.alert_sources import open_alerts

    source = open_alerts(file=file, bootstrap=bootstrap, clickhouse=clickhouse, config=config)
    try:
        list_alerts(source, severity=severity, limit=limit, follow=follow, as_json=json)
    finally:
        source.close()
