"""Topic definitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.topics import TopicError, load_topics, plan_topics

ACCOUNT_TOPICS = {"requests", "responses", "accounts"}
LANES = ACCOUNT_TOPICS | {"detect_state"}


def test_account_topics_share_one_partition_count() -> None:
    topics = load_topics()
    assert {role for role, topic in topics.items() if topic.scales} == LANES
    assert {topics[role].partitions for role in LANES} == {4}
    assert {role for role, topic in topics.items() if topic.partitions == 1} == {
        "control", "evidence", "verdicts", "dead_letters",
    }  # fmt: skip


def test_a_dead_letter_has_room_for_every_message_and_its_headers() -> None:
    topics = load_topics()
    limits = {role: int(topic.config["max.message.bytes"]) for role, topic in topics.items()}
    largest = limits.pop("dead_letters")
    assert largest >= max(limits.values()) + 1024 * 1024


def test_a_deployment_plans_its_own_names_and_counts() -> None:
    planned = plan_topics(prefix="p.", partitions=7, names={"alerts": "security.alerts"})
    assert {role: planned[role].partitions for role in ("requests", "accounts", "control", "evidence")} == {
        "requests": 7, "accounts": 7, "control": 1, "evidence": 1,
    }  # fmt: skip
    assert planned["alerts"].name == "p.security.alerts"
    assert planned["dead_letters"].name == "p.dead-letters"
    with pytest.raises(TopicError, match="no such topic role: alert; roles are requests"):
        plan_topics(names={"alert": "x"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[topics.a]\nname = 'x y'\npartitions = 1\nscales = false\nreason = 'long enough'\nconfig = {}", "name"),
        ("[topics.a]\nname = 'x'\npartitions = 0\nscales = false\nreason = 'long enough'\nconfig = {}", "partitions"),
        ("[topics.a]\nname = 'x'\npartition = 1\nscales = false\nreason = 'long enough'\nconfig = {}", "partition"),
        ("[topics.a", "topics.toml"),
    ],
)
def test_a_broken_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "topics.toml"
    path.write_text(text)
    with pytest.raises(TopicError, match=said):
        load_topics(path)
