"""What the demo prints: plain sentences and tables, 100 columns, readable when piped into a file."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from infra.clickhouse.named import NamedQuery
from pipelines.alert_views import clean, when
from pipelines.demo.campaign import KIND, PUBLISHED_BY
from pipelines.demo.outcome import Outcome
from pipelines.demo.prompts import WHEELS, PromptSets
from pipelines.demo.scenario import DAYS
from pipelines.explanations import BLIND, SIGNALS
from schemas.alerts import Alert, SignalShare

if TYPE_CHECKING:
    import pandas as pd

WIDTH: Final = 100
MAX_VALUE_CHARS: Final = 300
MAX_LIST: Final = 4
MAX_ROWS: Final = 6
MAX_COLUMNS: Final = 8
MAX_UPRIGHT: Final = 2
BAR: Final = 8
HOUR_MS: Final = 3_600_000

# What each benign kind shares with a campaign, as its line of the table says.
KINDS: Final[dict[str, str]] = {
    "ordinary": "customers of all sizes",
    "earnest_reasoning": "ask to see the steps, in earnest",
    "evaluation_harness": "a public benchmark, twice, in one wrapper",
    "batch_template": "one template over a table of rows",
    "framework_prompt": "unrelated apps, one framework's default prompt",
    "company_rollout": "one payment, domain, network and sign-up day",
    "school_class": "one assignment, one lesson, one address",
}


def console(file: Any = None) -> Console:
    """A console of :data:`WIDTH` columns, narrower only on a narrower terminal."""
    plain = Console(file=file)
    width = min(WIDTH, plain.width) if plain.is_terminal else WIDTH
    # No markup: evidence and paths may hold square brackets.
    return Console(file=file, width=width, highlight=False, markup=False)


def heading(out: Console, title: str) -> None:
    """One section of the story."""
    out.print()
    out.print(Rule(Text(title, style="bold"), align="left"))


def sources(out: Console, prompts: PromptSets) -> None:
    """What is real in the demo, and what is not."""
    for wheel in WHEELS:
        out.print(f"  {wheel.requirement:<22} {wheel.licence:<11} {wheel.what}")
    out.print(
        _wrap(
            f"The {prompts.total:,} prompts are real. Which account sends which of them and when is simulated, and so "
            "are answers, token counts, addresses, payments and ages: no public data holds real API traffic."
        )
    )


def traffic(out: Console, labels: Mapping[str, str], requests: int, events: int) -> None:
    """What was simulated."""
    members = sum(kind == KIND for kind in labels.values())
    out.print(
        _wrap(
            f"{events:,} events, {requests:,} of them requests, of {len(labels):,} accounts over {DAYS} days. Hidden "
            f"in them: one campaign of {members} accounts with a handful of requests each. It sends variations of the "
            f'"expert data analyst" prompt that was {PUBLISHED_BY}, one real task behind each.'
        )
    )


def replayed(out: Console, events: int, alerts: int, signals: int, seconds: float) -> None:
    """What the replay did, and why its pace is no throughput."""
    out.print(
        _wrap(
            f"{DAYS} days of traffic ({events:,} events) in {seconds:.0f} s: {alerts:,} alert messages, {signals:,} "
            "signals. The traffic is sparse, so deciding every few seconds of event time takes longer than reading it; "
            "`make bench` measures throughput."
        )
    )


def finding(out: Console, outcome: Outcome) -> None:
    """The campaign: who was named, when, why, and what could not be seen."""
    if not outcome.alerts or outcome.first_alert is None or outcome.first_request is None:
        out.print("  No alert names an account of the campaign.")
        return
    hours = (outcome.first_alert - outcome.first_request) / HOUR_MS
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    main = outcome.alerts[0]
    facts.add_row("campaign", ", ".join(outcome.campaign_ids))
    facts.add_row("severity", f"{main.severity}, score {main.score:.2f}, confidence {main.confidence:.2f}")
    facts.add_row(
        "accounts named",
        f"{outcome.named} of {outcome.campaign_accounts} in the simulated campaign, "
        f"{outcome.on_first_request} of them on their first request",
    )
    facts.add_row(
        "first alert",
        f"{when(outcome.first_alert)}: after {outcome.requests_before} of the campaign's "
        f"{outcome.campaign_requests:,} requests, {hours:.1f} hours after its first",
    )
    facts.add_row(
        "exposure",
        f"{outcome.exposure:.1%} of its requests were served before their account was named",
    )
    blind = [BLIND.get(name, name) for name in main.blind]
    facts.add_row("not seen (blind)", "\n".join(blind) or "nothing: every field that the detectors use was there")
    facts.add_row("MITRE ATLAS", ", ".join(main.atlas))
    out.print(Padding(facts, (0, 2)))
    out.print()
    out.print(Padding(_signals(main), (0, 0, 0, 2)))
    for text in skeletons(main):
        out.print()
        out.print("  The template that the accounts share (⟨…⟩ is what varies):", style="bold")
        out.print(Padding(Text(textwrap.shorten(clean(text), 600, placeholder=" …")), (0, 4)))


def benign(out: Console, outcome: Outcome) -> None:
    """Accounts that must not be named, by kind."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("benign accounts")
    table.add_column("like a campaign in")
    table.add_column("accounts", justify="right")
    table.add_column("named", justify="right")
    for kind, count in outcome.benign_accounts.items():
        named = len(outcome.benign_named.get(kind, ()))
        table.add_row(kind, KINDS.get(kind, ""), f"{count:,}", Text(str(named), style="bold red" if named else ""))
    strangers = sorted(set(outcome.benign_named) - set(outcome.benign_accounts))
    for kind in strangers:
        table.add_row(kind, "accounts that nobody simulated", "0", str(len(outcome.benign_named[kind])))
    out.print(Padding(table, (0, 0)))


def query(out: Console, named: NamedQuery, params: Mapping[str, Any], frame: pd.DataFrame) -> None:
    """An analyst's query and the rows it gave; wide rows stand upright."""
    out.print(f"  {named.title}", style="bold")
    out.print(Text(f"  infra/clickhouse/queries/{named.name}.sql" + "".join(f", {k} = {v}" for k, v in params.items())))
    body = "\n".join(line for line in named.sql.splitlines() if not line.startswith("--")).strip()
    out.print(Padding(Syntax(body, "sql", theme="ansi_light", background_color="default", word_wrap=True), (1, 4)))
    upright = len(frame.columns) > MAX_COLUMNS
    # As plain Python values: numpy's integers are no ints, and every kind of "missing" becomes None.
    rows = frame.astype(object).where(frame.notna(), None)
    table = Table(
        box=None, padding=(0, 1), collapse_padding=True, pad_edge=False, header_style="bold", show_header=not upright
    )
    if upright:
        for row in rows.head(MAX_UPRIGHT).itertuples(index=False):
            for column, cell in zip(frame.columns, row, strict=True):
                table.add_row(Text(str(column), style="bold"), value(cell))
            table.add_row()
    else:
        for column in frame.columns:
            numbers = frame[column].dtype.kind in "iuf"
            # Names break at their words, values do not break at all.
            title = str(column).replace("_", " ")
            table.add_column(title, justify="right" if numbers else "left", overflow="fold", max_width=40)
        for row in rows.head(MAX_ROWS).itertuples(index=False):
            table.add_row(*(value(cell) for cell in row))
    out.print(Padding(table, (0, 0, 0, 4)))
    hidden = len(frame) - (MAX_UPRIGHT if upright else MAX_ROWS)
    if hidden > 0:
        out.print(f"    … {hidden:,} more rows")
    if frame.empty:
        out.print("    no rows")
    out.print()


def onward(out: Console, files: Mapping[str, Path], alert_id: str | None, program: str) -> None:
    """Where everything is, and what to try; `program` is how this shell reaches the command."""
    for what, path in files.items():
        out.print(f"  {what:<10} {path}", soft_wrap=True)
    out.print()
    alerts = files["alerts"]
    steps = [("every alert, newest version", f"{program} alerts --file {alerts}")]
    if alert_id is not None:
        steps.insert(0, ("why this campaign, and what to do", f"{program} explain {alert_id} --file {alerts}"))
    steps += [
        ("your own events", f"{program} replay EVENTS.jsonl --alerts alerts.jsonl"),
        ("a live stream", f"{program} up"),
    ]
    for what, command in steps:
        out.print(f"  {what + ':':<36}{command}", soft_wrap=True)
    out.print()
    out.print("  To read: docs/runbook.md (an alert came in), docs/on-call.md (thresholds), docs/analyst.md (queries).")


def verdict(out: Console, outcome: Outcome) -> None:
    """The last line: did the demo show what it promises?"""
    if outcome.problems:
        out.print("The demo failed:", style="bold red")
        for problem in outcome.problems:
            out.print(f"  - {problem}", soft_wrap=True)
        return
    out.print(
        f"Found: {outcome.named} of {outcome.campaign_accounts} campaign accounts named, "
        f"no benign account among {sum(outcome.benign_accounts.values()):,}.",
        style="bold green",
    )


def value(item: Any) -> str:
    """One value of evidence or of a query, short enough to read.

    >>> value([1, 2, 3, 4, 5, 6]), value(0.123456), value({"a": 1.0}), value(12345)
    ('1, 2, 3, 4, … 2 more', '0.123', 'a 1', '12,345')
    """
    if isinstance(item, bool) or item is None:
        return str(item).lower() if item is not None else "-"
    if isinstance(item, datetime):
        return f"{item:%Y-%m-%d %H:%M}"
    if isinstance(item, float):
        return f"{item:.3g}" if abs(item) < 1000 else f"{item:,.0f}"
    if isinstance(item, int):
        return f"{item:,}"
    if isinstance(item, Mapping):
        return ", ".join(f"{clean(str(key))} {value(inner)}" for key, inner in item.items()) or "-"
    if isinstance(item, Sequence) and not isinstance(item, str):
        more = f", … {len(item) - MAX_LIST} more" if len(item) > MAX_LIST else ""
        return ", ".join(value(inner) for inner in item[:MAX_LIST]) + more or "-"
    return textwrap.shorten(clean(str(item)), MAX_VALUE_CHARS, placeholder=" …")


def skeletons(alert: Alert) -> list[str]:
    """The template texts in an alert's evidence, without repeats."""
    found: dict[str, None] = {}
    for signal in alert.signals:
        for key, item in signal.evidence.items():
            if "skeleton" in key:
                found.update(dict.fromkeys([item] if isinstance(item, str) else map(str, item)))
    return list(found)


def _signals(alert: Alert) -> Table:
    table = Table(box=None, padding=(0, 1), collapse_padding=True, pad_edge=False, header_style="bold")
    table.add_column("signal", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("evidence")
    for signal in sorted(alert.signals, key=lambda signal: -signal.contribution):
        bar = "█" * round(signal.contribution * BAR)
        table.add_row(signal.name, f"{signal.contribution:.0%}", Text(f"{bar:<{BAR}}"), _evidence(signal))
    return table


def _evidence(signal: SignalShare) -> str:
    """What the signal means, then a line a fact, nested facts below theirs."""
    text = SIGNALS.get(signal.name)
    lines = [] if text is None else [text.meaning]
    for key, item in signal.evidence.items():
        if "skeleton" in key:
            continue
        name = clean(key).replace("_", " ")
        if isinstance(item, Mapping):
            lines.append(f"{name}:")
            lines += [f"  {clean(str(inner))}: {value(detail)}" for inner, detail in item.items()]
        else:
            lines.append(f"{name}: {value(item)}")
    return "\n".join(lines)


def _wrap(text: str) -> Padding:
    return Padding(Text(text), (1, 2, 0, 2))
