"""The metrics: one list, filled by the workers from what they count, with labels that cannot grow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from pipelines.correlate.correlator import Correlator
from pipelines.correlate.stage import CampaignStage, Message
from pipelines.correlate.worker import keep_telling
from pipelines.metrics import LABELS, METRICS, OTHER, Board, Worker, metrics_of
from pipelines.metrics_http import Monitor
from pipelines.metrics_workers import publish_correlate, publish_detect, publish_sink
from schemas.evidence import ENCODER, Watermark
from tests.unit.pipelines.alert_factory import make_alert
from tests.unit.pipelines.detect_fakes import ROLES, FakeClock, FakeLane, Rig, drain, fill, request
from tests.unit.pipelines.test_sink import P0, P1, Bench, row

WORKERS: tuple[Worker, ...] = ("detect", "correlate", "sink")
DOCS = Path(__file__).resolve().parents[3] / "docs"


class NotingBoard(Board):
    """Remembers which of its metrics somebody filled."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.filled: set[str] = set()

    def _child(self, name: str, labels: tuple[object, ...], kind: str) -> Any:
        self.filled.add(self._metrics[name][0].name)
        return super()._child(name, labels, kind)


def monitor_of(worker: Worker, clock: Callable[[], float] | None = None) -> Monitor:
    clock = clock or FakeClock()
    monitor = Monitor(worker, stall_s=120, steady=clock, wall=lambda: 10_000.0)
    monitor.board = NotingBoard(worker)
    return monitor


def samples(board: Board) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by name and labels, as a scrape reads them."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(board.exposition().decode())
        for sample in family.samples
    }


def value(board: Board, name: str, *labels: str) -> float:
    return samples(board)[f"distillwatch_{name}", labels]


def all_filled(monitor: Monitor, worker: Worker) -> None:
    assert isinstance(monitor.board, NotingBoard)
    assert {metric.name for metric in metrics_of(worker)} - monitor.board.filled == set()


def publish(monitor: Monitor, rig: Rig) -> None:
    publish_detect(monitor, rig.loop, roles=ROLES, wall=lambda: 10_000.0)


class AlertingLane(FakeLane):
    """Every tick raises one account alert."""

    def close_until(self, watermark: int) -> Iterator[Any]:
        for tick in super().close_until(watermark):
            tick.alerts = [make_alert(kind="account", severity="low")]  # type: ignore[attr-defined]
            yield tick


class AlertingRig(Rig):
    def _lane(self, partition: int) -> FakeLane:
        self.lanes.append(AlertingLane(partition))
        return self.lanes[-1]


def test_the_list_is_sound() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.startswith("distillwatch_")
        assert set(metric.labels) <= set(LABELS)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        assert not metric.unit or metric.unit in metric.name, metric.name
        assert metric.help


@pytest.mark.parametrize("worker", WORKERS)
def test_an_exposition_has_the_metrics_of_the_list_in_a_registry_of_its_own(worker: Worker) -> None:
    families = {one.name: one for one in text_string_to_metric_families(Board(worker).exposition().decode())}
    for metric in metrics_of(worker):
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
    others = {metric.name for metric in METRICS if metric.worker not in (None, worker)}
    assert others.isdisjoint(families)
    assert "process_resident_memory_bytes" in families
    everywhere = {family.name for family in REGISTRY.collect()}
    assert not any(name.startswith("distillwatch") for name in everywhere)


@pytest.mark.parametrize("worker", WORKERS)
def test_the_operators_page_has_the_table_of_the_list(worker: Worker) -> None:
    text = (DOCS / "operator.md").read_text()
    told = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if "`distillwatch_" in line
    ]
    rows = {cells[0].strip("` "): cells[1:] for cells in told if len(cells) == 4}
    for metric in metrics_of(worker):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        assert rows[metric.name] == [metric.kind, labels, metric.help], metric.name
    assert set(rows) == {metric.name for metric in METRICS}


def test_detect_tells_what_left_it() -> None:
    rig = AlertingRig()
    fill(rig, 30)
    rig.source.append("responses", 0, b"\xff")
    rig.source.append("accounts", 1, b"[]")
    rig.control.rows += [b"junk", b"{}"]
    rig.source.assign(0, 1)
    drain(rig)
    monitor = monitor_of("detect")
    publish(monitor, rig)
    board, ticks = monitor.board, len(rig.entries("tick"))
    assert ticks > 2
    assert value(board, "detect_events_total", "requests") == 30
    assert value(board, "detect_events_total", "responses") == 30
    letters = [entry[1].reason for entry in rig.entries("letter")]
    assert len(letters) == 4, "of the account topics, and of the control topic"
    for reason in set(letters):
        assert value(board, "detect_rejected_total", reason) == letters.count(reason)
    assert value(board, "detect_ticks_total") == ticks
    assert value(board, "detect_alerts_total", "account", "low") == ticks
    assert value(board, "detect_evidence_messages_total") == ticks + len(rig.entries("evidence"))
    states = rig.entries("state")
    assert value(board, "detect_checkpoint_records_total") == len(states)
    assert value(board, "detect_checkpoint_bytes_total") == sum(len(entry[3] or b"") for entry in states)
    assert value(board, "detect_checkpoint_seconds_count") == value(board, "detect_checkpoints_total") > 0
    assert value(board, "detect_state_records", "0") == len(rig.changelog.state[0]) - 1, "its head is not counted"
    assert value(board, "detect_lag_records", "0") == 0

    publish(monitor, rig)
    assert value(board, "detect_ticks_total") == ticks, "told twice is counted once"
    assert value(board, "detect_checkpoint_seconds_count") == value(board, "detect_checkpoints_total")


def test_detect_tells_what_waits_while_it_works() -> None:
    rig = AlertingRig(max_skew_ms=1_000)
    rig.source.append("responses", 0, b"\xff")
    fill(rig, 50)
    rig.source.unread_at_once = 40
    rig.source.assign(0)
    rig.step()
    monitor = monitor_of("detect")
    publish(monitor, rig)
    board = monitor.board
    assert value(board, "detect_lag_records", "0") == 10 + 11
    assert value(board, "detect_pending_events", "0") == rig.loop.pending > 0
    closed = max(entry[1] for entry in rig.entries("tick"))
    assert value(board, "detect_watermark_age_seconds", "0") == pytest.approx(10_000 - closed / 1000)
    assert value(board, "detect_partitions") == 1
    all_filled(monitor, "detect")

    rig.lanes[0].waiting, rig.lanes[0].evicted = 7, 2
    rig.source.event("requests", 0, request("far", 90_000))
    drain(rig)
    publish(monitor, rig)
    assert value(board, "detect_evidence_waiting_cohorts") == 7
    assert value(board, "detect_evidence_evicted_cohorts") == 2
    assert ("distillwatch_detect_watermark_age_seconds", ("0",)) not in samples(board), "an idle partition has no age"


def test_detect_tells_a_restore_and_a_lost_state() -> None:
    rig = Rig()
    fill(rig, 30)
    rig.source.assign(0)
    drain(rig)
    held = rig.changelog.read(0)
    rig.restart()
    rig.source.assign(0)
    rig.step()
    monitor = monitor_of("detect")
    publish(monitor, rig)
    assert value(monitor.board, "detect_restore_records_total") == len(held) > 0
    assert value(monitor.board, "detect_restore_bytes_total") == sum(map(len, held.values()))
    assert value(monitor.board, "detect_restore_seconds_count") == 1
    assert value(monitor.board, "detect_lost_states_total") == 0

    rig.changelog.state[0][b"lane:0"] = b"damaged"
    rig.restart()
    rig.source.assign(0)
    rig.step()
    monitor = monitor_of("detect")
    publish(monitor, rig)
    assert value(monitor.board, "detect_lost_states_total") == 1


def test_detect_tells_a_refused_checkpoint_and_a_paused_topic() -> None:
    rig = Rig(max_skew_ms=1_000)
    for number in range(50):
        rig.source.event("requests", 0, request(f"r{number}", number * 1_000))
    rig.source.append("responses", 0, b"\xff")
    fill(rig, 3, start=60)
    rig.source.unread_at_once = 30
    rig.source.assign(0)
    rig.changelog.refuse = True
    rig.step()
    monitor = monitor_of("detect")
    publish(monitor, rig)
    assert value(monitor.board, "detect_refused_commits_total") == rig.loop.counters.refused_commits > 0
    assert value(monitor.board, "detect_paused_partitions") == len(rig.source.paused)
    assert value(monitor.board, "detect_checkpoints_total") == 0


def test_a_lost_partition_leaves_the_exposition() -> None:
    rig = Rig()
    rig.source.assign(0, 1)
    rig.step()
    monitor = monitor_of("detect")
    publish(monitor, rig)
    assert value(monitor.board, "detect_lag_records", "1") == 0
    rig.source.revoke("lost")
    rig.step()
    publish(monitor, rig)
    assert not [name for name, labels in samples(monitor.board) if labels and name.endswith("lag_records")]


def test_detect_is_ready_when_partitions_are_assigned() -> None:
    rig = Rig()
    monitor = monitor_of("detect", rig.clock)
    assert monitor.readiness() == (False, "the worker is starting")
    rig.step()
    publish(monitor, rig)
    assert monitor.readiness() == (False, "no partition is assigned")
    assert value(monitor.board, "ready") == 0
    rig.source.assign(0)
    rig.step()
    publish(monitor, rig)
    assert monitor.readiness() == (True, "ok")
    assert value(monitor.board, "ready") == 1
    rig.source.revoke()
    rig.step()
    publish(monitor, rig)
    assert monitor.readiness() == (False, "a rebalance is under way")
    rig.source.assign(0)
    rig.step()
    publish(monitor, rig)
    assert monitor.readiness()[0]


def test_the_sink_tells_rows_rejections_and_retries() -> None:
    bench = Bench({P0: [row("a"), row("b"), b"junk", row("c")], P1: [row("d")]}, rows=100)
    bench.loop.step()
    monitor = monitor_of("sink")
    publish_sink(monitor, bench.loop)
    board = monitor.board
    assert value(board, "sink_buffered_rows") == 4
    assert value(board, "sink_lag_records", "activity") == 0
    bench.database.away = 2
    bench.now += 2.0
    bench.run(20)
    publish_sink(monitor, bench.loop)
    assert bench.loop.counters.retries == 2
    assert value(board, "sink_retries_total") == 2
    assert value(board, "sink_rows_total", "activity") == 4
    assert value(board, "sink_rows_total", "alerts") == 0
    assert value(board, "sink_rejected_total", "not_json") == 1
    assert value(board, "sink_insert_seconds_count") == 1, "an insert that failed has no time"
    assert value(board, "sink_batches_total") == 1
    assert value(board, "sink_buffered_rows") == 0
    assert value(board, "sink_clickhouse_reachable") == 1
    assert value(board, "sink_partitions") == 2
    all_filled(monitor, "sink")

    bench.broker.logs[P1] += [row("e"), row("f")]
    publish_sink(monitor, bench.loop)
    assert value(board, "sink_lag_records", "activity") == 2


def test_what_has_not_happened_is_told_as_none_so_that_its_first_time_is_an_increase() -> None:
    assert value(Board("detect"), "detect_rejected_total", "not_json") == 0
    assert value(Board("correlate"), "correlate_alerts_total", "campaign", "critical") == 0


def test_the_sink_is_ready_when_clickhouse_answers_and_partitions_are_assigned() -> None:
    bench = Bench({P0: [row("a")]})
    monitor = monitor_of("sink")
    bench.refuse_to_open = 1
    bench.loop.connect()
    publish_sink(monitor, bench.loop)
    assert monitor.readiness() == (False, "ClickHouse is away")
    assert value(monitor.board, "sink_clickhouse_reachable") == 0
    bench.loop.connect()
    publish_sink(monitor, bench.loop)
    assert monitor.readiness() == (True, "ok")
    bench.database.away = 1
    bench.loop.step()
    bench.now += 2.0
    bench.loop.step()
    publish_sink(monitor, bench.loop)
    assert monitor.readiness() == (False, "ClickHouse is away")
    bench.run(10)
    publish_sink(monitor, bench.loop)
    assert monitor.readiness() == (True, "ok")


class Core:
    """Every watermark raises an alert; two campaigns are held."""

    def __init__(self) -> None:
        self.campaigns = {
            "c1": SimpleNamespace(status="updated", requests={"a": 3, "b": 4}),
            "c2": SimpleNamespace(status="closed", requests={"c": 1}),
        }

    def ingest(self, evidence: Watermark) -> list[Any]:
        return [make_alert(severity="high"), make_alert(severity="low")]

    def restore(self, state: Any) -> None:
        assert state == {"meta": b"1", "population:0": b"2"}

    def changed(self) -> dict[str, bytes | None]:
        return {}


class Table:
    def load(self) -> dict[str, bytes]:
        return {"meta": b"1", "population:0": b"2"}

    async def write(self, name: str, value: bytes | None) -> None:
        pass


class Publisher:
    async def alerts(self, alerts: Any) -> None:
        pass

    async def letter(self, letter: Any) -> None:
        pass


class Evidence:
    """The evidence partition: assigned or not, with so many messages."""

    def __init__(self) -> None:
        self.ready = False
        self.last = 3

    def is_ready(self) -> bool:
        return self.ready

    async def end(self) -> int:
        return self.last


async def zero() -> int:
    return 0


def correlator_of(evidence: Evidence) -> Correlator:
    stage = CampaignStage(
        new_core=Core, table=Table(), publisher=Publisher(), start=zero, end=zero, wall=lambda: 1.0, steady=lambda: 1.0
    )  # fmt: skip
    return Correlator(stage, cast(Any, evidence), cast(Any, None), once=False)


def message(offset: int, raw: bytes) -> Message:
    return Message(topic="evidence", partition=0, offset=offset, key=None, value=raw)


def test_correlate_tells_campaigns_alerts_and_lag() -> None:
    async def scenario() -> None:
        evidence = Evidence()
        correlator, monitor = correlator_of(evidence), monitor_of("correlate")
        publish_correlate(monitor, correlator, lag=await correlator.behind())
        assert monitor.readiness() == (False, "the evidence is not assigned, or its table not recovered")
        assert not [name for name, labels in samples(monitor.board) if labels and name.endswith("lag_records")]
        evidence.ready = True
        await correlator.stage.handle(message(0, ENCODER.encode(Watermark(source=0, ts=1))))
        await correlator.stage.handle(message(1, b"junk"))
        publish_correlate(monitor, correlator, lag=await correlator.behind())
        board = monitor.board
        assert monitor.readiness() == (True, "ok")
        assert value(board, "correlate_messages_total") == 2
        assert value(board, "correlate_rejected_total", "not_json") == 1
        assert value(board, "correlate_alerts_total", "campaign", "high") == 1
        assert value(board, "correlate_alerts_total", "campaign", "low") == 1
        assert value(board, "correlate_campaigns", "updated") == 1
        assert value(board, "correlate_campaigns", "closed") == 1
        assert value(board, "correlate_campaigns", "new") == 0
        assert value(board, "correlate_campaign_accounts") == 3
        assert value(board, "correlate_lag_records", "0") == 1
        assert value(board, "correlate_restore_records_total") == 2
        assert value(board, "correlate_restore_seconds_count") == 1
        all_filled(monitor, "correlate")

    asyncio.run(scenario())


def test_correlate_that_takes_none_of_the_evidence_that_waits_makes_no_progress() -> None:
    async def scenario() -> None:
        evidence, clock = Evidence(), FakeClock()
        correlator, monitor = correlator_of(evidence), monitor_of("correlate", clock)
        evidence.ready = True
        await correlator.stage.handle(message(0, ENCODER.encode(Watermark(source=0, ts=1))))
        task = asyncio.get_running_loop().create_task(
            keep_telling(monitor, correlator, every_s=0.002, lag_every_s=0.004)
        )

        async def later() -> bool:
            await asyncio.sleep(0.03)
            clock.now += 130
            await asyncio.sleep(0.03)
            return monitor.health()[0]

        assert not await later(), "two messages wait and none is taken"
        await correlator.stage.handle(message(1, b"junk"))
        await asyncio.sleep(0.03)
        assert monitor.health()[0], "one was taken"
        evidence.last = 2
        await asyncio.sleep(0.03)
        assert await later(), "nothing waits"
        task.cancel()

    asyncio.run(scenario())


def test_no_label_can_grow() -> None:
    board = Board("detect")
    for number in range(5_000):
        board.totals("rejected_total", {f"acct_{number}": 1})
    board.totals("events_total", {"requests": 3, "a prompt": 4, "another": 5})
    found = {labels[0] for name, labels in samples(board) if name.endswith("detect_rejected_total")}
    assert found == LABELS["reason"] | {OTHER}
    assert value(board, "detect_events_total", OTHER) == 9
    board.gauges("lag_records", dict.fromkeys(range(10000), 1.0))
    lags = [labels[0] for name, labels in samples(board) if name.endswith("lag_records")]
    assert set(lags) == LABELS["partition"] | {OTHER}
    board.gauges("lag_records", {7: 2.0})
    assert [labels for name, labels in samples(board) if name.endswith("lag_records")] == [("7",)]


def test_a_wrong_name_or_kind_is_a_bug() -> None:
    board = Board("sink")
    with pytest.raises(KeyError):
        board.total("ticks_total", 1)
    with pytest.raises(ValueError, match="is a gauge"):
        board.total("buffered_rows", 1)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        board.total("rows_total", 1)
