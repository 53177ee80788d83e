from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import schemas
from schemas.events import encode_event
from schemas.jsonschema import CONTRACTS, default_directory, main, problems, schema
from tests.bad_inputs import generate, good_events

EXAMPLES = Path(schemas.__file__).parent / "examples"
GOOD = {
    "event": "events",
    "alert": "alerts",
    "signal": "signals",
    "verdict": "verdicts",
    "dead-letter": "dead-letters",
    "activity": "activity",
}
# What is wrong with these is not their structure: they have none that a schema could look at.
BELOW_THE_SCHEMA = {"empty", "not_utf8", "not_json", "too_deep", "too_large"}
# A tool's input may be any JSON; that no program can hold this number is not for a schema to say.
NOT_FOR_A_SCHEMA = {"out_of_range__number_in_tool_input.json"}


def validator(name: str) -> jsonschema.Draft202012Validator:
    document = json.loads((default_directory() / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def structural(path: Path) -> bool:
    """Whether a bad example is one that a schema should refuse; json itself cannot read the deep ones."""
    reason = path.name.split("__")[0]
    return reason not in BELOW_THE_SCHEMA and "deep" not in path.name and path.name not in NOT_FOR_A_SCHEMA


def test_shipped_schemas_are_current() -> None:
    assert problems(default_directory()) == []
    assert main(["--check"]) == 0


def test_check_names_the_file_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--directory", str(tmp_path)]) == 0
    assert main(["--check", "--directory", str(tmp_path)]) == 0
    stale, missing, left_over = (tmp_path / f"{name}.schema.json" for name in ("alert", "event", "gone"))
    stale.write_text(stale.read_text(encoding="utf-8").replace("maximum", "maximun"), encoding="utf-8")
    missing.unlink()
    left_over.write_text("{}", encoding="utf-8")
    assert capsys.readouterr().err == ""
    assert main(["--check", "--directory", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"{stale}: stale" in said
    assert f"{missing}: missing" in said
    assert f"{left_over}: left over" in said
    assert "python -m schemas.jsonschema" in said
    assert main(["--directory", str(tmp_path)]) == 0
    assert problems(tmp_path) == []
    assert not left_over.exists()


@pytest.mark.parametrize("name", CONTRACTS)
def test_good_examples_are_accepted(name: str) -> None:
    examples = sorted((EXAMPLES / GOOD[name]).glob("*.json"))
    assert examples
    check = validator(name)
    for path in examples:
        assert list(check.iter_errors(load(path))) == [], path.name


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((EXAMPLES / "bad").iterdir()) if structural(p)],
    ids=lambda path: path.name,
)
def test_bad_events_are_refused(path: Path) -> None:
    assert not validator("event").is_valid(load(path))


@pytest.mark.parametrize("path", sorted((EXAMPLES / "bad-outputs").iterdir()), ids=lambda path: path.name)
def test_bad_outputs_are_refused(path: Path) -> None:
    assert not validator(path.name.split("__")[0]).is_valid(load(path))


def test_every_contract_that_is_closed_has_a_misspelt_example() -> None:
    misspelt = {p.name.split("__")[0] for p in (EXAMPLES / "bad-outputs").iterdir() if "misspelt" in p.name}
    closed = {name for name, (_, is_closed) in CONTRACTS.items() if is_closed}
    assert misspelt | {"dead-letter"} == closed
    letter = load(EXAMPLES / "dead-letters" / "topic.json")
    assert not validator("dead-letter").is_valid({**letter, "reasn": "not_json"})


@pytest.mark.parametrize("name", [name for name, (_, closed) in CONTRACTS.items() if closed])
def test_each_key_of_a_closed_contract_is_refused_when_misspelt(name: str) -> None:
    check = validator(name)
    for path in sorted((EXAMPLES / GOOD[name]).glob("*.json")):
        good = load(path)
        for key in good:
            wrong = {(other + "x" if other == key else other): value for other, value in good.items()}
            assert not check.is_valid(wrong), f"{path.name}: {key}x"


def test_events_are_open_and_required_keys_cannot_be_misspelt() -> None:
    check = validator("event")
    good = load(EXAMPLES / "events" / "request__text_free.json")
    assert check.is_valid({**good, "region": "eu"})
    for key in good:
        wrong = {(other + "x" if other == key else other): value for other, value in good.items()}
        assert not check.is_valid(wrong), key


def test_schema_and_decoder_agree_on_generated_events() -> None:
    check = validator("event")
    for event in good_events(300, seed=5):
        assert check.is_valid(json.loads(encode_event(event)))
    refused = 0
    for raw, reason in generate(1500, seed=6):
        if reason in BELOW_THE_SCHEMA or len(raw) > 10_000 or b'"input":{"secret":' in raw:
            continue
        repeated: list[str] = []

        def note(pairs: list[tuple[str, Any]], repeated: list[str] = repeated) -> dict[str, Any]:
            repeated += [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
            return dict(pairs)

        document = json.loads(raw, object_pairs_hook=note)
        if not repeated:  # a parser shows a schema only the last of a repeated key
            refused += 1
            assert not check.is_valid(document), raw[:200]
    assert refused > 300


def test_closed_schemas_close_every_level() -> None:
    for name, (_, closed) in CONTRACTS.items():
        for component in schema(name)["$defs"].values():
            assert component.get("additionalProperties", True) is (not closed), name
