"""The list of alerts: a table for people, JSON lines for programs, and a tail that follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import typer

from pipelines.alert_sources import AlertSource
from pipelines.alert_views import AlertBook, AlertView, at_least, clean, merged, when
from schemas.alerts import Alert

_FOLLOW_EVERY_S: Final = 1.0
# Where output goes to a file or a pipe there is no width to fit into, and ids must stay whole.
_PIPE_WIDTH: Final = 200
_STYLES: Final = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "dim"}


def list_alerts(
    source: AlertSource,
    *,
    severity: str | None,
    limit: int,
    follow: bool,
    as_json: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Print what the source has; with `follow`, then each message as it comes, until interrupted.

    Raises:
        UsageError: no such severity, or see :class:`pipelines.alert_sources.AlertSource`.
        Failure: the source could not be read.
    """
    at_least([], severity)
    book = AlertBook()
    book.add(source.poll())
    views = at_least(book.views(), severity)
    if as_json:
        for view in views[:limit]:
            typer.echo(msgspec.json.encode(merged(view)))
    else:
        _print_table(views[:limit], total=len(views), hidden=len(book) - len(views))
    while follow:
        sleep(_FOLLOW_EVERY_S)
        for alert in source.poll():
            book.add([alert])
            if not at_least([AlertView(alert=alert, accounts=alert.accounts)], severity):
                continue
            typer.echo(msgspec.json.encode(merged(book.find(alert.alert_id))) if as_json else _line(alert))


def _print_table(views: Sequence[AlertView], *, total: int, hidden: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not views:
        note = f" ({hidden} below the wanted severity)" if hidden else ""
        typer.echo(f"no alerts{note}")
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("decided", no_wrap=True)
    table.add_column("severity")
    table.add_column("kind")
    table.add_column("status")
    table.add_column("accounts", justify="right")
    table.add_column("requests", justify="right")
    table.add_column("score", justify="right")
    table.add_column("strongest signals", overflow="fold")
    table.add_column("alert", overflow="fold")
    for view in views:
        alert = view.alert
        status = f"{alert.status} (shadow)" if alert.shadow else alert.status
        table.add_row(
            when(alert.ts),
            Text(alert.severity, style=_STYLES[alert.severity]),
            alert.kind,
            status,
            f"{alert.accounts_total:,}",
            f"{alert.requests_total:,}",
            f"{alert.score:.2f}",
            Text(_strongest(alert)),
            Text(clean(alert.alert_id)),
        )
    console.print(table)
    if total > len(views):
        typer.echo(f"{total - len(views)} more; --limit shows them")
    typer.echo("`distillwatch explain ALERT_ID` with the same source says why, and what to do next")


def _strongest(alert: Alert, most: int = 3) -> str:
    ordered = sorted(alert.signals, key=lambda signal: -signal.contribution)[:most]
    return ", ".join(f"{clean(signal.name)} {signal.contribution:.0%}" for signal in ordered) or "none"


def _line(alert: Alert) -> str:
    shadow = " (shadow)" if alert.shadow else ""
    return (
        f"{when(alert.ts)} {alert.severity} {alert.kind} {alert.status}{shadow}: "
        f"{alert.accounts_total:,} accounts, {alert.requests_total:,} requests, score {alert.score:.2f}; "
        f"{_strongest(alert)}; {clean(alert.alert_id)}"
    )
