"""Kafka clients made from settings, and the routes that events take.

Nothing connects at import: the factories import kafka-python, check that its native parts are there and
return clients whose limits fit the topics of `infra/topics.toml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Final

from pipelines.errors import Failure, UsageError
from pipelines.kafka_access import explain, is_refusal, login, refusable_client, tls_context, uses_sasl, uses_tls
from pipelines.settings import KafkaSettings, TopicNames
from schemas.events import Account, Enforcement, Event, Release, Request, Response, encode_event

MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
"""The largest record of any topic: a dead letter carries a whole rejected message and its headers."""

# Room for the batch header and the record's own framing on top of the largest record.
MAX_REQUEST_BYTES: Final = MAX_RECORD_BYTES + 64 * 1024

HEARTBEAT_S: Final = 3.0
"""How often a member of a group says that it lives, at most a third of its session."""

TRANSACTION_TIMEOUT_S: Final = 60
"""An unfinished transaction of a worker that is gone holds readers up for so long, or until its partition is taken."""

EVENT_ROLES: Final = ("requests", "responses", "accounts")
"""Roles of the topics that are keyed by account and share one partition count."""

ROLE_TYPES: Final[dict[str, tuple[type[Event], ...]]] = {
    "requests": (Request,),
    "responses": (Response,),
    "accounts": (Account,),
    "control": (Enforcement, Release),
}
"""Which events belong on which topic, by the topic's role."""

# Accounts that are active at the same time; an entry costs some 200 bytes.
_PARTITION_CACHE: Final = 200_000

_MODULES: Final[dict[str, str]] = {
    "crc32c": "kafka-python[crc32c]",
    "lz4": "kafka-python[lz4]",
    "zstandard": "kafka-python[zstd]",
}


def check_native_modules(modules: Mapping[str, str] = _MODULES) -> None:
    """Refuse to start without the native checksum and codecs.

    Without crc32c every record costs some sixty times more; without a codec a compressed batch stops the
    consumer in the middle of a partition.

    Raises:
        UsageError: naming what to install.
    """
    missing = [requirement for module, requirement in modules.items() if find_spec(module) is None]
    if missing:
        raise UsageError(f"the Kafka client lacks native parts; install: {' '.join(repr(name) for name in missing)}")


def topic_by_role(names: TopicNames) -> dict[str, str]:
    """Topic names by role, e.g. ``{"requests": "llm.requests", …}``."""
    return {role: getattr(names, role) for role in names.__struct_fields__}


def connection_options(settings: KafkaSettings, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Options of kafka-python that say how to reach and to trust the brokers.

    Raises:
        UsageError: a SASL protocol without a user or without a password in the environment, or a file of TLS that
            cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap.split(","),
        "security_protocol": settings.security_protocol,
    }
    if uses_tls(settings):
        options["ssl_context"] = tls_context(settings, environ)
    if uses_sasl(settings):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = login(settings, environ)
    if uses_tls(settings) or uses_sasl(settings):
        options["kafka_client"] = refusable_client()
    return options


def heartbeat_s(settings: KafkaSettings) -> float:
    """Seconds between two signs of life.

    >>> heartbeat_s(KafkaSettings(session_s=6))
    2.0
    """
    return min(HEARTBEAT_S, settings.session_s / 3)


def make_consumer(
    settings: KafkaSettings,
    *,
    group: str | None,
    poll_records: int,
    environ: Mapping[str, str] | None = None,
    member: bool = False,
) -> Any:
    """A consumer that starts at the oldest record and commits only when told to.

    Args:
        group: None gives a consumer without a group, for manual assignment.
        member: it will join the group, under its lasting name if the settings have one.

    Raises:
        UsageError: see :func:`check_native_modules` and :func:`connection_options`.
        Failure: no broker answers.
    """
    check_native_modules()
    from kafka import KafkaConsumer
    from kafka.coordinator.assignors.range import RangePartitionAssignor

    options = connection_options(settings, environ)
    return _connect(
        settings,
        KafkaConsumer,
        **options,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # What a detect worker wrote in a transaction that did not end well was never said; and an offset that
        # is about to be committed is waited for.
        isolation_level="read_committed",
        # The range assignor alone: it gives one worker the same partition of every topic it subscribes to.
        partition_assignment_strategy=(RangePartitionAssignor,),
        max_poll_records=poll_records,
        group_instance_id=(settings.group_instance_id or None) if member else None,
        session_timeout_ms=settings.session_s * 1000,
        heartbeat_interval_ms=round(heartbeat_s(settings) * 1000),
        # A broker that creates topics by itself would give them its own partition count.
        allow_auto_create_topics=False,
        fetch_max_bytes=32 * 1024 * 1024,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        receive_message_max_bytes=100 * 1024 * 1024,
    )


def make_producer(
    settings: KafkaSettings, environ: Mapping[str, str] | None = None, *, transactional_id: str | None = None
) -> Any:
    """An idempotent producer (`acks=all`) that carries the largest record of any topic.

    With a `transactional_id` its caller begins and ends transactions.

    Raises:
        UsageError: see :func:`check_native_modules` and :func:`connection_options`.
        Failure: no broker answers.
    """
    check_native_modules()
    from kafka import KafkaProducer

    options = connection_options(settings, environ)
    return _connect(
        settings,
        KafkaProducer,
        **options,
        acks="all",
        enable_idempotence=True,
        # Uncompressed: Faust's client reads lz4 and zstd only with one more native library.
        compression_type=None,
        linger_ms=5,
        batch_size=256 * 1024,
        max_request_size=MAX_REQUEST_BYTES,
        allow_auto_create_topics=False,
        transactional_id=transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_S * 1000,
    )


def make_admin(settings: KafkaSettings, environ: Mapping[str, str] | None = None) -> Any:
    """An admin client.

    Raises:
        UsageError: see :func:`connection_options`.
        Failure: no broker answers.
    """
    from kafka import KafkaAdminClient

    return _connect(settings, KafkaAdminClient, **connection_options(settings, environ))


# A broker that restarts is back within seconds; waiting longer only hides that it is not there.
_PATIENCE: Final[dict[str, int]] = {"bootstrap_timeout_ms": 15_000, "reconnect_backoff_max_ms": 2_000}


def _connect(settings: KafkaSettings, client: Any, **options: Any) -> Any:
    from kafka.errors import KafkaError

    try:
        return client(**_PATIENCE, **options)
    except KafkaError as error:
        if is_refusal(error):
            raise Failure(explain(settings, error)) from error
        raise Failure(
            f"no Kafka broker answers at {settings.bootstrap} over {settings.security_protocol} "
            f"({type(error).__name__}); start one, or set kafka.bootstrap or kafka.security_protocol in pipeline.toml"
        ) from error


def check_partitions(counts: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Compare partition counts of topics (0: the topic is missing) with those wanted.

    Raises:
        Failure: with every difference and the remedy.
    """
    missing = [topic for topic in wanted if counts.get(topic, 0) == 0]
    if missing:
        raise Failure(
            f"no topic {', '.join(missing)} on the broker; create the topics as infra/topics.toml describes them "
            "(`distillwatch up` does it on a local broker); or it is there, and this user has no right to it "
            "(docs/operator.md)"
        )
    wrong = [
        f"topic {topic} has {counts[topic]} partitions, wanted {count}"
        for topic, count in wanted.items()
        if counts[topic] != count
    ]
    if wrong:
        raise Failure(
            "; ".join(wrong) + ". An account's events meet only where all account topics have one partition count: "
            "set stream.partitions in pipeline.toml to it, or create the topics anew"
        )


def partition_counts(admin: Any, topics: Sequence[str]) -> dict[str, int]:
    """Partition counts of `topics` as the broker has them; a missing topic is absent."""
    existing = set(admin.list_topics()) & set(topics)
    if not existing:
        return {}
    return {found["name"]: len(found["partitions"]) for found in admin.describe_topics(sorted(existing))}


@lru_cache(maxsize=_PARTITION_CACHE)
def partition_of(key: bytes, n: int) -> int:
    """The partition that Kafka's default partitioner (murmur2) gives `key` among `n`.

    Producers, detect workers and `replay` all use it, so a replay has the lanes of the stream.

    >>> partition_of(b"acct-1", 4)
    2
    """
    from kafka.partitioner import murmur2

    return int(murmur2(key) & 0x7FFFFFFF) % n


def route_event(event: Event) -> tuple[str, bytes | None]:
    """Role of the topic and record key of an event; a release has no key.

    >>> route_event(Release(ts=1, model="m"))
    ('control', None)
    """
    match event:
        case Request():
            return "requests", event.account.encode()
        case Response():
            return "responses", event.account.encode()
        case Account():
            return "accounts", event.account.encode()
        case Enforcement():
            return "control", event.account.encode()
        case Release():
            return "control", None


class DeliveryFailure(Failure):
    """Records that the broker did not take; whoever sent them must not count them as sent."""


class ConfirmedProducer:
    """A producer that remembers failures: `flush` returns only when every record sent has arrived.

    kafka-python's own `flush` returns quietly when records failed.
    """

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._error: BaseException | None = None

    def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        """Queue one record.

        Raises:
            DeliveryFailure: this record cannot be queued.
        """
        try:
            future = self._producer.send(topic, value=value, key=key, headers=list(headers), partition=partition)
        except Exception as error:
            raise DeliveryFailure(f"could not send to topic {topic}: {error}") from error
        future.add_errback(self._failed)

    def _failed(self, error: BaseException) -> None:
        # The first failure is the cause; later ones are usually its echo.
        if self._error is None:
            self._error = error

    def flush(self, timeout_s: float = 150.0) -> None:
        """Wait until everything sent is acknowledged; the time is above the client's delivery timeout.

        Raises:
            DeliveryFailure: a record failed, now or since the last call.
        """
        try:
            self._producer.flush(timeout_s)
        except Exception as error:
            raise DeliveryFailure(f"the broker did not acknowledge what was sent: {error}") from error
        if self._error is not None:
            raise DeliveryFailure(f"the broker refused a record: {self._error}") from self._error

    def close(self) -> None:
        """Close the client without waiting long; unsent records are those of an unfinished checkpoint."""
        self._producer.close(timeout=5)


def produce_events(
    bootstrap: str, topics: Mapping[str, str], events: Iterable[Event], *, settings: KafkaSettings | None = None
) -> int:
    """Send events to their topics, keyed by account, and wait until the broker has them.

    Args:
        topics: topic names by role; requests, responses, accounts and control are used.
        settings: how to reach the brokers; `bootstrap` overrides its address.

    Returns:
        How many events were sent.

    Raises:
        DeliveryFailure: the broker did not take one.
    """
    from msgspec.structs import replace

    producer = ConfirmedProducer(make_producer(replace(settings or KafkaSettings(), bootstrap=bootstrap)))
    count = 0
    try:
        for event in events:
            role, key = route_event(event)
            producer.send(topics[role], encode_event(event), key=key, partition=0 if role == "control" else None)
            count += 1
        producer.flush()
    finally:
        producer.close()
    return count
