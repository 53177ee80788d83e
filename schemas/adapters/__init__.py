"""Adapters: records of gateways and tracers, turned into events.

An adapter takes one record, as JSON bytes or as the mapping that they hold, and returns its events in
order of time: usually a request and its response; none, if the record is not a call to a text model. It
raises :class:`schemas.errors.InvalidEvent` like :func:`schemas.events.decode_event` does. What the record
does not say stays absent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from schemas.adapters import anthropic_messages, litellm, openai_chat, otel_genai
from schemas.adapters.common import Record
from schemas.events import Event

Adapter = Callable[[Record], list[Event]]

ADAPTERS: Final[dict[str, Adapter]] = {
    "anthropic_messages": anthropic_messages.events,
    "litellm": litellm.events,
    "openai_chat": openai_chat.events,
    "otel_genai": otel_genai.events,
}
