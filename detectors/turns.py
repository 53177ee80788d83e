"""What an assistant turn is recognised by: hashes of its two ends.

A client sends the turns back that it was given, trimmed, re-wrapped or with its tags cut off, and a gateway
may store a response's beginning only. So a turn counts as the same when either of its ends does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from schemas.events import Message

_END: Final = 96  # bytes of an end that count, white space aside: some twenty words, which hardly repeat
_READ: Final = 144  # characters of which they are taken, so that indentation leaves enough

_LOWER: Final = bytes(range(256)).lower()
_WHITE: Final = b" \t\n\r\f\v"

Turn = tuple[int, int]
"""Hashes of the head and of the tail of a turn; never 0."""


def turn_of(text: str) -> Turn:
    """The two ends of a turn, without white space and in lower case (of ASCII: clients re-wrap, they do not re-spell).

    >>> turn_of("Certainly.\\n  Here it is") == turn_of(" certainly. here it is ")
    True
    """
    return _ends(text[:_READ], text[-_READ:])


# A turn comes as a response and then in every further request of its conversation.
@lru_cache(maxsize=32_768)
def _ends(head: str, tail: str) -> Turn:
    first = head.encode().translate(_LOWER, _WHITE)[:_END]
    last = tail.encode().translate(_LOWER, _WHITE)[-_END:]
    return _hash(first), _hash(last)


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1


def assistant_turns(messages: Sequence[Message], limit: int, min_chars: int) -> list[Turn]:
    """The last assistant turns of a history, newest first.

    Left out are a last turn of the assistant (it is to be continued, and the client wrote it), a turn that the
    output of a tool answers (what stands in it, a client's framework often wrote), and short ones.

    Args:
        messages: of a request.
        limit: turns at most.
        min_chars: shorter turns say nothing of where they come from.
    """
    turns: list[Turn] = []
    following: Message | None = None
    for message in reversed(messages):
        if message.role == "assistant" and following is not None and not _is_tool_output(following):
            text = _text(message)
            if len(text) >= min_chars:
                turns.append(turn_of(text))
                if len(turns) == limit:
                    break
        following = message
    return turns


def _is_tool_output(message: Message) -> bool:
    content = message.content
    return message.role in ("tool", "function") or (
        isinstance(content, list) and any(part.type == "tool_result" for part in content)
    )


def _text(message: Message) -> str:
    content = message.content
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if part.type == "text" and part.text)
