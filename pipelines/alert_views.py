"""Alerts as a reader sees them: the current version of each, with every account named so far."""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct, structs

from pipelines.errors import UsageError
from schemas.alerts import Alert

SEVERITIES: Final = ("low", "medium", "high", "critical")

# What a person can still page through; a fleet with more open alerts queries ClickHouse.
MAX_ALERTS: Final = 20_000
MAX_ACCOUNTS: Final = 500_000


class AlertView(Struct, kw_only=True):
    """One alert in its highest version.

    Attributes:
        alert: the version that holds.
        accounts: account ids in the order in which the versions named them, each once.
    """

    alert: Alert
    accounts: list[str]


class AlertBook:
    """Folds messages into current alerts, in whatever order they come, each any number of times.

    Holds at most :data:`MAX_ALERTS` alerts (those heard of longest ago go first) and
    :data:`MAX_ACCOUNTS` accounts of one alert.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[Alert, dict[int, tuple[str, ...]]]] = OrderedDict()

    def add(self, alerts: Iterable[Alert]) -> None:
        """Fold in messages; a repeated one changes nothing."""
        for alert in alerts:
            best, named = self._held.get(alert.alert_id, (alert, {}))
            if sum(map(len, named.values())) < MAX_ACCOUNTS:
                named[alert.version] = tuple(alert.accounts)
            self._held[alert.alert_id] = (max(best, alert, key=lambda held: held.version), named)
            self._held.move_to_end(alert.alert_id)
            if len(self._held) > MAX_ALERTS:
                self._held.popitem(last=False)

    def __len__(self) -> int:
        return len(self._held)

    def views(self) -> list[AlertView]:
        """Current alerts, the newest decision first; ties by id, so the order is always the same."""
        held = sorted(self._held.values(), key=lambda item: (-item[0].ts, item[0].alert_id))
        return [_view(alert, named) for alert, named in held]

    def find(self, wanted: str) -> AlertView:
        """The alert of this id, or of the one id that starts so.

        Raises:
            UsageError: there is none, or more than one; says which there are.
        """
        matches = [wanted] if wanted in self._held else sorted(key for key in self._held if key.startswith(wanted))
        if len(matches) == 1:
            return _view(*self._held[matches[0]])
        if matches:
            raise UsageError(f"{wanted} is the start of {len(matches)} alert ids: {_some(matches)}; give more of it")
        known = [view.alert.alert_id for view in self.views()]
        there = f"there are: {_some(known)}" if known else "there are no alerts here at all"
        raise UsageError(f"no alert {clean(wanted)} here; {there}")


def _view(alert: Alert, named: dict[int, tuple[str, ...]]) -> AlertView:
    accounts = dict.fromkeys(account for version in sorted(named) for account in named[version])
    return AlertView(alert=alert, accounts=list(accounts))


def merged(view: AlertView) -> dict[str, Any]:
    """The alert as a JSON object in which `accounts` holds every account named so far."""
    return {**structs.asdict(view.alert), "accounts": view.accounts}


def at_least(views: Sequence[AlertView], severity: str | None) -> list[AlertView]:
    """Those of at least this severity; None keeps all.

    Raises:
        UsageError: there is no such severity.
    """
    if severity is None:
        return list(views)
    if severity not in SEVERITIES:
        raise UsageError(f"--severity must be one of {', '.join(SEVERITIES)}, got {clean(severity)}")
    floor = SEVERITIES.index(severity)
    return [view for view in views if SEVERITIES.index(view.alert.severity) >= floor]


def when(ts: int) -> str:
    """Epoch milliseconds as UTC to the second.

    >>> when(1784887200123)
    '2026-07-24 10:00:00Z'
    """
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def clean(text: str) -> str:
    """Text of foreign origin without what would steer a terminal; such characters show as `\\x1b`.

    >>> clean("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return "".join(char if unicodedata.category(char)[0] != "C" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def _some(ids: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(clean(item) for item in ids[:most])
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most} more"
