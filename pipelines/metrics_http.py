"""A worker's `/metrics`, `/healthz` and `/readyz`, served from a daemon thread.

`/healthz` answers 200 while the worker's loop gets on, else 503: a supervisor should start it anew. `/readyz` answers
200 while the worker does its work, else 503 and why not: an operator waits, or looks. Only GET is answered, and the
answers hold numbers and fixed words alone.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from pipelines.errors import UsageError
from pipelines.metrics import Board, Worker
from pipelines.settings import MetricsSettings

# The board follows the worker's counters this often; scrapes come more rarely.
_PUBLISH_EVERY_S: Final = 1.0
# A client that does not send its request, or does not take the answer, is let go.
_CLIENT_S: Final = 5.0
_TEXT: Final = (("Content-Type", "text/plain; charset=utf-8"),)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Monitor:
    """What a worker tells about itself: its board, whether its loop gets on, and what it still waits for.

    The worker's loop calls :meth:`beat` and :meth:`due`; the server's threads read.

    Args:
        worker: whose metrics they are.
        stall_s: the loop counts as stuck when it has not got on for so many seconds.
        steady: a clock that never goes back, seconds. wall: seconds since the epoch.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        stall_s: float,
        steady: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.board = Board(worker)
        self._stall_s = stall_s
        self._steady = steady
        self._wall = wall
        self._beat_at = steady()
        self._published_at: float | None = None
        self._waits_for: str | None = "the worker is starting"

    def beat(self) -> None:
        """The loop got on."""
        self._beat_at = self._steady()

    def due(self) -> bool:
        """Is it time to bring the board up to date? At most once a second."""
        now = self._steady()
        if self._published_at is not None and now - self._published_at < _PUBLISH_EVERY_S:
            return False
        self._published_at = now
        return True

    def tell(self, waits_for: str | None) -> None:
        """Say what the worker waits for before it does its work; None where it does it."""
        self._waits_for = waits_for
        self.board.gauge("ready", waits_for is None)
        self.board.gauge("progress_timestamp_seconds", self._wall() - self.silent_s)

    @property
    def silent_s(self) -> float:
        """Seconds since the loop last got on."""
        return self._steady() - self._beat_at

    def health(self) -> tuple[bool, str]:
        """Does the loop get on? With a sentence about it."""
        silent = self.silent_s
        if silent >= self._stall_s:
            return False, f"no progress for {silent:.0f} s"
        return True, "ok"

    def readiness(self) -> tuple[bool, str]:
        """Does the worker do its work? With what is missing."""
        healthy, why = self.health()
        if not healthy:
            return False, why
        return self._waits_for is None, self._waits_for or "ok"


def application(monitor: Monitor) -> Application:
    """The three pages as a WSGI application."""
    from prometheus_client import make_wsgi_app

    metrics: Application = make_wsgi_app(monitor.board.registry)
    checks = {"/healthz": monitor.health, "/readyz": monitor.readiness}

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD", "")
        if path != "/metrics" and path not in checks:
            start("404 Not Found", [*_TEXT])
            return [b"there are /metrics, /healthz and /readyz\n"]
        if method != "GET":
            start("405 Method Not Allowed", [*_TEXT, ("Allow", "GET")])
            return [b"only GET\n"]
        if path == "/metrics":
            return metrics(environ, start)
        good, why = checks[path]()
        start("200 OK" if good else "503 Service Unavailable", [*_TEXT])
        return [f"{why}\n".encode()]

    return answer


@contextlib.contextmanager
def serving(monitor: Monitor, settings: MetricsSettings, worker: Worker, log: Any) -> Iterator[int | None]:
    """Serve a worker's pages while the block runs; yields the port, or None where it is 0 and nothing is served.

    Raises:
        UsageError: the address cannot be bound; with the setting's name.
    """
    port: int = getattr(settings, worker)
    if port == 0:
        yield None
        return
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True
        address_family = _family(settings.host)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away, or was too slow, is no error of the worker's."""
            log.debug("a client of the metrics port went away")

    class Handler(WSGIRequestHandler):
        timeout = _CLIENT_S

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """A scrape every few seconds is no news."""

    try:
        server = make_server(settings.host, port, application(monitor), Server, Handler)
    except OSError as error:
        raise UsageError(
            f"metrics.{worker} (or --metrics-port): {settings.host}:{port} cannot be bound: {error.strerror or error}; "
            "give each worker of a machine a port of its own"
        ) from None
    if not is_loopback(settings.host):
        log.warning("metrics are served beyond this machine, to everybody who reaches the port", host=settings.host)
    log.info("metrics are served", host=settings.host, port=port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def is_loopback(host: str) -> bool:
    """Does only this machine reach the address?

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    return ipaddress.ip_address(host).is_loopback


def _family(host: str) -> int:
    import socket

    return socket.AF_INET6 if ":" in host else socket.AF_INET
