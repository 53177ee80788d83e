"""OpenTelemetry: spans after the semantic conventions for generative AI.

A record is an OTLP/JSON export (`resourceSpans`), one OTLP/JSON span, or one span as an SDK's console
exporter prints it (`attributes` as an object, `start_time` in ISO 8601). The conventions have no attribute
for the paying account: instrument the gateway with `distillwatch.account`, or `enduser.id` or `user.id` is
taken. Spans that are not inference (`chat`, `generate_content`, `text_completion`) give no event.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from schemas.adapters.chat import add_signature, tool_names
from schemas.adapters.common import (
    Record,
    among,
    bounded,
    event,
    from_seconds,
    group,
    parse_json,
    present,
    read,
    required,
    visible,
)
from schemas.errors import InvalidEvent
from schemas.events import Event

INFERENCE: Final = frozenset({"chat", "generate_content", "text_completion"})
ACCOUNT_ATTRIBUTES: Final = ("distillwatch.account", "enduser.id", "user.id")
MEDIA: Final = frozenset({"blob", "file", "uri"})
REFUSALS: Final = frozenset({"content_filter", "refusal"})

_OTLP_VALUES: Final = ("stringValue", "intValue", "doubleValue", "boolValue", "arrayValue", "kvlistValue", "bytesValue")


class _Context(Struct):
    trace_id: str | None = None
    span_id: str | None = None


class _Span(Struct):
    attributes: list[Any] | dict[str, Any] | None = None
    traceId: str | None = None  # noqa: N815 - OTLP/JSON's own spelling
    spanId: str | None = None  # noqa: N815
    startTimeUnixNano: int | str | None = None  # noqa: N815
    endTimeUnixNano: int | str | None = None  # noqa: N815
    start_time: str | None = None
    end_time: str | None = None
    context: _Context | None = None


class _Scope(Struct):
    spans: list[_Span] = []


class _Resource(Struct):
    scopeSpans: list[_Scope] = []  # noqa: N815


class _Export(_Span):
    resourceSpans: list[_Resource] | None = None  # noqa: N815


_DECODER: Final = msgspec.json.Decoder(_Export)


@bounded
def events(record: Record) -> list[Event]:
    """The requests and responses of the inference spans in a record, in the record's order.

    Raises:
        InvalidEvent: with the reason and a path; one bad span refuses the whole export.
    """
    export = read(_DECODER, record)
    if export.resourceSpans is None:
        return _span(export)
    spans = (span for resource in export.resourceSpans for scope in resource.scopeSpans for span in scope.spans)
    return [found for span in spans for found in _span(span)]


def _span(span: _Span) -> list[Event]:
    attributes = _attributes(span.attributes)
    if not among(attributes.get("gen_ai.operation.name"), INFERENCE):
        return []
    account = required(
        next((attributes[name] for name in ACCOUNT_ATTRIBUTES if attributes.get(name) is not None), None),
        "$.attributes.distillwatch.account",
    )
    identity = required(_identity(span, attributes), "$.traceId")
    started = required(_time(span.startTimeUnixNano, span.start_time, "startTimeUnixNano"), "$.startTimeUnixNano")
    ended = _time(span.endTimeUnixNano, span.end_time, "endTimeUnixNano")
    request = event("request", id=identity, ts=started, account=account, **_request(attributes))
    response = event(
        "response",
        request_id=identity,
        ts=ended if ended is not None else started,
        account=account,
        latency_ms=ended - started if ended is not None else None,
        **_response(attributes),
    )
    return [request, response]


def _identity(span: _Span, attributes: dict[str, Any]) -> Any:
    if attributes.get("gen_ai.response.id") is not None:
        return attributes["gen_ai.response.id"]
    trace, own = span.traceId, span.spanId
    if span.context is not None:
        trace, own = span.context.trace_id, span.context.span_id
    return None if trace is None or own is None else f"{trace}-{own}"


def _time(nanoseconds: int | str | None, written: str | None, name: str) -> int | None:
    """Epoch milliseconds, from OTLP's nanoseconds (64-bit integers are strings in its JSON) or ISO 8601."""
    if nanoseconds is None:
        return from_seconds(written, f"$.{name}") if written is not None else None
    return _integer(nanoseconds, name) // 1_000_000


def _integer(value: Any, name: str) -> int:
    # At most 20 digits: what 64 bits hold; Python refuses to read integers of thousands of digits.
    if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isascii():
        if value.removeprefix("-").isdigit():
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidEvent("wrong_type", f"not a 64-bit integer - at `$.{name}`")


def _request(attributes: dict[str, Any]) -> dict[str, Any]:
    signatures: list[Any] = []
    messages = parse_json(attributes.get("gen_ai.input.messages"))
    if isinstance(messages, list):
        messages = [_message(message, signatures) for message in messages]
    return present(
        model=attributes.get("gen_ai.request.model"),
        conversation=attributes.get("gen_ai.conversation.id"),
        system=_text(parse_json(attributes.get("gen_ai.system_instructions"))),
        messages=messages,
        tools=tool_names(parse_json(attributes.get("gen_ai.tool.definitions"))),
        params=group(
            temperature=attributes.get("gen_ai.request.temperature"),
            top_p=attributes.get("gen_ai.request.top_p"),
            max_tokens=attributes.get("gen_ai.request.max_tokens"),
            n=attributes.get("gen_ai.request.choice.count"),
            seed=attributes.get("gen_ai.request.seed"),
            stream=attributes.get("gen_ai.request.stream"),
        ),
        client=group(ip=attributes.get("client.address"), user_agent=attributes.get("user_agent.original")),
        signatures=signatures or None,
    )


def _response(attributes: dict[str, Any]) -> dict[str, Any]:
    signatures: list[Any] = []
    texts = []
    reasons = attributes.get("gen_ai.response.finish_reasons")
    reasons = list(reasons) if isinstance(reasons, list) else []
    outputs = parse_json(attributes.get("gen_ai.output.messages"))
    for message in outputs if isinstance(outputs, list) else []:
        if not isinstance(message, dict):
            continue
        converted = _message(message, signatures)
        text = _text(message.get("parts")) if isinstance(converted, dict) else None
        if text is not None:
            texts.append(text)
        if not reasons and message.get("finish_reason") is not None:
            reasons.append(message["finish_reason"])
    reasoning = attributes.get("gen_ai.usage.reasoning.output_tokens")
    output = attributes.get("gen_ai.usage.output_tokens")
    if _is_count(reasoning) and _is_count(output):
        output = visible(output, reasoning)
    answered_by = attributes.get("gen_ai.response.model")
    return present(
        model=answered_by if answered_by is not None else attributes.get("gen_ai.request.model"),
        status=_status(attributes),
        finish_reason=reasons[0] if reasons else None,
        refused=any(among(reason, REFUSALS) for reason in reasons) if reasons else None,
        text="\n".join(texts) if texts else None,
        signatures=signatures or None,
        usage=group(
            input=attributes.get("gen_ai.usage.input_tokens"),
            output=output,
            reasoning=reasoning,
            cached=attributes.get("gen_ai.usage.cache_read.input_tokens"),
        ),
    )


def _status(attributes: dict[str, Any]) -> Any:
    """The HTTP status; instrumentations without it often write it as the type of the error."""
    status = attributes.get("http.response.status_code")
    kind = attributes.get("error.type")
    if status is None and isinstance(kind, str) and len(kind) == 3 and kind.isascii() and kind.isdigit():
        return int(kind)
    return status


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(parts: Any) -> Any:
    if not isinstance(parts, list):
        return parts
    texts = [
        part["content"]
        for part in parts
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("content"), str)
    ]
    return "\n".join(texts) if texts else None


def _message(message: Any, signatures: list[Any]) -> Any:
    if not isinstance(message, dict):
        return message
    parts = message.get("parts")
    content = [_part(part, signatures) for part in parts] if isinstance(parts, list) else parts
    return present(role=message.get("role"), content=content)


def _part(part: Any, signatures: list[Any]) -> Any:
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind == "text":
        return present(type=kind, text=part.get("content"))
    if kind == "reasoning":
        # The conventions allow further keys; some instrumentations keep the signature in one.
        add_signature(signatures, part.get("signature"))
        return present(type="thinking", thinking=part.get("content"))
    if kind == "tool_call":
        return present(
            type="tool_use", id=part.get("id"), name=part.get("name"), input=parse_json(part.get("arguments"))
        )
    if kind == "tool_call_response":
        # `response` in the conventions' schema, `result` in their examples.
        answer = part.get("response") if part.get("response") is not None else part.get("result")
        return present(type="tool_result", id=part.get("id"), content=answer)
    if among(kind, MEDIA) and part.get("modality") is not None:
        return {"type": part["modality"]}
    return present(type=kind)


def _attributes(given: list[Any] | dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    found = {}
    for item in given or []:
        if not isinstance(item, dict) or not isinstance(item.get("key"), str):
            raise InvalidEvent("wrong_type", "not a pair of key and value - at `$.attributes[...]`")
        found[item["key"]] = _value(item.get("value"))
    return found


def _value(value: Any) -> Any:
    """The plain value inside an OTLP `AnyValue`."""
    if not isinstance(value, dict):
        raise InvalidEvent("wrong_type", "not an OTLP value - at `$.attributes[...].value`")
    kind = next((name for name in _OTLP_VALUES if name in value), None)
    if kind is None:
        return None
    inner = value[kind]
    if kind == "intValue":
        return _integer(inner, "attributes[...].value.intValue")
    if kind in {"arrayValue", "kvlistValue"}:
        items = inner.get("values", []) if isinstance(inner, dict) else None
        if not isinstance(items, list):
            raise InvalidEvent("wrong_type", f"not an OTLP list - at `$.attributes[...].value.{kind}`")
        return [_value(item) for item in items] if kind == "arrayValue" else _attributes(items)
    return inner
