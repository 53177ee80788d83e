"""The rights of each role: what the file may hold, and what is made of it."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec
import pytest

from infra.kafka.acls import AclError, Allowance, commands, load_roles, main, plan_rights
from infra.topics import load_topics

OPERATOR = Path(__file__).resolve().parents[3] / "docs" / "operator.md"


def test_every_topic_is_one_of_ours_or_the_changelog_of_a_group() -> None:
    roles = set(load_topics())
    named = {name for role in load_roles().values() for one in role.allow if not one.prefixed for name in one.topics}
    assert named - roles == {"{group}-correlate-campaign-state-changelog"}
    # Nobody but the setup has anything to do with verdicts yet.
    given = {one.name for one in plan_rights() if one.kind == "topic" and one.role != "setup"}
    assert {topic.name for topic in load_topics().values()} - given == {"verdicts"}


def test_nobody_may_do_everything_and_only_the_setup_creates_topics_of_ours() -> None:
    for right in plan_rights():
        assert right.name not in ("*", "")
        if right.operation == "Create":
            assert right.role == "setup" or right.name.endswith("-changelog")


def test_a_deployments_names_are_in_its_rights() -> None:
    rights = plan_rights(group="eu", topics={"alerts": "security.alerts"})
    names = {one.name for one in rights}
    assert {"eu-detect", "eu-detect-control", "eu-detect-", "eu-correlate", "eu-sink", "security.alerts"} <= names
    assert "alerts" not in names
    assert not any("{" in name for name in names)
    assert [one.name for one in rights if one.prefixed] == ["eu-detect-", "eu-reader"]


def test_commands_are_those_of_the_roles_that_have_a_user() -> None:
    lines = list(commands(plan_rights(group="dw"), {"sink": "the sink"}, "kafka:9092"))
    assert len(lines) == 6
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "kafka-acls.sh"
        assert words[words.index("--allow-principal") + 1] == "User:the sink"


def test_the_module_prints_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--group", "dw", "--user", "reader=soc", "--topic", "alerts=security.alerts"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("--operation Read --topic security.alerts --resource-pattern-type literal")
    assert second.endswith("--operation Read --group dw-reader --resource-pattern-type prefixed")
    with pytest.raises(SystemExit):
        main(["--user", "nobody=x"])


@pytest.mark.parametrize("fields", [{}, {"topics": ["a"], "groups": ["b"]}])
def test_an_entry_has_names_of_one_kind(fields: dict[str, list[str]]) -> None:
    with pytest.raises(AclError, match="wants one of topics"):
        Allowance(operations=["Read"], why="no good reason", **fields).names()  # type: ignore[arg-type]


def test_a_file_that_is_wrong_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "acls.toml"
    file.write_text(
        '[roles.a]\nwhat = "x"\n[[roles.a.allow]]\ntopics = ["t"]\noperations = ["All"]\nwhy = "because it is"'
    )
    with pytest.raises(AclError, match=r"acls.toml: .*operations"):
        load_roles(file)
    assert isinstance(msgspec.toml.decode((file).read_bytes()), dict)


def test_the_operators_page_has_the_same_table() -> None:
    text = OPERATOR.read_text()
    for role, wanted in load_roles().items():
        for allowance in wanted.allow:
            kind, names = allowance.names()
            shown = [name.replace("{group}", "GROUP") for name in names]
            topics = load_topics()
            full = [topics[name].name if kind == "topic" and name in topics else name for name in shown]
            what = ", ".join(f"`{name}{'*' if allowance.prefixed else ''}`" for name in full)
            assert f"| {role} | {kind.replace('-', ' ')} | {what} | {', '.join(allowance.operations)} |" in text
