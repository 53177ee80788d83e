"""What the workers tell Prometheus: one list of all metrics, and a board that holds one worker's values.

:data:`METRICS` is the one place where a metric is named; `docs/operator.md` has the same table, and a test holds the
two together. Labels have closed vocabularies: an account, a prompt or a secret can be no label, because whatever is not
in :data:`LABELS` is told as `other`.

A worker's loop brings its board up to date about once a second from counters that it keeps anyway, so an event costs
nothing here and a batch next to nothing; scrapes read the board from a thread of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Final, Literal

from msgspec import Struct

from pipelines.dead_letters import PROCESSING_FAILED
from schemas.errors import REASONS

Worker = Literal["detect", "correlate", "sink"]

PREFIX: Final = "distillwatch_"
OTHER: Final = "other"
MAX_PARTITIONS: Final = 4_096
"""As many as `stream.partitions` may have; a higher number is told as `other`."""

LABELS: Final[dict[str, frozenset[str]]] = {
    "topic": frozenset({"requests", "responses", "accounts"}),
    "partition": frozenset(map(str, range(MAX_PARTITIONS))),
    "reason": frozenset({*REASONS, PROCESSING_FAILED}),
    "level": frozenset({"low", "medium", "high", "critical"}),
    "kind": frozenset({"account", "campaign"}),
    "state": frozenset({"new", "updated", "closed"}),
    "table": frozenset({"alerts", "signals", "activity", "dead_letters"}),
}
"""Values that a label may have. `topic` and `table` are roles: keys of `[kafka.topics]`, not a deployment's names."""

# From a checkpoint of an idle partition to one that waits for a slow broker.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# A restore reads a whole state: a million accounts take minutes.
_LONG_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metric(Struct, frozen=True):
    """One metric of one worker.

    Attributes:
        worker: which worker has it; None for all of them.
        name: as Prometheus shows it; counters end in `_total`.
        kind: what PromQL may do with it.
        labels: keys of :data:`LABELS`.
        unit: of its values; empty for plain counts.
        help: one sentence.
        buckets: upper bounds of a histogram, in `unit`.
    """

    worker: Worker | None
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()


def _named(
    worker: Worker | None, *metrics: tuple[str, Any, str] | tuple[str, Any, str, dict[str, Any]]
) -> list[Metric]:
    """Metrics of a worker from (name, kind, help) and, where there is more to say, its fields."""
    start = PREFIX if worker is None else f"{PREFIX}{worker}_"
    return [Metric(worker, f"{start}{one[0]}", one[1], one[2], **(one[3] if len(one) == 4 else {})) for one in metrics]


_BY_PARTITION: Final = {"labels": ("partition",)}
_BY_REASON: Final = {"labels": ("reason",)}
_BY_LEVEL: Final = {"labels": ("level", "kind")}

METRICS: Final[tuple[Metric, ...]] = (
    *_named(
        None,
        ("ready", "gauge", "1 where the worker did its work when it last told, as /readyz says"),
        ("progress_timestamp_seconds", "gauge", "when the worker's loop last got on", {"unit": "seconds"}),
    ),
    *_named(
        "detect",
        ("events_total", "counter", "events taken in, by topic", {"labels": ("topic",)}),
        ("rejected_total", "counter", "records that became dead letters, by reason", _BY_REASON),
        ("control_letters_dropped_total", "counter", "rejected control records that found no room"),
        ("misplaced_total", "counter", "polls with a record whose key belongs to another partition"),
        ("ticks_total", "counter", "ticks closed and written"),
        ("alerts_total", "counter", "account alerts written", _BY_LEVEL),
        ("evidence_messages_total", "counter", "evidence messages written, watermarks included"),
        ("evidence_waiting_cohorts", "gauge", "cohorts whose news found no room under `cohorts.rows_per_tick`"),
        ("evidence_evicted_cohorts", "gauge", "cohorts that the lanes held here gave up for `cohorts.capacity`"),
        ("partitions", "gauge", "partitions assigned"),
        ("paused_partitions", "gauge", "topic partitions whose reading is paused, so that others catch up"),
        ("lag_records", "gauge", "records on the broker that are not read yet", _BY_PARTITION),
        ("pending_events", "gauge", "events in open ticks", _BY_PARTITION),
        (
            "watermark_age_seconds",
            "gauge",
            "wall clock less the end of the last closed tick, while the partition is active",
            {**_BY_PARTITION, "unit": "seconds"},
        ),
        ("checkpoints_total", "counter", "checkpoints written"),
        (
            "checkpoint_seconds",
            "histogram",
            "time of a checkpoint, from the first record to the commit",
            {"unit": "seconds", "buckets": _SECONDS},
        ),
        ("checkpoint_records_total", "counter", "records of state that checkpoints wrote"),
        ("checkpoint_bytes_total", "counter", "bytes of state that checkpoints wrote, compressed", {"unit": "bytes"}),
        ("state_records", "gauge", "records that the durable state has", _BY_PARTITION),
        (
            "refused_commits_total",
            "counter",
            "checkpoints not taken, in a rebalance or by a stuck client; written later",
        ),
        ("lost_states_total", "counter", "partitions that started without their state"),
        (
            "restore_seconds",
            "histogram",
            "time in which a partition's state was taken over",
            {"unit": "seconds", "buckets": _LONG_SECONDS},
        ),
        ("restore_records_total", "counter", "records of state taken over"),
        ("restore_bytes_total", "counter", "bytes of state taken over, compressed", {"unit": "bytes"}),
    ),
    *_named(
        "correlate",
        ("messages_total", "counter", "evidence messages taken in"),
        ("skipped_total", "counter", "messages that the state knew already"),
        ("acknowledged_total", "counter", "messages whose effects are durable"),
        ("rejected_total", "counter", "messages that became dead letters, by reason", _BY_REASON),
        ("alerts_total", "counter", "campaign alerts written", _BY_LEVEL),
        ("campaigns", "gauge", "campaigns held, by state", {"labels": ("state",)}),
        ("campaign_accounts", "gauge", "accounts named in the campaigns held"),
        ("lag_records", "gauge", "offsets of the evidence topic that are not taken in yet", _BY_PARTITION),
        (
            "restore_seconds",
            "histogram",
            "time in which the core's state was taken over from the table",
            {"unit": "seconds", "buckets": _LONG_SECONDS},
        ),
        ("restore_records_total", "counter", "entries of the table taken over"),
    ),
    *_named(
        "sink",
        ("rows_total", "counter", "rows written, repeated ones included", {"labels": ("table",)}),
        ("rejected_total", "counter", "records that became dead letters, by reason", _BY_REASON),
        ("batches_total", "counter", "batches written and committed"),
        (
            "insert_seconds",
            "histogram",
            "time of one batch's inserts into one table",
            {"unit": "seconds", "buckets": _SECONDS},
        ),
        ("buffered_rows", "gauge", "rows read and not yet written"),
        ("retries_total", "counter", "batches put off because ClickHouse was away"),
        ("refused_commits_total", "counter", "commits refused in a rebalance; the rows come again"),
        ("clickhouse_reachable", "gauge", "1 where the last connection or insert went through"),
        ("partitions", "gauge", "topic partitions assigned"),
        ("lag_records", "gauge", "records on the broker that are not read yet", {"labels": ("table",)}),
    ),
)
"""Every metric that a worker exposes, besides Python's `process_*`."""


def metrics_of(worker: Worker) -> list[Metric]:
    """The metrics that a worker exposes.

    >>> [metric.name for metric in metrics_of("sink")][:3]
    ['distillwatch_ready', 'distillwatch_progress_timestamp_seconds', 'distillwatch_sink_rows_total']
    """
    return [metric for metric in METRICS if metric.worker in (None, worker)]


class Board:
    """The values of one worker's metrics, in a registry of their own.

    Names are those of :data:`METRICS` without `distillwatch_` and without the worker. An unknown name, or another
    number of labels than the list says, is a bug and raises KeyError or ValueError.

    Attributes:
        registry: what `/metrics` exposes.
    """

    def __init__(self, worker: Worker) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        self._metrics: dict[str, tuple[Metric, Any]] = {}
        self._told: dict[tuple[str, tuple[str, ...]], float] = {}
        for metric in metrics_of(worker):
            more = {"buckets": metric.buckets} if metric.kind == "histogram" else {}
            held = kinds[metric.kind](metric.name, metric.help, metric.labels, registry=self.registry, **more)
            if metric.kind == "counter" and metric.labels:
                # A series that begins at 1 shows no increase, so each begins at 0.
                for values in product(*(sorted(LABELS[label]) for label in metric.labels)):
                    held.labels(*values)
            self._metrics[metric.name.removeprefix(PREFIX).removeprefix(f"{worker}_")] = metric, held

    def total(self, name: str, value: float, *labels: object) -> None:
        """Bring a counter to the total that the worker has counted since its start."""
        child, values = self._child(name, labels, "counter")
        key = name, values
        child.inc(value - self._told.get(key, 0.0))
        self._told[key] = value

    def totals(self, name: str, values: Mapping[Any, float]) -> None:
        """Bring a counter to its totals by label; a key is a label's value, or a tuple of them.

        Values that are not in the vocabulary are counted together as `other`.
        """
        summed: dict[tuple[str, ...], float] = {}
        metric, _ = self._metrics[name]
        for key, value in values.items():
            labels = _known(metric, key if isinstance(key, tuple) else (key,))
            summed[labels] = summed.get(labels, 0.0) + value
        for labels, value in summed.items():
            self.total(name, value, *labels)

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge without labels."""
        self._child(name, (), "gauge")[0].set(value)

    def gauges(self, name: str, values: Mapping[Any, float]) -> None:
        """Set a gauge with one label; what is not among `values` is exposed no longer."""
        before = {labels for told, labels in self._told if told == name}
        for key, value in values.items():
            child, labels = self._child(name, (key,), "gauge")
            child.set(value)
            self._told[name, labels] = value
            before.discard(labels)
        for labels in before:
            self._metrics[name][1].remove(*labels)
            del self._told[name, labels]

    def observe(self, name: str, values: Iterable[float]) -> None:
        """Add observations to a histogram."""
        child, _ = self._child(name, (), "histogram")
        for value in values:
            child.observe(value)

    def exposition(self) -> bytes:
        """The text that a scrape gets."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def _child(self, name: str, labels: tuple[object, ...], kind: str) -> tuple[Any, tuple[str, ...]]:
        metric, held = self._metrics[name]
        if metric.kind != kind:
            raise ValueError(f"{metric.name} is a {metric.kind}")
        values = _known(metric, labels)
        return (held.labels(*values) if values else held), values


def _known(metric: Metric, labels: tuple[object, ...]) -> tuple[str, ...]:
    return tuple(
        str(value) if str(value) in LABELS[label] else OTHER for label, value in zip(metric.labels, labels, strict=True)
    )
