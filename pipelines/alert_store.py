"""Alerts out of ClickHouse, as the messages that the sink wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pipelines.alert_views import MAX_ALERTS
from pipelines.errors import UsageError
from schemas.alerts import Alert

# A follower looks back this far behind the newest alert: the sink may write late what was decided earlier.
_LOOK_BACK_MS: Final = 86_400_000
_MAX_ROWS: Final = 10 * MAX_ALERTS
_EMBEDDED: Final = "chdb://"


class StoreAlerts:
    """The alerts table, every version of every alert; the newest where they do not all fit.

    Args:
        dsn: as `pipelines.store.open_store` takes it.

    Raises:
        UsageError: an embedded store that does not exist; reading must not make one.
    """

    def __init__(self, dsn: str) -> None:
        from pipelines.store import open_store

        if dsn.startswith(_EMBEDDED) and not Path(unquote(dsn.removeprefix(_EMBEDDED))).is_dir():
            raise UsageError(f"{dsn}: there is no such directory; `distillwatch replay … --clickhouse {dsn}` makes one")
        self._store = open_store(dsn)
        self._since = 0
        self._seen: set[tuple[str, int]] = set()

    def poll(self) -> list[Alert]:
        """Messages that no earlier call has handed out; see :class:`pipelines.alert_sources.AlertSource`."""
        alerts = self._store.read_alerts(since=self._since, limit=_MAX_ROWS)
        news = [alert for alert in alerts if (alert.alert_id, alert.version) not in self._seen]
        self._seen = {(alert.alert_id, alert.version) for alert in alerts}
        self._since = max([self._since, *(alert.ts - _LOOK_BACK_MS for alert in alerts)])
        return news

    def close(self) -> None:
        """Close the connection, or let go of the embedded engine's directory."""
        self._store.close()
