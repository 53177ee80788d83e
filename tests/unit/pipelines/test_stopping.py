"""How a worker is told to stop: by a signal, by a time, and by a deadline when it does not."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.config import Config
from pipelines.errors import Failure, UsageError
from pipelines.launch import launch
from pipelines.stopping import Job, Stop, parse_until
from tests.unit.pipelines.detect_fakes import FakeClock
from tests.unit.pipelines.test_metrics_http import Log


@pytest.fixture(autouse=True)
def logs_of_the_test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker sends the process's logs to the stderr of its start, which here ends with the test."""
    monkeypatch.setattr("pipelines.launch.configure_logs", lambda level: None)


class Ended:
    """Takes the place of the process's end."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.at = threading.Event()

    def __call__(self, code: int) -> None:
        self.code = code
        self.at.set()


def test_a_worker_that_stops_in_time_is_left_alone() -> None:
    ended, log = Ended(), Log()
    with Stop(Job(), deadline_s=60, log=log, end=ended) as stop, stop.on_signals():
        assert not stop.asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked()
    assert ended.code is None
    assert log.lines == []
    assert "stop-deadline" not in {thread.name for thread in threading.enumerate()}


def test_a_worker_that_hangs_after_a_signal_is_ended_at_its_deadline() -> None:
    ended, log = Ended(), Log()
    began = time.monotonic()
    with Stop(Job(), deadline_s=0.2, log=log, end=ended) as stop, stop.on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert ended.at.wait(20)
    assert ended.code == 1
    assert time.monotonic() - began >= 0.2
    assert [(level, fields) for level, _, fields in log.lines] == [("error", {"stop_s": 0.2})]


def test_clients_that_hang_after_the_loop_are_held_to_the_deadline_too() -> None:
    ended = Ended()
    with Stop(Job(), deadline_s=0.1, log=Log(), end=ended) as stop:
        with stop.on_signals():
            stop.ask()
        assert ended.at.wait(20), "the signals are not ours any more, the deadline is"


def test_a_time_asks_for_a_stop_and_holds_a_hanging_step_to_the_deadline() -> None:
    ended, clock = Ended(), FakeClock(100.0)
    with Stop(Job(until=100.2), deadline_s=0.1, log=Log(), wall=clock, end=ended) as stop:
        assert not stop.asked()
        clock.now = 100.2
        assert stop.asked()
        assert ended.at.wait(20)
    assert ended.code == 1


def test_a_job_whose_time_came_before_it_was_done_failed() -> None:
    clock = FakeClock(100.0)
    stop = Stop(Job(once=True, until=200.0), deadline_s=1, log=Log(), wall=clock, end=Ended())
    stop.check(done=False)
    clock.now = 200.0
    stop.check(done=True)
    with pytest.raises(Failure, match="--until"):
        stop.check(done=False)
    Stop(Job(until=150.0), deadline_s=1, log=Log(), wall=clock, end=Ended()).check(done=False)


def test_until_is_a_time_to_come_with_its_zone() -> None:
    assert parse_until(None, 0.0) is None
    assert parse_until("1970-01-01T01:00:10+01:00", 0.0) == 10.0
    for text, why in (
        ("tomorrow", "must be a time"),
        ("2026-11-24T19:00:00", "needs a time zone"),
        ("1970-01-01T00:00:10Z", "has passed"),
    ):
        with pytest.raises(UsageError, match=why):
            parse_until(text, 10.0)


@pytest.mark.parametrize("command", ["detect", "correlate", "sink"])
def test_a_wrong_time_is_a_usage_error(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--until", "2001-01-01T00:00:00Z"]) == 2
    assert "--until 2001-01-01T00:00:00Z has passed" in capsys.readouterr().err


def test_the_command_line_overrides_one_workers_port_and_gives_the_job() -> None:
    seen: list[tuple[Config, Job]] = []

    def worker(config: Config, *, job: Job) -> None:
        seen.append((config, job))

    options: dict[str, Any] = {"config": None, "bootstrap": None, "once": True, "log_level": "error"}
    launch(worker, until="2999-01-01T00:00:00Z", metrics_port=9999, name="sink", **options)
    launch(worker, until=None, metrics_port=None, name="sink", **options)
    (config, job), (plain, _) = seen
    metrics = config.pipeline.metrics
    assert (metrics.detect, metrics.correlate, metrics.sink, metrics.host) == (0, 0, 9999, "127.0.0.1")
    assert job == Job(once=True, until=32472144000.0)
    assert plain.pipeline.metrics.sink == 0
    assert plain.version == config.version, "where metrics are served decides about no alert"
