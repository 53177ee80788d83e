"""`distillwatch up`: a broker, a ClickHouse endpoint and the workers on this machine, as children of one process.

Nothing is restarted in silence: when a part ends by itself, its last words are shown and all parts stop.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from infra.kafka.broker import Broker, BrokerUnavailable, free_port
from infra.processes import spawn, stop, tail
from infra.topics import TopicError, create_topics
from pipelines.config import Config
from pipelines.errors import Failure, UsageError
from pipelines.kafka_access import explain
from pipelines.kafka_io import connection_options, topic_by_role

WORKERS: Final = ("detect", "correlate", "sink")

_FIRST_QUESTION: Final = "SELECT campaign, severity, accounts_total FROM campaigns_current"
_LOOK_EVERY_S: Final = 0.2
_ENDPOINT_START_S: Final = 60.0
_STOP_S: Final = 30.0


class Child:
    """One part of the stack, with its log file."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] = spawn(command, log=log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code when it ended; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        stop(self._process, _STOP_S)

    def check(self) -> None:
        """Raise Failure when it has ended by itself."""
        if self.returncode is not None:
            raise Failure(
                f"{self.name} ended with exit code {self.returncode}; all is stopped. Its log:\n{tail(self.log)}"
            )


class Places(Struct, frozen=True):
    """Where the parts of a running stack are; `parts` are name, process id and log."""

    bootstrap: str
    clickhouse: str
    parts: list[tuple[str, int, Path]]

    def __str__(self) -> str:
        lines = [
            f"Kafka broker         {self.bootstrap}",
            f"ClickHouse endpoint  {self.clickhouse}",
            *(f"{name:<20} pid {pid}, log {log}" for name, pid, log in self.parts),
            "",
            f"watch   distillwatch alerts --follow --bootstrap {self.bootstrap}",
            f"ask     curl {self.clickhouse} -d '{_FIRST_QUESTION}'",
            "stop    Ctrl-C",
        ]
        return "\n".join(lines)


def run_up(
    config: Config,
    *,
    config_dir: Path | None,
    folder: Path,
    kafka_port: int,
    clickhouse_port: int,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Start everything, say where it is, watch it until `stopped`, and stop it in order.

    Args:
        config_dir: handed to the workers.
        folder: data and logs; kept between runs.
        kafka_port, clickhouse_port: on loopback; 0 takes a free one.

    Raises:
        UsageError: no broker can run here, or its topics have other partition counts.
        Failure: a part ended by itself, or did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        broker = Broker(folder / "kafka", port=kafka_port or None)
        say("starting Kafka ...")
        try:
            stack.enter_context(broker)
            make_topics(config, broker.bootstrap, with_security=False)
        except BrokerUnavailable as error:
            raise UsageError(str(error)) from None
        say("starting ClickHouse and the workers ...")
        endpoint, url = _start_endpoint(folder, clickhouse_port, sleep)
        stack.callback(endpoint.stop)
        children = [endpoint]
        for name, command in worker_commands(config_dir, broker.bootstrap, f"{url}/default", folder).items():
            child = Child(name, command, folder / f"{name}.log")
            stack.callback(child.stop)
            children.append(child)
        parts = [("kafka", broker.pid or 0, broker.log_path)]
        parts += [(child.name, child.pid, child.log) for child in children]
        say(str(Places(broker.bootstrap, url, parts)))
        while not stopped():
            for child in children:
                child.check()
            if broker.returncode is not None:
                raise Failure(f"Kafka ended with exit code {broker.returncode}; all is stopped:\n{broker.log_tail()}")
            sleep(_LOOK_EVERY_S)
        say("stopping ...")


def make_topics(config: Config, bootstrap: str | None = None, *, with_security: bool = True) -> dict[str, str]:
    """Create the topics of the config that are missing; returns their names by role.

    Args:
        bootstrap: instead of the config's.
        with_security: use the config's security settings; the local broker has none.

    Raises:
        UsageError: a topic exists with another partition count.
        Failure: no broker answers.
    """
    from kafka.errors import KafkaError

    kafka = config.pipeline.kafka
    options = connection_options(kafka) if with_security else {}
    options.pop("bootstrap_servers", None)
    servers = bootstrap or kafka.bootstrap
    names: Mapping[str, str] = topic_by_role(kafka.topics)
    try:
        return create_topics(servers, partitions=config.pipeline.stream.partitions, names=names, client_options=options)
    except TopicError as error:
        raise UsageError(str(error)) from None
    except KafkaError as error:
        raise Failure(explain(replace(kafka, bootstrap=servers), error)) from error


def worker_commands(config_dir: Path | None, bootstrap: str, dsn: str, folder: Path) -> dict[str, list[str]]:
    """The workers' command lines, in the order in which they start; they stop in the opposite one."""
    options = {
        "sink": ["--clickhouse", dsn],
        "correlate": ["--data-dir", str(folder / "correlate")],
        "detect": [],
    }
    common = ["--bootstrap", bootstrap]
    if config_dir is not None:
        common += ["--config", str(config_dir)]
    return {name: [sys.executable, "-m", "pipelines.cli", name, *common, *more] for name, more in options.items()}


def _start_endpoint(folder: Path, port: int, sleep: Callable[[float], None]) -> tuple[Child, str]:
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "infra.clickhouse.endpoint",
        "--path",
        str(folder / "clickhouse"),
        "--port",
        str(port),
    ]
    child = Child("clickhouse", command, folder / "clickhouse.log")
    deadline = time.monotonic() + _ENDPOINT_START_S
    try:
        while True:
            # Before the ping: somebody else's server may answer on the port that ours did not get.
            child.check()
            if _answers(url):
                sleep(_LOOK_EVERY_S)
                child.check()
                return child, url
            if time.monotonic() > deadline:
                raise Failure(f"the ClickHouse endpoint did not start:\n{tail(child.log)}")
            sleep(_LOOK_EVERY_S)
    except BaseException:
        child.stop()
        raise


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=2):  # noqa: S310 - our own loopback address
            return True
    except OSError:
        return False
