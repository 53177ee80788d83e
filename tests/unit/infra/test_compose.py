"""The compose file: it parses, hangs together, holds no secret and binds loopback."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.jars import POM
from infra.topics import load_topics

yaml = pytest.importorskip("yaml", reason="NOT RUN: PyYAML is missing; `make install` brings it")

COMPOSE = POM.parents[1] / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_services_depend_on_services_that_are_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"kafka", "clickhouse", "topics", "detect", "correlate", "sink"}
    for service in services.values():
        for other, wanted in service.get("depends_on", {}).items():
            condition = wanted["condition"]
            assert other in services
            assert condition == "service_completed_successfully" or "healthcheck" in services[other]
    for service in services.values():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]
    context = COMPOSE.parent / services["detect"]["build"]["context"]
    assert (context / services["detect"]["build"]["dockerfile"]).is_file()


def test_ports_are_loopback_and_secrets_come_from_the_environment(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY", name):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value), f"{name} must come from the environment"


def test_the_broker_is_the_one_that_tests_run_on(compose: dict[str, Any]) -> None:
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([\d.]+)<", POM.read_text())
    kafka = compose["services"]["kafka"]
    assert version is not None
    assert kafka["image"] == f"apache/kafka:{version[1]}"
    largest = max(int(topic.config["max.message.bytes"]) for topic in load_topics().values())
    assert int(kafka["environment"]["KAFKA_MESSAGE_MAX_BYTES"]) > largest


def test_the_image_copies_what_exists() -> None:
    root = COMPOSE.parents[1]
    sources = [
        name
        for line in (COMPOSE.parent / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for name in line.split()[1:-1]
    ]
    assert len(sources) >= 5
    for name in sources:
        assert (root / Path(name)).exists(), f"Dockerfile copies {name}, which is not there"


def test_worker_commands_are_commands(compose: dict[str, Any]) -> None:
    from pipelines.cli import COMMANDS

    for name in ("topics", "detect", "correlate", "sink"):
        assert compose["services"][name]["command"][0] in COMMANDS
