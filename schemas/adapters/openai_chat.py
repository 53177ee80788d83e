"""OpenAI chat completions: the two bodies of a call, with what the gateway knows beside them.

``{"account": …, "ts": …, "client": {…}, "status": 200, "request": {body}, "response": {body}}``; see
:class:`schemas.adapters.common.Context` for the outer fields. A response is a completion, an error body, or
null where the call has none. Streams are passed as the completion they add up to.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from schemas.adapters.chat import add_signature, plain_text, tool_names, turns
from schemas.adapters.common import Context, Record, bounded, event, group, present, read, required, visible
from schemas.events import Count, Event, Id

# The error codes with which the two large hosts of this API refuse a prompt.
REFUSAL_CODES: Final = frozenset({"content_filter", "content_policy_violation"})


class Body(Struct):
    """Body of a chat completions request, as far as events have a place for it."""

    model: str | None = None
    messages: Any = None
    tools: Any = None
    functions: Any = None
    temperature: Any = None
    top_p: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    logit_bias: Any = None
    seed: Any = None
    stream: Any = None
    reasoning_effort: Any = None
    user: str | None = None
    safety_identifier: str | None = None


class _PromptDetails(Struct):
    cached_tokens: Count | None = None


class _CompletionDetails(Struct):
    reasoning_tokens: Count | None = None


class Usage(Struct):
    """Token counts of a completion; the details are parts of the totals."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class ChoiceMessage(Struct):
    """What the model said in one choice; `thinking_blocks` is a gateways' addition."""

    content: Any = None
    refusal: str | None = None
    thinking_blocks: list[Any] | None = None


class Choice(Struct):
    """One of a completion's choices."""

    message: ChoiceMessage | None = None
    finish_reason: str | None = None


class _Error(Struct):
    code: Any = None


class Completion(Struct):
    """Body of a response: a completion or an error."""

    id: Id | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: _Error | None = None


class _Exchange(Context, kw_only=True):
    request: Body
    response: Completion | None = None


_DECODER: Final = msgspec.json.Decoder(_Exchange)


@bounded
def events(record: Record) -> list[Event]:
    """A request, and its response where there is one; the id is the gateway's, or else the completion's.

    Raises:
        InvalidEvent: with the reason and a path.
    """
    call = read(_DECODER, record)
    body, answer = call.request, call.response
    model = required(body.model, "$.request.model")
    identity = required(call.id if call.id is not None or answer is None else answer.id, "$.id")
    user = body.safety_identifier if body.safety_identifier is not None else body.user
    request = event(
        "request",
        id=identity,
        ts=call.ts,
        account=call.account,
        model=model,
        org=call.org,
        end_user=call.end_user if call.end_user is not None else user,
        conversation=call.conversation,
        client=call.client,
        **request_fields(body),
    )
    if answer is None:
        return [request]
    response = event(
        "response",
        request_id=identity,
        ts=call.answered_at(),
        account=call.account,
        model=answer.model if answer.model is not None else model,
        status=call.status,
        latency_ms=call.latency_ms,
        **response_fields(answer),
    )
    return [request, response]


def request_fields(body: Body) -> dict[str, Any]:
    """The fields of a request event that a body gives."""
    history = turns(body.messages)
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    return present(
        system=history.system,
        messages=history.messages,
        tools=tool_names(body.tools if body.tools is not None else body.functions),
        params=group(
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=limit,
            n=body.n,
            logprobs=body.logprobs,
            top_logprobs=body.top_logprobs,
            logit_bias=body.logit_bias,
            seed=body.seed,
            stream=body.stream,
            reasoning_effort=body.reasoning_effort,
        ),
        # This dialect has no signatures of its own: none found says nothing.
        signatures=history.signatures or None,
    )


def response_fields(answer: Completion) -> dict[str, Any]:
    """The fields of a response event that a body gives. The texts of several choices are joined by lines."""
    choices = answer.choices or []
    texts = []
    signatures: list[Any] = []
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason is not None]
    refused = True if "content_filter" in reasons else (False if reasons else None)
    if answer.error is not None and isinstance(answer.error.code, str) and answer.error.code in REFUSAL_CODES:
        refused = True
    for choice in choices:
        if choice.message is None:
            continue
        said = (plain_text(choice.message.content), choice.message.refusal)
        texts += [text for text in said if text is not None]
        if choice.message.refusal is not None:
            refused = True
        for block in choice.message.thinking_blocks or []:
            if isinstance(block, dict):
                add_signature(signatures, block.get("signature"))
                if block.get("type") == "redacted_thinking":
                    add_signature(signatures, block.get("data"))
    return present(
        finish_reason=reasons[0] if reasons else None,
        refused=refused,
        text="\n".join(texts) if texts else None,
        signatures=signatures or None,
        usage=usage_fields(answer.usage),
    )


def usage_fields(usage: Usage | None) -> dict[str, Any] | None:
    """Token counts in the contract's terms: `output` without the hidden reasoning."""
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    reasoning = completion.reasoning_tokens if completion is not None else None
    return group(
        input=usage.prompt_tokens,
        output=visible(usage.completion_tokens, reasoning),
        reasoning=reasoning,
        cached=prompt.cached_tokens if prompt is not None else None,
    )
