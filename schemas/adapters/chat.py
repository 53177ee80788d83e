"""Turns of a conversation in the two common dialects (OpenAI chat completions, Anthropic messages).

Gateways mix the dialects, so both are read everywhere. Text, thinking, tool calls and tool results are
kept; media and anything unknown keep only their type. Signatures go to one list, once each, and leave the
parts: thinking signatures, and the data of redacted thinking, which plays the same role.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from schemas.adapters.common import among, parse_json, present

SYSTEM_ROLES: Final = frozenset({"system", "developer"})
TEXT_TYPES: Final = frozenset({"text", "input_text", "output_text"})
TOOL_CALL_TYPES: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})


class Turns(NamedTuple):
    """A request's history: system prompt, turns after it, and signatures in the order of the turns."""

    system: Any
    messages: Any
    signatures: list[Any]


def turns(messages: Any) -> Turns:
    """Split a list of messages; the leading system (or developer) turns become the system prompt."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list):
        return Turns(None, messages, [])
    signatures: list[Any] = []
    systems: list[str] = []
    start = 0
    for message in messages:
        if not isinstance(message, dict) or not among(message.get("role"), SYSTEM_ROLES):
            break
        text = plain_text(message.get("content"))
        if text is not None:
            systems.append(text)
        start += 1
    converted = [_message(message, signatures) for message in messages[start:]]
    return Turns("\n\n".join(systems) if systems else None, converted, signatures)


def plain_text(content: Any, separator: str = "\n") -> str | None:
    """The text of a content, a string or a list of parts; None if it has none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return separator.join(texts) if texts else None


def add_signature(signatures: list[Any], value: Any) -> None:
    """Note a signature once. Streaming clients send "" for a block that has none yet."""
    if value is not None and value != "" and value not in signatures:
        signatures.append(value)


def _message(message: Any, signatures: list[Any]) -> Any:
    if not isinstance(message, dict):
        return message
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        result = present(type="tool_result", id=message.get("tool_call_id"), content=_result(content, signatures))
        return {"role": role, "content": [result]}
    before = _thinking(message, signatures)
    after = [_tool_call(call) for call in _items(message.get("tool_calls"))]
    if message.get("refusal") is not None:
        after.insert(0, {"type": "refusal", "text": message["refusal"]})
    if isinstance(content, list):
        content = [part(item, signatures) for item in content]
    elif content is not None and (before or after):
        content = [{"type": "text", "text": content}]
    if before or after:
        content = [*before, *(content or []), *after]
    return present(role=role, content=content)


def _thinking(message: dict[str, Any], signatures: list[Any]) -> list[Any]:
    blocks = [part(block, signatures) for block in _items(message.get("thinking_blocks"))]
    if blocks:
        return blocks
    reasoning = message.get("reasoning_content")
    return [] if reasoning is None else [{"type": "thinking", "thinking": reasoning}]


def _tool_call(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    function = call.get("function")
    if isinstance(function, dict):
        name, given = function.get("name"), parse_json(function.get("arguments"))
    else:
        custom = call.get("custom")
        name, given = (custom.get("name"), custom.get("input")) if isinstance(custom, dict) else (None, None)
    return present(type="tool_use", id=call.get("id"), name=name, input=given)


def part(item: Any, signatures: list[Any]) -> Any:
    """One content part in the contract's words; its signature, if any, is added to `signatures`."""
    if not isinstance(item, dict):
        return item
    kind = item.get("type")
    if among(kind, TEXT_TYPES):
        return present(type="text", text=item.get("text"))
    if kind == "thinking":
        add_signature(signatures, item.get("signature"))
        return present(type="thinking", thinking=item.get("thinking"))
    if kind == "redacted_thinking":
        add_signature(signatures, item.get("data"))
        return {"type": kind}
    if among(kind, TOOL_CALL_TYPES):
        return present(type="tool_use", id=item.get("id"), name=item.get("name"), input=item.get("input"))
    if isinstance(kind, str) and kind.endswith("tool_result"):
        content = _result(item.get("content"), signatures)
        return present(type="tool_result", id=item.get("tool_use_id"), content=content)
    if kind == "refusal":
        return present(type=kind, text=item.get("refusal"))
    if kind == "image_url":
        return {"type": "image"}
    if kind == "document" and isinstance(item.get("source"), dict) and item["source"].get("type") == "text":
        return present(type=kind, text=item["source"].get("data"))
    return present(type=kind)


def _result(content: Any, signatures: list[Any]) -> Any:
    return [part(item, signatures) for item in content] if isinstance(content, list) else content


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def tool_names(tools: Any) -> Any:
    """Names of the tools that a request offers, in either dialect; a tool without a name gives its type."""
    if not isinstance(tools, list):
        return tools
    return [_tool_name(tool) for tool in tools]


def _tool_name(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    for holder in (tool.get("function"), tool.get("custom"), tool):
        if isinstance(holder, dict) and holder.get("name") is not None:
            return holder["name"]
    return tool.get("type")
