"""The analysts' named queries: one SQL file each, with a title and its parameters at the top."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from msgspec import Struct

QUERIES: Final = Path(__file__).with_name("queries")
_PARAMETER: Final = re.compile(r"\{(\w+):\s*([^}]+)\}")
_HEADER: Final = re.compile(r"^--\s?(.*)$")


class NamedQuery(Struct, frozen=True):
    """One query file: `title` is its first comment line, `about` the rest of its head comment.

    `parameters` maps each parameter's name to its ClickHouse type.
    """

    name: str
    title: str
    about: str
    parameters: dict[str, str]
    sql: str


def query_names() -> list[str]:
    """Names of all query files, sorted.

    >>> "campaigns" in query_names()
    True
    """
    return sorted(path.stem for path in QUERIES.glob("*.sql"))


def load_query(name: str) -> NamedQuery:
    """The query called `name`.

    Raises:
        KeyError: there is none; the message lists those there are.

    >>> load_query("campaign_members").parameters
    {'campaign': 'String'}
    """
    if name not in query_names():
        raise KeyError(f"no query {name!r}; there are: {', '.join(query_names())}")
    sql = (QUERIES / f"{name}.sql").read_text(encoding="utf-8")
    head = []
    for line in sql.splitlines():
        match = _HEADER.match(line)
        if match is None:
            break
        head.append(match[1])
    body = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
    return NamedQuery(
        name=name,
        title=head[0] if head else "",
        about="\n".join(head[1:]).strip(),
        parameters={found[1]: found[2].strip() for found in _PARAMETER.finditer(body)},
        sql=sql.strip().removesuffix(";"),
    )
