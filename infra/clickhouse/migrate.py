"""Migrations of the ClickHouse schema: numbered SQL files, each applied once, none edited afterwards."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from string import Template
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

MIGRATIONS: Final = Path(__file__).with_name("migrations")
_NAME: Final = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_DAYS: Final = re.compile(r"toIntervalDay\((\d+)\)")
_COMMENT_LINE: Final = re.compile(r"^\s*--.*\n?", re.MULTILINE)


class MigrationError(RuntimeError):
    """The files and the database do not fit together; the message names the file and the remedy."""


Days = Annotated[int, Meta(ge=1, le=3650)]


class SchemaOptions(Struct, kw_only=True, frozen=True):
    """How a deployment wants its tables.

    `replacing` is the table engine: `ReplicatedReplacingMergeTree` on a cluster, together with `cluster`, the
    name that `ON CLUSTER` takes. The days are how long rows are kept after they were written.
    """

    replacing: str = "ReplacingMergeTree"
    cluster: str | None = None
    alert_days: Days = 730
    signal_days: Days = 90
    activity_days: Days = 90

    def values(self) -> dict[str, Any]:
        """The values of the placeholders in the SQL files."""
        on_cluster = f"ON CLUSTER `{self.cluster}`" if self.cluster else ""
        return {**msgspec.structs.asdict(self), "on_cluster": on_cluster}


# Which option says how long a table's rows live.
_RETENTION: Final = {
    "alerts": "alert_days",
    "alert_accounts": "alert_days",
    "signals": "signal_days",
    "activity": "activity_days",
    "dead_letters": "signal_days",
}


def migrate(client: Any, options: SchemaOptions | None = None, *, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the migrations that the database lacks, in order; return the names of those applied.

    Safe to run from several workers at once and after a crash: statements say IF NOT EXISTS, and a file counts
    as applied only when all of its statements went through. Afterwards the tables' TTL is made that of
    `options`, so that a changed retention reaches tables that exist.

    Args:
        client: a clickhouse-connect client.

    Raises:
        MigrationError: an applied file was edited or is missing, or a file's name does not fit.
    """
    options = SchemaOptions() if options is None else options
    values = options.values()
    files = _files(folder)
    _make_record(client, values)
    applied = _applied(client)
    _check(files, applied, folder)
    done = []
    for name, text in files.items():
        if name in applied:
            continue
        for statement in statements(text, values):
            client.command(statement)
        client.command(
            "INSERT INTO schema_migrations (name, checksum) VALUES ({name:String}, {checksum:String})",
            parameters={"name": name, "checksum": _checksum(text)},
        )
        done.append(name)
    if folder == MIGRATIONS:
        _apply_retention(client, values)
    return done


def statements(text: str, values: dict[str, Any]) -> list[str]:
    """The statements of a file with its `${placeholders}` filled in; a statement ends with `;` at a line's end.

    >>> statements("CREATE TABLE a ${on_cluster} (b Int8);\\n-- note;\\nDROP TABLE c;\\n", {"on_cluster": ""})
    ['CREATE TABLE a  (b Int8)', 'DROP TABLE c']
    """
    filled = Template(_COMMENT_LINE.sub("", text)).substitute(values)
    return [part.strip() for part in re.split(r";[ \t]*(?:\n|$)", filled) if part.strip()]


def _files(folder: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    numbers: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: a migration is called NNNN_words.sql, as 0005_add_column.sql")
        if match[1] in numbers:
            raise MigrationError(f"{path.name}: the number is taken by {numbers[match[1]]}; take the next free one")
        numbers[match[1]] = path.name
        files[path.name] = path.read_text(encoding="utf-8")
    return files


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _make_record(client: Any, values: dict[str, Any]) -> None:
    client.command(
        f"CREATE TABLE IF NOT EXISTS schema_migrations {values['on_cluster']} "
        "(name String, checksum String, applied_at DateTime('UTC') DEFAULT now('UTC')) "
        f"ENGINE = {values['replacing']} ORDER BY (name, checksum)"
    )


def _applied(client: Any) -> dict[str, str]:
    rows = client.query("SELECT name, checksum FROM schema_migrations FINAL ORDER BY applied_at").result_rows
    return {str(name): str(checksum) for name, checksum in rows}


def _check(files: dict[str, str], applied: dict[str, str], folder: Path) -> None:
    for name, checksum in applied.items():
        if name not in files:
            raise MigrationError(
                f"{folder.name}/{name}: applied to this database, but there is no such file; "
                "is this an older version of distillwatch than the one that made the database?"
            )
        if _checksum(files[name]) != checksum:
            raise MigrationError(
                f"{folder.name}/{name}: edited after it was applied to this database; "
                "restore the file and put the change into a new migration"
            )


def _apply_retention(client: Any, values: dict[str, Any]) -> None:
    rows = client.query("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()").result_rows
    for table, engine in rows:
        option = _RETENTION.get(table)
        found = _DAYS.search(engine) if option else None
        if option is None or found is None or int(found[1]) == values[option]:
            continue
        expression = engine[engine.index(" TTL ") + 5 :].split(" SETTINGS ")[0]
        changed = _DAYS.sub(f"toIntervalDay({values[option]})", expression)
        client.command(f"ALTER TABLE {table} {values['on_cluster']} MODIFY TTL {changed}")
