"""Running the correlate app: topics, its event loop, signals, the status line."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pipelines.config import Config
from pipelines.correlate.app import app_id, build_app, changelog_topic, store_directory
from pipelines.correlate.correlator import PARTITION, Correlator
from pipelines.correlate.group import GroupProgress
from pipelines.correlate.stage import CampaignCore as CampaignStageCore
from pipelines.errors import Failure, UsageError
from pipelines.kafka_io import check_partitions, make_admin, partition_counts, topic_by_role
from pipelines.logs import get_logger
from pipelines.metrics_http import Monitor, serving
from pipelines.metrics_workers import publish_correlate
from pipelines.stopping import Job, Stop

_STATUS_EVERY_S: Final = 10.0
_WATCH_EVERY_S: Final = 0.2
_TELL_EVERY_S: Final = 1.0
_LAG_EVERY_S: Final = 10.0
# A recovery reads all that is there, and Kafka compacts no segment that is still written: by default a gigabyte.
_CHANGELOG: Final = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(12 * 1024 * 1024),
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
}


def run_correlate(config: Config, *, job: Job) -> None:
    """Run the app until SIGTERM or SIGINT, or as long as the job says: `once` is until all evidence is decided on.

    Raises:
        UsageError: the settings lack something, or another process has the store's directory.
        Failure: the broker or its topics are not as they must be, an output was not acknowledged, or the time of a
            `once` job came too early.
    """
    from detectors.campaigns import CampaignCore

    log = get_logger("correlate")
    metrics = config.pipeline.metrics
    monitor = Monitor("correlate", stall_s=metrics.stall_s)

    def new_core() -> CampaignCore:
        return CampaignCore(config.campaigns, config.detectors, config_version=config.version)

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Stop(job, deadline_s=config.pipeline.workers.stop_s, log=log))
        stack.enter_context(serving(monitor, metrics, "correlate", log))
        prepare_topics(config)
        asyncio.run(serve(config, new_core, once=job.once, stop=stop, monitor=monitor))


def prepare_topics(config: Config) -> None:
    """Check the topics the app needs and create the changelog of its table.

    Raises:
        Failure: a topic is missing or has another partition count.
    """
    topics = topic_by_role(config.pipeline.kafka.topics)
    changelog = changelog_topic(config)
    wanted = {topics["evidence"]: 1, topics["dead_letters"]: 1}
    admin = make_admin(config.pipeline.kafka)
    try:
        counts = partition_counts(admin, [*wanted, topics["alerts"], changelog])
        check_partitions(counts, wanted | {topics["alerts"]: counts.get(topics["alerts"], 1)})
        if changelog not in counts:
            admin.create_topics(
                {changelog: {"num_partitions": 1, "replication_factor": -1, "configs": _CHANGELOG}}, raise_errors=False
            )
            admin.wait_for_topics([changelog])
            counts = partition_counts(admin, [changelog])
    finally:
        admin.close()
    # Another app's topic under this name would give the table a state that is not its own.
    check_partitions(counts, {changelog: 1})


@contextlib.contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Hold a store's directory, for another process on it would remove the files of this one.

    Raises:
        UsageError: another process holds it.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside the directory, which is removed and made anew.
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{directory} is in use by another correlate process; give each one a correlate.data_dir of its own"
            ) from None
        yield


def open_store(directory: Path) -> Path:
    """Make the store's directory ready, and return the marker to set when the app has stopped in order.

    The store of a process that was killed may be ahead of the changelog, and what the changelog then brings
    would mix an older state into it. So without the marker the store is removed; recovery rebuilds it.
    """
    marker = directory / "stopped-in-order"
    if directory.exists() and not marker.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    return marker


async def serve(
    config: Config, new_core: Callable[[], CampaignStageCore], *, once: bool, stop: Stop, monitor: Monitor
) -> None:
    """Start the app with cores of `new_core`, stop it when told to or done.

    Raises:
        UsageError: another process has the store's directory.
        KafkaError: the broker does not let the app's user see its group or the evidence.
        Failure: the app stopped by itself, or the time of a `once` job came too early.
    """
    with alone_in(store_directory(config)):
        await _serve(config, new_core, once=once, stop=stop, monitor=monitor)


async def _serve(
    config: Config, new_core: Callable[[], CampaignStageCore], *, once: bool, stop: Stop, monitor: Monitor
) -> None:
    log = get_logger("correlate")
    clean = open_store(store_directory(config))
    kafka = config.pipeline.kafka
    progress = GroupProgress(kafka, app_id(config), topic_by_role(kafka.topics)["evidence"], PARTITION)
    try:
        # A right that is missing is an error here; Faust would try again without end.
        await asyncio.to_thread(progress.start)
        app, correlator = build_app(config, new_core, progress, once=once, wall=time.time)
        with stop.on_signals():
            log.info("started", once=once)
            await _run(app, correlator, stop, monitor, log, once=once)
    finally:
        await asyncio.to_thread(progress.close)
    if correlator.failure is not None:
        raise Failure(
            f"correlate stopped without acknowledging a message: {correlator.failure}"
        ) from correlator.failure
    clean.touch()
    log.info("stopped", **_status(correlator))
    stop.check(done=correlator.finished.is_set())


async def _run(app: Any, correlator: Correlator, stop: Stop, monitor: Monitor, log: Any, *, once: bool) -> None:
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(keep_telling(monitor, correlator))]
    try:
        await app.start()
        tasks.append(loop.create_task(correlator.keep_committing()))
        if once:
            tasks.append(loop.create_task(correlator.finish_once()))
        await _until_over(app, correlator, stop, log)
        await correlator.drain()
    finally:
        for task in tasks:
            task.cancel()
        await app.stop()


async def _until_over(app: Any, correlator: Correlator, stop: Stop, log: Any) -> None:
    at = time.monotonic()
    while not (stop.asked() or correlator.finished.is_set() or correlator.failed.is_set()):
        if app.should_stop:
            correlator.fail(RuntimeError("the Faust app crashed; its log says why"))
            return
        await asyncio.sleep(_WATCH_EVERY_S)
        if time.monotonic() - at >= _STATUS_EVERY_S:
            at = time.monotonic()
            log.info("status", **_status(correlator))


async def keep_telling(
    monitor: Monitor, correlator: Correlator, *, every_s: float = _TELL_EVERY_S, lag_every_s: float = _LAG_EVERY_S
) -> None:
    """Publish the metrics until cancelled, and beat while evidence is taken, or there is none to take.

    Args:
        every_s: how often to publish.
        lag_every_s: how often to ask the broker how much evidence waits.
    """
    loop = asyncio.get_running_loop()
    asked_at, taken, lag = -lag_every_s, -1, None
    while True:
        if loop.time() - asked_at >= lag_every_s:
            asked_at = loop.time()
            lag = await _behind(correlator)
        if not lag or correlator.stage.messages != taken:
            taken = correlator.stage.messages
            monitor.beat()
        publish_correlate(monitor, correlator, lag=lag)
        await asyncio.sleep(every_s)


async def _behind(correlator: Correlator) -> int | None:
    from kafka.errors import KafkaError

    try:
        return await correlator.behind()
    except (KafkaError, TimeoutError):
        return None


def _status(correlator: Correlator) -> dict[str, int]:
    stage = correlator.stage
    return {
        "messages": stage.messages,
        "skipped": stage.skipped,
        "acknowledged": correlator.acknowledged,
        "alerts": stage.alerts,
        "rejected": stage.rejected,
    }
