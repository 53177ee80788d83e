"""JSON Schemas (draft 2020-12) of the contracts, generated from the structs that are enforced.

``python -m schemas.jsonschema`` writes ``schemas/json/*.schema.json``; with ``--check`` it writes nothing
and exits with 1 where a file is stale, missing or left over.

Events are open: a gateway may send fields of its own, and they are kept aside. Everything that
distillwatch writes, and verdicts, are closed: a key that the schema does not name is a mistake there.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.activity import Activity
from schemas.alerts import Alert, Signal, Verdict
from schemas.deadletters import DeadLetter
from schemas.events import Event

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
COMMAND: Final = "python -m schemas.jsonschema"

# name -> (type, whether keys beyond the contract's are refused)
CONTRACTS: Final[dict[str, tuple[Any, bool]]] = {
    "event": (Event, False),
    "alert": (Alert, True),
    "signal": (Signal, True),
    "verdict": (Verdict, True),
    "dead-letter": (DeadLetter, True),
    "activity": (Activity, True),
}


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one contract.

    Args:
        name: a key of :data:`CONTRACTS`.
    """
    contract, closed = CONTRACTS[name]
    (body,), components = msgspec.json.schema_components([contract], ref_template="#/$defs/{name}")
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
        if closed and "properties" in component:
            component["additionalProperties"] = False
    return {"$schema": DIALECT, "$id": f"urn:distillwatch:{name}", "title": name, **body, "$defs": components}


def render(name: str) -> str:
    """The text of one schema file."""
    return json.dumps(schema(name), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def default_directory() -> Path:
    """Where the schema files are shipped."""
    return Path(__file__).parent / "json"


def write(directory: Path) -> None:
    """Write every schema into `directory`, and remove schemas of contracts that are gone."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in CONTRACTS:
        (directory / f"{name}.schema.json").write_text(render(name), encoding="utf-8")
    for path in _left_over(directory):
        path.unlink()


def problems(directory: Path) -> list[str]:
    """What `directory` lacks or has wrong, one line a file; empty if it is current."""
    found = []
    for name in CONTRACTS:
        path = directory / f"{name}.schema.json"
        if not path.is_file():
            found.append(f"{path}: missing")
        elif path.read_text(encoding="utf-8") != render(name):
            found.append(f"{path}: stale, the structs say otherwise")
    return found + [f"{path}: left over, no contract has this name" for path in _left_over(directory)]


def _left_over(directory: Path) -> list[Path]:
    return sorted(p for p in directory.glob("*.schema.json") if p.name.removesuffix(".schema.json") not in CONTRACTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the JSON Schemas of the contracts.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is not current")
    parser.add_argument("--directory", type=Path, default=None, help="default: schemas/json")
    options = parser.parse_args(arguments)
    directory: Path = options.directory if options.directory is not None else default_directory()
    if not options.check:
        write(directory)
        return 0
    found = problems(directory)
    for line in found:
        sys.stderr.write(f"{line}\n")
    if found:
        sys.stderr.write(f"run `{COMMAND}` and commit the result\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
