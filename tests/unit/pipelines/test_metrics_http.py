"""The workers' pages over HTTP: what they answer, when health turns, and who may reach them."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.kafka.broker import free_port
from pipelines.detect.loop import DetectLoop
from pipelines.detect.worker import drive
from pipelines.errors import UsageError
from pipelines.metrics_http import Monitor, serving
from pipelines.settings import MetricsSettings
from pipelines.stopping import Job, Stop
from tests.unit.pipelines.detect_fakes import FakeClock, Rig


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def monitor(clock: FakeClock) -> Monitor:
    return Monitor("detect", stall_s=120, steady=clock, wall=lambda: 10_000.0)


@pytest.fixture
def port(monitor: Monitor) -> Iterator[int]:
    with serving(monitor, MetricsSettings(detect=free_port()), "detect", Log()) as bound:
        assert bound is not None
        yield bound


def test_metrics_are_exposed_in_the_text_format(monitor: Monitor, port: int) -> None:
    monitor.board.total("ticks_total", 12)
    code, text = ask(port, "/metrics")
    values = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    assert (code, values["distillwatch_detect_ticks_total"]) == (200, 12)


def test_health_turns_when_the_loop_stalls_and_comes_back(monitor: Monitor, clock: FakeClock, port: int) -> None:
    assert ask(port, "/healthz") == (200, "ok\n")
    clock.now += 119.0
    assert ask(port, "/healthz") == (200, "ok\n")
    clock.now += 1.0
    assert ask(port, "/healthz") == (503, "no progress for 120 s\n")
    assert ask(port, "/readyz")[0] == 503
    monitor.beat()
    assert ask(port, "/healthz") == (200, "ok\n")


def test_readiness_says_what_is_missing(monitor: Monitor, clock: FakeClock, port: int) -> None:
    assert ask(port, "/readyz") == (503, "the worker is starting\n")
    monitor.tell("no partition is assigned")
    assert ask(port, "/readyz") == (503, "no partition is assigned\n")
    monitor.tell(None)
    assert ask(port, "/readyz") == (200, "ok\n")
    clock.now += 120.0
    assert ask(port, "/readyz") == (503, "no progress for 120 s\n")


def test_other_pages_and_methods_are_refused(port: int) -> None:
    assert ask(port, "/")[0] == 404
    assert ask(port, "/metrics/../etc/passwd")[0] == 404
    for path in ("/metrics", "/healthz", "/readyz"):
        assert ask(port, path, "POST")[0] == 405


def test_a_client_that_says_nothing_holds_nobody_up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        assert ask(port, "/healthz")[0] == 200


def test_a_taken_port_is_refused_with_the_name_of_the_setting(monitor: Monitor, port: int) -> None:
    second = Monitor("detect", stall_s=120)
    wanted = rf"metrics\.detect \(or --metrics-port\): 127\.0\.0\.1:{port} cannot be bound"
    with pytest.raises(UsageError, match=wanted), serving(second, MetricsSettings(detect=port), "detect", Log()):
        pass


def test_the_port_is_free_again_after_the_worker(monitor: Monitor) -> None:
    settings = MetricsSettings(sink=free_port())
    for _ in range(2):
        with serving(Monitor("sink", stall_s=120), settings, "sink", Log()) as bound:
            assert ask(bound or 0, "/healthz")[0] == 200
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", settings.sink)):
        pass


def test_port_zero_serves_nothing(monitor: Monitor) -> None:
    log = Log()
    with serving(monitor, MetricsSettings(), "detect", log) as bound:
        assert bound is None
    assert log.lines == []


def test_only_an_address_beyond_the_machine_is_warned_of(monitor: Monitor) -> None:
    for host, levels in (("127.0.0.1", ["info"]), ("0.0.0.0", ["warning", "info"])):  # noqa: S104 - what it warns of
        log = Log()
        with serving(monitor, MetricsSettings(host=host, detect=free_port()), "detect", log):
            pass
        assert [level for level, _, _ in log.lines] == levels


def test_the_workers_loop_beats_after_each_step_and_publishes_once_a_second() -> None:
    rig, clock = Rig(), FakeClock()
    monitor = Monitor("detect", stall_s=120, steady=clock, wall=time.time)
    stop = Stop(Job(), deadline_s=60, log=Log(), end=lambda code: None)
    seen: list[bool] = []
    published: list[float] = []

    class Slow:
        """A loop whose third step hangs for three minutes."""

        def __init__(self) -> None:
            self.steps = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(rig.loop, name)

        def step(self) -> None:
            self.steps += 1
            clock.now += 180.0 if self.steps == 3 else 0.25
            seen.append(monitor.health()[0])
            rig.loop.step()
            if self.steps == 10:
                stop.ask()

    def publish(_: Monitor, loop: DetectLoop) -> None:
        published.append(clock.now)

    with stop:
        drive(
            Slow(),  # type: ignore[arg-type]
            once=False,
            group_is_done=lambda: True,
            stop=stop,
            monitor=monitor,
            publish=publish,
            log=Log(),
            steady=clock,
        )
    assert seen == [True, True, False, *[True] * 7]
    assert monitor.health() == (True, "ok")
    # The first step, the one after the hang, two seconds of quarter steps, and the end.
    assert published == [1000.25, 1180.5, 1181.5, 1182.25]
