"""LiteLLM proxy: one `StandardLoggingPayload`, as its callbacks and its log exports write it.

The account is the key's user, or else its team, or else the hash of the key: keys are rotated, users stay.
Placeholders of redacted logs are dropped, since a text that all accounts share would look like a template.
On failure LiteLLM writes zero tokens, which are unknown. Calls that are not of a text model give no event;
of Responses API calls only the envelope is read, not the text.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from schemas.adapters.common import Record, bounded, event, filled, from_seconds, group, present, read, required
from schemas.adapters.openai_chat import Body, Completion, request_fields, response_fields
from schemas.errors import InvalidEvent
from schemas.events import Count, Event, decode, encode_json

REDACTED: Final = "redacted-by-litellm"

# Call types that ask no text model for text; each exists with and without the "a" of asynchronous calls.
OTHER_CALLS: Final = frozenset(
    {
        "embedding",
        "image_generation",
        "image_edit",
        "image_variation",
        "moderation",
        "rerank",
        "search",
        "speech",
        "transcription",
    }
)
USER_AGENT_TAG: Final = "User-Agent: "


class _Metadata(Struct):
    user_api_key_hash: str | None = None
    user_api_key_user_id: str | None = None
    user_api_key_team_id: str | None = None
    user_api_key_org_id: str | None = None
    user_api_key_end_user_id: str | None = None
    requester_ip_address: str | None = None


class _ErrorInformation(Struct):
    error_code: str | int | None = None
    error_class: str | None = None


class _Payload(Struct):
    startTime: float | str  # noqa: N815 - LiteLLM's own spelling
    model: str
    id: str | None = None
    call_type: str | None = None
    stream: bool | None = None
    status: str | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    endTime: float | str | None = None  # noqa: N815
    metadata: _Metadata | None = None
    end_user: str | None = None
    requester_ip_address: str | None = None
    request_tags: list[Any] | None = None
    messages: Any = None
    response: Any = None
    model_parameters: dict[str, Any] | None = None
    error_information: _ErrorInformation | None = None


_DECODER: Final = msgspec.json.Decoder(_Payload)
_BODY: Final = msgspec.json.Decoder(Body)
_COMPLETION: Final = msgspec.json.Decoder(Completion)


@bounded
def events(record: Record) -> list[Event]:
    """A request and its response, or none if the call asked no text model.

    Raises:
        InvalidEvent: with the reason and a path.
    """
    payload = read(_DECODER, record)
    if payload.call_type is not None and {payload.call_type, payload.call_type.removeprefix("a")} & OTHER_CALLS:
        return []
    metadata = payload.metadata if payload.metadata is not None else _Metadata()
    identity = required(filled(payload.id), "$.id")
    account = required(
        filled(metadata.user_api_key_user_id)
        or filled(metadata.user_api_key_team_id)
        or filled(metadata.user_api_key_hash),
        "$.metadata.user_api_key_user_id",
    )
    started = from_seconds(payload.startTime, "$.startTime")
    ended = from_seconds(payload.endTime, "$.endTime") if payload.endTime is not None else None
    body = decode(_BODY, encode_json(_body(payload)))
    request = event(
        "request",
        id=identity,
        ts=started,
        account=account,
        model=payload.model,
        org=filled(metadata.user_api_key_org_id) or filled(metadata.user_api_key_team_id),
        end_user=filled(payload.end_user) or filled(metadata.user_api_key_end_user_id),
        client=group(
            ip=filled(payload.requester_ip_address) or filled(metadata.requester_ip_address),
            user_agent=_user_agent(payload.request_tags),
        ),
        **request_fields(body),
    )
    response = event(
        "response",
        request_id=identity,
        ts=ended if ended is not None else started,
        account=account,
        latency_ms=ended - started if ended is not None else None,
        **_answer(payload),
    )
    return [request, response]


def _body(payload: _Payload) -> dict[str, Any]:
    body = dict(payload.model_parameters or {})
    body["messages"] = None if _redacted(payload.messages) else payload.messages
    if isinstance(body["messages"], dict):
        # Some call types log {"messages": […]} or {"prompt": …}.
        body["messages"] = body["messages"].get("messages", body["messages"].get("prompt"))
    if payload.stream is not None:
        body["stream"] = payload.stream
    return body


def _answer(payload: _Payload) -> dict[str, Any]:
    if payload.status == "failure":
        error = payload.error_information if payload.error_information is not None else _ErrorInformation()
        refused = True if error.error_class == "ContentPolicyViolationError" else None
        return present(model=payload.model, status=_status(error.error_code), refused=refused)
    completion = Completion()
    if isinstance(payload.response, dict):
        completion = decode(_COMPLETION, encode_json(payload.response))
    fields = response_fields(completion)
    if isinstance(payload.response, str):
        fields["text"] = payload.response
    if _redacted(fields.get("text")):
        del fields["text"]
    if "usage" not in fields:
        fields["usage"] = group(input=payload.prompt_tokens, output=payload.completion_tokens)
    fields["model"] = filled(completion.model) or payload.model
    fields["status"] = 200 if payload.status == "success" else None
    return fields


def _status(code: str | int | None) -> int | None:
    if isinstance(code, str):
        if not code:
            return None
        if not (code.isascii() and code.isdigit()):
            raise InvalidEvent("wrong_type", "not an HTTP status - at `$.error_information.error_code`")
        return int(code)
    return code


def _redacted(value: Any) -> bool:
    if isinstance(value, str):
        return value == REDACTED or set(value.split("\n")) == {REDACTED}
    return isinstance(value, list) and any(isinstance(item, dict) and item.get("content") == REDACTED for item in value)


def _user_agent(tags: list[Any] | None) -> str | None:
    """LiteLLM tags a request with its user agent twice: the product, and the product with its version."""
    agents = [tag for tag in tags or [] if isinstance(tag, str) and tag.startswith(USER_AGENT_TAG)]
    return max(agents, key=len).removeprefix(USER_AGENT_TAG) if agents else None
