"""`arena.html`: the figures of `arena.json` as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from tests.benchmarks.arena import plots

_CSS: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222;
       background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.85rem; }
.wide { overflow-x: auto; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
td.bad { color: #b3261e; } p.note { color: #555; max-width: 50rem; } svg { max-width: 100%; height: auto; }
"""


def render(report: Mapping[str, Any]) -> str:
    """The page.

    Args:
        report: what `arena.json` holds.
    """
    parts = [
        _heading(report),
        _overview(report),
        _campaigns(report["scenarios"]),
        _over_time(report),
        _benign(report["benign"]),
        _findings(report["findings"]),
        _peers(report),
        _operating_points(report),
        _ablation(report),
        _text_only(report.get("text_only")),
        _shift(report["shift"]),
        _absent(report["absent"]),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>distillwatch arena: {escape(report['scenario'])}</title>\n<style>{_CSS}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; None is shown as a dash, floats with three digits, and False in red."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>\n" for row in rows)
    return f"<div class='wide'><table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"


def _cell(value: object) -> str:
    if value is None:
        return "<td>–</td>"
    if isinstance(value, bool):
        return "<td>yes</td>" if value else "<td class='bad'>no</td>"
    if isinstance(value, int):
        return f"<td>{value:,}</td>"
    return f"<td>{value:,.3f}</td>" if isinstance(value, float) else f"<td>{escape(str(value))}</td>"


def _heading(report: Mapping[str, Any]) -> str:
    facts = (
        f"Scenario <b>{escape(report['scenario'])}</b>, seed {report['seed']}, config "
        f"{escape(report['config_version'])}, {report['events']:,} events over {report['days']:.1f} days; generated "
        f"and replayed in {report['seconds']:.0f} s."
    )
    return f"<h1>distillwatch arena</h1>\n<p>{facts}</p>\n<p class='note'>{escape(report['synthetic'])}</p>"


def _overview(report: Mapping[str, Any]) -> str:
    total, benign = report["overall"], report["benign"]
    rows = [
        ("campaigns detected", f"{total['detected']} of {total['campaigns']}"),
        ("mean exposure, each campaign counting once", total["mean_exposure"]),
        ("share of all harvest served before its account was named", total["pooled_exposure"]),
        ("purity of campaign alerts", total["purity"]),
        ("benign accounts named", f"{benign['accounts_named']} of {benign['accounts']:,}"),
        ("per 10,000 account-days", _with_interval(benign)),
        ("alert messages a day", report["alerts"]["messages"]),
    ]
    return "<h2>In all</h2>\n" + table(("figure", "value"), rows)


def _campaigns(rows: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "campaign",
        "shape",
        "evasion",
        "accounts",
        "requests",
        "detected",
        "exposure",
        "95 %",
        "requests to first alert",
    )
    head += ("hours to first alert", "named", "purity")
    body = [
        (
            *(row["name"], row["shape"], row["evasive"], row["accounts"], row["requests"], row["detected"]),
            *(row["exposure"], _span(row["exposure_interval"]), row["first_alert_requests"], row["first_alert_hours"]),
            *(row["accounts_named"], row["purity"]),
        )
        for row in rows
    ]
    return "<h2>Campaigns</h2>\n" + table(head, body)


def _over_time(report: Mapping[str, Any]) -> str:
    detected = {row["name"]: row["detected"] for row in report["scenarios"]}
    return (
        "<h2>Exposure over time</h2>\n<p class='note'>Dashed: the campaign's requests so far. Solid: those served to "
        "accounts that were not named yet; red where the campaign was not detected.</p>\n"
        + plots.exposure_over_time(report["curves"], detected)
    )


def _operating_points(report: Mapping[str, Any]) -> str:
    return (
        "<h2>Operating points</h2>\n<p class='note'>Who is named if only scores from some height on count, from the "
        "strictest on. Ours ends at the thresholds of the config, as there are no alerts below them.</p>\n"
        + plots.operating_points(report["roc"])
    )


def _benign(found: Mapping[str, Any]) -> str:
    rows = [
        (kind, row["accounts"], row["account_days"], row["accounts_named"], _with_interval(row))
        for kind, row in found["by_kind"].items()
    ]
    note = (
        "<p class='note'>An account-day is an account and a UTC day on which it sent at least one request. The "
        "intervals (95 %, exact) take accounts for independent; members of one group are not.</p>"
    )
    head = ("kind", "accounts", "account-days", "named", "per 10,000 account-days")
    return "<h2>Benign accounts named</h2>\n" + note + table(head, rows)


def _findings(found: Mapping[str, Mapping[str, int]]) -> str:
    rows = [(signal, name, count) for signal, by_group in found.items() for name, count in by_group.items()]
    note = (
        "<p class='note'>Accounts that a signal says anything about, by a finding or by its part in an alert. It tells "
        "whether a signal sees anything of a campaign, not whether the campaign is found by it.</p>"
    )
    return "<h2>What each signal sees</h2>\n" + note + table(("signal", "campaign or kind", "accounts"), rows)


def _peers(report: Mapping[str, Any]) -> str:
    total, benign = report["overall"], report["benign"]
    rows: list[tuple[object, ...]] = [
        ("distillwatch", total["mean_exposure"], total["detected"], benign["per_10k_account_days"], *[None] * 5)
    ]
    others = dict(report["peers"])
    if report.get("text_only"):
        others["text only"] = report["text_only"]
    for name, row in others.items():
        one, ten = row["at_1_per_10k_account_days"], row["at_10_per_10k_account_days"]
        rows.append(
            (
                *(name, row["mean_exposure"], row["detected"], row["per_10k_account_days"]),
                *(one["mean_exposure"], one["detected"], ten["mean_exposure"], ten["detected"], row.get("seconds")),
            )
        )
    note = (
        "<p class='note'>Each threshold is the lowest at which the method names no more benign accounts than our "
        "alerts did on the same events, and again than 1 and 10 per 10,000 account-days; it is picked with hindsight, "
        f"which favours the others. Texts are embedded by {escape(str(report.get('peers_embedding')))}.</p>"
    )
    head = ("method", "mean exposure", "detected", "benign per 10,000 account-days", "exposure at 1", "detected")
    head += ("exposure at 10", "detected", "seconds")
    return "<h2>Other methods on the same events</h2>\n" + note + table(head, rows) if others else ""


def _ablation(report: Mapping[str, Any]) -> str:
    found = report["ablation"]
    if not found:
        return ""
    full = report["overall"]
    rows: list[tuple[object, ...]] = [
        ("none", full["mean_exposure"], full["detected"], report["benign"]["accounts_named"])
    ]
    rows += [(name, row["mean_exposure"], row["detected"], row["benign_accounts_named"]) for name, row in found.items()]
    head = ("signal off", "mean exposure", "detected", "benign accounts named")
    plot = plots.ablation(full["mean_exposure"], {name: row["mean_exposure"] for name, row in found.items()})
    return f"<h2>Ablation</h2>\n{table(head, rows)}\n{plot}"


def _text_only(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    rows = [(name, row["tested"], row["recognised"]) for name, row in found["sources"].items()]
    note = (
        f"<p class='note'>From the words of one prompt alone, its data set is told in {found['accuracy']:.1%} of cases "
        f"(mean over sets; guessing: {found['chance']:.1%}). Where sets differ in style, so do campaigns and customers "
        "that draw on them.</p>"
    )
    return "<h2>Text-only baseline</h2>\n" + note + table(("data set", "prompts tested", "recognised"), rows)


def _shift(found: Mapping[str, Any]) -> str:
    rows = [
        (method, window, share, float(rate))
        for method, windows in found.items()
        if isinstance(windows, Mapping)
        for window, shares in windows.items()
        if isinstance(shares, Mapping)
        for share, rate in shares.items()
        if isinstance(rate, int | float)
    ]
    if not rows:
        return ""
    rates = [f"{method}: {windows['fpr']:.3f}" for method, windows in found.items() if _has_rate(windows)]
    note = f"<p class='note'>False-positive rates: {escape('; '.join(rates))}.</p>" if rates else ""
    head = ("method", "window, queries", "attacker share", "windows found")
    return "<h2>Distribution shift</h2>\n" + note + table(head, rows)


def _has_rate(windows: object) -> bool:
    return isinstance(windows, Mapping) and isinstance(windows.get("fpr"), int | float)


def _absent(found: Mapping[str, str]) -> str:
    if not found:
        return ""
    rows = "".join(f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in found.items())
    return f"<h2>Not measured</h2>\n<ul>{rows}</ul>"


def _with_interval(row: Mapping[str, Any]) -> str | None:
    if row["per_10k_account_days"] is None:
        return None
    low, high = row["per_10k_interval"]
    return f"{row['per_10k_account_days']:.2f} ({low:.2f} to {high:.2f})"


def _span(interval: Sequence[float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
