"""One alert in full, for a person: what, why, what was not seen, who, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pipelines.alert_views import AlertView, clean, when
from pipelines.explanations import ATLAS, BLIND, NEXT_STEPS, SIGNALS
from schemas.alerts import SignalShare

_BAR: Final = 20
_SHOWN_ITEMS: Final = 12
_SHOWN_TEXT: Final = 400
# Below this an evidence number is an epoch time in milliseconds of before 2001, so it is no time.
_TIMES_FROM: Final = 1_000_000_000_000


def explain(view: AlertView, *, accounts_shown: int = 20) -> str:
    """The explanation as plain text; foreign text in it cannot steer a terminal.

    Args:
        view: the alert and every account that its versions named.
        accounts_shown: how many account ids to list; the rest is counted.
    """
    alert = view.alert
    lines = [
        f"{alert.kind.capitalize()} alert {clean(alert.alert_id)}",
        "",
        *_pairs(
            {
                "severity": f"{alert.severity} (score {alert.score:.2f}, confidence {alert.confidence:.2f})",
                "status": f"{alert.status}, version {alert.version}",
                "campaign": clean(alert.campaign_id) if alert.campaign_id else "none",
                "active": f"{when(alert.first_seen)} to {when(alert.last_seen)}",
                "decided": f"{when(alert.ts)} with config {clean(alert.config_version)}",
                "accounts": f"{alert.accounts_total:,}, of which {len(view.accounts):,} are named here",
                "requests": f"{alert.requests_total:,}",
            }
        ),
    ]
    if alert.shadow:
        lines += ["", "In shadow: this alert is a trial of a detector. Do not act on it."]
    lines += ["", "Why"]
    for signal in sorted(alert.signals, key=lambda signal: -signal.contribution):
        lines += _signal(signal)
    if not alert.signals:
        lines.append("  no signal is given")
    lines += ["", "Not seen"]
    lines += [f"  {clean(name)}: {BLIND.get(name, 'this field was absent')}" for name in alert.blind]
    if not alert.blind:
        lines.append("  nothing: every field that the detectors use was there")
    lines += ["", "MITRE ATLAS"]
    lines += [f"  {clean(name):13}  {ATLAS.get(name, '')}".rstrip() for name in alert.atlas] or ["  none"]
    lines += ["", "Accounts", *_accounts(view.accounts, alert.accounts_total, accounts_shown)]
    lines += ["", "Next"]
    steps = (f"Follow {clean(alert.runbook)}.", *NEXT_STEPS[alert.kind])
    lines += [f"  {number}. {step}" for number, step in enumerate(steps, 1)]
    return "\n".join(lines)


def _signal(signal: SignalShare) -> Iterator[str]:
    filled = round(signal.contribution * _BAR)
    yield f"  {clean(signal.name):22} {signal.contribution:5.0%}  {'█' * filled}{'·' * (_BAR - filled)}"
    text = SIGNALS.get(signal.name)
    if text is not None:
        yield f"      {text.meaning}"
    yield from (f"      {line}" for line in _pairs(_flat(signal.evidence), indent=""))
    if text is not None:
        yield f"      check: {text.check}"


def _flat(evidence: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Evidence as text by dotted key, one level of nesting opened."""
    flat: dict[str, str] = {}
    for key, value in evidence.items():
        name = f"{prefix}{clean(str(key))}"
        if isinstance(value, Mapping) and not prefix:
            flat.update(_flat(value, f"{name}."))
        else:
            flat[name] = _value(name, value)
    return flat


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    if isinstance(value, int):
        is_time = value >= _TIMES_FROM and name.endswith(("seen", "ts", "tick", "created", "since", "until"))
        return when(value) if is_time else f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        shown = ", ".join(_value("", item) for item in value[:_SHOWN_ITEMS])
        rest = len(value) - _SHOWN_ITEMS
        return f"{shown} and {rest} more" if rest > 0 else shown or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(str(key))} {_value('', item)}" for key, item in value.items()) or "none"
    text = clean(str(value))
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}… ({len(text):,} characters)"


def _accounts(accounts: Sequence[str], total: int, shown: int) -> Iterator[str]:
    yield from (f"  {clean(account)}" for account in accounts[:shown])
    if len(accounts) > shown:
        yield f"  and {len(accounts) - shown:,} more; --accounts lists all of them"
    if len(accounts) < total:
        yield f"  {total - len(accounts):,} more were named in messages that this source does not hold"


def _pairs(pairs: Mapping[str, str], indent: str = "  ") -> Iterable[str]:
    width = max(map(len, pairs), default=0)
    return [f"{indent}{name:{width}}  {text}" for name, text in pairs.items()]
