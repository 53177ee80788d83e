"""The Faust app around the campaign stage.

Why it looks as it does: importing Faust reads the command line and writes environment variables, so it
happens inside :func:`import_faust`. Its web server is off. Its agents acknowledge a message when they
raise and may commit past one still in flight, so acknowledging is done here: one agent, in order, after
the changelog has the state; and when that fails the app stops without acknowledging anything more.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.config import Config
from pipelines.correlate.stage import CampaignCore, CampaignStage, Message
from pipelines.dead_letters import to_headers
from pipelines.errors import UsageError
from pipelines.kafka_io import MAX_REQUEST_BYTES, SESSION_TIMEOUT_S, connection_options, topic_by_role
from schemas import alerts
from schemas.alerts import Alert
from schemas.deadletters import DeadLetter

TABLE: Final = "campaign-state"
PARTITION: Final = 0
"""Evidence has one partition: the campaign stage sees all of it in one place."""

# State is written once for so many messages, or after so long: some entries change with every message.
_SETTLE_MESSAGES: Final = 64
_SETTLE_AFTER_S: Final = 0.1
# Groups of messages whose state is on its way to the changelog; beyond it the agent waits.
_UNACKNOWLEDGED: Final = 16
# The store holds megabytes of state, not gigabytes; RocksDB would take 2 GiB of cache by default.
_STORE_OPTIONS: Final = {
    "block_cache_size": 16 * 1024 * 1024,
    "block_cache_compressed_size": 0,
    "write_buffer_size": 8 * 1024 * 1024,
    "max_open_files": 128,
}
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


class Correlator:
    """A Faust app, its stage, and how both end.

    Attributes:
        app: the Faust app; not started.
        stage: the campaign stage behind its agent.
        finished: set when a `once` run has decided on everything.
        failed: set when something stopped the app, which `failure` then holds.
        acknowledged: messages whose effects are durable.
    """

    def __init__(self, app: Any, evidence_topic: str, *, once: bool) -> None:
        self.app = app
        self.once = once
        self.stage: CampaignStage
        self.finished = asyncio.Event()
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self.acknowledged = 0
        self._evidence_topic = evidence_topic
        self._known_end = 0
        self._held: list[Any] = []
        self._timer: asyncio.TimerHandle | None = None
        self._queue: asyncio.Queue[tuple[Any, list[Any], list[Awaitable[Any]], bool]] = asyncio.Queue(_UNACKNOWLEDGED)

    def fail(self, error: BaseException) -> None:
        """Remember the first failure; from now on nothing is acknowledged."""
        if self.failure is None:
            self.failure = error
        self.failed.set()

    async def run_agent(self, stream: Any) -> None:
        """Body of the agent: handle every message in order; settle and acknowledge every few."""
        acknowledging = asyncio.get_running_loop().create_task(self._acknowledge())
        quiet = stream.noack()
        try:
            async for event in quiet.events():
                # Settling in the middle of a message would record its decision before its alerts are out.
                self._stop_timer()
                if self.failure is not None:
                    break
                await self._take(quiet, event)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(error)
        finally:
            self._stop_timer()
            acknowledging.cancel()
        # Returning would let Faust start the agent anew, behind a message that was not acknowledged.
        await asyncio.Event().wait()

    async def _take(self, stream: Any, event: Any) -> None:
        message = event.message
        await self.stage.handle(
            Message(
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                key=message.key,
                value=message.value,
            )
        )
        self._held.append(event)
        last = self.once and await self._is_last(message.offset + 1)
        if last:
            await self.stage.flush()
        if last or len(self._held) >= _SETTLE_MESSAGES:
            await self._queue.put((stream, *self._settle(), last))
        else:
            # The callback keeps this moment's context, in which the store finds the current partition.
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_AFTER_S, self._settle_quiet, stream)

    def _settle(self) -> tuple[list[Any], list[Awaitable[Any]]]:
        held, self._held = self._held, []
        return held, self.stage.settle()

    def _settle_quiet(self, stream: Any) -> None:
        self._timer = None
        try:
            if self._queue.full():
                self._timer = asyncio.get_running_loop().call_later(_SETTLE_AFTER_S, self._settle_quiet, stream)
            else:
                self._queue.put_nowait((stream, *self._settle(), False))
        except Exception as error:
            self.fail(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _acknowledge(self) -> None:
        try:
            while self.failure is None:
                stream, events, done, last = await self._queue.get()
                for one in done:
                    await one
                for event in events:
                    await stream.ack(event)
                self.acknowledged += len(events)
                if last:
                    self.finished.set()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(error)

    async def _is_last(self, next_offset: int) -> bool:
        """Whether nothing follows; asks the broker only where the last answer says so, it takes a second."""
        if next_offset >= self._known_end:
            self._known_end = await self.end()
        return next_offset >= self._known_end

    async def end(self) -> int:
        """Offset after the last evidence on the broker."""
        partition = self._partition()
        ends = await self.app.consumer.highwaters(partition)
        return int(ends[partition])

    async def watch_nothing_to_do(self, every_s: float = 0.3) -> None:
        """Finish a `once` run for which there is no evidence left to read."""
        partition = self._partition()
        quiet = 0
        while not self.finished.is_set():
            await asyncio.sleep(every_s)
            ready = self.app.tables.recovery.completed.is_set() and partition in self.app.consumer.assignment()
            if not ready or self.stage.messages:
                quiet = 0
                continue
            position = await self.app.consumer.position(partition)
            # Twice in a row, because a rebalance may be about to move the position.
            quiet = quiet + 1 if position is not None and position >= await self.end() else 0
            if quiet >= 2:
                self.finished.set()

    def _partition(self) -> Any:
        from faust.types import TP

        return TP(self._evidence_topic, PARTITION)


def build_app(
    config: Config, new_core: Callable[[], CampaignCore], *, once: bool, wall: Callable[[], float]
) -> Correlator:
    """The app for a config; call it with the event loop running that will run the app.

    Args:
        new_core: makes an empty campaign core.
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
        broker_credentials=_credentials(faust, config),
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
        broker_session_timeout=float(SESSION_TIMEOUT_S),
        broker_heartbeat_interval=3.0,
        # A commit waits for the fetch in progress, up to a second.
        broker_commit_interval=3.0,
        loop=asyncio.get_running_loop(),
    )
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    evidence = app.topic(topics["evidence"], partitions=1, **raw)
    table = app.Table(
        TABLE,
        partitions=1,
        changelog_topic=app.topic(changelog_topic(config), partitions=1, compacting=True, **raw),
        options=dict(_STORE_OPTIONS) if rocksdb else {},
        key_type=bytes,
        value_type=bytes,
    )
    correlator = Correlator(app, topics["evidence"], once=once)
    correlator.stage = CampaignStage(
        new_core=new_core,
        table=FaustTable(table),
        publisher=FaustPublisher(app.topic(topics["alerts"], **raw), app.topic(topics["dead_letters"], **raw)),
        end=correlator.end,
        wall=wall,
    )

    async def campaigns(stream: Any) -> None:
        await correlator.run_agent(stream)

    async def revoked(*_: Any, **__: Any) -> None:
        correlator.stage.forget()

    app.agent(evidence, concurrency=1, name="campaigns")(campaigns)
    # A strong reference: Faust's signals keep weak ones by default.
    app.on_partitions_revoked.connect(revoked, weak=False)
    return correlator


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


def _credentials(faust: Any, config: Config, environ: Mapping[str, str] | None = None) -> Any:
    settings = config.pipeline.kafka
    options = connection_options(settings, environ)
    context = None
    if settings.security_protocol in ("SSL", "SASL_SSL"):
        import ssl

        try:
            context = ssl.create_default_context(cafile=settings.ssl_cafile or None)
        except OSError as error:
            raise UsageError(f"kafka.ssl_cafile names {settings.ssl_cafile}, which cannot be used: {error}") from None
    if settings.security_protocol.startswith("SASL_"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
