"""Lines of TOML keys, checked against what tomllib reads."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from pipelines.toml_lines import Path, key_lines

DOCUMENT = '''# a comment with [brackets] and = signs
top = 1 # and "more"

[plain]
a = "x # no comment"
b.c . "d.e" = 'lit\\'
text = """
[not.a.table]
key = "no key" \\""" still"""
lit = \'\'\'
x = 1\'\'\'\'
after = 1979-05-27 07:32:00

[ "quoted table" . x ]
list = [
  1, # first
  [2, 3],
  { k = [
    "v" ] },
]

[[items]]
n = 1
[items.sub]
m = 1
[[items.rows]]
r = 1
[[items.rows]]
r = 2
[[items]]
n = 2
inline = { p = 1, q.r = "}" }
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("plain",), 4),
        (("plain", "a"), 5),
        (("plain", "b", "c", "d.e"), 6),
        (("plain", "text"), 7),
        (("plain", "lit"), 10),
        (("plain", "after"), 12),
        (("quoted table", "x"), 14),
        (("quoted table", "x", "list", 0), 16),
        (("quoted table", "x", "list", 1, 1), 17),
        (("quoted table", "x", "list", 2, "k"), 18),
        (("quoted table", "x", "list", 2, "k", 0), 19),
        (("items",), 22),
        (("items", 0, "n"), 23),
        (("items", 0, "sub", "m"), 25),
        (("items", 0, "rows", 1, "r"), 29),
        (("items", 1), 30),
        (("items", 1, "inline", "q", "r"), 32),
    ],
)
def test_every_spelling_of_a_key_has_its_line(path: Path, line: int) -> None:
    assert key_lines(DOCUMENT)[path] == line


def test_windows_line_ends_count_once() -> None:
    assert key_lines(DOCUMENT.replace("\n", "\r\n")) == key_lines(DOCUMENT)


def paths_of(value: Any, above: Path = ()) -> set[Path]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {above}.union(*(paths_of(item, (*above, key)) for key, item in inner))


def test_the_lines_name_exactly_the_paths_that_tomllib_reads() -> None:
    assert set(key_lines(DOCUMENT)) == paths_of(tomllib.loads(DOCUMENT))


def quoted(text: str) -> str:
    return (
        '"' + "".join(f"\\U{ord(char):08x}" if char in '"\\' or not char.isprintable() else char for char in text) + '"'
    )


KEYS = st.text(st.characters(codec="utf-8"), max_size=5).map(quoted) | st.from_regex(
    r"[A-Za-z0-9_-]{1,4}", fullmatch=True
)
SPACE = st.sampled_from(["", " ", "\t "])
GAP = st.sampled_from(["", " ", "\n", " # ]}\"'''\n  "])
SCALARS = st.sampled_from(["1", "true", "1.5e3", "07:32:00", "''", "'''a\n''b'''", '"""x\n\\"y"""', '""""q"""'])
VALUES = st.recursive(
    SCALARS | st.text(st.characters(codec="utf-8"), max_size=8).map(quoted),
    lambda inner: (
        st.lists(st.tuples(GAP, inner, GAP).map("".join), max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(KEYS, inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
DOTTED = st.tuples(st.lists(KEYS, min_size=1, max_size=3), SPACE).map(
    lambda parts: f"{parts[1]}.{parts[1]}".join(parts[0])
)
HEADERS = DOTTED.map("[{}]".format) | DOTTED.map("[[{}]]".format)
PAIRS = st.tuples(DOTTED, SPACE, VALUES).map(lambda parts: f"{parts[0]}{parts[1]}={parts[1]}{parts[2]}")


@given(st.lists(HEADERS | PAIRS | PAIRS, max_size=8).map("\n".join))
def test_any_document_that_tomllib_reads_has_a_line_for_each_of_its_paths(document: str) -> None:
    try:
        data = tomllib.loads(document)
    except tomllib.TOMLDecodeError:
        # A key written twice; the loader never hands such a document on.
        reject()
    lines = key_lines(document)
    assert set(lines) == paths_of(data)
    assert all(1 <= line <= document.count("\n") + 1 for line in lines.values())
