"""What the metrics are computed from: requests, labels and namings as plain tables.

| table | columns |
|---|---|
| labels | account, kind, campaign, shape, evasion, group; one row an account, null where a column says nothing of it |
| requests | account, ts, campaign; in order of `ts`, campaign null unless the request is its harvest |
| namings | account, ts, kind (`account` or `campaign`), group (campaign id, else alert id), score |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import Struct

from schemas.alerts import ALERT_DECODER, SIGNAL_DECODER, Alert, Signal
from schemas.events import Event, Request

LABELS: Final = ("account", "kind", "campaign", "shape", "evasion", "group")
NAMINGS: Final = ("account", "ts", "kind", "group", "score")
CAMPAIGN: Final = "campaign"
"""The kind of a campaign's accounts in the labels; every other kind is benign."""


class Traffic(Struct, frozen=True):
    """One simulation as tables.

    Attributes:
        labels, requests: as above.
        events: all of them, not only requests.
        first_ts, last_ts: of all events, epoch ms.
    """

    labels: pd.DataFrame
    requests: pd.DataFrame
    events: int
    first_ts: int
    last_ts: int

    @property
    def days(self) -> float:
        """How long the events last, in days; never less than a minute's part."""
        return max(self.last_ts - self.first_ts, 60_000) / 86_400_000


def as_labels(table: pa.Table) -> pd.DataFrame:
    """The labels of a simulation.

    Raises:
        ValueError: a column is missing, an account stands twice, or a campaign's account has no campaign.
    """
    missing = [name for name in LABELS if name not in table.column_names]
    if missing:
        raise ValueError(f"labels lack the columns {missing}")
    frame: pd.DataFrame = table.select(list(LABELS)).to_pandas().astype(object)
    frame = frame.where(frame.notna(), None)
    if frame["account"].duplicated().any():
        raise ValueError("an account stands twice in the labels")
    if (frame["campaign"].notna() != (frame["kind"] == CAMPAIGN)).any():
        raise ValueError("accounts of kind 'campaign', and only those, belong to a campaign")
    return frame


def as_traffic(events: Iterable[Event], truth: Callable[[], tuple[pa.Table, Mapping[str, str]]]) -> Traffic:
    """Read a simulation's events once.

    Args:
        truth: the labels, and the harvest as request id to campaign; asked when the events are through, as a
            simulation knows its harvest only then.

    Raises:
        ValueError: no events, labels that are not sound, an account without one, or harvest that no request is.
    """
    ids: list[str] = []
    accounts: list[str] = []
    times: list[int] = []
    count, first, last = 0, 2**62, -1
    for event in events:
        count += 1
        first, last = min(first, event.ts), max(last, event.ts)
        if isinstance(event, Request):
            ids.append(event.id)
            accounts.append(event.account)
            times.append(event.ts)
    if not count:
        raise ValueError("there are no events")
    table, harvest = truth()
    labels = as_labels(table)
    if unknown := set(accounts) - set(labels["account"]):
        raise ValueError(f"{len(unknown)} accounts have requests and no label, {min(unknown)} among them")
    owners = [harvest.get(ident) for ident in ids]
    found = sum(owner is not None for owner in owners)
    if found != len(harvest):
        raise ValueError(f"{len(harvest)} requests are harvest, but only {found} of them are events")
    requests = pd.DataFrame(
        {
            "account": pd.Categorical(accounts),
            "ts": np.array(times, np.int64),
            "campaign": pd.Categorical(owners),
        }
    )
    return Traffic(labels, requests.sort_values("ts", kind="stable", ignore_index=True), count, first, last)


def as_namings(alerts: Iterable[Alert]) -> pd.DataFrame:
    """Who was named when, by alerts that are not of a shadow detector.

    Messages name an account once, so its score is the highest that any later version of the alert has.
    """
    rows: list[tuple[str, int, str, str, str]] = []
    scores: dict[str, float] = {}
    for alert in alerts:
        if alert.shadow:
            continue
        scores[alert.alert_id] = max(alert.score, scores.get(alert.alert_id, 0.0))
        group = alert.campaign_id or alert.alert_id
        rows += [(account, alert.ts, alert.kind, group, alert.alert_id) for account in alert.accounts]
    frame = pd.DataFrame(
        [(account, ts, kind, group, scores[alert_id]) for account, ts, kind, group, alert_id in rows],
        columns=list(NAMINGS),
    )
    return frame.astype({"ts": np.int64, "score": np.float64})


def read_alerts(path: Path) -> Iterator[Alert]:
    """The alerts of a replay, in the order in which they were written."""
    with path.open("rb") as file:
        for line in file:
            yield ALERT_DECODER.decode(line)


def read_signals(path: Path) -> Iterator[Signal]:
    """The detectors' findings of a replay, in the order in which they were written."""
    with path.open("rb") as file:
        for line in file:
            yield SIGNAL_DECODER.decode(line)
