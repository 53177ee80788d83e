"""Topic definitions (`topics.toml`), and creating them on a broker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

TOPICS_FILE: Final = Path(__file__).with_name("topics.toml")


class TopicError(RuntimeError):
    """The broker's topics are not as the definitions want them; the message names the remedy."""


class Topic(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One topic as `topics.toml` defines it."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{1,200}$")]
    partitions: Annotated[int, Meta(ge=1, le=10_000)]
    scales: bool
    reason: Annotated[str, Meta(min_length=10)]
    config: dict[str, str]


class _TopicFile(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    topics: dict[str, Topic]


def load_topics(path: Path = TOPICS_FILE) -> dict[str, Topic]:
    """Topics by role: `requests`, `responses`, `accounts`, `control`, `evidence`, `alerts`, `signals`,
    `activity`, `verdicts`, `dead_letters`, `detect_state`.

    Raises:
        TopicError: the file breaks its format.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_TopicFile).topics
    except msgspec.DecodeError as error:
        raise TopicError(f"{path.name}: {error}") from None


def plan_topics(
    *, prefix: str = "", partitions: int | None = None, names: Mapping[str, str] | None = None
) -> dict[str, Topic]:
    """The definitions as a deployment wants them.

    Args:
        prefix: put before every name, so that several deployments share a broker.
        partitions: count of the topics that scale; None keeps the file's.
        names: other names by role; roles that are absent keep theirs.

    >>> plan_topics(prefix="t1.", partitions=2)["requests"].partitions
    2
    >>> plan_topics(names={"alerts": "security.alerts"})["alerts"].name
    'security.alerts'
    """
    names = {} if names is None else names
    topics = load_topics()
    unknown = sorted(set(names) - set(topics))
    if unknown:
        raise TopicError(f"no such topic role: {', '.join(unknown)}; roles are {', '.join(topics)}")
    planned = {}
    for role, topic in topics.items():
        count = partitions if partitions is not None and topic.scales else topic.partitions
        planned[role] = msgspec.structs.replace(topic, name=prefix + names.get(role, topic.name), partitions=count)
    return planned


def create_topics(
    bootstrap: str,
    *,
    prefix: str = "",
    partitions: int | None = None,
    names: Mapping[str, str] | None = None,
    replication: int = -1,
    client_options: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Create the topics that are missing; return the topic names by role.

    Topics that exist stay as they are. `replication` -1 takes the broker's default. `client_options` are
    further options of the Kafka client (security protocol and the like).

    Raises:
        TopicError: a topic exists with another partition count.
    """
    from kafka import KafkaAdminClient

    planned = plan_topics(prefix=prefix, partitions=partitions, names=names)
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, **(client_options or {}))
    try:
        existing = set(admin.list_topics())
        missing = [topic for topic in planned.values() if topic.name not in existing]
        if missing:
            _create(admin, missing, replication)
        _check_counts(admin, list(planned.values()))
    finally:
        admin.close()
    return {role: topic.name for role, topic in planned.items()}


def _create(admin: Any, topics: list[Topic], replication: int) -> None:
    from kafka.errors import TopicAlreadyExistsError, for_code

    answer = admin.create_topics(
        {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": replication,
                "configs": topic.config,
            }
            for topic in topics
        },
        raise_errors=False,
    )
    for created in answer["topics"]:
        code = created["error_code"]
        # Two workers that start together both create: the second finds the topic there, which is fine.
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise TopicError(
                f"could not create topic {created['name']}: {created.get('error_message') or for_code(code).__name__}"
            )
    admin.wait_for_topics([topic.name for topic in topics])


def _check_counts(admin: Any, topics: list[Topic]) -> None:
    counts = {found["name"]: len(found["partitions"]) for found in admin.describe_topics([t.name for t in topics])}
    wrong = [
        f"topic {topic.name} has {counts[topic.name]} partitions, wanted {topic.partitions} ({topic.reason})"
        for topic in topics
        if counts.get(topic.name, 0) != topic.partitions
    ]
    if wrong:
        remedy = (
            "Set `stream.partitions` in pipeline.toml to the count that the topics have, or stop all workers, "
            "delete these topics with their data and run this again. Adding partitions moves accounts to other "
            "lanes, so a live deployment needs new topics under another name instead."
        )
        raise TopicError("\n".join([*wrong, remedy]))
