"""A loopback HTTP endpoint in front of one embedded ClickHouse directory.

The embedded engine lets one process open a directory. This endpoint is that process, and speaks enough of
ClickHouse's HTTP interface for clickhouse-connect, curl and BI tools, so that workers write and analysts
read at the same time:

    python -m infra.clickhouse.endpoint --path build/clickhouse --port 8123
    curl http://127.0.0.1:8123/ -d 'SELECT count() FROM alerts_current'

ClickHouse's embedded engine may read every file that its user may read (`file()` and the like), also with
`--readonly`; so the endpoint binds loopback, refuses browsers' cross-site requests, and asks for a password
when DISTILLWATCH_CLICKHOUSE_PASSWORD is set.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final, TextIO

from infra.clickhouse.engine import Engine, EngineError
from infra.clickhouse.http import EndpointServer

PASSWORD_VARIABLE: Final = "DISTILLWATCH_CLICKHOUSE_PASSWORD"  # noqa: S105 (its name, not its value)
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code (2: wrong use, 1: the directory is taken)."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.clickhouse.endpoint", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--path", type=Path, required=True, help="directory of the embedded engine, made if absent")
    parser.add_argument("--port", type=int, default=8123, help="0 takes a free port")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind")
    parser.add_argument("--allow-remote", action="store_true", help="allow an address that is not loopback")
    parser.add_argument("--readonly", action="store_true", help="refuse inserts and changes of tables")
    parser.add_argument("--max-body-mb", type=int, default=256, help="largest request, also after decompression")
    options = parser.parse_args(arguments)
    password = _password()
    if options.host not in LOOPBACK and not options.allow_remote:
        _write(sys.stderr, f"{options.host} is not loopback; give --allow-remote if others shall reach this database")
        return 2
    if options.allow_remote and password is None:
        _write(sys.stderr, f"--allow-remote needs a password in {PASSWORD_VARIABLE}")
        return 2
    stop = threading.Event()
    try:
        options.path.mkdir(parents=True, exist_ok=True)
        engine = Engine(str(options.path.resolve()))
    except (EngineError, OSError) as error:
        _write(
            sys.stderr, f"{error}\nOne process may open an embedded directory: is another endpoint or replay using it?"
        )
        return 1
    # After the engine: it installs handlers of its own while it starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = EndpointServer(
            (options.host, options.port),
            engine,
            readonly=options.readonly,
            password=password,
            max_body=options.max_body_mb * 1024 * 1024,
            check_host=not options.allow_remote,
        )
    except OSError as error:
        engine.close()
        _write(sys.stderr, f"could not listen on {options.host}:{options.port}: {error}")
        return 2
    with server:
        _write(sys.stdout, f"ClickHouse endpoint at http://{options.host}:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, name="endpoint")
        thread.start()
        stop.wait()
        server.shutdown()
        thread.join()
    engine.close()
    return 0


def _password() -> str | None:
    file = os.environ.get(f"{PASSWORD_VARIABLE}_FILE")
    return os.environ.get(PASSWORD_VARIABLE) or (Path(file).read_text().rstrip("\r\n") if file else None) or None


def _write(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
