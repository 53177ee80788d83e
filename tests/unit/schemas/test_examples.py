"""Every file under `schemas/examples` is a test by being there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import schemas
from schemas.activity import ACTIVITY_DECODER
from schemas.alerts import ALERT_DECODER, SIGNAL_DECODER, VERDICT_DECODER
from schemas.deadletters import DEAD_LETTER_DECODER
from schemas.errors import REASONS, InvalidEvent
from schemas.events import EVENT_TYPES, decode_event, encode_event, unknown_fields

EXAMPLES = Path(schemas.__file__).parent / "examples"
OUTPUTS: dict[str, msgspec.json.Decoder[Any]] = {
    "alerts": ALERT_DECODER,
    "signals": SIGNAL_DECODER,
    "verdicts": VERDICT_DECODER,
    "dead-letters": DEAD_LETTER_DECODER,
    "activity": ACTIVITY_DECODER,
}
FOLDERS = {"events", "bad", "bad-outputs", "adapters", *OUTPUTS}


def files(folder: str) -> list[Path]:
    return sorted(path for path in (EXAMPLES / folder).iterdir() if path.is_file())


def known(value: Any, like: Any) -> Any:
    """`value` without what `like`, its decoded form, has dropped: unknown fields and nulls."""
    if isinstance(value, dict) and isinstance(like, dict):
        return {name: known(item, like[name]) for name, item in value.items() if name in like}
    if isinstance(value, list) and isinstance(like, list):
        return [known(item, other) for item, other in zip(value, like, strict=True)]
    return value


def test_no_example_lies_in_a_folder_that_no_test_reads() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == FOLDERS


@pytest.mark.parametrize("path", files("events"), ids=lambda path: path.stem)
def test_event_is_decoded_and_survives_the_round_trip(path: Path) -> None:
    raw = path.read_bytes()
    event = decode_event(raw)
    line = encode_event(event)
    assert b"\n" not in line
    assert decode_event(line) == event
    assert json.loads(line) == known(json.loads(raw), json.loads(line))
    # The file's name begins with the type that it is an example of.
    assert json.loads(raw)["type"] == path.stem.split("__")[0]


def test_every_event_type_has_an_example_with_all_its_fields() -> None:
    named: dict[str, set[str]] = {}
    for path in files("events"):
        event = decode_event(path.read_bytes())
        given = {name for name, value in json.loads(path.read_bytes()).items() if value is not None}
        named.setdefault(type(event).__name__, set()).update(given)
    for event_type in EVENT_TYPES:
        fields = {field.encode_name for field in msgspec.structs.fields(event_type)}
        assert fields - named[event_type.__name__] <= {"end_user", "org"}


def test_unknown_fields_are_kept_aside() -> None:
    raw = (EXAMPLES / "events" / "request__unknown_fields.json").read_bytes()
    assert unknown_fields(raw) == {"region": "eu-west", "billing": {"tier": 3, "tags": ["a", "b"]}}


@pytest.mark.parametrize("path", files("bad"), ids=lambda path: path.name)
def test_bad_event_is_refused_with_the_reason_in_its_name(path: Path) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode_event(path.read_bytes())
    assert caught.value.reason == path.name.split("__")[0]
    assert "private words" not in str(caught.value)


def test_every_reason_that_decoding_gives_has_a_bad_example() -> None:
    reasons = {path.name.split("__")[0] for path in files("bad")}
    # A file that is too large is made in the test of limits; the rest is not decoding's to find.
    elsewhere = {"too_large", "bad_compression", "bad_file", "in_future", "wrong_topic"}
    assert reasons == set(REASONS) - elsewhere


@pytest.mark.parametrize(
    "path", [path for folder in OUTPUTS for path in files(folder)], ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_output_survives_the_round_trip(path: Path) -> None:
    decoder = OUTPUTS[path.parent.name]
    value = decoder.decode(path.read_bytes())
    line = msgspec.json.encode(value)
    assert decoder.decode(line) == value
    assert json.loads(line) == json.loads(path.read_bytes())
