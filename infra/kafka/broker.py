"""One Apache Kafka broker in KRaft combined mode, on loopback, with a data folder of its own."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from infra.kafka.jars import BrokerUnavailable, find_java, resolve_jars
from infra.kafka.security import LISTENER, BrokerSecurity
from infra.processes import spawn, stop, tail

__all__ = ["Broker", "BrokerUnavailable", "free_port", "resolve_jars"]

HOST: Final = "127.0.0.1"
_LARGEST_RECORD: Final = 17 * 1024 * 1024
_BIND_ATTEMPTS: Final = 3


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """A broker as a child process; a context manager, or `start` and `stop`.

    Args:
        data_dir: log segments, `server.properties` and `broker.log`; kept by `stop`, reused by `start`.
        port: where clients connect; None takes a free one and keeps it over restarts.
        heap_mb: Java heap. 384 MB carries records of 16 MB; more partitions want more.
        start_timeout: seconds until a start counts as failed.
        security: TLS, users and ACLs; None leaves the broker open to all of this machine.

    Raises:
        BrokerUnavailable: on start, when Java, Maven or the jars are missing or the broker ends early.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        jars: Sequence[Path] | None = None,
        heap_mb: int = 384,
        start_timeout: float = 90.0,
        security: BrokerSecurity | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir / "broker.log"
        self._fixed_port = port
        self._port = port
        self._controller_port: int | None = None
        self._jars = None if jars is None else list(jars)
        self._heap_mb = heap_mb
        self._start_timeout = start_timeout
        self._security = security
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients; known after the first start."""
        if self._port is None:
            raise RuntimeError("the broker was never started, so it has no port yet")
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id while the broker runs."""
        return self._process.pid if self._process is not None else None

    @property
    def returncode(self) -> int | None:
        """Exit code when the broker ended by itself; None while it runs."""
        return self._process.poll() if self._process is not None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Format the data folder if it is new, start the broker and wait until it answers."""
        if self._process is not None:
            raise RuntimeError("the broker is running already")
        java = find_java()
        if self._jars is None:
            self._jars = resolve_jars()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, _BIND_ATTEMPTS + 1):
            self._choose_ports()
            if _accepts(self.bootstrap):
                raise BrokerUnavailable(f"Address already in use: {self.bootstrap}; choose another port, or 0 for any")
            properties = self._write_properties()
            if not (self.data_dir / "logs" / "meta.properties").is_file():
                self._format(java, properties)
            self._process = self._spawn(java, properties)
            try:
                self._wait_ready()
                return
            except BrokerUnavailable:
                self.stop()
                # Another process may have taken a probed port before Kafka bound it.
                if attempt == _BIND_ATTEMPTS or not self._port_was_taken():
                    raise
                self._controller_port = None
                self._port = self._fixed_port

    def stop(self, timeout: float = 30.0) -> None:
        """End the broker cleanly; after `timeout` seconds kill it. The data stays."""
        if self._process is None:
            return
        stop(self._process, timeout)
        self._process = None

    def kill(self) -> None:
        """End the broker at once, as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start on the same data and port."""
        self.stop()
        self.start()

    def log_tail(self, lines: int = 15) -> str:
        """The end of the broker's log, for error messages."""
        return tail(self.log_path, lines)

    def _choose_ports(self) -> None:
        if self._port is None:
            self._port = free_port()
        while self._controller_port is None or self._controller_port == self._port:
            self._controller_port = free_port()

    def _cluster_id(self) -> str:
        """An id that is this data folder's own: how a start tells its broker from a stranger on its port."""
        path = self.data_dir / "cluster.id"
        if not path.is_file():
            path.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        return path.read_text()

    def _port_was_taken(self) -> bool:
        return "Address already in use" in self.log_tail(200)

    def _write_properties(self) -> Path:
        path = self.data_dir / "server.properties"
        listener = "PLAINTEXT" if self._security is None else LISTENER
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
            "listeners": f"{listener}://{HOST}:{self._port},CONTROLLER://{HOST}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self._port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.data_dir / "logs",
            # Topics come from topics.toml; a misspelt name must fail, not create a topic.
            "auto.create.topics.enable": "false",
            "default.replication.factor": 1,
            "min.insync.replicas": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            # A lone developer's group is complete at once; the default waits 3 s for more members.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            # After a crash the new process may register only once the old one's session is over.
            "broker.session.timeout.ms": 4000,
            "broker.heartbeat.interval.ms": 1000,
            "message.max.bytes": _LARGEST_RECORD,
            "replica.fetch.max.bytes": _LARGEST_RECORD,
            # The cleaner's default buffer of 128 MB does not fit a small heap.
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
            "log.cleaner.threads": 1,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "background.threads": 2,
            "num.recovery.threads.per.data.dir": 1,
        }
        if self._security is not None:
            settings |= self._security.properties(self.bootstrap)
            path.touch(mode=0o600)
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return path

    def _java(self, java: str, main: str, *arguments: str) -> list[str]:
        return [
            java,
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            # C1 only: a broker that lives for minutes never earns back the optimising compiler's time.
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
            "-cp",
            os.pathsep.join(str(jar) for jar in self._jars or ()),
            main,
            *arguments,
        ]

    def _format(self, java: str, properties: Path) -> None:
        # One argument, for an id may begin with a dash.
        chosen = f"--cluster-id={self._cluster_id()}"
        command = self._java(java, "kafka.tools.StorageTool", "format", chosen, "--config", str(properties))
        if self._security is not None:
            command += self._security.format_options()
        done = subprocess.run(command, capture_output=True, text=True, timeout=self._start_timeout, check=False)
        if done.returncode != 0:
            raise BrokerUnavailable(f"could not format {self.data_dir}: {(done.stdout + done.stderr)[-600:].strip()}")

    def _spawn(self, java: str, properties: Path) -> subprocess.Popen[bytes]:
        command = self._java(java, "kafka.Kafka", str(properties))
        return spawn(command, log=self.log_path)

    def _wait_ready(self) -> None:
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        security = self._security
        options = {} if security is None else security.client_options(security.admin)
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if self.returncode is not None:
                raise BrokerUnavailable(f"the broker exited with {self.returncode}:\n{self.log_tail()}")
            # Kafka opens its client port last, so the client library need not log refused connections.
            if _accepts(self.bootstrap):
                try:
                    admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000, **options)
                    try:
                        cluster = admin.describe_cluster()
                        if cluster["brokers"] and cluster["cluster_id"] == self._cluster_id():
                            return
                    finally:
                        admin.close()
                except KafkaError:
                    pass
            time.sleep(0.05)
        raise BrokerUnavailable(f"the broker did not answer within {self._start_timeout:.0f} s:\n{self.log_tail()}")


def _accepts(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.5):
            return True
    except OSError:
        return False
