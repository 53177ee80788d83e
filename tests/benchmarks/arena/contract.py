"""What readers of `arena.json` rely on: `arena.schema.json` beside this file, and that every number is one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

SCHEMA: Final = Path(__file__).with_name("arena.schema.json")


def written(report: Mapping[str, Any]) -> bytes:
    """The report as a JSON file.

    Raises:
        ValueError: a figure is NaN or infinite; JSON has neither, and null would hide it.
    """
    if wrong := list(not_finite(report)):
        raise ValueError(f"no finite numbers: {', '.join(wrong)}")
    return msgspec.json.format(msgspec.json.encode(report)) + b"\n"


def not_finite(value: object, path: str = "$") -> Iterator[str]:
    """Where in a report there is NaN or an infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}"
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from not_finite(part, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from not_finite(part, f"{path}[{index}]")


def broken(report: bytes) -> list[str]:
    """Every way in which a file's content is not as promised, in a sentence; needs the package jsonschema."""
    from jsonschema import Draft202012Validator

    checker = Draft202012Validator(msgspec.json.decode(SCHEMA.read_bytes()))
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(msgspec.json.decode(report))]
