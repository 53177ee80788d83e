"""The HTTP endpoint in front of the embedded engine, as clickhouse-connect, curl and a BI tool see it."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.conftest import Endpoint

pytestmark = pytest.mark.integration


def ask(
    endpoint: Endpoint, body: bytes | None = None, *, headers: dict[str, str] | None = None, **parameters: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """One plain HTTP call; errors are answers too."""
    url = f"{endpoint.url}/?{urlencode(parameters)}" if parameters else f"{endpoint.url}/"
    request = urllib.request.Request(url, data=body, headers=headers or {})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def test_clickhouse_connect_writes_and_reads(clickhouse_endpoint: Endpoint) -> None:
    with clickhouse_endpoint.client() as client:
        assert client.ping()
        client.command("CREATE TABLE t (a Int64, b String, c Nullable(Float64)) ENGINE = MergeTree ORDER BY a")
        # More than one block, with everything in it that could end a statement.
        rows = [[number, "x;\n\n'" * 20, None] for number in range(40_000)]
        assert client.insert("t", rows, column_names=["a", "b", "c"]).written_rows == 40_000
        table = pa.table({"a": [-1, -2], "b": ["y", "z"], "c": [0.5, None]})
        assert client.insert_arrow("t", table).written_rows == 2
        assert client.raw_insert("t", column_names=["a"], insert_block=b"-3\n-4\n", fmt="CSV").written_rows == 2
        frame = client.query_df("SELECT count() AS n, sum(length(b)) AS size, countIf(c IS NULL) AS empty FROM t")
        assert frame.to_dict("records") == [{"n": 40_004, "size": 40_000 * 100 + 2, "empty": 40_003}]
        assert client.query("SELECT a FROM t WHERE a < 0 ORDER BY a").result_rows == [(-4,), (-3,), (-2,), (-1,)]
        assert client.query("SELECT * FROM t LIMIT 0").column_names == ("a", "b", "c")
        assert client.query_arrow("SELECT a FROM t WHERE a = 7").to_pylist() == [{"a": 7}]
        assert len(client.query("SELECT a, b FROM t").result_rows) == 40_004


@pytest.mark.parametrize("compress", [True, False, "lz4", "zstd", "gzip"])
def test_each_compression_of_the_client(shared_endpoint: Endpoint, compress: bool | str) -> None:
    with shared_endpoint.client(compress=compress) as client:
        client.command("CREATE OR REPLACE TABLE t (a Int64, b String) ENGINE = MergeTree ORDER BY a")
        client.insert("t", [[number, "abc" * 30] for number in range(20_000)], column_names=["a", "b"])
        assert client.query("SELECT count(), uniqExact(a) FROM t").result_rows == [(20_000, 20_000)]
        assert len(client.query("SELECT b FROM t").result_rows) == 20_000


@pytest.mark.parametrize("value", ["it's", "tab\tand\nline", "back\\slash", "", "ünï", "z" * 100_000])
def test_parameters_arrive_as_they_are(shared_endpoint: Endpoint, value: str) -> None:
    with shared_endpoint.client() as client:
        rows = client.query(
            "SELECT {value:String} AS v, {n:UInt8} + 1", parameters={"value": value, "n": 4}
        ).result_rows
        assert rows == [(value, 5)]
        arrays = client.query("SELECT {names:Array(String)} AS v", parameters={"names": ["a'b", value]}).result_rows
        assert arrays == [(["a'b", value],)]


def test_curl_formats_headers_and_parameters(clickhouse_endpoint: Endpoint) -> None:
    assert ask(clickhouse_endpoint)[1] == b"Ok.\n"
    status, body, headers = ask(clickhouse_endpoint, b"SELECT number, 'x' FROM numbers(2)")
    assert (status, body) == (200, b"0\tx\n1\tx\n")
    assert headers["Content-Type"].startswith("text/tab-separated-values")
    assert headers["X-ClickHouse-Format"] == "TabSeparated"
    assert json.loads(headers["X-ClickHouse-Summary"])["read_rows"] == "2"
    _, body, headers = ask(clickhouse_endpoint, query="SELECT 1 AS a FORMAT JSON", query_id="q-7")
    assert json.loads(body)["data"] == [{"a": 1}]
    assert headers["Content-Type"].startswith("application/json")
    assert headers["X-ClickHouse-Query-Id"] == "q-7"
    assert ask(clickhouse_endpoint, b"SELECT {x:UInt8} * 2", param_x="21")[1] == b"42\n"
    assert ask(clickhouse_endpoint, b"SELECT 1 AS a", default_format="JSONEachRow")[1] == b'{"a":1}\n'
    assert ask(clickhouse_endpoint, b"SELECT getSetting('max_threads')", max_threads="3")[1] == b"3\n"
    assert ask(clickhouse_endpoint, b"SELECT getSetting('max_threads')", max_threads="2")[1] == b"2\n"
    packed = gzip.compress(b"SELECT 5")
    assert ask(clickhouse_endpoint, packed, headers={"Content-Encoding": "gzip"})[1] == b"5\n"
    query = b"SELECT repeat('a', 10000)"
    _, body, headers = ask(clickhouse_endpoint, query, headers={"Accept-Encoding": "gzip"}, enable_http_compression="1")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == b"a" * 10_000 + b"\n"


def test_inserts_as_curl_sends_them(clickhouse_endpoint: Endpoint) -> None:
    assert ask(clickhouse_endpoint, b"CREATE TABLE t (a Int32, b String) ENGINE = MergeTree ORDER BY a")[0] == 200
    # A blank line and a semicolon within the data are data.
    assert ask(clickhouse_endpoint, b"INSERT INTO t FORMAT TSV\n1\tx;y\n2\t\n3\t\\n\n")[0] == 200
    assert ask(clickhouse_endpoint, b"INSERT INTO t VALUES (4, 'v')")[0] == 200
    _, _, headers = ask(clickhouse_endpoint, b"5,c\n6,d\n", query="INSERT INTO t (a, b) FORMAT CSV")
    assert json.loads(headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert ask(clickhouse_endpoint, b"INSERT INTO t SELECT 7, 's'")[0] == 200
    rows = ask(clickhouse_endpoint, b"SELECT a, b FROM t ORDER BY a FORMAT JSONCompactEachRow")[1].splitlines()
    assert [json.loads(row) for row in rows] == [
        [1, "x;y"], [2, ""], [3, "\n"], [4, "v"], [5, "c"], [6, "d"], [7, "s"],
    ]  # fmt: skip
    status, body, _ = ask(clickhouse_endpoint, b"INSERT INTO t FORMAT CSV\n8,fine\nnine,bad\n")
    assert status == 400
    assert b"CANNOT_PARSE" in body
    assert ask(clickhouse_endpoint, b"SELECT count() FROM t")[1] == b"7\n"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        (b"SELEC 1", 400, "62"),
        (b"SELECT * FROM nowhere", 404, "60"),
        (b"SELECT nothing FROM numbers(1)", 404, "47"),
        (b"SELECT throwIf(1)", 500, "395"),
        (b"   ", 400, "62"),
        (b"SELECT 1 INTO OUTFILE 'x.tsv'", 501, "48"),
        (b"SELECT 1 /* */ into\noutfile 'x.tsv'", 501, "48"),
        (b"SELECT \xff\xfe", 400, "36"),
    ],
)
def test_errors_carry_the_code(shared_endpoint: Endpoint, query: bytes, status: int, code: str) -> None:
    answer, body, headers = ask(shared_endpoint, query)
    assert (answer, headers["X-ClickHouse-Exception-Code"]) == (status, code)
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())


def test_errors_reach_the_client_library(shared_endpoint: Endpoint) -> None:
    with shared_endpoint.client() as client:
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            client.query("SELECT * FROM nowhere")
        with pytest.raises(DatabaseError, match="UNKNOWN_SETTING"):
            client.raw_query("SELECT 1", settings={"no_such_setting": "1"})
        assert client.command("SELECT 6") == 6
    assert ask(shared_endpoint, b"SELECT 'INTO OUTFILE'")[1] == b"INTO OUTFILE\n"


def test_a_session_keeps_its_state_and_others_do_not_see_it(shared_endpoint: Endpoint) -> None:
    assert ask(shared_endpoint, b"CREATE TEMPORARY TABLE mine AS SELECT 7 AS x", session_id="s1")[0] == 200
    assert ask(shared_endpoint, b"SELECT x FROM mine", session_id="s1")[1] == b"7\n"
    assert ask(shared_endpoint, b"SELECT x FROM mine", session_id="s2")[0] == 404
    assert ask(shared_endpoint, b"SELECT x FROM mine")[0] == 404
    for number in range(100):
        assert ask(shared_endpoint, b"SELECT 1", session_id=f"many{number}")[0] == 200


def test_callers_do_not_wait_for_each_other(clickhouse_endpoint: Endpoint) -> None:
    ask(clickhouse_endpoint, b"CREATE TABLE t (worker Int32, n Int32) ENGINE = MergeTree ORDER BY n")
    results: list[int] = []
    barrier = threading.Barrier(6)

    def work(worker: int) -> None:
        with clickhouse_endpoint.client() as client:
            barrier.wait(30)
            for number in range(10):
                client.insert("t", [[worker, number]], column_names=["worker", "n"])
                found = client.query("SELECT count() FROM t WHERE worker = {w:Int32}", parameters={"w": worker})
                results.append(found.result_rows[0][0] - number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # Each worker sees its own inserts at once.
    assert results == [1] * 60
    assert ask(clickhouse_endpoint, b"SELECT count() FROM t")[1] == b"60\n"


def test_what_a_link_can_send_changes_nothing(clickhouse_endpoint: Endpoint) -> None:
    ask(clickhouse_endpoint, b"CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
    for query in ("DROP TABLE t", "INSERT INTO t VALUES (1)", "INSERT INTO t FORMAT CSV", "SET readonly = 0"):
        status, _, headers = ask(clickhouse_endpoint, query=query)
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "164")
    assert ask(clickhouse_endpoint, query="SELECT 1", readonly="0")[0] == 403
    assert ask(clickhouse_endpoint, b"SELECT count() FROM t")[1] == b"0\n"


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_web_pages_cannot_call_it(shared_endpoint: Endpoint, headers: dict[str, str]) -> None:
    assert ask(shared_endpoint, b"SELECT 1", headers=headers)[0] == 401


def test_readonly_endpoint(make_endpoint: Callable[..., Endpoint], tmp_path: Path) -> None:
    writable = make_endpoint(path=tmp_path / "shared")
    ask(writable, b"CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
    ask(writable, b"INSERT INTO t VALUES (1)")
    assert writable.stop() == 0
    readonly = make_endpoint("--readonly", path=tmp_path / "shared")
    assert ask(readonly, b"SELECT a FROM t")[1] == b"1\n"
    for query in (b"INSERT INTO t VALUES (2)", b"INSERT INTO t FORMAT CSV\n2\n", b"DROP TABLE t", b"SET readonly = 0"):
        assert ask(readonly, query)[0] == 403
    assert ask(readonly, b"SELECT 1", readonly="0")[0] == 403
    with readonly.client() as client:
        assert client.query("SELECT a FROM t").result_rows == [(1,)]


def test_password(make_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = make_endpoint(environment={"DISTILLWATCH_CLICKHOUSE_PASSWORD": "open sesame"})
    assert ask(endpoint, b"SELECT 1")[0] == 401
    assert ask(endpoint, b"SELECT 1", headers={"X-ClickHouse-Key": "wrong"})[0] == 401
    assert ask(endpoint, b"SELECT 1", headers={"Authorization": "Basic !!"})[0] == 401
    assert ask(endpoint, b"SELECT 1", headers={"X-ClickHouse-Key": "open sesame"})[1] == b"1\n"
    with endpoint.client(username="anyone", password="open sesame") as client:
        assert client.command("SELECT 1") == 1


def test_large_and_damaged_bodies_are_refused(make_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = make_endpoint("--max-body-mb", "1")
    bomb = gzip.compress(b"SELECT 1" + b" " * 5_000_000)
    assert ask(endpoint, bomb, headers={"Content-Encoding": "gzip"})[0] == 413
    assert ask(endpoint, b"SELECT 1", headers={"Content-Encoding": "br"})[0] == 501
    assert ask(endpoint, b"SELECT 1", headers={"Content-Encoding": "gzip"})[0] == 501
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as connection:
        chunk = b"SELECT 3"
        connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(chunk), chunk))
        answer = b""
        while b"\r\n\r\n3\n" not in answer and (received := connection.recv(4096)):
            answer += received
        assert answer.endswith(b"\r\n\r\n3\n")


def test_an_insert_cut_off_half_way_leaves_nothing(clickhouse_endpoint: Endpoint) -> None:
    ask(clickhouse_endpoint, b"CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
    with socket.create_connection(("127.0.0.1", clickhouse_endpoint.port), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n")
        connection.sendall(b"INSERT INTO t FORMAT CSV\n1\n2\n3\n")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(64) == b""
    assert ask(clickhouse_endpoint, b"SELECT count() FROM t")[1] == b"0\n"


def test_data_survives_a_stop_and_a_second_process_is_told(clickhouse_endpoint: Endpoint) -> None:
    ask(clickhouse_endpoint, b"CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
    ask(clickhouse_endpoint, b"INSERT INTO t VALUES (1)")
    command = [
        sys.executable,
        "-m",
        "infra.clickhouse.endpoint",
        "--path",
        str(clickhouse_endpoint.path),
        "--port",
        "0",
    ]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "One process may open" in second.stderr
    assert clickhouse_endpoint.stop() == 0
    clickhouse_endpoint.start()
    assert ask(clickhouse_endpoint, b"SELECT a FROM t")[1] == b"1\n"


@pytest.mark.parametrize("options", [[], ["--allow-remote"]])
def test_other_addresses_need_a_word_and_a_password(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "infra.clickhouse.endpoint", "--path", str(tmp_path / "x")]
    command += ["--host", "192.0.2.1", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "allow-remote" in done.stderr
    assert not (tmp_path / "x").exists()
