"""`distillwatch up`: the whole stack as a user starts and stops it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from infra.kafka.broker import Broker
from schemas.activity import ENCODER
from tests.integration.test_clickhouse_store import ALERTS

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Stack:
    """A running `up`, its output and the processes it says it started."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "pipelines.cli", "up", "--dir", str(folder)]
        command += ["--kafka-port", "0", "--clickhouse-port", "0"]
        self.output = folder.with_suffix(".out")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        self.wait_for("stop    Ctrl-C")
        self.pids = {name: int(pid) for name, pid in re.findall(r"^(\w+) +pid (\d+), log", self.text, re.MULTILINE)}
        self.bootstrap = re.findall(r"^Kafka broker +(\S+)", self.text, re.MULTILINE)[0]
        self.url = re.findall(r"^ClickHouse endpoint +(\S+)", self.text, re.MULTILINE)[0]

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 120
        while text not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)

    def ask(self, query: str) -> str:
        request = urllib.request.Request(self.url, data=query.encode())  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return str(response.read().decode())

    def left(self) -> list[str]:
        return [name for name, pid in self.pids.items() if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def stack(tmp_path: Path, kafka_broker: Broker) -> Iterator[Stack]:
    # `kafka_broker` says whether a broker can run here at all.
    running = Stack(tmp_path / "stack")
    yield running
    running.process.terminate()
    try:
        running.process.wait(60)
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.process.wait()


def test_an_alert_goes_through_and_ctrl_c_stops_everything(stack: Stack) -> None:
    assert sorted(stack.pids) == ["clickhouse", "correlate", "detect", "kafka", "sink"]
    producer = KafkaProducer(bootstrap_servers=stack.bootstrap)
    producer.send("alerts", key=b"campaign-1", value=ENCODER.encode(ALERTS[0])).get(timeout=30)
    producer.close()
    deadline = time.monotonic() + 60
    while stack.ask("EXISTS VIEW campaigns_current") != "1\n":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    while stack.ask("SELECT campaign, accounts_total FROM campaigns_current") != "c1\t3\n":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(90) == 0, stack.text
    assert stack.left() == []


def test_a_part_that_dies_is_reported_and_the_rest_stops(stack: Stack) -> None:
    subprocess.run(["kill", "-KILL", str(stack.pids["correlate"])], check=True)
    assert stack.process.wait(90) == 1
    assert "correlate ended with exit code -9; all is stopped" in stack.text
    assert stack.left() == []


def test_a_killed_parent_takes_its_children_along(stack: Stack) -> None:
    stack.process.kill()
    stack.process.wait()
    deadline = time.monotonic() + 60
    while stack.left():
        assert time.monotonic() < deadline, stack.left()
        time.sleep(0.2)


def test_topics_on_a_broker_of_ones_own(kafka_broker: Broker, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "pipeline.toml").write_text('[kafka.topics]\nalerts = "up.alerts"\nrequests = "up.requests"\n')
    command = [sys.executable, "-m", "pipelines.cli", "up", "--topics", "--bootstrap", kafka_broker.bootstrap]
    done = subprocess.run([*command, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "up.alerts" in done.stdout) == (0, True), done.stderr
    (config / "pipeline.toml").write_text('[kafka.topics]\nrequests = "up.requests"\n[stream]\npartitions = 7\n')
    done = subprocess.run([*command, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "topic up.requests has 4 partitions, wanted 7" in done.stderr
    assert "stream.partitions" in done.stderr
