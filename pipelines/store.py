"""ClickHouse as distillwatch uses it: the schema, idempotent inserts, named queries.

One class for a server, for the local endpoint and for the embedded engine: clickhouse-connect speaks to all
three. Rows go in as Arrow columns. Writing a row again changes nothing that a view or a named query shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

from infra.clickhouse.migrate import MigrationError, SchemaOptions, migrate
from infra.clickhouse.named import load_query, query_names
from pipelines.errors import Failure, UsageError
from pipelines.secrets import CLICKHOUSE_PASSWORD, load_secret
from pipelines.store_rows import (
    READ_ALERTS,
    account_rows,
    activity_rows,
    alert_from_row,
    alert_rows,
    letter_rows,
    signal_rows,
)
from schemas.activity import Activity
from schemas.alerts import Alert, Signal
from schemas.deadletters import DeadLetter

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_Row = TypeVar("_Row")

# Rows of one insert: some tens of MB of signals, far below what a server takes.
MAX_INSERT_ROWS: Final = 100_000

# Replays reach back years and a partition is a month; ClickHouse's default of 100 would refuse nine years.
_INSERT_SETTINGS: Final = {"max_partitions_per_insert_block": 2000}

# Errors of a server that is there but cannot take an insert now: timeouts, too many queries, memory, too many
# parts, tables that wait for their keeper. The same insert succeeds later.
_TRANSIENT_CODES: Final = frozenset({159, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 319, 425, 999})

_SCHEMES: Final = {"clickhouse": "http", "http": "http", "clickhouses": "https", "https": "https"}
_DEFAULT_PORT: Final = {"http": 8123, "https": 8443}


class StoreUnavailable(Failure):
    """ClickHouse does not answer, or cannot take the rows now; trying again later makes sense."""


class Store:
    """Reads and writes of one ClickHouse database.

    Args:
        client: a clickhouse-connect client; the store closes it.
        options: engines and retention of the tables.
    """

    def __init__(self, client: Any, options: SchemaOptions | None = None) -> None:
        self._client = client
        self._options = SchemaOptions() if options is None else options

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the embedded engine lets go of its directory."""
        self._client.close()

    @property
    def readonly(self) -> bool:
        """Whether this user, or the endpoint, may only read."""
        return bool(_call(lambda: self._client.command("SELECT getSetting('readonly')")))

    def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the migrations applied.

        Raises:
            UsageError: an applied migration was edited, or the database is newer than this program.
            StoreUnavailable, Failure: ClickHouse does not answer, or refuses.
        """
        try:
            applied: list[str] = _call(lambda: migrate(self._client, self._options))
        except MigrationError as error:
            raise UsageError(str(error)) from None
        return applied

    def insert_alerts(self, alerts: Sequence[Alert]) -> int:
        """Write alert messages, each version a row; returns how many.

        The accounts go first: a reader who sees an alert sees its accounts.
        """
        for part in _parts(alerts):
            self._insert("alert_accounts", account_rows(part))
            self._insert("alerts", alert_rows(part))
        return len(alerts)

    def insert_signals(self, signals: Sequence[Signal]) -> int:
        """Write signals; returns how many."""
        for part in _parts(signals):
            self._insert("signals", signal_rows(part))
        return len(signals)

    def insert_activity(self, rows: Sequence[Activity]) -> int:
        """Write hourly activity; the row with the latest `as_of` of an account and hour holds."""
        for part in _parts(rows):
            self._insert("activity", activity_rows(part))
        return len(rows)

    def insert_dead_letters(self, letters: Sequence[DeadLetter]) -> int:
        """Write where and why messages were rejected, not their bytes."""
        for part in _parts(letters):
            self._insert("dead_letters", letter_rows(part))
        return len(letters)

    def query(self, query: str, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Rows of a named query (:func:`infra.clickhouse.named.query_names`) or of SQL text.

        An empty result has its columns, too.

        Raises:
            UsageError: a parameter of a named query is missing or is none of its own.
            StoreUnavailable, Failure: ClickHouse does not answer, or refuses.
        """
        params = {} if params is None else dict(params)
        sql = query
        if query in query_names():
            named = load_query(query)
            sql = named.sql
            if set(params) != set(named.parameters):
                wanted = ", ".join(f"{name} ({kind})" for name, kind in named.parameters.items()) or "none"
                raise UsageError(f"query {query} takes the parameters: {wanted}; got: {', '.join(params) or 'none'}")
        frame: pd.DataFrame = _call(lambda: self._client.query_df(sql, parameters=params))
        if len(frame.columns) == 0:
            only_columns = f"SELECT * FROM ({sql}) LIMIT 0"  # noqa: S608 - the caller's own SQL, run once already
            names = _call(lambda: self._client.query(only_columns, parameters=params))
            frame = frame.reindex(columns=list(names.column_names))
        return frame

    def read_alerts(self, *, since: int = 0, limit: int = 100_000) -> list[Alert]:
        """Alert messages as they were written, all versions, by event time.

        Args:
            since: epoch ms; only messages whose `ts` is not older.
            limit: at most so many, the newest.
        """
        rows = _call(lambda: self._client.query(READ_ALERTS, parameters={"since": since, "limit": limit}))
        return [alert_from_row(dict(zip(rows.column_names, row, strict=True))) for row in rows.result_rows]

    def _insert(self, table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            _call(lambda: self._client.insert_arrow(table, rows, settings=_INSERT_SETTINGS))


def open_store(
    dsn: str, *, options: SchemaOptions | None = None, environ: Mapping[str, str] | None = None, timeout_s: int = 60
) -> Store:
    """Connect to ClickHouse and, unless we may only read there, bring its schema up to date.

    Args:
        dsn: ``chdb:///directory`` for the embedded engine (one process at a time), or ``clickhouse://``,
            ``http://``, ``clickhouses://`` or ``https://`` with ``[user@]host[:port][/database]``. The password
            comes from DISTILLWATCH_CLICKHOUSE_PASSWORD or from the file that ..._FILE names.

    Raises:
        UsageError: the DSN is wrong, or holds a password.
        StoreUnavailable: nothing answers there.
        Failure: ClickHouse refuses, or another process has the embedded directory open.
    """
    store = Store(_connect(dsn, environ, timeout_s), options)
    try:
        if not store.readonly:
            store.migrate()
    except BaseException:
        store.close()
        raise
    return store


def check_dsn(dsn: str) -> None:
    """Refuse a DSN that :func:`open_store` would refuse, without connecting.

    >>> check_dsn("http://analyst:secret@127.0.0.1:8123/default")
    Traceback (most recent call last):
    ...
    pipelines.errors.UsageError: the ClickHouse DSN holds a password; set DISTILLWATCH_CLICKHOUSE_PASSWORD instead
    """
    parts = urlsplit(dsn)
    if parts.scheme == "chdb":
        if not _directory(dsn):
            raise UsageError(f"{dsn}: name a directory, as in chdb:///var/lib/distillwatch or chdb://build/clickhouse")
        return
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise UsageError(f"{dsn}: a ClickHouse DSN is chdb:///directory or {', '.join(_SCHEMES)}://host:port/database")
    if parts.password is not None:
        raise UsageError(f"the ClickHouse DSN holds a password; set {CLICKHOUSE_PASSWORD} instead")
    try:
        _ = parts.port
    except ValueError:
        raise UsageError(f"{dsn}: the port is no number between 0 and 65535") from None


def _directory(dsn: str) -> str:
    return unquote(dsn.removeprefix("chdb://"))


def _connect(dsn: str, environ: Mapping[str, str] | None, timeout_s: int) -> Any:
    check_dsn(dsn)
    import clickhouse_connect

    if dsn.startswith("chdb://"):
        path = Path(_directory(dsn)).absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path}: cannot be made: {error.strerror}") from None
        return _call(lambda: clickhouse_connect.get_client(interface="chdb", path=str(path)))
    parts = urlsplit(dsn)
    interface = _SCHEMES[parts.scheme]
    return _call(
        lambda: clickhouse_connect.get_client(
            interface=interface,
            host=parts.hostname,
            port=parts.port or _DEFAULT_PORT[interface],
            username=unquote(parts.username or "default"),
            password=load_secret(CLICKHOUSE_PASSWORD, environ) or "",
            database=parts.path.strip("/") or "default",
            # With a session id the server refuses the second of two queries at once.
            autogenerate_session_id=False,
            connect_timeout=10,
            send_receive_timeout=timeout_s,
        )
    )


def _call(action: Callable[[], Any]) -> Any:
    """Run `action`; the client's errors become ours, those that may pass apart from the rest."""
    from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError, ProgrammingError

    try:
        return action()
    except ProgrammingError as error:
        if "Unable to open the chdb engine" in str(error):
            raise Failure(
                "could not open the embedded ClickHouse: one process at a time may open its directory, and one "
                f"directory at a time a process; ask through its HTTP endpoint instead ({_short(error)})"
            ) from error
        raise Failure(f"ClickHouse client: {_short(error)}") from error
    except OperationalError as error:
        raise StoreUnavailable(f"ClickHouse does not answer: {_short(error)}") from error
    except DatabaseError as error:
        # Without a code no ClickHouse spoke, but something in between: a proxy whose server is away.
        if error.code is None or error.code in _TRANSIENT_CODES:
            raise StoreUnavailable(f"ClickHouse cannot do this now: {_short(error)}") from error
        raise Failure(f"ClickHouse refuses: {_short(error)}") from error
    except ClickHouseError as error:
        raise Failure(f"ClickHouse client: {_short(error)}") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _parts(rows: Sequence[_Row]) -> Iterable[Sequence[_Row]]:
    return (rows[start : start + MAX_INSERT_ROWS] for start in range(0, len(rows), MAX_INSERT_ROWS))
