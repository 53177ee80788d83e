"""What the workers tell over HTTP while they work on a real broker, and how long they take to stop."""

from __future__ import annotations

import contextlib
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.kafka.broker import free_port
from pipelines.kafka_io import produce_events, route_event
from tests.conftest import Endpoint, Topics
from tests.integration.stream_rig import Stream, until
from tests.integration.stream_traffic import traffic

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and text; 0 where nobody listens yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Values by name and the labels' values, without the workers' common prefix."""
    code, text = ask(port, "/metrics")
    assert code == 200
    return {
        (sample.name.removeprefix("distillwatch_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def becomes(port: int, *name: str, value: Callable[[float], bool]) -> None:
    until(lambda: value(scrape(port).get(name, -1.0)), what=f"{name}: {scrape(port).get(name)}")


def test_the_three_workers_tell_what_they_do(
    topics: Topics, tmp_path: Path, make_endpoint: Callable[..., Endpoint]
) -> None:
    stream, endpoint = Stream(topics, tmp_path), make_endpoint()
    detect, correlate, sink = free_port(), free_port(), free_port()
    events = traffic()[:1_500]
    by_role = dict.fromkeys(("requests", "responses", "accounts"), 0)
    for event in events:
        by_role[route_event(event)[0]] += 1
    produce_events(topics.bootstrap, topics.names, events)
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(stream.running("detect", "--metrics-port", str(detect)))
        until(lambda: ask(detect, "/readyz") == (200, "ok\n"), what="detect to be ready")
        assert ask(detect, "/healthz") == (200, "ok\n")
        for role, count in by_role.items():
            becomes(detect, "detect_events_total", role, value=lambda found, count=count: found == count)  # type: ignore[misc]
        until(lambda: sum(v for (n, *_), v in scrape(detect).items() if n == "detect_pending_events") == 0)
        found = scrape(detect)
        assert {name[1] for name in found if name[0] == "detect_lag_records"} == {"0", "1", "2", "3"}
        assert found["detect_partitions",] == 4
        assert found["detect_restore_seconds_count",] == 4
        assert sum(v for (n, *_), v in found.items() if n == "detect_rejected_total") == 0
        becomes(detect, "detect_checkpoints_total", value=lambda found: found >= 4)
        becomes(detect, "detect_state_records", "0", value=lambda found: found > 0)

        stack.enter_context(stream.running("correlate", "--metrics-port", str(correlate)))
        until(lambda: ask(correlate, "/readyz") == (200, "ok\n"), what="correlate to be ready")
        until(
            lambda: scrape(correlate)["correlate_messages_total",] == scrape(detect)["detect_evidence_messages_total",],
            what="correlate to have taken all that detect says it sent",
        )
        becomes(correlate, "correlate_lag_records", "0", value=lambda found: found == 0)
        assert scrape(correlate)["correlate_messages_total",] == len(stream.read("evidence"))

        stack.enter_context(stream.running("sink", "--metrics-port", str(sink), "--clickhouse", endpoint.dsn))
        until(lambda: ask(sink, "/readyz") == (200, "ok\n"), what="the sink to be ready")
        becomes(sink, "sink_rows_total", "activity", value=lambda found: found == len(stream.read("activity")))
        assert scrape(sink)["sink_clickhouse_reachable",] == 1

        # A second worker on the same port says which setting to change, and leaves the first alone.
        with stream.running("detect", "--metrics-port", str(detect)) as second:
            assert second.wait(60) == 2
        assert f"metrics.detect (or --metrics-port): 127.0.0.1:{detect} cannot be bound" in stream.logs("detect")
        assert ask(detect, "/healthz") == (200, "ok\n")

        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, stream.logs("detect")
        assert ask(detect, "/healthz")[0] == 0
        endpoint.stop()
        produce_events(topics.bootstrap, topics.names, events[:50])
        stream.once("detect")
        until(lambda: ask(sink, "/readyz") == (503, "ClickHouse is away\n"), what="the sink to miss ClickHouse")
        assert ask(sink, "/healthz") == (200, "ok\n"), "a sink that waits is not stuck"
    everything = stream.logs("detect") + stream.logs("correlate") + stream.logs("sink")
    assert "Traceback" not in everything


def test_a_worker_that_hangs_is_ended_at_its_deadline_and_its_work_is_done_again(
    topics: Topics, tmp_path: Path
) -> None:
    stream = Stream(topics, tmp_path)
    with (stream.config / "pipeline.toml").open("a") as file:
        file.write("[workers]\nstop_s = 2\n[metrics]\nstall_s = 5\n")
    produce_events(topics.bootstrap, topics.names, traffic()[:300])
    port = free_port()
    hang = (
        "import time\nfrom pipelines.detect.loop import DetectLoop\nstep = DetectLoop.step\n"
        "def hanging(self):\n"
        "    if self.counters.events:\n        time.sleep(600)\n"
        "    step(self)\n"
        "DetectLoop.step = hanging"
    )
    with stream.running("detect", "--metrics-port", str(port), fault=hang) as worker:
        until(lambda: ask(port, "/healthz")[0] == 503, what="the worker to be stuck")
        assert ask(port, "/metrics")[0] == 200, "a stuck worker still tells its numbers"
        worker.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert worker.wait(20) == 1
        assert time.monotonic() - began < 15
    assert "not stopped in time" in stream.logs("detect")
    stream.once("detect")
    assert stream.read("evidence")


def test_a_job_ends_at_its_time(topics: Topics, tmp_path: Path) -> None:
    stream = Stream(topics, tmp_path)
    moment = (datetime.now(UTC) + timedelta(seconds=12)).isoformat()
    with stream.running("detect", "--until", moment) as worker:
        assert worker.wait(60) == 0
    assert "stopped" in stream.logs("detect")
