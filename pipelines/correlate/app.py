"""The Faust app around the campaign stage.

Why it looks as it does: importing Faust reads the command line and writes environment variables, so it
happens inside :func:`import_faust`. Its web server is off. Its agents acknowledge a message when they
raise and may commit past one still in flight or lost in a rebalance, so Faust's acknowledgements are off
and :mod:`pipelines.correlate.correlator` decides what is committed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.config import Config
from pipelines.correlate.correlator import PARTITION, Correlator
from pipelines.correlate.group import GroupProgress
from pipelines.correlate.sequence import MessageSequence
from pipelines.correlate.stage import CampaignCore, CampaignStage
from pipelines.dead_letters import to_headers
from pipelines.kafka_access import login, tls_context, uses_sasl, uses_tls
from pipelines.kafka_io import MAX_REQUEST_BYTES, heartbeat_s, topic_by_role
from pipelines.logs import get_logger
from pipelines.settings import KafkaSettings
from schemas import alerts
from schemas.alerts import Alert
from schemas.deadletters import DeadLetter

TABLE: Final = "campaign-state"
# The store holds megabytes of state, not gigabytes; RocksDB would take 2 GiB of cache by default.
_STORE_OPTIONS: Final = {
    "block_cache_size": 16 * 1024 * 1024,
    "block_cache_compressed_size": 0,
    "write_buffer_size": 8 * 1024 * 1024,
    "max_open_files": 128,
}
# Faust takes none longer than its wait for an answer. The app has no lasting name: a stand-by is there at once.
_LONGEST_SESSION_S: Final = 60.0
_REBALANCE_POLL_S: Final = 0.05
_IMPORT_VARIABLES: Final = ("FAUST_DATADIR", "FAUST_LOOP")


def import_faust() -> Any:
    """Faust, without what its import does: read our command line and write environment variables."""
    argv = sys.argv
    before = {name: os.environ.get(name) for name in _IMPORT_VARIABLES}
    sys.argv = argv[:1]
    try:
        import faust
    finally:
        sys.argv = argv
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return faust


def app_id(config: Config) -> str:
    """Consumer group of the app, and prefix of its changelog."""
    return f"{config.pipeline.kafka.group}-correlate"


def changelog_topic(config: Config) -> str:
    """Topic that holds the core's state; compacted, as many partitions as evidence has."""
    return f"{app_id(config)}-{TABLE}-changelog"


def store_directory(config: Config) -> Path:
    """Where the store's files are."""
    return Path(config.pipeline.correlate.data_dir).absolute() / app_id(config)


def build_app(
    config: Config,
    new_core: Callable[[], CampaignCore],
    progress: GroupProgress,
    *,
    once: bool,
    wall: Callable[[], float],
) -> tuple[Any, Correlator]:
    """The Faust app for a config and what its agent does; call it with the event loop running that will run them.

    Args:
        new_core: makes an empty campaign core.
        progress: of the app's group in the evidence topic.
        once: finish when all evidence that there is has been decided on.
        wall: the wall clock, seconds since the epoch.

    Raises:
        UsageError: the security settings lack something.
    """
    faust = import_faust()
    settings = config.pipeline
    topics = topic_by_role(settings.kafka.topics)
    rocksdb = settings.correlate.store == "rocksdb"
    app = faust.App(
        app_id(config),
        broker=[f"kafka://{address}" for address in settings.kafka.bootstrap.split(",")],
        broker_credentials=_credentials(faust, settings.kafka),
        datadir=str(store_directory(config)),
        store="rocksdb://" if rocksdb else "memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=1,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_REQUEST_BYTES,
        producer_max_request_size=MAX_REQUEST_BYTES,
        broker_session_timeout=min(float(settings.kafka.session_s), _LONGEST_SESSION_S),
        broker_heartbeat_interval=heartbeat_s(settings.kafka),
        # Faust's acknowledgements are off, so there is none to wait for.
        stream_wait_empty=False,
        loop=asyncio.get_running_loop(),
    )
    _read_committed(app)
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    evidence = app.topic(topics["evidence"], partitions=1, acks=False, **raw)
    table = app.Table(
        TABLE,
        partitions=1,
        changelog_topic=app.topic(changelog_topic(config), partitions=1, compacting=True, **raw),
        options=dict(_STORE_OPTIONS) if rocksdb else {},
        key_type=bytes,
        value_type=bytes,
    )
    source = FaustInput(app, topics["evidence"], progress)
    stage = CampaignStage(
        new_core=new_core,
        table=FaustTable(table),
        publisher=FaustPublisher(app.topic(topics["alerts"], **raw), app.topic(topics["dead_letters"], **raw)),
        start=source.start,
        end=source.log_end,
        wall=wall,
    )
    correlator = Correlator(stage, source, MessageSequence(source, get_logger("correlate")), once=once)

    async def campaigns(stream: Any) -> None:
        await correlator.run_agent(stream)

    async def revoked(*_: Any, **__: Any) -> None:
        await correlator.revoked()

    async def recovered(*_: Any, **__: Any) -> None:
        correlator.restart()

    app.agent(evidence, concurrency=1, name="campaigns")(campaigns)
    # Strong references: Faust's signals keep weak ones by default.
    app.on_partitions_revoked.connect(revoked, weak=False)
    app.on_rebalance_complete.connect(recovered, weak=False)
    return app, correlator


def _read_committed(app: Any) -> None:
    """Let the app see no evidence of a transaction that is open or was aborted.

    Faust has that only together with exactly-once, which does not hold what it says; so the client is told itself.
    """
    from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer

    class Thread(AIOKafkaConsumerThread):
        def _create_worker_consumer(self, transport: Any) -> Any:
            consumer = super()._create_worker_consumer(transport)
            # Read when the client starts, which it has not yet.
            consumer._isolation_level = "read_committed"
            return consumer

    class Committed(Consumer):
        def _new_consumer_thread(self) -> Any:
            return Thread(self, loop=self.loop, beacon=self.beacon)

    app.transport.Consumer = Committed


class FaustInput:
    """A :class:`pipelines.correlate.correlator.Input` over Faust's consumer and the group's own progress."""

    def __init__(self, app: Any, topic: str, progress: GroupProgress) -> None:
        from faust.types import TP

        self._app = app
        self._partition = TP(topic, PARTITION)
        self._progress = progress

    def is_ready(self) -> bool:
        """Is the partition assigned, and its table recovered?"""
        app = self._app
        return (
            not app.rebalancing
            and app.tables.recovery.completed.is_set()
            and self._partition in app.consumer.assignment()
        )

    async def settled(self) -> None:
        """Return outside a rebalance."""
        # Faust has a flag for it and no event.
        while self._app.rebalancing:  # noqa: ASYNC110
            await asyncio.sleep(_REBALANCE_POLL_S)

    async def seek(self, offset: int) -> None:
        """Read from here on; in Faust's view too, which else drops what it thinks it has delivered."""
        await self._app.consumer.seek_wait({self._partition: offset})

    async def commit(self, offset: int) -> bool:
        """Commit; False where a rebalance is in the way.

        Through the method behind `Consumer.commit`, which takes the offset from Faust's own book of
        acknowledgements. That one counts messages lost in a rebalance as acknowledged, or never commits again.
        """
        if self._app.rebalancing:
            return False
        return bool(await self._app.consumer._commit_offsets({self._partition: offset}))

    async def start(self) -> int:
        """Where the group goes on reading."""
        return await asyncio.to_thread(self._progress.start)

    async def end(self) -> int:
        """Offset after the last evidence on the broker."""
        return await asyncio.to_thread(self._progress.end_of_records)

    async def log_end(self) -> int:
        """Offset after all there is, the marks of transactions too."""
        return await asyncio.to_thread(self._progress.end)

    async def first_from(self, offset: int) -> int:
        """Offset of the first record at or behind an offset; `offset` itself where that cannot be told."""
        return await asyncio.to_thread(self._progress.first_from, offset)

    async def is_done(self) -> bool:
        """Has the group committed all evidence?"""
        return await asyncio.to_thread(self._progress.is_done)


class FaustTable:
    """A :class:`pipelines.correlate.journal.StateTable` over a Faust table.

    It writes the store and the changelog side by side, as the table's own item assignment does, to have
    the changelog's acknowledgement in hand.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def load(self) -> dict[str, bytes]:
        """All entries; the table has recovered when an agent runs."""
        return {key.decode(): value for key, value in self._table.items()}

    def write(self, name: str, value: bytes | None) -> Awaitable[Any]:
        """Set or delete; only from the agent, whose current event names the partition."""
        key = name.encode()
        sent: Awaitable[Any] = self._table.send_changelog(PARTITION, key, value)
        if value is None:
            self._table.data.pop(key, None)
        else:
            self._table.data[key] = value
        return sent


class FaustPublisher:
    """A :class:`pipelines.correlate.stage.Publisher` over Faust topics."""

    def __init__(self, alerts_topic: Any, letters_topic: Any) -> None:
        self._alerts = alerts_topic
        self._letters = letters_topic

    async def alerts(self, alerts_: Sequence[Alert]) -> None:
        """Send all, then wait for all: the versions of one alert share a partition and keep their order."""
        sent = [
            await self._alerts.send(key=alert.alert_id.encode(), value=alerts.ENCODER.encode(alert))
            for alert in alerts_
        ]
        for one in sent:
            await one

    async def letter(self, letter: DeadLetter) -> None:
        """Send and wait."""
        await (await self._letters.send(key=letter.key, value=letter.raw, headers=to_headers(letter)))


def _credentials(faust: Any, settings: KafkaSettings, environ: Mapping[str, str] | None = None) -> Any:
    context = tls_context(settings, environ) if uses_tls(settings) else None
    if uses_sasl(settings):
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=login(settings, environ),
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
