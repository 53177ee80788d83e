"""Answers that show reasoning between tags, where the request asks for such tags; honest ones do so too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Final

from schemas.events import Event, Message, Request, Response

TAGS: Final = ("think", "thinking", "reasoning", "deliberation", "scratchpad")

_TAG: Final = re.compile(f"<({'|'.join(TAGS)})>")
_WORDS: Final = 60


def asked_tag(request: Request) -> str | None:
    """The tag that the system prompt, or else the last message, names for reasoning."""
    last = request.messages[-1] if request.messages else Message(role="user", content="")
    for text in (request.system or "", last.content):
        found = _TAG.search(text) if isinstance(text, str) else None
        if found:
            return found[1]
    return None


def tagged(rng: Random, events: Iterable[Event]) -> Iterator[Event]:
    """The calls, with words between the tags at the head of each answer that was asked for them."""
    tags: dict[str, str] = {}
    for event in events:
        if isinstance(event, Request) and (tag := asked_tag(event)):
            tags[event.id] = tag
        elif isinstance(event, Response) and event.text and not event.refused and event.request_id in tags:
            tag = tags[event.request_id]
            thoughts = " ".join(rng.choices(event.text.split(), k=_WORDS))
            event.text = f"<{tag}>\n{thoughts}\n</{tag}>\n{event.text}"
        yield event
