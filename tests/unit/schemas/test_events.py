from __future__ import annotations

import json
import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.alerts import VERDICT_DECODER
from schemas.errors import REASONS, InvalidEvent
from schemas.events import (
    MAX_EVENT_BYTES,
    MAX_TS,
    Event,
    Part,
    Request,
    decode_event,
    encode_event,
    encode_json,
    unknown_fields,
)
from tests.bad_inputs import HUGE_BYTES, generate, good_events

OPEN = b'{"type":"request","id":"r1","ts":1784887200123,"account":"a1","model":"m"'


def refuse(raw: bytes, **limits: int) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        decode_event(raw, **limits)
    assert caught.value.reason in REASONS
    return caught.value


def test_ten_thousand_bad_inputs_are_refused_for_the_right_reason() -> None:
    seen: dict[str, int] = {}
    for raw, reason in generate(10_000, seed=20261124):
        assert raw.strip()
        assert b"\n" not in raw
        assert b"\r" not in raw
        assert refuse(raw).reason == reason, raw[:200]
        seen[reason] = seen.get(reason, 0) + 1
    assert sum(seen.values()) == 10_000
    assert seen["too_large"] == 5
    assert seen["too_deep"] > 50
    assert set(seen) == set(REASONS) - {"empty", "bad_compression", "bad_file", "in_future", "wrong_topic"}


def test_the_streams_are_determined_by_their_seed() -> None:
    assert list(generate(500, seed=3)) == list(generate(500, seed=3))
    assert list(generate(500, seed=3)) != list(generate(500, seed=4))
    assert list(good_events(200, seed=3)) == list(good_events(200, seed=3))
    assert list(good_events(200, seed=3)) != list(good_events(200, seed=4))


def test_good_events_survive_the_round_trip() -> None:
    kinds = set()
    for event in good_events(2_000, seed=1):
        line = encode_event(event)
        assert b"\n" not in line
        assert decode_event(line) == event
        assert encode_event(decode_event(line)) == line
        kinds.add(type(event).__name__)
    assert kinds == {"Request", "Response", "Account", "Enforcement", "Release"}


def outcome(raw: bytes) -> Event | InvalidEvent:
    """What decoding makes of some bytes; any other exception fails the test."""
    try:
        event = decode_event(raw)
        assert unknown_fields(raw).keys().isdisjoint({"type", "ts"})
    except InvalidEvent as error:
        return error
    return event


@given(raw=st.binary(max_size=200))
@example(raw=b"")
@example(raw=b" \n")
def test_any_bytes_are_an_event_or_refused(raw: bytes) -> None:
    found = outcome(raw)
    if isinstance(found, InvalidEvent):
        assert found.reason in REASONS
    else:
        assert decode_event(encode_event(found)) == found


@given(cut=st.integers(0, 10_000), drop=st.integers(0, 40), junk=st.binary(max_size=8), seed=st.integers(0, 50))
@settings(max_examples=200, deadline=None)
def test_damaged_events_are_events_or_refused(cut: int, drop: int, junk: bytes, seed: int) -> None:
    line = encode_event(next(good_events(1, seed=seed)))
    cut %= len(line)
    damaged = line[:cut] + junk + line[cut + drop :]
    found = outcome(damaged)
    if isinstance(found, InvalidEvent):
        assert found.reason in REASONS
    else:
        assert decode_event(encode_event(found)) == found


def test_size_limits() -> None:
    assert HUGE_BYTES > MAX_EVENT_BYTES
    raw = OPEN + b"}"
    assert decode_event(raw, max_bytes=len(raw)) == decode_event(raw)
    error = refuse(raw, max_bytes=len(raw) - 1)
    assert (error.reason, error.detail) == ("too_large", f"{len(raw)} bytes, the limit is {len(raw) - 1}")
    full = OPEN + b',"system":"' + b"x" * (MAX_EVENT_BYTES - len(OPEN) - 13) + b'"}'
    assert isinstance(decode_event(full), Request)
    assert refuse(full + b" " * 10).reason == "too_large"


@pytest.mark.parametrize("blank", [b"", b" ", b"\t\r\n  "])
def test_blank_input_is_empty(blank: bytes) -> None:
    assert refuse(blank).reason == "empty"


SECRET = "tok_3f9a"
LEAKS: dict[str, dict[str, Any]] = {
    "type": {"type": SECRET},
    "type that looks like a path": {"type": f"x - at `$.{SECRET}`"},
    "action": {"type": "enforcement", "action": SECRET},
    "action that looks like a message": {"type": "enforcement", "action": f"missing required field {SECRET}"},
    "action that looks like a path": {"type": "enforcement", "action": f"x` - at `$.{SECRET}"},
    "logit_bias key": {"params": {"logit_bias": {SECRET: "x"}}},
    "logit_bias key, out of range": {"params": {"logit_bias": {SECRET: 1e9}}},
    "text in place of a number": {"ts": SECRET},
    "long account": {"account": SECRET * 100},
    "tool input key": {
        "messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": 1, "input": {SECRET: SECRET}}]}]
    },
    "text in place of messages": {"messages": SECRET},
    "unknown key": {SECRET: 1, "ts": None},
    "part": {"messages": [{"role": "user", "content": [SECRET]}]},
    "client": {"client": {"ip": SECRET, "asn": SECRET}},
}


@pytest.mark.parametrize("fields", LEAKS.values(), ids=LEAKS)
def test_no_content_in_the_detail(fields: dict[str, Any]) -> None:
    whole = {"type": "request", "id": "r1", "ts": 1, "account": "a1", "model": "m", **fields}
    error = refuse(json.dumps(whole).encode())
    assert SECRET not in error.detail
    assert SECRET not in str(error)


def test_no_content_in_the_detail_of_broken_json() -> None:
    whole = json.dumps({"type": "request", "system": SECRET, SECRET: [SECRET]}).encode()
    for cut in range(len(whole)):
        assert SECRET not in str(refuse(whole[:cut]))
        assert SECRET not in str(refuse(whole[:cut] + b"\xff" + whole[cut:]))


def test_a_tool_keeps_its_input_and_its_result() -> None:
    given_input = {"sql": "select 1", "limits": [1, 2.5, None], "large": 10**40}
    content = [
        {"type": "tool_use", "id": "c", "name": "run_sql", "input": given_input},
        {"type": "tool_result", "id": "c", "content": [{"type": "text", "text": "1"}]},
    ]
    event = decode_event(OPEN + b',"messages":' + json.dumps([{"role": "user", "content": content}]).encode() + b"}")
    assert isinstance(event, Request)
    assert event.messages is not None
    parts = event.messages[0].content
    assert isinstance(parts, list)
    assert parts[0] == Part(type="tool_use", id="c", name="run_sql", input=given_input)
    assert parts[1].content == [{"type": "text", "text": "1"}]
    assert json.loads(encode_event(event))["messages"][0]["content"] == content


def test_signatures_are_as_long_as_providers_make_them() -> None:
    signature = "c" * 200_000
    event = decode_event(OPEN + b',"signatures":["' + signature.encode() + b'"]}')
    assert isinstance(event, Request)
    assert event.signatures == [signature]


def test_numbers_of_unknown_fields_are_read_only_when_asked() -> None:
    raw = OPEN + b',"region":1e999}'
    assert isinstance(decode_event(raw), Request)
    with pytest.raises(InvalidEvent) as caught:
        unknown_fields(raw)
    assert caught.value.reason == "out_of_range"
    with pytest.raises(InvalidEvent) as caught:
        unknown_fields(OPEN + b',"region":' + b"9" * 5000 + b"}")
    assert caught.value.reason == "out_of_range"


@pytest.mark.parametrize(("ts", "good"), [(0, True), (MAX_TS, True), (-1, False), (MAX_TS + 1, False)])
def test_time_limits(ts: int, good: bool) -> None:
    raw = b'{"type":"release","model":"m","ts":%d}' % ts
    if good:
        assert decode_event(raw).ts == ts
    else:
        assert refuse(raw).reason == "out_of_range"


def test_absent_and_null_are_the_same_and_are_not_zero() -> None:
    absent = decode_event(OPEN + b"}")
    assert decode_event(OPEN + b',"system":null,"params":null,"tools":null}') == absent
    assert decode_event(OPEN + b',"system":"","tools":[]}') != absent


def test_errors_survive_pickling() -> None:
    error = refuse(b"{}")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (copy.reason, copy.detail, str(copy)) == (error.reason, error.detail, str(error))


@pytest.mark.parametrize(("value", "reason"), [("\ud83d", "not_json"), (object(), "wrong_type")])
def test_what_json_does_not_have_is_not_written(value: Any, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        encode_json({"x": value})
    assert caught.value.reason == reason


def test_a_misspelt_verdict_does_not_widen_to_all_accounts() -> None:
    with pytest.raises(msgspec.ValidationError, match="acounts"):
        VERDICT_DECODER.decode(b'{"alert_id":"x","ts":1,"verdict":"confirmed","analyst":"sam","acounts":["a"]}')
