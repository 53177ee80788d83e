"""`distillwatch explain`: why an alert was raised, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Bootstrap, ClickHouse, ConfigDir


def explain(
    alert_id: Annotated[str, typer.Argument(metavar="ALERT_ID", help="Its id, or the first characters of it.")],
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON lines written by `replay --alerts`.")] = None,
    bootstrap: Bootstrap = None,
    clickhouse: ClickHouse = None,
    config: ConfigDir = None,
    accounts: Annotated[
        bool, typer.Option("--accounts", help="Print only the account ids, all of them, one a line.")
    ] = False,
) -> None:
    """Say why an alert was raised: signals and their evidence, what was not seen, accounts, next steps.

    Without a source, ClickHouse is asked at clickhouse.dsn of pipeline.toml.

    \b
    Examples:
      distillwatch explain 3f9a --file build/demo/alerts.jsonl
      distillwatch explain 3f9a --file build/demo/alerts.jsonl --accounts > accounts.txt
    """
    from pipelines.alert_sources import open_alerts
    from pipelines.alert_views import AlertBook
    from pipelines.explain import explain as explain_alert

    source = open_alerts(file=file, bootstrap=bootstrap, clickhouse=clickhouse, config=config)
    try:
        book = AlertBook()
        book.add(source.poll())
    finally:
        source.close()
    view = book.find(alert_id)
    typer.echo("\n".join(view.accounts) if accounts else explain_alert(view))
