"""`arena.html`: the figures of `arena.json` as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from tests.benchmarks.arena import plots, spread

_CSS: Final = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #5a5f66; --line: #d9dce0; --bad: #b3261e;
        --heat: #c0392b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181b; --soft: #a5abb3; --line: #3a3f45; --bad: #ff8a80; --heat: #d9534a; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
       background: var(--paper); }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.83rem; }
.wide { overflow-x: auto; }
th, td { padding: 0.25rem 0.55rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; font-weight: 600; }
th.text, td.text { text-align: left; } thead th { border-bottom: 2px solid var(--soft); }
td.bad { color: var(--bad); font-weight: 600; } p.note { color: var(--soft); max-width: 54rem; }
td.heat { background: color-mix(in srgb, var(--heat) calc(var(--share) * 75%), transparent); text-align: center; }
svg { max-width: 100%; height: auto; }
.synthetic { border-left: 4px solid var(--bad); padding: 0.4rem 0.9rem; max-width: 54rem; }
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
        _grid(report),
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
    """An HTML table; None is shown as a dash, floats with three digits, and False in red.

    Columns of texts, as far as they are such to the end, stand to the left.
    """
    lines = [list(row) for row in rows]
    words = [all(isinstance(row[place], str | None) for row in lines) for place in range(len(head))]
    left = words.index(False) if False in words else len(words)
    cells = "".join(f"<th{_TEXT if place < left else ''}>{escape(name)}</th>" for place, name in enumerate(head))
    body = "".join(
        "<tr>" + "".join(_cell(value, _TEXT if place < left else "") for place, value in enumerate(row)) + "</tr>\n"
        for row in lines
    )
    return f"<div class='wide'><table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"


_TEXT: Final = " class='text'"


def _cell(value: object, attributes: str = "") -> str:
    if value is None:
        return f"<td{attributes}>–</td>"
    if isinstance(value, bool):
        return "<td>yes</td>" if value else "<td class='bad'>no</td>"
    if isinstance(value, int):
        return f"<td>{value:,}</td>"
    return f"<td>{value:,.3f}</td>" if isinstance(value, float) else f"<td{attributes}>{escape(str(value))}</td>"


def _heading(report: Mapping[str, Any]) -> str:
    facts = (
        f"Scenario <b>{escape(report['scenario'])}</b>, seed {report['seed']}, config "
        f"{escape(report['config_version'])}, {report['events']:,} events over {report['days']:.1f} days; generated "
        f"and replayed in {report['seconds']:.0f} s."
    )
    return (
        f"<h1>distillwatch arena</h1>\n<p>{facts}</p>\n"
        f"<p class='synthetic'><b>What is synthetic.</b> {escape(report['synthetic'])}</p>"
    )


def _overview(report: Mapping[str, Any]) -> str:
    total, benign = report["overall"], report["benign"]
    rows = [
        ("campaigns detected", f"{total['detected']} of {total['campaigns']}", _span(total["detected_interval"], 1)),
        (
            *("mean exposure, each campaign counting once", total["mean_exposure"]),
            _span(total["mean_exposure_interval"]),
        ),
        ("share of all harvest served before its account was named", total["pooled_exposure"], None),
        ("purity of campaign alerts", total["purity"], None),
        ("benign accounts named", f"{benign['accounts_named']} of {benign['accounts']:,}", None),
        (
            *("benign accounts named per 10,000 account-days", benign["per_10k_account_days"]),
            _span(benign["per_10k_interval"], 2),
        ),
        ("alert messages a day", report["alerts"]["messages"], None),
    ]
    note = (
        "<p class='note'>Exposure is the share of a campaign's harvest that was served before its account was first "
        "named. Intervals are at 95 %: of the mean exposure by a bootstrap over campaigns, of campaigns detected "
        "exact, of benign accounts named for clumps as large as those seen.</p>"
    )
    return "<h2>In all</h2>\n" + note + table(("figure", "value", "95 %"), rows)


def _campaigns(rows: Sequence[Mapping[str, Any]]) -> str:
    head = (
        *("campaign", "shape", "evasion", "accounts", "requests", "detected", "exposure", "95 %"),
        *("requests to first alert", "hours to first alert", "accounts named", "purity", "95 %"),
    )
    body = [
        (
            *(row["name"], row["shape"], row["evasive"], row["accounts"], row["requests"], row["detected"]),
            *(row["exposure"], _span(row["exposure_interval"]), row["first_alert_requests"], row["first_alert_hours"]),
            *(row["accounts_named"], row["purity"], _span(row["purity_interval"])),
        )
        for row in rows
    ]
    reach = spread.load()
    seeds = ", ".join(map(str, reach.seeds))
    note = (
        "<p class='note'>Intervals (95 %): where the figure of another seed is expected, from how far the figures of "
        f"campaigns moved between the seeds {seeds} of the scenario {escape(reach.scenario)}. The first alert is one "
        "event and has no interval.</p>"
    )
    return "<h2>Campaigns</h2>\n" + note + table(head, body)


def _grid(report: Mapping[str, Any]) -> str:
    """Shapes down, evasions across, the redder the more was served."""
    found, spans = report.get("grid"), report.get("grid_intervals", {})
    if not found:
        return ""
    shapes = sorted({shape for row in found.values() for shape in row})
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in found)
    rows = ""
    for shape in shapes:
        cells = "".join(_heat(row.get(shape), spans.get(evasion, {}).get(shape)) for evasion, row in found.items())
        rows += f"<tr><td class='text'>{escape(shape)}</td>{cells}</tr>\n"
    note = (
        "<p class='note'>Exposure of every campaign shape, plain (none) and under one evasion each, every column a "
        "simulation of its own. Redder is worse; the 95 % interval stands in each cell's tooltip and in arena.json.</p>"
    )
    return (
        f"<h2>Shapes and evasions</h2>\n{note}<div class='wide'><table>\n<thead><tr><th class='text'>shape</th>{head}"
        f"</tr></thead>\n<tbody>\n{rows}</tbody></table></div>"
    )


def _heat(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "<td>–</td>"
    tip = f" title='{_span(interval)}'" if interval else ""
    return f"<td class='heat' style='--share: {value:.3f}'{tip}>{value:.2f}</td>"


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
    groups = sorted({name for by_group in found.values() for name in by_group})
    rows = [(name, *(by_group.get(name) for by_group in found.values())) for name in groups]
    note = (
        "<p class='note'>Accounts that a signal says anything about, by a finding or by its part in an alert. It tells "
        "whether a signal sees anything of a campaign, not whether the campaign is found by it.</p>"
    )
    return "<h2>What each signal sees</h2>\n" + note + table(("campaign or kind", *found), rows)


def _peers(report: Mapping[str, Any]) -> str:
    total, benign = report["overall"], report["benign"]
    rows: list[tuple[object, ...]] = [
        (
            *("distillwatch", total["mean_exposure"], _span(total["mean_exposure_interval"]), total["detected"]),
            *(benign["per_10k_account_days"], None, None, None, None, report["timings"]["replay"]),
        )
    ]
    others = dict(report["peers"])
    if report.get("text_only"):
        others["text only"] = report["text_only"]
    for name, row in others.items():
        one, ten = row["at_1_per_10k_account_days"], row["at_10_per_10k_account_days"]
        rows.append(
            (
                *(name, row["mean_exposure"], _span(row["mean_exposure_interval"]), row["detected"]),
                row["per_10k_account_days"],
                *(one["mean_exposure"], one["detected"], ten["mean_exposure"], ten["detected"], row.get("seconds")),
            )
        )
    note = (
        "<p class='note'>Each threshold is the lowest at which the method names no more benign accounts than our "
        "alerts did on the same events, and again than 1 and 10 per 10,000 account-days; it is picked with hindsight, "
        f"which favours the others. Texts are embedded by {escape(str(report.get('peers_embedding')))}.</p>"
    )
    head = (
        *("method", "mean exposure", "95 %", "detected", "benign per 10,000 account-days"),
        *("exposure at 1", "detected at 1", "exposure at 10", "detected at 10", "seconds"),
    )
    return "<h2>Other methods on the same events</h2>\n" + note + table(head, rows) if others else ""


def _ablation(report: Mapping[str, Any]) -> str:
    found = report["ablation"]
    if not found:
        return ""
    full = report["overall"]
    nothing = {**full, "benign_accounts_named": report["benign"]["accounts_named"]}
    columns = ("mean exposure", "95 %", "detected", "benign accounts named")
    without = table(("signal off", *columns), map(_signal_row, ("none", *found), (nothing, *found.values())))
    plot = plots.ablation(full["mean_exposure"], {name: row["mean_exposure"] for name, row in found.items()})
    alone = report.get("alone", {})
    only = table(("detector alone, with coordination", *columns), map(_signal_row, alone, alone.values()))
    return f"<h2>Ablation</h2>\n{without}\n{plot}\n{only if alone else ''}"


def _signal_row(name: str, row: Mapping[str, Any]) -> tuple[object, ...]:
    shown = (row["mean_exposure"], _span(row["mean_exposure_interval"]), row["detected"])
    return (name, *shown, row["benign_accounts_named"])


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
    """Only methods: what else the bench reports (costs, details, published figures) has no false-positive rate."""
    methods = {name: windows for name, windows in found.items() if isinstance(windows, Mapping) and "fpr" in windows}
    if not methods:
        return ""
    shares = sorted({share for windows in methods.values() for row in _windows(windows).values() for share in row})
    shares.sort(key=int)
    rows = [
        (name, window, *(row.get(share) for share in shares), windows["fpr"])
        for name, windows in methods.items()
        for window, row in _windows(windows).items()
    ]
    note = (
        "<p class='note'>Share of windows that are called an attack, by the share of the attacker's queries in the "
        "window; 0 % is a benign window. The last column is the mean over window sizes of benign windows found. Which "
        "prompt is in which window is simulated.</p>"
    )
    head = ("method", "queries in a window", *(f"{share} %" for share in shares), "false-positive rate")
    return "<h2>Distribution shift</h2>\n" + note + table(head, rows)


def _windows(found: Mapping[str, Any]) -> dict[str, Mapping[str, float | None]]:
    return {size: shares for size, shares in found.items() if isinstance(shares, Mapping)}


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


def _span(interval: Sequence[float] | None, digits: int = 3) -> str | None:
    return None if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
