"""What a course left in ClickHouse, and whether two courses left the same."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from pipelines.store import Store

# Everything but when a row was written. Of dead letters the time of rejection goes too, which is the wall clock's.
_WHOLE: Final = {
    "alerts": "SELECT * EXCEPT written FROM alerts FINAL",
    "alert_accounts": "SELECT * EXCEPT written FROM alert_accounts FINAL",
    "members": "SELECT * FROM campaign_members_current",
    "campaigns": "SELECT * FROM campaigns_current",
    "signals": "SELECT * FROM signals_current",
    "activity": "SELECT * FROM activity_current",
    "dead_letters": "SELECT * EXCEPT ts FROM dead_letters_current",
}
# These are few and are told by name where they differ.
_NAMED: Final = {
    "alerts": "concat(alert_id, ' version ', toString(version))",
    "members": "concat(campaign, ' ', account)",
}
_SHOWN: Final = 20


class Table(Struct, frozen=True):
    """Rows of a table or view, and the sum of their hashes."""

    rows: int
    digest: int


class Outcome(Struct, frozen=True):
    """What one course left.

    Attributes:
        requests: that the hourly activity of all accounts counts; what went in has to come out here.
        named: alerts and members with the hash of each.
    """

    tables: dict[str, Table]
    requests: int
    named: dict[str, dict[str, int]]


class Difference(Struct, frozen=True):
    """Rows that one course has and the other has not, or has otherwise."""

    missing: list[str]
    extra: list[str]
    changed: list[str]


def read(store: Store) -> Outcome:
    """Look at all of it."""
    tables = {}
    for name, sql in _WHOLE.items():
        found = _one(store, f"SELECT count() AS rows, sum({_hash()}) AS digest FROM ({sql})")  # noqa: S608
        tables[name] = Table(int(found["rows"]), int(found["digest"]))
    named = {}
    for name, label in _NAMED.items():
        frame = store.query(f"SELECT {label} AS label, {_hash()} AS digest FROM ({_WHOLE[name]})")  # noqa: S608
        named[name] = dict(zip(frame["label"].tolist(), map(int, frame["digest"].tolist()), strict=True))
    requests = int(_one(store, "SELECT sum(requests) AS requests FROM activity_current")["requests"])
    return Outcome(tables, requests, named)


def stored_alerts(store: Store) -> set[tuple[str, int]]:
    """Id and version of every alert."""
    frame = store.query("SELECT alert_id, version FROM alerts")
    return set(zip(frame["alert_id"].tolist(), map(int, frame["version"].tolist()), strict=True))


def differences(undisturbed: Outcome, disturbed: Outcome) -> dict[str, Difference]:
    """Tables that are not the same, with the names of what differs where rows have names."""
    found = {}
    for name, table in undisturbed.tables.items():
        if table != disturbed.tables[name]:
            wanted, got = undisturbed.named.get(name, {}), disturbed.named.get(name, {})
            found[name] = Difference(
                missing=sorted(set(wanted) - set(got))[:_SHOWN],
                extra=sorted(set(got) - set(wanted))[:_SHOWN],
                changed=sorted(one for one in set(wanted) & set(got) if wanted[one] != got[one])[:_SHOWN],
            )
    return found


def _hash() -> str:
    # As text, because a hash of columns is NULL where one of them is.
    return "cityHash64(formatRow('JSONCompactEachRow', *))"


def _one(store: Store, sql: str) -> Any:
    return store.query(sql).iloc[0]
