"""Fixtures that several folders share: a real Kafka broker, fresh topics, an embedded ClickHouse."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from infra.kafka.broker import Broker, BrokerUnavailable, free_port
from infra.processes import spawn, stop, tail
from infra.topics import create_topics

REQUIRE_KAFKA: Final = "DISTILLWATCH_REQUIRE_KAFKA"
_NO_KAFKA: Final = "NOT RUN: no Kafka broker"


def pytest_configure(config: pytest.Config) -> None:
    """kafka-python reads its protocol files through two functions that Python 3.11 deprecates."""
    for name in ("read_text", "open_text"):
        config.addinivalue_line("filterwarnings", f"ignore:{name} is deprecated:DeprecationWarning")


@dataclass(frozen=True)
class Topics:
    """Topic names of one test: `topics["alerts"]`, and where the broker is."""

    bootstrap: str
    prefix: str
    names: dict[str, str]

    def __getitem__(self, role: str) -> str:
        return self.names[role]


@pytest.fixture(scope="session")
def _broker_or_reason(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker | str]:
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
    except BrokerUnavailable as error:
        yield str(error)
        return
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka_broker(_broker_or_reason: Broker | str) -> Broker:
    """A running Apache Kafka, one for the whole test run; `.bootstrap` says where.

    Without Java, Maven or a Maven repository the tests that need it are skipped, and the run's summary
    says so; with DISTILLWATCH_REQUIRE_KAFKA=1 they fail instead.
    """
    if isinstance(_broker_or_reason, str):
        no_kafka(_broker_or_reason)
    return _broker_or_reason


def no_kafka(reason: str) -> NoReturn:
    """Skip a test that needs a broker, or fail it where a broker has to be there."""
    message = f"{_NO_KAFKA}: {reason}"
    if os.environ.get(REQUIRE_KAFKA) == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture
def topics(kafka_broker: Broker) -> Topics:
    """Fresh topics with a prefix of their own, four partitions on the account topics."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    return Topics(kafka_broker.bootstrap, prefix, create_topics(kafka_broker.bootstrap, prefix=prefix))


class Endpoint:
    """The ClickHouse endpoint as a child process: its own chDB directory, `.url`, `.port`, stop and start."""

    def __init__(self, path: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.path = path
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = path.with_suffix(".log")
        self._options = options
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "infra.clickhouse.endpoint", "--path", str(self.path)]
        command += ["--port", str(self.port), *self._options]
        self._process = spawn(command, log=self.log, environment=self._environment)
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=5):  # noqa: S310 - loopback
                    return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"the ClickHouse endpoint did not start:\n{tail(self.log)}")
                time.sleep(0.05)

    def stop(self) -> int:
        code = stop(self._process) if self._process is not None else 0
        self._process = None
        return code

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self.stop()

    @property
    def dsn(self) -> str:
        return f"{self.url}/default"

    def client(self, **options: Any) -> Client:
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.port, autogenerate_session_id=False, **options)


@pytest.fixture
def make_endpoint(tmp_path: Path) -> Iterator[Callable[..., Endpoint]]:
    """`make_endpoint("--readonly", path=…, environment=…)`: started endpoints, stopped after the test."""
    started: list[Endpoint] = []

    def make(*options: str, path: Path | None = None, environment: dict[str, str] | None = None) -> Endpoint:
        endpoint = Endpoint(path or tmp_path / f"chdb{len(started)}", *options, environment=environment)
        started.append(endpoint)
        endpoint.start()
        return endpoint

    yield make
    for endpoint in started:
        endpoint.stop()


@pytest.fixture(scope="session")
def shared_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One endpoint for all tests that leave nothing behind that another one would notice."""
    endpoint = Endpoint(tmp_path_factory.mktemp("clickhouse") / "chdb")
    endpoint.start()
    yield endpoint
    endpoint.stop()


@pytest.fixture
def clickhouse_endpoint(make_endpoint: Callable[..., Endpoint]) -> Endpoint:
    """One endpoint with an empty directory, for one test.

    The engine lives in the child: one process opens one directory, so tests never open chDB themselves.
    """
    return make_endpoint()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A missing broker is announced at the end of the run, where nobody overlooks it."""
    reports = [*terminalreporter.getreports("skipped"), *terminalreporter.getreports("error")]
    tests = {report.nodeid: str(report.longrepr) for report in reports if _NO_KAFKA in str(report.longrepr)}
    if not tests:
        return
    reason = next(iter(tests.values())).split(_NO_KAFKA, 1)[1].splitlines()[0].strip("'\")")
    terminalreporter.section(f"{_NO_KAFKA}{reason}", sep="!", red=True, bold=True)
    terminalreporter.write_line(f"{len(tests)} tests need a broker and were not run:")
    for test in sorted(tests):
        terminalreporter.write_line(f"  {test}")
