"""The throughput bench whole, on a real broker and a little traffic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from infra.kafka.broker import Broker
from tests.benchmarks.throughput import accounts
from tests.benchmarks.throughput.latency import ACCOUNTS, EVERY, LiveRun
from tests.benchmarks.throughput.live import save_lines
from tests.benchmarks.throughput.rig import Rig
from tests.benchmarks.throughput.traffic import harvested, traffic

SCHEMA = Path(accounts.__file__).with_name("bench.schema.json")

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_each_contender_does_every_event(kafka_broker: Broker, tmp_path: Path) -> None:
    rig = Rig(kafka_broker, tmp_path / "rig", traffic(1_000, 50, 100, seed=1))
    for name in ("floor", "detect", "replay", "kafka_python_rule_60", "kafka_python_river_trees", "faust_river_text"):
        took = rig.time(name, 30.0)
        assert took.events == 1_000, name
        assert took.cpu_us > 0


def test_a_live_run_splits_the_way_of_every_finding(kafka_broker: Broker, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    save_lines(lines, harvested(4_000, ACCOUNTS, 100, seed=2, every=EVERY, times=2))
    small = "[elicitation]\naccount_requests = 2\n[template_family]\nsketch_bits = 18\n"
    run = LiveRun(rate=400, warm_s=1.0, seconds=2.0, detectors=f"tick_ms = 500\n{small}")
    found = run.measure(kafka_broker, tmp_path / "live", lines)
    schema = msgspec.json.decode(SCHEMA.read_bytes())
    Draft202012Validator({"$ref": "#/$defs/live_run", "$defs": schema["$defs"]}).validate(found)
    for kind in ("signals", "alerts"):
        assert found[kind]["count"] > 0
        assert 0 <= found[kind]["p50"]["tick"] <= 500
        assert found[kind]["p50"]["total"] > found[kind]["p50"]["write"] > 0


def test_the_size_run_counts_memory_and_time() -> None:
    # In a process of its own, as the bench does: this one has memory to spare from earlier tests.
    command = [sys.executable, "-m", accounts.__name__, "2000", "100"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
    found = msgspec.json.decode(done.stdout, type=accounts.AtSize)
    assert found.us > 0
    assert found.bytes > 0


def test_the_schema_refuses_a_figure_that_is_none() -> None:
    schema = msgspec.json.decode(SCHEMA.read_bytes())
    Draft202012Validator.check_schema(schema)
    empty = Draft202012Validator(schema).iter_errors({"ratio_to_floor": 0})
    paths = {error.json_path for error in empty}
    assert "$.ratio_to_floor" in paths
