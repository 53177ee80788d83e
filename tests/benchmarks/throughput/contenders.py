"""One contender in a process of its own: `python -m tests.benchmarks.throughput.contenders NAME …`.

Each reads the same two topics from their beginning, with a group of its own, and saves its marks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from tests.benchmarks.throughput.models import MODELS, Score
from tests.benchmarks.throughput.stopwatch import Stopwatch

_EACH: Final = 64  # peers mark every so many events; each mark costs two system calls


class Job(Struct, frozen=True, kw_only=True):
    """What to read: `events` records of `topics`; `config` is for the worker and for replay."""

    bootstrap: str
    group: str
    topics: list[str]
    events: int
    config: Path
    work: Path


def floor(job: Job, watch: Stopwatch) -> None:
    """Poll and decode, with the worker's own consumer and decoder; nothing else."""
    from pipelines.kafka_io import make_consumer
    from pipelines.settings import KafkaSettings, StreamSettings
    from schemas.events import decode_event

    poll_records = StreamSettings().poll_records
    consumer = make_consumer(KafkaSettings(bootstrap=job.bootstrap), group=job.group, poll_records=poll_records)
    consumer.subscribe(job.topics)
    while watch.done < job.events and not watch.over:
        records = consumer.poll(timeout_ms=100, max_records=poll_records)
        if records and not watch.done:
            watch.mark(0)
        done = 0
        for batch in records.values():
            for record in batch:
                decode_event(record.value)
            done += len(batch)
        if done:
            watch.mark(done)
    consumer.close()


def detect(job: Job, watch: Stopwatch) -> None:
    """`distillwatch detect --once`, with a stopwatch around its consumer's polls."""
    from pipelines.cli import main
    from pipelines.detect.kafka_source import KafkaSource

    poll, taken = KafkaSource.poll, 0

    def timed(self: KafkaSource, timeout_ms: int, max_records: int) -> Any:
        nonlocal taken
        if watch.done or taken:
            watch.mark(taken)
        taken = 0
        records = poll(self, timeout_ms, max_records)
        taken = len(records)
        if taken and not watch.done:
            watch.mark(0)
        return records

    KafkaSource.poll = timed  # type: ignore[method-assign]
    sys.argv = ["distillwatch", "detect", "--once", "--config", str(job.config), "--log-level", "warning"]
    code = main()
    if code:
        sys.exit(code)
    watch.mark(taken)


def replay(job: Job, watch: Stopwatch) -> None:
    """`distillwatch replay` of the same events in a file, both of its passes."""
    from pipelines.config import load_config
    from pipelines.replay import run

    config = load_config(job.config)
    watch.mark(0)
    summary = run([job.work / "events.jsonl"], config=config, alerts=job.work / "alerts.jsonl")
    watch.mark(summary.events)


def kafka_peer(model: str, job: Job, watch: Stopwatch) -> None:
    """A loop over a kafka-python consumer."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        *job.topics,
        bootstrap_servers=job.bootstrap,
        group_id=job.group,
        auto_offset_reset="earliest",
        value_deserializer=json.loads,
    )
    scored = _counted(MODELS[model](), job, watch)
    for record in consumer:
        if scored(record.value):
            break
    consumer.close()


def faust_peer(model: str, job: Job, watch: Stopwatch) -> None:
    """An agent."""
    from pipelines.correlate.app import import_faust

    faust = import_faust()

    async def serve() -> None:
        app = faust.App(
            job.group,
            broker=f"kafka://{job.bootstrap}",
            value_serializer="json",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            datadir=str(job.work / job.group),
            loop=asyncio.get_running_loop(),
        )
        done = asyncio.Event()
        scored = _counted(MODELS[model](), job, watch)

        @app.agent(app.topic(*job.topics))  # type: ignore[untyped-decorator]
        async def score(stream: Any) -> None:
            async for event in stream:
                if not done.is_set() and scored(event):
                    done.set()

        await app.start()
        await done.wait()
        await app.stop()

    asyncio.run(serve())


def quix_peer(model: str, job: Job, watch: Stopwatch) -> None:
    """A streaming dataframe a topic."""
    from quixstreams import Application

    app = Application(
        broker_address=job.bootstrap,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=job.work / job.group,
        loglevel="WARNING",
    )
    scored = _counted(MODELS[model](), job, watch)

    def score(event: dict[str, Any]) -> None:
        if scored(event):
            app.stop()

    for name in job.topics:
        app.dataframe(app.topic(name, value_deserializer="json")).update(score)
    app.run()


CONTENDERS: Final[dict[str, Callable[[Job, Stopwatch], None]]] = {
    "floor": floor,
    "detect": detect,
    "replay": replay,
    "kafka_python_rule_60": partial(kafka_peer, "rule_60"),
    "kafka_python_river_text": partial(kafka_peer, "river_text"),
    "kafka_python_river_trees": partial(kafka_peer, "river_trees"),
    "faust_river_text": partial(faust_peer, "river_text"),
    "quix_river_text": partial(quix_peer, "river_text"),
}
PEERS: Final = [name for name in CONTENDERS if "_" in name]


def _counted(score: Score, job: Job, watch: Stopwatch) -> Callable[[Any], bool]:
    """Score, count, and say whether that was enough."""
    since = 0

    def scored(event: Any) -> bool:
        nonlocal since
        if not watch.done and not since:
            watch.mark(0)
        score(event)
        since += 1
        if since < _EACH and watch.done + since < job.events:
            return False
        watch.mark(since)
        since = 0
        return watch.done >= job.events or watch.over

    return scored


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(CONTENDERS))
    for option in ("bootstrap", "group"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--topics", nargs="+", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    for option in ("config", "work", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    options = vars(parser.parse_args())
    name, out, watch = options.pop("name"), options.pop("out"), Stopwatch(options.pop("seconds"))
    CONTENDERS[name](Job(**options), watch)
    watch.save(out)


if __name__ == "__main__":
    main()
