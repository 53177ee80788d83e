"""Anthropic Messages API: the two bodies of a call, with what the gateway knows beside them.

``{"account": …, "ts": …, "client": {…}, "status": 200, "request": {body}, "response": {body}}``; see
:class:`schemas.adapters.common.Context` for the outer fields. A response is a message, an error body, or
null where the call has none. Streams are passed as the message they add up to.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from schemas.adapters.chat import add_signature, plain_text, tool_names, turns
from schemas.adapters.common import Context, Record, bounded, event, group, read, required, total, visible
from schemas.events import Count, Event, Id


class _Metadata(Struct):
    user_id: str | None = None


class _OutputConfig(Struct):
    effort: str | None = None


class _Request(Struct):
    model: str
    messages: list[Any] | None = None
    system: str | list[Any] | None = None
    tools: list[Any] | None = None
    max_tokens: Any = None
    temperature: Any = None
    top_p: Any = None
    stream: Any = None
    metadata: _Metadata | None = None
    output_config: _OutputConfig | None = None


class _OutputDetails(Struct):
    thinking_tokens: Count | None = None


class _Usage(Struct):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens_details: _OutputDetails | None = None


class _Response(Struct):
    type: str | None = None
    id: Id | None = None
    request_id: Id | None = None
    model: str | None = None
    content: list[Any] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Exchange(Context, kw_only=True):
    request: _Request
    response: _Response | None = None


_DECODER: Final = msgspec.json.Decoder(_Exchange)


@bounded
def events(record: Record) -> list[Event]:
    """A request, and its response where there is one.

    The id is the gateway's, or else the provider's (`id` of a message, `request_id` of an error).
    `input_tokens` counts neither cache reads nor cache writes, so they are added to it.

    Raises:
        InvalidEvent: with the reason and a path.
    """
    call = read(_DECODER, record)
    body, answer = call.request, call.response
    identity = call.id
    if identity is None and answer is not None:
        identity = answer.id if answer.id is not None else answer.request_id
    identity = required(identity, "$.id")
    history = turns(body.messages)
    # Leading system turns are not this API's words, but gateways that translate another dialect send them.
    systems = [text for text in (plain_text(body.system), history.system) if text is not None]
    request = event(
        "request",
        id=identity,
        ts=call.ts,
        account=call.account,
        model=body.model,
        org=call.org,
        end_user=call.end_user if call.end_user is not None or body.metadata is None else body.metadata.user_id,
        conversation=call.conversation,
        system="\n\n".join(systems) if systems else None,
        messages=history.messages,
        tools=tool_names(body.tools),
        params=group(
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=body.max_tokens,
            stream=body.stream,
            reasoning_effort=body.output_config.effort if body.output_config is not None else None,
        ),
        client=call.client,
        signatures=history.signatures if body.messages is not None else None,
    )
    return [request] if answer is None else [request, _response(call, answer, identity)]


def _response(call: _Exchange, answer: _Response, identity: str) -> Event:
    signatures: list[Any] = []
    for block in answer.content or []:
        if isinstance(block, dict):
            add_signature(signatures, block.get("signature"))
            if block.get("type") == "redacted_thinking":
                add_signature(signatures, block.get("data"))
    return event(
        "response",
        request_id=identity,
        ts=call.answered_at(),
        account=call.account,
        model=answer.model if answer.model is not None else call.request.model,
        status=call.status,
        finish_reason=answer.stop_reason,
        refused=answer.stop_reason == "refusal" if answer.stop_reason is not None else None,
        # Citations cut one text into blocks, so nothing goes between them.
        text=plain_text(answer.content, separator=""),
        signatures=signatures if answer.content is not None else None,
        usage=_usage(answer.usage),
        latency_ms=call.latency_ms,
    )


def _usage(usage: _Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    reasoning = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details is not None else None
    given = None
    if usage.input_tokens is not None:
        given = total(usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    return group(
        input=given,
        output=visible(usage.output_tokens, reasoning),
        reasoning=reasoning,
        cached=usage.cache_read_input_tokens,
    )
