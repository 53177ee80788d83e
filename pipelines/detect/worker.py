"""Wiring of a detect worker: clients, lanes, signals, the status line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from pipelines.config import Config
from pipelines.detect.control import Control
from pipelines.detect.intake import Intake
from pipelines.detect.kafka_source import KafkaControlSource, KafkaSource
from pipelines.detect.loop import DetectLoop
from pipelines.detect.state_topic import KafkaChangelog
from pipelines.detect.tallies import Counters
from pipelines.kafka_io import (
    EVENT_ROLES,
    check_partitions,
    make_admin,
    make_consumer,
    partition_counts,
    topic_by_role,
)
from pipelines.logs import get_logger
from pipelines.metrics_http import Monitor, serving
from pipelines.metrics_workers import publish_detect
from pipelines.secrets import is_development_key, load_hash_key
from pipelines.stopping import Job, Stop

_STATUS_EVERY_S: Final = 10.0


def run_detect(config: Config, *, job: Job) -> None:
    """Run a worker until SIGTERM or SIGINT, or as long as the job says: `once` is until everything is decided.

    Raises:
        UsageError: the settings lack something (see :mod:`pipelines.kafka_io`).
        Failure: the broker or its topics are not as they must be, the broker took an output no longer, or the time of
            a `once` job came too early.
    """
    from detectors.engine import DetectConfig, FrameBuilder, Lane

    kafka = config.pipeline.kafka
    stream = config.pipeline.stream
    topics = topic_by_role(kafka.topics)
    key = load_hash_key(config.pipeline)
    detect = DetectConfig(
        config.detectors,
        config.patterns,
        hash_key=key,
        config_version=config.version,
        paraphrase=config.paraphrase,
        words=config.words,
    )
    log = get_logger("detect")
    if is_development_key(key):
        log.warning("development key in use: anyone can recompute the fingerprints; set DISTILLWATCH_HASH_KEY")
    group = f"{kafka.group}-detect"
    account_topics = [topics[role] for role in EVENT_ROLES]
    monitor = Monitor("detect", stall_s=config.pipeline.metrics.stall_s)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Stop(job, deadline_s=config.pipeline.workers.stop_s, log=log))
        stack.enter_context(serving(monitor, config.pipeline.metrics, "detect", log))
        _check_topics(config, topics)
        source = KafkaSource(
            make_consumer(kafka, group=group, poll_records=stream.poll_records, member=True),
            account_topics,
            partial(make_consumer, kafka, group=None, poll_records=1),
        )
        stack.callback(source.close)
        control_source = KafkaControlSource(
            make_consumer(kafka, group=f"{group}-control", poll_records=stream.poll_records), topics["control"]
        )
        stack.callback(control_source.close)
        intake = Intake(
            {topics[role]: role for role in (*EVENT_ROLES, "control")},
            max_bytes=config.pipeline.input.max_event_bytes,
            max_future_s=config.pipeline.input.max_future_s,
            wall=time.time,
        )
        loop = DetectLoop(
            source=source,
            control=Control(control_source, intake, stream.partitions),
            intake=intake,
            topics=account_topics,
            builder=FrameBuilder(detect),
            new_lane=lambda partition: Lane(partition, detect),
            changelog=KafkaChangelog(kafka, topics, group, source.group, log, monitor.beat),
            config=config.version,
            settings=stream,
            steady=time.monotonic,
            log=log,
        )
        stack.callback(loop.close)
        shares = [(topic, number) for topic in account_topics for number in range(stream.partitions)]
        drive(
            loop,
            once=job.once,
            group_is_done=partial(source.group_is_done, shares),
            stop=stop,
            monitor=monitor,
            publish=partial(publish_detect, roles={name: role for role, name in topics.items()}, wall=time.time),
            log=log,
        )


def drive(
    loop: DetectLoop,
    *,
    once: bool,
    group_is_done: Callable[[], bool],
    stop: Stop,
    monitor: Monitor,
    publish: Callable[[Monitor, DetectLoop], None],
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
        since, at, owned = msgspec.structs.replace(loop.counters), steady(), loop.partitions
        while not stop.asked():
            loop.step()
            monitor.beat()
            if monitor.due():
                publish(monitor, loop)
            now = steady()
            if loop.partitions != owned:
                owned = loop.partitions
                log.info("partitions assigned", partitions=",".join(map(str, owned)) or "none")
            if now - at >= _STATUS_EVERY_S:
                log.info("status", **status(loop, since=since, seconds=now - at))
                since, at = msgspec.structs.replace(loop.counters), now
            if once and loop.done and group_is_done():
                done = True
                break
        loop.finish()
        publish(monitor, loop)
        log.info("stopped", **status(loop, since=since, seconds=steady() - at))
        stop.check(done=done)


def status(loop: DetectLoop, *, since: Counters, seconds: float) -> dict[str, Any]:
    """The fields of a status line: rates since the last one, totals of what went wrong."""
    now = loop.counters
    return {
        "events_per_s": round((now.events - since.events) / seconds, 1) if seconds > 0 else 0.0,
        "events": now.events,
        "rejected": now.rejected,
        "ticks": now.ticks,
        "alerts": now.alerts,
        "lag": loop.lag,
        "pending": loop.pending,
        "partitions": ",".join(str(number) for number in loop.partitions),
        "misplaced": now.misplaced,
        "refused_commits": now.refused_commits,
        "lost_states": now.lost_states,
        "dropped_control_letters": loop.dropped_control_letters,
    }


def _check_topics(config: Config, topics: dict[str, str]) -> None:
    wanted = {topics[role]: config.pipeline.stream.partitions for role in (*EVENT_ROLES, "detect_state")}
    wanted |= {topics["control"]: 1, topics["evidence"]: 1, topics["dead_letters"]: 1}
    others = [topics[role] for role in ("alerts", "signals", "activity")]
    admin = make_admin(config.pipeline.kafka)
    try:
        counts = partition_counts(admin, [*wanted, *others])
    finally:
        admin.close()
    # The outputs may have any number of partitions, but they must exist.
    check_partitions(counts, wanted | {topic: counts.get(topic, 1) for topic in others})
