"""Wiring of a detect worker: clients, lanes, signals, the status line."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec

from pipelines.config import Config
from pipelines.detect.control import Control
from pipelines.detect.intake import Intake
from pipelines.detect.kafka_source import KafkaControlSource, KafkaSource
from pipelines.detect.loop import DetectLoop, status
from pipelines.detect.state_topic import KafkaChangelog
from pipelines.kafka_io import (
    EVENT_ROLES,
    check_partitions,
    make_admin,
    make_consumer,
    partition_counts,
    topic_by_role,
)
from pipelines.logs import get_logger
from pipelines.secrets import is_development_key, load_hash_key

_STATUS_EVERY_S: Final = 10.0


def run_detect(config: Config, *, once: bool) -> None:
    """Run a worker until SIGTERM or SIGINT, or with `once` until everything is read and decided.

    Raises:
        UsageError: the settings lack something (see :mod:`pipelines.kafka_io`).
        Failure: the broker or its topics are not as they must be, or the broker took an output no longer.
    """
    from detectors.engine import DetectConfig, FrameBuilder, Lane

    kafka = config.pipeline.kafka
    stream = config.pipeline.stream
    topics = topic_by_role(kafka.topics)
    _check_topics(config, topics)
    key = load_hash_key(config.pipeline)
    detect = DetectConfig(
        config.detectors,
        config.patterns,
        hash_key=key,
        config_version=config.version,
        paraphrase=config.paraphrase,
    )
    log = get_logger("detect")
    if is_development_key(key):
        log.warning("development key in use: anyone can recompute the fingerprints; set DISTILLWATCH_HASH_KEY")
    group = f"{kafka.group}-detect"
    account_topics = [topics[role] for role in EVENT_ROLES]
    with contextlib.ExitStack() as stack:
        source = KafkaSource(
            make_consumer(kafka, group=group, poll_records=stream.poll_records),
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
            changelog=KafkaChangelog(kafka, topics, group, source.group, log),
            settings=stream,
            steady=time.monotonic,
            log=log,
        )
        stack.callback(loop.close)
        shares = [(topic, number) for topic in account_topics for number in range(stream.partitions)]
        drive(loop, once=once, group_is_done=partial(source.group_is_done, shares), log=log)


def drive(
    loop: DetectLoop,
    *,
    once: bool,
    group_is_done: Callable[[], bool],
    log: Any,
    steady: Callable[[], float] = time.monotonic,
) -> None:
    """Step the loop until a signal asks to stop; log a status line every 10 s.

    With `once` it ends when the loop is done, and with it all members of its group.
    """
    with stop_on_signals() as stopped:
        log.info("started", once=once)
        since, at, owned = msgspec.structs.replace(loop.counters), steady(), loop.partitions
        while not stopped():
            loop.step()
            now = steady()
            if loop.partitions != owned:
                owned = loop.partitions
                log.info("partitions assigned", partitions=",".join(map(str, owned)) or "none")
            if now - at >= _STATUS_EVERY_S:
                log.info("status", **status(loop, since=since, seconds=now - at))
                since, at = msgspec.structs.replace(loop.counters), now
            if once and loop.done and group_is_done():
                break
        loop.finish()
        log.info("stopped", **status(loop, since=since, seconds=steady() - at))


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT ask for a stop after the running step; the handlers found are put back at the end."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
