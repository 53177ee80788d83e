"""Wiring of a sink worker: consumer with headers, dead letters, ClickHouse, signals, the status line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from infra.clickhouse.migrate import SchemaOptions
from pipelines.config import Config
from pipelines.dead_letters import TopicDeadLetters
from pipelines.detect.kafka_source import KafkaSource, envelope, free_in_line_slot
from pipelines.errors import Failure
from pipelines.kafka_io import (
    ConfirmedProducer,
    check_partitions,
    make_admin,
    make_consumer,
    make_producer,
    partition_counts,
    topic_by_role,
)
from pipelines.logs import get_logger
from pipelines.metrics_http import Monitor, serving
from pipelines.metrics_workers import publish_sink
from pipelines.settings import ClickHouseSettings
from pipelines.sink import SINK_ROLES, SinkLimits, SinkLoop
from pipelines.sink_ports import Record
from pipelines.stopping import Job, Stop
from pipelines.store import check_dsn, open_store

_POLL_RECORDS: Final = 2_000
_STATUS_EVERY_S: Final = 10.0
# A job (`--once`) that finds no ClickHouse must end some time; a worker waits for ever.
_ONCE_PATIENCE_S: Final = 120.0
_ONCE_ASSIGNMENT_S: Final = 60.0


class SinkConsumer(KafkaSource):
    """A :class:`pipelines.sink_ports.SinkSource`: the consumer of a group, with the records' headers."""

    def poll_records(self, timeout_ms: int, max_records: int) -> list[Record]:
        """Records, the partitions in order."""
        if self._paused_before:
            free_in_line_slot(self._consumer)
        batch = self._consumer.poll(timeout_ms=self._wait_ms(timeout_ms), max_records=max_records)
        return [
            Record(envelope(record), record.headers or ()) for partition in sorted(batch) for record in batch[partition]
        ]


def schema_options(settings: ClickHouseSettings) -> SchemaOptions:
    """Retention of the tables as `pipeline.toml` has it."""
    return SchemaOptions(
        alert_days=settings.alert_days, signal_days=settings.signal_days, activity_days=settings.activity_days
    )


def run_sink(config: Config, *, job: Job, dsn: str | None = None) -> None:
    """Run a worker until SIGTERM or SIGINT, or as long as the job says: `once` is until everything is written.

    `dsn` overrides the config's.

    Raises:
        UsageError: the settings lack something, or the DSN is wrong.
        Failure: broker or topics are not as they must be, ClickHouse refuses rows, or the time of a
            `once` job came too early.
    """
    kafka, clickhouse = config.pipeline.kafka, config.pipeline.clickhouse
    if dsn is not None:
        clickhouse = replace(clickhouse, dsn=dsn)
    check_dsn(clickhouse.dsn)
    names = topic_by_role(kafka.topics)
    topics = [names[role] for role in SINK_ROLES]
    log = get_logger("sink")
    monitor = Monitor("sink", stall_s=config.pipeline.metrics.stall_s)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Stop(job, deadline_s=config.pipeline.workers.stop_s, log=log))
        stack.enter_context(serving(monitor, config.pipeline.metrics, "sink", log))
        admin = make_admin(kafka)
        try:
            counts = partition_counts(admin, topics)
        finally:
            admin.close()
        check_partitions(counts, {topic: counts.get(topic, 1) for topic in topics})
        producer = stack.enter_context(contextlib.closing(ConfirmedProducer(make_producer(kafka))))
        source = SinkConsumer(
            make_consumer(kafka, group=f"{kafka.group}-sink", poll_records=_POLL_RECORDS, member=True),
            topics,
            partial(make_consumer, kafka, group=None, poll_records=1),
        )
        stack.callback(source.close)

        def connect() -> Any:
            store = open_store(clickhouse.dsn, options=schema_options(clickhouse))
            stack.callback(store.close)
            return store

        loop = SinkLoop(
            source=source,
            open_store=connect,
            letters=TopicDeadLetters(producer, names["dead_letters"]),
            roles={names[role]: role for role in SINK_ROLES},
            limits=SinkLimits(
                rows=clickhouse.batch_rows,
                wait_s=clickhouse.batch_ms / 1000,
                patience_s=_ONCE_PATIENCE_S if job.once else None,
            ),
            steady=time.monotonic,
            wall=time.time,
            log=log,
        )
        loop.connect()
        shares = [(topic, number) for topic in topics for number in range(counts[topic])]
        drive(
            loop,
            once=job.once,
            group_is_done=partial(source.group_is_done, shares),
            stop=stop,
            monitor=monitor,
            log=log,
        )


def drive(
    loop: SinkLoop,
    *,
    once: bool,
    group_is_done: Callable[[], bool],
    stop: Stop,
    monitor: Monitor,
    log: Any,
    steady: Callable[[], float] = time.monotonic,
) -> None:
    """Step the loop until it is asked to stop; log a status line every 10 s, publish its metrics every second.

    With `once` it ends when the loop is done, and with it all members of its group.

    Raises:
        Failure: `stop` asked before a `once` job was done, because its time came.
    """
    done = False
    with stop.on_signals():
        log.info("started", once=once)
        began = at = steady()
        while not stop.asked():
            loop.step()
            monitor.beat()
            if monitor.due():
                publish_sink(monitor, loop)
            now = steady()
            if now - at >= _STATUS_EVERY_S:
                log.info("status", **_status(loop))
                at = now
            if once and loop.done and group_is_done():
                done = True
                break
            if once and not loop.partitions and now - began > _ONCE_ASSIGNMENT_S:
                raise Failure("the group gave this sink no partition; is another sink of the group running?")
        # What was read and not written is read again by the next start.
        loop.write()
        log.info("stopped", **_status(loop))
        stop.check(done=done)


def _status(loop: SinkLoop) -> dict[str, int]:
    counters = loop.counters
    return {
        **counters.rows,
        "rejected": counters.rejected,
        "batches": counters.batches,
        "retries": counters.retries,
        "refused_commits": counters.refused_commits,
    }
