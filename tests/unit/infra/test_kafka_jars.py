"""Finding Java and Kafka's jars, and saying what is missing."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from infra.kafka.broker import Broker
from infra.kafka.jars import POM, BrokerUnavailable, find_java, resolve_jars


def fake_maven(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / "mvn"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


COPY = """
for a in "$@"; do case "$a" in -DoutputDirectory=*) d="${a#*=}";; esac; done
echo run >> "$COUNT"
touch "$d/kafka_2.13-4.3.1.jar"
"""


def test_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BrokerUnavailable, match="java is not on PATH; install a Java 17"):
        find_java()
    with pytest.raises(BrokerUnavailable, match="java is not on PATH"):
        Broker(tmp_path / "data").start()
    assert not (tmp_path / "data").exists()


def test_without_maven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerUnavailable, match=r"mvn is not on PATH and .* holds no Kafka jars"):
        resolve_jars(tmp_path / "libs")
    assert list(tmp_path.iterdir()) == []


def test_maven_that_cannot_resolve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_maven(tmp_path / "bin", 'echo "[ERROR] Could not transfer artifact org.apache.kafka"; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(BrokerUnavailable, match=r"is a Maven repository in reach.*Could not transfer artifact"):
        resolve_jars(tmp_path / "cache" / "libs")
    assert list((tmp_path / "cache").iterdir()) == []


def test_jars_are_fetched_once_and_again_for_another_pom(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_maven(tmp_path / "bin", COPY)
    count = tmp_path / "count"
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("COUNT", str(count))
    libs = tmp_path / "cache" / "libs"
    assert [jar.name for jar in resolve_jars(libs)] == ["kafka_2.13-4.3.1.jar"]
    assert resolve_jars(libs) == [libs / "kafka_2.13-4.3.1.jar"]
    assert count.read_text() == "run\n"
    assert (libs / "pom.sha256").read_text() == hashlib.sha256(POM.read_bytes()).hexdigest()
    (libs / "pom.sha256").write_text("of an older pom")
    (libs / "kafka_2.13-4.2.0.jar").touch()
    assert resolve_jars(libs) == [libs / "kafka_2.13-4.3.1.jar"]
    assert count.read_text() == "run\nrun\n"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["libs"]


def test_a_port_that_is_known_only_after_a_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="never started"):
        _ = Broker(tmp_path).bootstrap
    assert Broker(tmp_path, port=9099).bootstrap == "127.0.0.1:9099"
    Broker(tmp_path).stop()
