"""Kafka's jars, resolved by Maven once and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

POM: Final = Path(__file__).with_name("pom.xml")
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_STAMP: Final = "pom.sha256"
_MAVEN_TIMEOUT_S: Final = 600


class BrokerUnavailable(RuntimeError):  # noqa: N818
    """No local broker can run here; the message says what is missing and what to do."""


def default_jar_dir() -> Path:
    """`build/kafka/libs` in a checkout, the user's cache directory for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():
        return root / "build" / "kafka" / "libs"
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "distillwatch" / "kafka" / "libs"


def find_java() -> str:
    """Path of the `java` program.

    Raises:
        BrokerUnavailable: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise BrokerUnavailable("java is not on PATH; install a Java 17 (or later) runtime or set JAVA_HOME")
    return found


def resolve_jars(target: Path | None = None) -> list[Path]:
    """The jars of `pom.xml` in `target`, fetched with Maven only where they are missing or of another pom.

    Two processes may call this at once: each resolves into a folder of its own, and one rename wins.

    Raises:
        BrokerUnavailable: Maven is missing, or could not resolve the artifacts.
    """
    target = default_jar_dir() if target is None else target
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()
    if _stamp(target) == digest:
        return sorted(target.glob("*.jar"))
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailable(f"mvn is not on PATH and {target} holds no Kafka jars; install Apache Maven")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        _copy_dependencies(maven, fresh)
        (fresh / _STAMP).write_text(digest)
        _swap_in(fresh, target, digest)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return sorted(target.glob("*.jar"))


def _stamp(folder: Path) -> str | None:
    try:
        return (folder / _STAMP).read_text()
    except OSError:
        return None


def _copy_dependencies(maven: str, folder: Path) -> None:
    command = [maven, "-q", "-B", "-f", str(POM), _PLUGIN, f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MAVEN_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BrokerUnavailable(f"Maven did not resolve Kafka within {_MAVEN_TIMEOUT_S} s") from None
    if done.returncode != 0 or not any(folder.glob("kafka_*.jar")):
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        reason = errors[0][:400] if errors else f"mvn exited with {done.returncode}"
        raise BrokerUnavailable(f"Maven could not resolve Kafka (is a Maven repository in reach?): {reason}")


def _swap_in(fresh: Path, target: Path, digest: str) -> None:
    if target.exists() and _stamp(target) != digest:
        shutil.rmtree(target)
    try:
        fresh.rename(target)
    except OSError:
        if _stamp(target) != digest:
            raise
