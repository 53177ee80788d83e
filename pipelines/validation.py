"""Validate parsed TOML against a msgspec struct and name everything that is wrong, with its line.

msgspec stops at its first error and knows no lines; this walk reads the same constraints (through
`msgspec.inspect`) and goes on.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from pipelines.errors import Problem
from pipelines.toml_lines import Path

_SECRET_WORDS: Final = ("password", "passwd", "secret", "token", "hash_key", "private_key")
_SHOWN: Final = 60


def validate(data: Mapping[str, Any], kind: type, *, file: str, lines: Mapping[Path, int]) -> list[Problem]:
    """All problems of `data` as a value of the struct `kind`, in the order of its lines.

    Args:
        data: what `tomllib.loads` gave.
        kind: a msgspec Struct type; its Meta ranges and descriptions are enforced and shown.
        file: the file's name as the user knows it.
        lines: from :func:`pipelines.toml_lines.key_lines`.
    """
    root = inspect.type_info(kind)
    walk = _Walk(file, lines, root)
    problems = sorted(walk.value(data, root, (), "", None), key=lambda problem: problem.line or 0)
    if not problems:
        try:
            msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            # A constraint that the walk does not know: without its line, but never let through.
            problems = [Problem(file, None, "", str(error))]
    return problems


class _Walk:
    def __init__(self, file: str, lines: Mapping[Path, int], root: inspect.Type) -> None:
        self._file = file
        self._lines = lines
        self._homes = dict(_homes(root, ""))

    def value(self, value: Any, kind: inspect.Type, path: Path, about: str, default: Any) -> Iterator[Problem]:
        if isinstance(kind, inspect.Metadata):
            extra = kind.extra_json_schema or {}
            yield from self.value(value, kind.type, path, str(extra.get("description", about)), default)
        elif isinstance(kind, inspect.StructType):
            yield from self._struct(value, kind, path)
        elif isinstance(kind, inspect.ListType):
            yield from self._list(value, kind, path, about)
        elif not _fits(value, kind):
            yield self._problem(path, f"must be {_expected(kind)}, got {_shown(value)}", _remedy(about, default))

    def _struct(self, value: Any, kind: inspect.StructType, path: Path) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield self._problem(path, f"must be a table, got {_shown(value)}", f"write [{_dotted(path)}] and its keys")
            return
        fields = {field.encode_name: field for field in kind.fields}
        for key, item in value.items():
            if key not in fields:
                yield self._problem((*path, key), "is not a key of this table", self._unknown(key, path, list(fields)))
                continue
            field = fields[key]
            default = None if field.default is msgspec.NODEFAULT else field.default
            yield from self.value(item, field.type, (*path, key), "", default)
        for name, field in fields.items():
            if field.required and name not in value:
                about = _about(field.type)
                yield self._problem((*path, name), "is missing", f"{name}: {about}" if about else "", at=path)

    def _list(self, value: Any, kind: inspect.ListType, path: Path, about: str) -> Iterator[Problem]:
        least, most = kind.min_length or 0, kind.max_length
        if not isinstance(value, list):
            yield self._problem(path, f"must be {_expected(kind)}, got {_shown(value)}", about)
            return
        if len(value) < least or (most is not None and len(value) > most):
            bound = f"at least {least}" if len(value) < least else f"at most {most}"
            yield self._problem(path, f"must have {bound} {_noun(least if len(value) < least else most)}", about)
        for index, item in enumerate(value):
            yield from self.value(item, kind.item_type, (*path, index), about, None)

    def _unknown(self, key: str, path: Path, known: list[str]) -> str:
        if any(word in key.lower() for word in _SECRET_WORDS):
            return "secrets never stand in config files; they come from DISTILLWATCH_… variables, see docs/operator.md"
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        if close:
            return f"did you mean `{close[0]}`?"
        home = self._homes.get(key)
        if home is not None and home != _dotted(path):
            return f"`{key}` belongs " + (f"to [{home}]" if home else "to the top level of the file")
        return "known keys: " + ", ".join(known)

    def _problem(self, path: Path, message: str, remedy: str = "", *, at: Path | None = None) -> Problem:
        place = path if at is None else at
        while place not in self._lines and place:
            place = place[:-1]
        return Problem(self._file, self._lines.get(place, 1), _dotted(path), f"{_dotted(path)} {message}", remedy)


def _fits(value: Any, kind: inspect.Type) -> bool:
    match kind:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool) and _in_range(value, kind)
        case inspect.FloatType():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return number and math.isfinite(value) and _in_range(value, kind)
        case inspect.StrType():
            return (
                isinstance(value, str)
                and len(value) >= (kind.min_length or 0)
                and (kind.max_length is None or len(value) <= kind.max_length)
                and (kind.pattern is None or re.search(kind.pattern, value) is not None)
            )
        case inspect.LiteralType():
            return not isinstance(value, bool) and value in kind.values
        case inspect.UnionType():
            return any(_fits(value, part) for part in kind.types)
        case inspect.Metadata():
            return _fits(value, kind.type)
    # Left to msgspec.convert, which knows every type.
    return True


def _in_range(value: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    return not (
        (kind.ge is not None and value < kind.ge)
        or (kind.gt is not None and value <= kind.gt)
        or (kind.le is not None and value > kind.le)
        or (kind.lt is not None and value >= kind.lt)
    )


def _expected(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"an integer{_range(kind)}"
        case inspect.FloatType():
            return f"a finite number{_range(kind)}"
        case inspect.StrType():
            if kind.pattern is not None:
                return f"text that matches {kind.pattern}" if len(kind.pattern) <= _SHOWN else "text of another form"
            if kind.min_length or kind.max_length:
                return f"text of {kind.min_length or 0} to {kind.max_length or 'any number of'} characters"
            return "text"
        case inspect.LiteralType():
            return "one of " + ", ".join(_shown(value) for value in kind.values)
        case inspect.ListType():
            return "a list"
        case inspect.UnionType():
            return " or ".join(_expected(part) for part in kind.types if not isinstance(part, inspect.NoneType))
        case inspect.Metadata():
            return _expected(kind.type)
    return "another type"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    both = kind.ge is not None and kind.le is not None
    if both:
        return f" from {kind.ge} to {kind.le}"
    bounds = {"at least": kind.ge, "above": kind.gt, "at most": kind.le, "below": kind.lt}
    words = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
    return " " + " and ".join(words) if words else ""


def _remedy(about: str, default: Any) -> str:
    parts = [about] if about else []
    if default is not None and not isinstance(default, msgspec.Struct):
        parts.append(f"the default is {_shown(default)}")
    return "; ".join(parts)


def _shown(value: Any) -> str:
    """A value as TOML would write it, cut to a length that fits a line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        text = msgspec.json.encode(value).decode()
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number beyond 64 bits"
    return str(value)


def _about(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or _expected(kind)
    return "a table" if isinstance(kind, inspect.StructType) else _expected(kind)


def _noun(count: int | None) -> str:
    return "element" if count == 1 else "elements"


def _dotted(path: Path) -> str:
    """``pattern[2].cases.match`` for ``("pattern", 2, "cases", "match")``; elements count from 0."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _homes(kind: inspect.Type, table: str) -> Iterator[tuple[str, str]]:
    """Every key of a struct type and its nested structs, with the table that it belongs to."""
    if not isinstance(kind, inspect.StructType):
        return
    for field in kind.fields:
        yield field.encode_name, table
        inner = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
        yield from _homes(inner, f"{table}.{field.encode_name}" if table else field.encode_name)
