"""Fixtures that several folders share: a real Kafka broker, fresh topics, an embedded ClickHouse."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from infra.kafka.broker import Broker, BrokerUnavailable
from infra.topics import create_topics

REQUIRE_KAFKA: Final = "DISTILLWATCH_REQUIRE_KAFKA"
_NO_KAFKA: Final = "NOT RUN: no Kafka broker"

_unavailable = pytest.StashKey[str]()


@dataclass(frozen=True)
class Topics:
    """Topic names of one test: `topics["alerts"]`, and where the broker is."""

    bootstrap: str
    prefix: str
    names: dict[str, str]

    def __getitem__(self, role: str) -> str:
        return self.names[role]


@pytest.fixture(scope="session")
def _broker_or_reason(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Broker | str]:
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
    except BrokerUnavailable as error:
        pytestconfig.stash[_unavailable] = str(error)
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
        message = f"{_NO_KAFKA}: {_broker_or_reason}"
        if os.environ.get(REQUIRE_KAFKA) == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return _broker_or_reason


@pytest.fixture
def topics(kafka_broker: Broker) -> Topics:
    """Fresh topics with a prefix of their own, four partitions on the account topics."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    return Topics(kafka_broker.bootstrap, prefix, create_topics(kafka_broker.bootstrap, prefix=prefix))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A skipped broker is announced at the end of the run, where nobody overlooks it."""
    reason = config.stash.get(_unavailable, None)
    if reason is None:
        return
    reports = [*terminalreporter.getreports("skipped"), *terminalreporter.getreports("error")]
    tests = sorted(report.nodeid for report in reports if _NO_KAFKA in str(report.longrepr))
    terminalreporter.section(f"{_NO_KAFKA}: {reason.splitlines()[0]}", sep="!", red=True, bold=True)
    terminalreporter.write_line(f"{len(tests)} tests need a broker and were not run:")
    for test in tests:
        terminalreporter.write_line(f"  {test}")
