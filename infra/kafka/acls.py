"""The rights of each role (`acls.toml`), as commands for an operator and as ACLs for an admin client.

`python -m infra.kafka.acls --bootstrap HOST:PORT --user detect=dw-detect …` prints the commands of kafka-acls.sh.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from infra.topics import load_topics

ACLS_FILE: Final = Path(__file__).with_name("acls.toml")

Operation = Literal["Read", "Write", "Create", "Describe"]
Kind = Literal["topic", "group", "transactional-id"]
_GROUP: Final = "distillwatch"


class AclError(RuntimeError):
    """The rights cannot be given as they were asked for."""


class Allowance(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One entry of `acls.toml`: names of one kind, and what may be done with them."""

    topics: list[str] = []
    groups: list[str] = []
    transactional_ids: list[str] = []
    prefixed: bool = False
    operations: Annotated[list[Operation], Meta(min_length=1)]
    why: Annotated[str, Meta(min_length=10)]

    def names(self) -> tuple[Kind, list[str]]:
        """The kind, and the names.

        Raises:
            AclError: names of no kind or of several.
        """
        kinds: list[tuple[Kind, list[str]]] = [
            ("topic", self.topics),
            ("group", self.groups),
            ("transactional-id", self.transactional_ids),
        ]
        given = [one for one in kinds if one[1]]
        if len(given) != 1:
            raise AclError(f"{ACLS_FILE.name}: {self.why!r} wants one of topics, groups and transactional_ids")
        return given[0]


class Role(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A user of the brokers."""

    what: str
    allow: list[Allowance]


class _AclFile(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    roles: dict[str, Role]


class Right(Struct, frozen=True, order=True):
    """One ACL: `role` may do `operation` on `name`, or on all whose names begin so."""

    role: str
    kind: Kind
    name: str
    prefixed: bool
    operation: Operation


def load_roles(path: Path = ACLS_FILE) -> dict[str, Role]:
    """Roles by name: `producer`, `detect`, `correlate`, `sink`, `reader`, `letters`, `setup`.

    Raises:
        AclError: the file breaks its format.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_AclFile).roles
    except msgspec.DecodeError as error:
        raise AclError(f"{path.name}: {error}") from None


def plan_rights(*, group: str = _GROUP, topics: Mapping[str, str] | None = None) -> list[Right]:
    """All rights of all roles.

    Args:
        group: `kafka.group` of the deployment.
        topics: its topic names by role; those that are absent keep their names of `topics.toml`.

    >>> plan_rights(group="dw", topics={"alerts": "security.alerts"})[-1].role
    'setup'
    """
    names = {role: topic.name for role, topic in load_topics().items()} | dict(topics or {})
    rights = []
    for role, wanted in load_roles().items():
        for allowance in wanted.allow:
            kind, given = allowance.names()
            for name in given:
                full = names.get(name, name) if kind == "topic" else name
                full = full.replace("{group}", group)
                rights += [Right(role, kind, full, allowance.prefixed, operation) for operation in allowance.operations]
    return rights


def commands(rights: Iterable[Right], users: Mapping[str, str], bootstrap: str) -> Iterator[str]:
    """Lines for a shell: kafka-acls.sh for each right of the roles in `users` (user by role).

    >>> [line] = commands([Right("reader", "topic", "alerts", False, "Read")], {"reader": "soc"}, "kafka:9092")
    >>> line.split(" --add ")[1]
    '--allow-principal User:soc --operation Read --topic alerts --resource-pattern-type literal'
    """
    for right in rights:
        if right.role not in users:
            continue
        pattern = "prefixed" if right.prefixed else "literal"
        yield shlex.join([
            *("kafka-acls.sh", "--bootstrap-server", bootstrap, "--command-config", "admin.properties", "--add"),
            *("--allow-principal", f"User:{users[right.role]}", "--operation", right.operation),
            *(f"--{right.kind}", right.name, "--resource-pattern-type", pattern),
        ])  # fmt: skip


def grant(admin: Any, rights: Iterable[Right], users: Mapping[str, str]) -> None:
    """Give rights with an admin client of kafka-python; a right that is there already stays.

    Raises:
        AclError: the broker refuses one.
    """
    answer = admin.create_acls([_acl(right, users[right.role]) for right in rights])
    if answer["failed"]:
        raise AclError(f"the broker takes no such right: {answer['failed'][0].__name__}")


def _acl(right: Right, user: str) -> Any:
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

    return ACL(
        principal=f"User:{user}",
        host="*",
        operation=ACLOperation[right.operation.upper()],
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(
            ResourceType[right.kind.replace("-", "_").upper()],
            right.name,
            ACLResourcePatternType.PREFIXED if right.prefixed else ACLResourcePatternType.LITERAL,
        ),
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the commands; returns the exit code."""
    roles = load_roles()
    parser = argparse.ArgumentParser(prog="python -m infra.kafka.acls", description=__doc__)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="broker that the commands go to")
    parser.add_argument("--group", default=_GROUP, help="kafka.group of pipeline.toml")
    parser.add_argument("--user", action="append", default=[], metavar="ROLE=NAME", help=f"role: {', '.join(roles)}")
    parser.add_argument("--topic", action="append", default=[], metavar="ROLE=NAME", help="another name of a topic")
    options = parser.parse_args(arguments)
    users = _pairs(parser, options.user, roles) or {role: role for role in roles}
    topics = _pairs(parser, options.topic, load_topics())
    for line in commands(plan_rights(group=options.group, topics=topics), users, options.bootstrap):
        sys.stdout.write(f"{line}\n")
    return 0


def _pairs(parser: argparse.ArgumentParser, given: list[str], known: Iterable[str]) -> dict[str, str]:
    pairs = dict(one.partition("=")[::2] for one in given)
    wrong = [role for role, name in pairs.items() if role not in known or not name]
    if wrong:
        parser.error(f"want ROLE=NAME with a role of {', '.join(known)}, got {wrong[0]}")
    return pairs


if __name__ == "__main__":
    sys.exit(main())
