from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from schemas.adapters import ADAPTERS
from schemas.errors import REASONS, InvalidEvent
from schemas.events import Event, Request, Response, decode_event, encode_event
from tests.bad_inputs import generate

FOLDER = Path(schemas.__file__).parent / "examples" / "adapters"


def cases(pattern: str) -> list[Path]:
    return sorted(FOLDER.glob(f"*/{pattern}"))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def as_json(adapter: str, record: Any) -> list[Any]:
    return [json.loads(encode_event(event)) for event in ADAPTERS[adapter](record)]


def test_every_adapter_has_good_and_bad_cases() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(ADAPTERS)
    for adapter in ADAPTERS:
        assert len(list((FOLDER / adapter).glob("*.in.json"))) >= 3
        assert len(list((FOLDER / adapter).glob("*.bad.json"))) >= 3
        # A failed call is a call.
        assert list((FOLDER / adapter).glob("error*.in.json")) or list((FOLDER / adapter).glob("failure*.in.json"))
    known = (".in.json", ".out.json", ".bad.json")
    assert all(path.name.endswith(known) for path in FOLDER.glob("*/*"))
    assert {p.name.removesuffix(".out.json") for p in cases("*.out.json")} == {
        p.name.removesuffix(".in.json") for p in cases("*.in.json")
    }


@pytest.mark.parametrize("path", cases("*.in.json"), ids=name)
def test_record_gives_the_stored_events(path: Path) -> None:
    golden = json.loads(path.with_name(path.name.replace(".in.json", ".out.json")).read_text(encoding="utf-8"))
    raw = path.read_bytes()
    assert as_json(path.parent.name, raw) == golden
    # A mapping gives what its bytes give, and is not changed.
    record = json.loads(raw)
    assert as_json(path.parent.name, record) == golden
    assert record == json.loads(raw)


@pytest.mark.parametrize("path", cases("*.in.json"), ids=name)
def test_events_are_in_order_of_time_and_belong_together(path: Path) -> None:
    events = ADAPTERS[path.parent.name](path.read_bytes())
    for request, response in zip(events[::2], events[1::2], strict=False):
        assert isinstance(request, Request)
        assert isinstance(response, Response)
        assert (response.request_id, response.account) == (request.id, request.account)
        assert response.ts >= request.ts


@pytest.mark.parametrize("path", cases("*.bad.json"), ids=name)
def test_bad_record_is_refused_with_the_reason_in_its_name(path: Path) -> None:
    with pytest.raises(InvalidEvent) as caught:
        ADAPTERS[path.parent.name](path.read_bytes())
    assert caught.value.reason == path.name.split("__")[0]
    assert "private words" not in str(caught.value)
    assert "private" not in str(caught.value)


def outcome(adapter: str, record: Any) -> list[Event] | InvalidEvent:
    """What an adapter makes of a record; any other exception fails the test."""
    try:
        return ADAPTERS[adapter](record)
    except InvalidEvent as error:
        return error


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_nothing_but_invalid_event_escapes_for_bad_bytes(adapter: str) -> None:
    for raw, _ in generate(600, seed=11):
        found = outcome(adapter, raw)
        # Some of these are bad events and yet records: OTLP asks for nothing.
        assert found == [] or (isinstance(found, InvalidEvent) and found.reason in REASONS)


def mutations(record: Any, junk: Any) -> list[Any]:
    """The record with each of its values, at any depth, replaced by `junk`."""
    found = [junk]
    items = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in items:
        for other in mutations(value, junk):
            copy = dict(record) if isinstance(record, dict) else list(record)
            copy[key] = other
            found.append(copy)
    return found


JUNK = [
    None,
    0,
    -1,
    10**30,
    1.5,
    True,
    "",
    "private words",
    [],
    {},
    ["private words"],
    {"private words": "x"},
    [None],
    1e300,
]


@pytest.mark.parametrize("path", cases("*.in.json"), ids=name)
def test_any_value_may_be_junk(path: Path) -> None:
    record = json.loads(path.read_bytes())
    for junk in JUNK:
        for mutated in mutations(record, junk):
            found = outcome(path.parent.name, mutated)
            if isinstance(found, InvalidEvent):
                assert found.reason in REASONS
                assert "private" not in str(found)
            else:
                assert all(decode_event(encode_event(event)) == event for event in found)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_mappings_that_json_does_not_have(adapter: str) -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    for value, reason in (
        (deep, "too_deep"),
        ("half \ud83d", "not_json"),
        (object(), "wrong_type"),
        ({1j: 2}, "wrong_type"),
    ):
        with pytest.raises(InvalidEvent) as caught:
            ADAPTERS[adapter]({"account": "a", "ts": 1, "request": value})
        assert caught.value.reason == reason


@pytest.mark.parametrize("depth", [1, 10, 100, 200, 300, 400, 480])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_deep_content_is_mapped_or_refused(adapter: str, depth: int) -> None:
    content: Any = "end"
    attribute: dict[str, Any] = {"stringValue": "end"}
    for _ in range(depth):
        content = [{"type": "tool_result", "tool_use_id": "c", "content": content}]
    for _ in range(depth // 2):
        attribute = {"arrayValue": {"values": [attribute]}}
    messages = [{"role": "user", "content": content}]
    names = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "user.id": "a"}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in names.items()]
    record = {
        "account": "a",
        "ts": 1,
        "id": "r",
        "request": {"model": "m", "messages": messages},
        "startTime": 1,
        "model": "m",
        "metadata": {"user_api_key_hash": "h"},
        "messages": messages,
        "traceId": "t",
        "spanId": "s",
        "startTimeUnixNano": "1",
        "attributes": [*attributes, {"key": "deep", "value": attribute}],
    }
    found = outcome(adapter, record)
    if depth <= 100:
        assert isinstance(found, list)
        assert found
    else:
        assert isinstance(found, list) or found.reason == "too_deep"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(content=json_values, tools=json_values, answer=json_values)
@settings(max_examples=80, deadline=None)
def test_any_content_is_mapped_or_refused(content: Any, tools: Any, answer: Any) -> None:
    messages = [{"role": "user", "content": content}, content]
    records = {
        "anthropic_messages": {
            "account": "a",
            "ts": 1,
            "id": "r",
            "request": {"model": "m", "messages": messages, "tools": tools},
            "response": {"content": answer},
        },
        "openai_chat": {
            "account": "a",
            "ts": 1,
            "id": "r",
            "request": {"model": "m", "messages": messages, "tools": tools},
            "response": {"choices": [{"message": {"content": answer}}]},
        },
        "litellm": {
            "id": "r",
            "startTime": 1.5,
            "model": "m",
            "metadata": {"user_api_key_hash": "h"},
            "messages": messages,
            "model_parameters": {"tools": tools},
            "response": answer,
        },
        "otel_genai": {
            "attributes": {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "m",
                "user.id": "a",
                "gen_ai.response.id": "r",
                "gen_ai.input.messages": messages,
                "gen_ai.tool.definitions": tools,
                "gen_ai.output.messages": answer,
            },
            "startTimeUnixNano": 10**15,
        },
    }
    assert set(records) == set(ADAPTERS)
    for adapter, record in records.items():
        found = outcome(adapter, record)
        if isinstance(found, InvalidEvent):
            assert found.reason in REASONS
        else:
            assert [type(event) for event in found] == [Request, Response]


def test_zero_and_absent_are_not_the_same() -> None:
    request = {"model": "m", "temperature": 0, "top_logprobs": 0, "logprobs": False}
    with_usage = {
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "completion_tokens_details": {"reasoning_tokens": 0}}
    }
    call = {"account": "a", "ts": 0, "id": "r", "latency_ms": 0, "request": request}
    zero = as_json("openai_chat", {**call, "response": with_usage})
    assert zero[0]["params"] == {"temperature": 0.0, "top_logprobs": 0, "logprobs": False}
    assert zero[1]["usage"] == {"input": 0, "output": 0, "reasoning": 0}
    assert zero[1]["latency_ms"] == 0.0
    absent = as_json("openai_chat", {**call, "latency_ms": None, "request": {"model": "m"}, "response": {"usage": {}}})
    assert absent == [
        {"type": "request", "id": "r", "ts": 0, "account": "a", "model": "m"},
        {"type": "response", "request_id": "r", "ts": 0, "account": "a", "model": "m"},
    ]


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("2026-07-24T10:00:00.123456Z", 1_784_887_200_123),
        ("2026-07-24 10:00:00", 1_784_887_200_000),
        ("2026-07-24T12:00:00.9999+02:00", 1_784_887_200_999),
        ("2026-07-24T02:30:00-07:30", 1_784_887_200_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        (1_784_887_200.123, 1_784_887_200_123),
    ],
)
def test_times_become_milliseconds(written: str | float, milliseconds: int) -> None:
    record = {"id": "r", "startTime": written, "model": "m", "metadata": {"user_api_key_hash": "h"}}
    assert as_json("litellm", record)[0]["ts"] == milliseconds


@pytest.mark.parametrize(
    "written",
    ["2026-02-29 10:00:00", "2026-13-01 10:00:00", "0000-01-01 10:00:00", "2026-07-24 24:00:00", "2026-07-24 10:60:00"],
)
def test_times_that_do_not_exist_are_refused(written: str) -> None:
    record = {"id": "r", "startTime": written, "model": "m", "metadata": {"user_api_key_hash": "h"}}
    with pytest.raises(InvalidEvent) as caught:
        ADAPTERS["litellm"](record)
    assert caught.value.reason == "out_of_range"
