"""What `pipeline.toml` holds: brokers, topics, limits and stores. No secret is ever among them.

The loader validates against these structs, so a constraint written here is the one that is enforced.
Passwords and keys come from the environment or from a file that the environment names
(:mod:`pipelines.secrets`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Topic = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="a Kafka topic name: letters, digits, `.`, `_` and `-`, at most 249 of them",
    ),
]


class TopicNames(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Names of the topics; their partitions and retention are in `infra/topics.toml`."""

    requests: Topic = "llm.requests"
    responses: Topic = "llm.responses"
    accounts: Topic = "llm.accounts"
    control: Topic = "llm.control"
    evidence: Topic = "evidence"
    alerts: Topic = "alerts"
    signals: Topic = "signals"
    activity: Topic = "activity"
    verdicts: Topic = "verdicts"
    dead_letters: Topic = "dead-letters"
    detect_state: Topic = "detect-state"


class KafkaSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How to reach the brokers. The passwords of the SASL user and of the key come from the environment."""

    bootstrap: Annotated[
        str,
        Meta(
            pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}(,(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5})*$",
            description="brokers to ask first, as host:port or host:port,host:port",
        ),
    ] = "127.0.0.1:9092"
    group: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9._-]{1,200}$", description="prefix of the names of the consumer groups"),
    ] = "distillwatch"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: Annotated[str, Meta(max_length=512, description="user of a SASL protocol")] = ""
    ssl_cafile: Annotated[
        str, Meta(max_length=4096, description="file of the authorities to trust; empty: those of the system")
    ] = ""
    ssl_certfile: Annotated[
        str, Meta(max_length=4096, description="file of the client's certificate, PEM; empty: the client shows none")
    ] = ""
    ssl_keyfile: Annotated[str, Meta(max_length=4096, description="file of the key of ssl_certfile, PEM")] = ""
    group_instance_id: Annotated[
        str,
        Meta(
            # Without the names that Kafka refuses: `.` and `..`.
            pattern=r"^(|[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})$",
            description="lasting name of one detect or sink worker in its group; empty: a new member at every start",
        ),
    ] = ""
    session_s: Annotated[
        int,
        Meta(ge=1, le=1_800, description="seconds without a sign of life after which a worker's partitions move on"),
    ] = 10
    topics: TopicNames = TopicNames()


class StreamSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How events become ticks."""

    partitions: Annotated[
        int,
        Meta(ge=1, le=4096, description="partitions of the llm.* topics, and lanes of a replay"),
    ] = 4
    idle_close_ms: Annotated[
        int,
        Meta(ge=100, le=3_600_000, description="a partition silent for this wall-clock time closes its open ticks"),
    ] = 2_000
    max_skew_ms: Annotated[
        int,
        Meta(ge=1_000, le=86_400_000, description="event time that one topic may run ahead of the others"),
    ] = 60_000
    max_jump_ms: Annotated[
        int,
        Meta(
            ge=1_000, le=2_592_000_000, description="event time that a few records may run ahead and still be believed"
        ),
    ] = 120_000
    max_pending_events: Annotated[
        int,
        Meta(ge=1_000, le=50_000_000, description="events held in open ticks before reading pauses"),
    ] = 200_000
    poll_records: Annotated[int, Meta(ge=1, le=100_000, description="records asked for in one poll")] = 4_000
    checkpoint_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="at most one checkpoint a partition in this wall-clock time; under load they come more rarely; "
            "0: after every tick",
        ),
    ] = 10_000


class InputSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What an event may look like before it is a dead letter."""

    max_event_bytes: Annotated[
        int,
        # The llm.* topics take messages of 12 MiB; an event must also fit with its key and headers.
        Meta(ge=1_024, le=12_000_000, description="size of one event, bytes"),
    ] = 8_388_608
    max_future_s: Annotated[
        int,
        Meta(ge=0, le=31_536_000, description="seconds that `ts` may lie ahead of the worker's clock"),
    ] = 300


class ClickHouseSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where alerts are kept for analysts. The password comes from the environment."""

    dsn: Annotated[
        str,
        Meta(
            pattern=r"^(chdb|clickhouse|clickhouses|http|https)://",
            description="chdb:///directory (embedded), or clickhouse://, http:// or https://host:port/database",
        ),
    ] = "http://127.0.0.1:8123/default"
    batch_rows: Annotated[int, Meta(ge=1, le=1_000_000, description="rows that fill a batch of the sink")] = 5_000
    batch_ms: Annotated[int, Meta(ge=10, le=600_000, description="a batch waits no longer than this")] = 1_000
    alert_days: Annotated[int, Meta(ge=1, le=3_650, description="days that alerts are kept")] = 730
    signal_days: Annotated[int, Meta(ge=1, le=3_650, description="days that signals are kept")] = 90
    activity_days: Annotated[int, Meta(ge=1, le=3_650, description="days that account activity is kept")] = 90


class CorrelateSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The correlate app's own store; Kafka's changelog is the durable copy."""

    store: Literal["rocksdb", "memory"] = "rocksdb"
    data_dir: Annotated[str, Meta(min_length=1, max_length=4096, description="directory of the store")] = (
        "build/correlate"
    )


Port = Annotated[int, Meta(ge=0, le=65535, description="a TCP port; 0: the worker serves none")]


class WorkerSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What holds for all stream workers."""

    stop_s: Annotated[
        int,
        Meta(ge=1, le=3_600, description="seconds that a worker has to stop in order; then it ends where it stands"),
    ] = 25


class MetricsSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where each worker serves `/metrics`, `/healthz` and `/readyz`."""

    host: Annotated[
        str,
        Meta(
            pattern=r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*)$",
            description="IP address to bind; 127.0.0.1 is this machine alone",
        ),
    ] = "127.0.0.1"
    detect: Port = 0
    correlate: Port = 0
    sink: Port = 0
    stall_s: Annotated[
        int,
        Meta(ge=5, le=86_400, description="seconds without progress after which /healthz says that a worker is stuck"),
    ] = 120


class PrivacySettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What protects the people behind the traffic."""

    require_hash_key: Annotated[
        bool, Meta(description="refuse to start on the published development key; set it in production")
    ] = False


class PipelineSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`pipeline.toml`."""

    kafka: KafkaSettings = KafkaSettings()
    stream: StreamSettings = StreamSettings()
    input: InputSettings = InputSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    correlate: CorrelateSettings = CorrelateSettings()
    workers: WorkerSettings = WorkerSettings()
    metrics: MetricsSettings = MetricsSettings()
    privacy: PrivacySettings = PrivacySettings()
