"""The embedded ClickHouse engine (chDB) as an HTTP server needs it: one directory, many callers.

chDB lets any number of connection handles share the one engine of a process; a handle carries the session
state (`USE`, `SET`). A new handle costs about a millisecond, so every call gets a handle of its own and
no setting of one caller ever reaches another.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct

MAX_SESSIONS: Final = 64
SESSION_IDLE_S: Final = 600.0
_CHUNK: Final = 1 << 20
# Engine error codes that this module raises itself, as ClickHouse numbers them.
TOO_MANY_SIMULTANEOUS_QUERIES: Final = 202
NOT_IMPLEMENTED: Final = 48
BAD_ARGUMENTS: Final = 36

_CODE: Final = re.compile(r"Code: (\d+)\.")
_COMMENTS_AND_STRINGS: Final = re.compile(rb"'(?:[^'\\]|\\.|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_CLIENT_FILES: Final = re.compile(rb"\b(?:INTO\s+OUTFILE|FROM\s+INFILE)\b", re.IGNORECASE)
_SETTING: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_FORMAT_AT_END: Final = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT: Final = re.compile(
    rb"^\s*(?P<head>INSERT\s+INTO\b(?:(?!\b(?:SELECT|VALUES)\b).)*?)\bFORMAT\s+(?P<format>\w+)"
    rb"(?:[ \t]*\r?\n|\s*;?\s*$)",
    re.IGNORECASE | re.DOTALL,
)
# The insert head is text; data follows it. No statement head is longer than this.
_MAX_HEAD: Final = 64 * 1024


class EngineError(Exception):
    """A query failed; `code` is ClickHouse's number for the reason."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Query(Struct, kw_only=True, frozen=True):
    """One statement as a caller sent it; `text` may carry inserted data after its FORMAT clause."""

    text: bytes
    database: str | None = None
    output_format: str = "TabSeparated"
    settings: Mapping[str, str] = {}
    params: Mapping[str, str] = {}
    session: str | None = None
    readonly: bool = False


class Answer(Struct, kw_only=True, frozen=True):
    """What the engine returned, and its counts for the summary header."""

    body: bytes
    output_format: str
    rows_read: int = 0
    bytes_read: int = 0
    rows_written: int = 0
    bytes_written: int = 0
    elapsed_ns: int = 0


class _Session:
    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.lock = threading.Lock()
        self.users = 0
        self.used = 0.0


class Engine:
    """One chDB directory. Thread-safe; at most `max_queries` run at once, others wait up to `queue_s` seconds.

    Raises:
        EngineError: on construction when another process has the directory open.
    """

    def __init__(
        self, path: str, *, max_queries: int = 8, queue_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        import chdb

        self._connect: Any = chdb.connect
        self._path = path
        self._queue_s = queue_s
        self._clock = clock
        self._slots = threading.BoundedSemaphore(max_queries)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._sessions_lock = threading.Lock()
        # Held for the engine's life: when the last handle closes, chDB shuts the engine down.
        self._keeper = self._open()
        first = self.run(Query(text=b"SELECT timezone(), version()")).body.decode().rstrip("\n").split("\t")
        self.timezone, self.version = first

    def close(self) -> None:
        """Close every session and the engine."""
        with self._sessions_lock:
            sessions = list(self._sessions.values())
            self._sessions.clear()
        for session in sessions:
            with session.lock:
                session.handle.close()
        self._keeper.close()

    def run(self, query: Query) -> Answer:
        """Run one statement.

        Raises:
            EngineError: whatever ClickHouse has against it.
        """
        if _CLIENT_FILES.search(_COMMENTS_AND_STRINGS.sub(b" ", query.text[:_MAX_HEAD])):
            raise EngineError(
                NOT_IMPLEMENTED, "INTO OUTFILE and FROM INFILE belong to the client and do not work over HTTP"
            )
        if not self._slots.acquire(timeout=self._queue_s):
            raise EngineError(TOO_MANY_SIMULTANEOUS_QUERIES, "too many simultaneous queries; try again")
        try:
            with self._handle(query.session) as handle:
                self._prepare(handle, query)
                return self._execute(handle, query)
        finally:
            self._slots.release()

    def _open(self) -> Any:
        try:
            return self._connect(self._path)
        except RuntimeError as error:
            raise EngineError(BAD_ARGUMENTS, f"could not open {self._path}: {error}") from None

    @contextmanager
    def _handle(self, name: str | None) -> Iterator[Any]:
        if name is None:
            handle = self._open()
            try:
                yield handle
            finally:
                handle.close()
            return
        session = self._enter(name)
        try:
            with session.lock:
                yield session.handle
        finally:
            with self._sessions_lock:
                session.users -= 1
                session.used = self._clock()

    def _enter(self, name: str) -> _Session:
        """The named session, counted as in use; idle ones end after ten minutes, or when there are too many."""
        with self._sessions_lock:
            now = self._clock()
            for other, session in list(self._sessions.items()):
                crowded = len(self._sessions) >= MAX_SESSIONS and name not in self._sessions
                if other != name and session.users == 0 and (crowded or now - session.used > SESSION_IDLE_S):
                    del self._sessions[other]
                    session.handle.close()
            if name not in self._sessions:
                if len(self._sessions) >= MAX_SESSIONS:
                    raise EngineError(TOO_MANY_SIMULTANEOUS_QUERIES, f"more than {MAX_SESSIONS} sessions are busy")
                self._sessions[name] = _Session(self._open())
            self._sessions.move_to_end(name)
            found = self._sessions[name]
            found.users += 1
            return found

    def _prepare(self, handle: Any, query: Query) -> None:
        if query.database:
            quoted = query.database.replace("\\", "\\\\").replace("`", "\\`")
            _call(lambda: handle.query(f"USE `{quoted}`", "TabSeparated"))
        settings = dict(query.settings)
        if query.readonly:
            # 2 forbids writes and DDL yet lets the caller set limits and formats.
            settings["readonly"] = "2"
        for name, value in settings.items():
            if not _SETTING.match(name):
                raise EngineError(BAD_ARGUMENTS, f"not a setting name: {name!r}")
            quoted = value.replace("\\", "\\\\").replace("'", "\\'")
            _call(lambda sql=f"SET {name} = '{quoted}'": handle.query(sql, "TabSeparated"))  # type: ignore[misc]

    def _execute(self, handle: Any, query: Query) -> Answer:
        started = time.perf_counter_ns()
        insert = _INSERT.match(query.text[:_MAX_HEAD])
        if insert is not None:
            if query.readonly:
                raise EngineError(164, "Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)")
            return self._insert(handle, insert, memoryview(query.text)[insert.end() :], started)
        result = _call(
            lambda: handle.query(_as_text(query.text), query.output_format, params=dict(query.params) or None)
        )
        found = _FORMAT_AT_END.search(query.text[-256:])
        return Answer(
            body=result.bytes() if result.size() else b"",
            output_format=found.group(1).decode() if found else query.output_format,
            rows_read=result.rows_read(),
            bytes_read=result.bytes_read(),
            rows_written=result.rows_written(),
            bytes_written=result.bytes_written(),
            elapsed_ns=time.perf_counter_ns() - started,
        )

    def _insert(self, handle: Any, insert: re.Match[bytes], data: memoryview, started: int) -> Answer:
        # The data goes in beside the statement: as part of it, blank lines and semicolons would end it.
        inserter = _call(lambda: handle.send_insert(insert["head"].decode(), insert["format"].decode()))

        def send() -> Any:
            for start in range(0, len(data), _CHUNK):
                inserter.append(bytes(data[start : start + _CHUNK]))
            return inserter.finish()

        try:
            done = _call(send)
        finally:
            inserter.close()
        return Answer(
            body=b"",
            output_format="TabSeparated",
            rows_written=done.rows_written,
            bytes_written=done.bytes_written,
            elapsed_ns=time.perf_counter_ns() - started,
        )


def _as_text(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise EngineError(BAD_ARGUMENTS, f"the statement is not UTF-8 (byte {error.start})") from None


def _call(action: Callable[[], Any]) -> Any:
    """Run `action`, turning chDB's errors (`ChdbError`, `RuntimeError`) into ours."""
    import chdb

    try:
        return action()
    except (chdb.ChdbError, RuntimeError) as error:
        message = str(error)
        found = _CODE.search(message)
        start = found.start() if found else 0
        raise EngineError(int(found.group(1)) if found else 1002, message[start:].strip()) from None
