"""Events: what a gateway reports of its API traffic.

One JSON object a Kafka message or a line of a file. Times are epoch milliseconds. A field that is
absent (or null) is *unknown*, never zero; unknown fields are allowed and kept aside
(:func:`unknown_fields`).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from schemas.errors import InvalidEvent, Reason

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
"""Default bound on one event: the largest contexts sold today are about 1 M tokens, some 4 MB."""

# 2100-01-01: a `ts` beyond it is microseconds or garbage, and would drag every watermark along.
MAX_TS: Final = 4_102_444_800_000

Ts = Annotated[int, Meta(ge=0, le=MAX_TS, description="event time, epoch milliseconds")]
Id = Annotated[str, Meta(min_length=1, max_length=512)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Label = Annotated[str, Meta(max_length=4096)]
# Signed 64 bits: providers accept any integer seed, and larger ones do not survive other JSON readers.
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Part(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """One part of a message's content; `type` says which of the other fields carries it.

    `input` (of a `tool_use`) and `content` (of a `tool_result`: text, a list of parts, or what the tool
    gave) hold any JSON value; `id` is the tool call's in both.
    """

    type: Label
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    content: Any = None


class Message(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """One turn of the conversation that a request carries."""

    role: Label
    content: str | list[Part] | None = None


class Params(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """Sampling parameters, as far as the gateway knows them."""

    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Count | None = None
    n: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Count | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-1000, le=1000)]] | None = None
    seed: Seed | None = None
    stream: bool | None = None
    reasoning_effort: Label | None = None


class Client(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """Where a request came from. `country` is never evidence by itself."""

    ip: Label | None = None
    asn: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    country: Label | None = None
    user_agent: Label | None = None
    tls: Label | None = None


class Request(Struct, tag_field="type", tag="request", kw_only=True, omit_defaults=True, gc=False):
    """A call to the model. Without text it still counts for timing and coordination."""

    id: Id
    ts: Ts
    account: Id
    model: Label
    org: Label | None = None
    end_user: Label | None = None
    conversation: Label | None = None
    system: str | None = None
    messages: list[Message] | None = None
    tools: list[Label] | None = None
    params: Params | None = None
    client: Client | None = None
    signatures: list[str] | None = None


class Usage(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """Token counts of one response.

    `input` includes the tokens read from a cache, which `cached` counts again. `output` leaves out the
    hidden reasoning that `reasoning` counts; where no breakdown is known, it holds both.
    """

    input: Count | None = None
    output: Count | None = None
    reasoning: Count | None = None
    cached: Count | None = None


class Response(Struct, tag_field="type", tag="response", kw_only=True, omit_defaults=True, gc=False):
    """What the provider answered; `signatures` are the reasoning signatures it issued."""

    request_id: Id
    ts: Ts
    account: Id
    model: Label
    status: Annotated[int, Meta(ge=0, le=999)] | None = None
    finish_reason: Label | None = None
    refused: bool | None = None
    text: str | None = None
    signatures: list[str] | None = None
    usage: Usage | None = None
    latency_ms: Annotated[float, Meta(ge=0, le=1e9)] | None = None


class Account(Struct, tag_field="type", tag="account", kw_only=True, omit_defaults=True, gc=False):
    """Enrichment: what the provider's account system knows. All of it may be absent."""

    ts: Ts
    account: Id
    created: Ts | None = None
    plan: Label | None = None
    payment: Label | None = None
    email_domain: Label | None = None
    signup_ip: Label | None = None
    signup_channel: Label | None = None
    org: Label | None = None


class Enforcement(Struct, tag_field="type", tag="enforcement", kw_only=True, omit_defaults=True, gc=False):
    """The provider banned an account, or lifted a ban."""

    ts: Ts
    account: Id
    action: Literal["ban", "unban"]


class Release(Struct, tag_field="type", tag="release", kw_only=True, omit_defaults=True, gc=False):
    """A model became available."""

    ts: Ts
    model: Label


Event = Request | Response | Account | Enforcement | Release
EVENT_TYPES: Final = (Request, Response, Account, Enforcement, Release)

_DECODER: Final = msgspec.json.Decoder(Event)
_ANY_FIELDS: Final = msgspec.json.Decoder(dict[str, Any])
_ENCODER: Final = msgspec.json.Encoder()

T = TypeVar("T")


def decode(decoder: msgspec.json.Decoder[T], raw: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> T:
    """Decode and validate one JSON value from outside, whatever its type.

    Raises:
        InvalidEvent: with the reason; the text of the value never appears in it.
    """
    if len(raw) > max_bytes:
        raise InvalidEvent("too_large", f"{len(raw)} bytes, the limit is {max_bytes}")
    try:
        # msgspec skips the strings of unknown fields unchecked, so the whole line is checked here.
        if not raw.isascii():
            raw.decode("utf-8")
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidEvent(*_classify(str(error))) from None
    except UnicodeDecodeError as error:
        raise InvalidEvent("not_utf8", f"byte {error.start}") from None
    except msgspec.DecodeError as error:
        if not raw.strip():
            raise InvalidEvent("empty") from None
        raise InvalidEvent("not_json", str(error)) from None
    except RecursionError:
        raise InvalidEvent("too_deep") from None


def decode_event(raw: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> Event:
    """Decode and validate one event.

    Raises:
        InvalidEvent: with the reason; the text of the event never appears in it.

    >>> decode_event(b'{"type":"release","ts":1784887200123,"model":"m-next"}').model
    'm-next'
    >>> decode_event(b'{"type":"release","ts":NaN,"model":"m-next"}')
    Traceback (most recent call last):
    ...
    schemas.errors.InvalidEvent: not_json: JSON is malformed: invalid character (byte 23)
    """
    event: Event = decode(_DECODER, raw, max_bytes=max_bytes)
    return event


def _classify(message: str) -> tuple[Reason, str]:
    """Sort a msgspec message into our reasons.

    msgspec writes types, paths and limits, with `[...]` for the keys of a dictionary. Only two messages
    quote the event itself, and both are replaced: the value of `type`, and a value outside an enumeration.
    """
    if message.startswith("Invalid value") and message.endswith("`$.type`"):
        return "unknown_type", "type is none of request, response, account, enforcement, release"
    if message.startswith(("Invalid value", "Invalid enum value")):
        return "wrong_type", "value is none of those allowed" + _where(message)
    if message.startswith("Object contains unknown field"):
        return "wrong_type", "a field that the contract does not know" + _where(message)
    if "missing required field" in message:
        return "missing_field", message
    if message.startswith("Expected `object`, got") and " - at " not in message:
        return "not_an_object", message
    out_of_range = ("Number out of range", "Integer value out of range")
    if message.startswith(out_of_range) or " of length " in message or "` >= " in message or "` <= " in message:
        return "out_of_range", message
    return "wrong_type", message


def _where(message: str) -> str:
    _, found, path = message.rpartition(" - at ")
    return f" - at {path}" if found else ""


def encode_event(event: Event) -> bytes:
    """One event as a JSON line without its line end; absent fields stay absent."""
    return encode_json(event)


def encode_json(value: Any) -> bytes:
    """Any JSON value as one line, also with the integers beyond 64 bits that a tool's input may hold.

    Raises:
        InvalidEvent: for what JSON does not have: lone surrogates, other types, endless nesting. NaN and
            infinities become null.
    """
    try:
        try:
            return _ENCODER.encode(value)
        except OverflowError:
            return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise InvalidEvent("not_json", "a text holds half of a surrogate pair") from None
    except TypeError:
        raise InvalidEvent("wrong_type", "a value of a type that JSON does not have") from None
    except RecursionError:
        raise InvalidEvent("too_deep") from None


def unknown_fields(raw: bytes) -> dict[str, Any]:
    """The top-level fields of an event that the contract does not know, as they came.

    Raises:
        InvalidEvent: also for an unknown number that no float holds (`1e999`); :func:`decode_event` leaves
            unknown numbers unread.

    >>> unknown_fields(b'{"type":"release","ts":1,"model":"m","region":"eu"}')
    {'region': 'eu'}
    """
    known = {field.encode_name for field in msgspec.structs.fields(type(decode_event(raw)))}
    fields = decode(_ANY_FIELDS, raw)
    return {name: value for name, value in fields.items() if name not in known and name != "type"}
