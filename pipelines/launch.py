"""What the stream workers do alike before they run: config, logs, the broker's failures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from pipelines.config import Config, load_config
from pipelines.errors import Failure, UsageError
from pipelines.kafka_access import explain, to_put_right
from pipelines.logs import LEVELS, configure_logs
from pipelines.metrics import Worker as WorkerName
from pipelines.stopping import Job, parse_until


class Worker(Protocol):
    """A worker's entry point."""

    def __call__(self, config: Config, *, job: Job) -> None:
        """Run until told to stop, or as long as the job says."""


def launch(
    worker: Worker,
    *,
    config: Path | None,
    bootstrap: str | None,
    once: bool,
    log_level: str,
    until: str | None,
    metrics_port: int | None,
    name: WorkerName,
    data_dir: Path | None = None,
    instance: str | None = None,
) -> None:
    """Load what a worker needs and run it.

    Args:
        until: the value of `--until`.
        metrics_port: instead of the config's port of the worker `name`.
        instance: instead of the config's lasting name in the group.

    Raises:
        UsageError: config, secrets or options are wrong.
        Failure: the work failed.
    """
    from kafka.errors import KafkaError

    if log_level.lower() not in LEVELS:
        raise UsageError(f"--log-level must be one of {', '.join(LEVELS)}, got {log_level}")
    configure_logs(log_level)
    loaded = override(load_config(config), bootstrap=bootstrap, data_dir=data_dir, instance=instance)
    if metrics_port is not None:
        metrics = replace(loaded.pipeline.metrics, **{name: metrics_port})
        loaded = replace(loaded, pipeline=replace(loaded.pipeline, metrics=metrics))
    job = Job(once=once, until=parse_until(until, time.time()))
    try:
        worker(loaded, job=job)
    except KafkaError as error:
        raise Failure(explain(loaded.pipeline.kafka, error)) from error
    except Failure as error:
        # A right that is missing shows itself in what could not be sent or begun.
        reason = to_put_right(error)
        if reason is None:
            raise
        raise Failure(f"{error}; {explain(loaded.pipeline.kafka, reason)}") from error


def override(
    config: Config, *, bootstrap: str | None, data_dir: Path | None = None, instance: str | None = None
) -> Config:
    """The config with what the command line says instead; the version stays, it does not count addresses.

    Raises:
        UsageError: an address or a name that no config file could hold.
    """
    pipeline = config.pipeline
    if bootstrap is not None:
        _check("bootstrap", bootstrap, "--bootstrap must be host:port or host:port,host:port")
        pipeline = replace(pipeline, kafka=replace(pipeline.kafka, bootstrap=bootstrap))
    if instance is not None:
        _check("group_instance_id", instance, "--instance must be letters, digits, `.`, `_` and `-`, at most 200")
        pipeline = replace(pipeline, kafka=replace(pipeline.kafka, group_instance_id=instance))
    if data_dir is not None:
        pipeline = replace(pipeline, correlate=replace(pipeline.correlate, data_dir=str(data_dir)))
    return replace(config, pipeline=pipeline)


def _check(key: str, value: str, rule: str) -> None:
    import msgspec

    from pipelines.settings import KafkaSettings

    try:
        msgspec.convert({key: value}, KafkaSettings)
    except msgspec.ValidationError:
        raise UsageError(f"{rule}, got {value}") from None
