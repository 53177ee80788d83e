"""The HTTP side of the embedded endpoint: requests to queries, answers to responses."""

from __future__ import annotations

import base64
import binascii
import email.parser
import email.policy
import hmac
import json
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from infra.clickhouse.compression import BodyTooLargeError, UnknownEncodingError, compress, decompress
from infra.clickhouse.engine import Answer, Engine, EngineError, Query

_MAX_CONNECTIONS: Final = 64
_IDLE_S: Final = 120

# ClickHouse's own table from error code to HTTP status, as far as a reader of data meets the codes.
_STATUS: Final = {
    6: 400, 26: 400, 27: 400, 33: 400, 36: 400, 38: 400, 41: 400, 42: 400, 43: 400, 53: 400, 62: 400, 70: 400, 117: 400,
    456: 400, 457: 400, 46: 404, 47: 404, 50: 404, 56: 404, 60: 404, 73: 404, 81: 404, 115: 404,
    48: 501, 164: 403, 497: 403, 516: 401, 202: 503, 307: 413,
}  # fmt: skip
_AUTHENTICATION_FAILED: Final = 516
_TOO_MANY_BYTES: Final = 307
_BAD_ARGUMENTS: Final = 36
_READONLY: Final = 164
_NOT_IMPLEMENTED: Final = 48

# URL parameters that HTTP itself consumes; every other one is a setting.
_TRANSPORT: Final = frozenset(
    {
        "query", "database", "default_format", "user", "password", "session_id", "session_timeout", "session_check",
        "query_id", "quota_key", "compress", "decompress", "buffer_size", "wait_end_of_query", "role",
        "client_protocol_version", "enable_http_compression", "send_progress_in_http_headers",
        "http_headers_progress_interval_ms", "add_http_cors_header",
    }
)  # fmt: skip
_CONTENT_TYPES: Final = {
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnames": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnamesandtypes": "text/tab-separated-values; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsonstrings": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "arrow": "application/octet-stream",
    "arrowstream": "application/octet-stream",
    "parquet": "application/octet-stream",
}


class EndpointServer(ThreadingHTTPServer):
    """One thread a connection, at most 64 of them; further connections are closed at once."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        engine: Engine,
        *,
        readonly: bool,
        password: str | None,
        max_body: int,
        check_host: bool = True,
    ) -> None:
        self.engine = engine
        self.readonly = readonly
        self.password = password
        self.max_body = max_body
        self.check_host = check_host
        self._connections = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take the connection, or close it when there are too many."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, then free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what is ours; a client that hangs up is its own affair."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "distillwatch"
    timeout = _IDLE_S
    # Headers and body leave in one packet: in two, the second waits for the caller's delayed acknowledgement.
    wbufsize = 64 * 1024
    server: EndpointServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Queries carry account names, so requests are not logged."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in ("/ping", "/replicas_status") or (path == "/" and not urlsplit(self.path).query):
            self._send(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
            return
        # As in ClickHouse itself: what a link or an image tag can send must not change anything.
        self._answer(readonly=True)

    def do_HEAD(self) -> None:
        self._send(200, b"", {"Content-Type": "text/html; charset=UTF-8"})

    def do_POST(self) -> None:
        self._answer(readonly=self.server.readonly)

    def _answer(self, *, readonly: bool) -> None:
        query_id = str(uuid.uuid4())
        try:
            body = self._body()
            self._check_caller()
            query, accept = self._query(body, readonly)
            query_id = self._parameters().get("query_id") or query_id
            answer = self.server.engine.run(query)
        except EngineError as error:
            self._send_error(error, query_id)
            return
        except BodyTooLargeError as error:
            self.close_connection = True
            self._send_error(EngineError(_TOO_MANY_BYTES, str(error)), query_id)
            return
        self._send_answer(answer, query_id, accept)

    def _parameters(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def _check_caller(self) -> None:
        """Loopback is open to every web page that a browser on this machine shows, unless it is closed here."""
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if self.server.check_host and (host not in ("127.0.0.1", "localhost", "::1") or self.headers.get("Origin")):
            raise EngineError(
                _AUTHENTICATION_FAILED, "cross-site requests are refused: call the endpoint by its loopback address"
            )
        if self.server.password is None:
            return
        given = self._given_password()
        if not hmac.compare_digest(given.encode(), self.server.password.encode()):
            raise EngineError(_AUTHENTICATION_FAILED, "Authentication failed: password is incorrect")

    def _given_password(self) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                return base64.b64decode(token, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
        return self.headers.get("X-ClickHouse-Key") or self._parameters().get("password", "")

    def _body(self) -> bytes:
        limit = self.server.max_body
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            raw = self._chunked(limit)
        else:
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit():
                raise EngineError(_BAD_ARGUMENTS, "Content-Length is not a number")
            if int(length) > limit:
                raise BodyTooLargeError(f"the request has {length} bytes, the limit is {limit}")
            raw = self._read(int(length))
        try:
            return decompress(raw, self.headers.get("Content-Encoding", ""), limit)
        except UnknownEncodingError as error:
            raise EngineError(_NOT_IMPLEMENTED, str(error)) from None

    def _chunked(self, limit: int) -> bytes:
        body = bytearray()
        while True:
            size_line = self.rfile.readline(1024).split(b";")[0].strip()
            try:
                size = int(size_line, 16)
            except ValueError:
                self.close_connection = True
                raise EngineError(_BAD_ARGUMENTS, "the request's chunks are damaged") from None
            if len(body) + size > limit:
                raise BodyTooLargeError(f"the request has more than {limit} bytes")
            if size == 0:
                while self.rfile.readline(8192).strip():
                    pass
                return bytes(body)
            body += self._read(size)
            self.rfile.readline(8)

    def _read(self, size: int) -> bytes:
        """Exactly `size` bytes: an insert whose sender died half way must not go in as if it were whole."""
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the caller closed the connection within its request")
        return data

    def _query(self, body: bytes, readonly: bool) -> tuple[Query, str]:
        parameters = self._parameters()
        content_type = self.headers.get("Content-Type", "")
        if content_type.startswith("multipart/form-data"):
            form = _form(content_type, body)
            body = form.pop("query", "").encode()
            parameters.update(form)
        text = parameters.get("query", "").encode()
        text = text + b"\n" + body if text and body else text or body
        if not text.strip():
            raise EngineError(62, "Code: 62. DB::Exception: Syntax error: Empty query. (SYNTAX_ERROR)")
        params = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
        settings = {
            name: value
            for name, value in parameters.items()
            if name not in _TRANSPORT and not name.startswith("param_")
        }
        if readonly and settings.pop("readonly", "1") == "0":
            raise EngineError(_READONLY, "Code: 164. DB::Exception: Cannot modify 'readonly' setting. (READONLY)")
        wants_compression = parameters.get("enable_http_compression") == "1"
        query = Query(
            text=text,
            database=parameters.get("database") or self.headers.get("X-ClickHouse-Database"),
            output_format=parameters.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated",
            settings=settings,
            params=params,
            session=parameters.get("session_id"),
            readonly=readonly,
        )
        return query, self.headers.get("Accept-Encoding", "") if wants_compression else ""

    def _send_answer(self, answer: Answer, query_id: str, accept: str) -> None:
        body, encoding = compress(answer.body, accept)
        summary = {
            "read_rows": answer.rows_read,
            "read_bytes": answer.bytes_read,
            "written_rows": answer.rows_written,
            "written_bytes": answer.bytes_written,
            "total_rows_to_read": answer.rows_read,
            "result_rows": answer.rows_written,
            "elapsed_ns": answer.elapsed_ns,
        }
        headers = {
            "Content-Type": _CONTENT_TYPES.get(answer.output_format.lower(), "text/plain; charset=UTF-8"),
            "X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in summary.items()}),
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Format": answer.output_format,
            "X-ClickHouse-Timezone": self.server.engine.timezone,
        }
        if encoding:
            headers["Content-Encoding"] = encoding
        self._send(200, body, headers)

    def _send_error(self, error: EngineError, query_id: str) -> None:
        text = str(error)
        if not text.startswith("Code: "):
            text = f"Code: {error.code}. DB::Exception: {text}"
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Query-Id": query_id,
        }
        if error.code == _AUTHENTICATION_FAILED and self.server.password is not None:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse"'
        self._send(_STATUS.get(error.code, 500), text.encode() + b"\n", headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            # A query id comes from the caller: a line break in it must not start another header.
            self.send_header(name, value.replace("\r", " ").replace("\n", " "))
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """Fields of a multipart form; clickhouse-connect sends long parameters this way."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise EngineError(_NOT_IMPLEMENTED, "external data (files beside the query) is not supported here")
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload.decode("utf-8", "replace")
    return fields
