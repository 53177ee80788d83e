"""The one error type that bad input raises."""

from __future__ import annotations

from typing import Final, Literal

Reason = Literal[
    "empty",
    "too_large",
    "too_deep",
    "not_utf8",
    "not_json",
    "not_an_object",
    "unknown_type",
    "missing_field",
    "wrong_type",
    "out_of_range",
    "bad_compression",
    "bad_file",
    "in_future",
    "wrong_topic",
]

REASONS: Final[dict[Reason, str]] = {
    "empty": "the message has no bytes; drop it at the producer",
    "too_large": "the event is larger than the limit; raise `input.max_event_bytes` or trim the event",
    "too_deep": "JSON nested deeper than the decoder allows; flatten the event",
    "not_utf8": "the bytes are not UTF-8; fix the producer's encoding",
    "not_json": "the bytes are not one JSON value; NaN and Infinity are not JSON",
    "not_an_object": "an event is a JSON object; arrays and scalars are not events",
    "unknown_type": "`type` is none of request, response, account, enforcement, release",
    "missing_field": "a required field is absent; see schemas/json/event.schema.json",
    "wrong_type": "a field has another JSON type than the contract says",
    "out_of_range": "a number or a length lies outside the contract's range",
    "bad_compression": "the compressed file ends early or is damaged; decompress it by hand to see how far it is good",
    "bad_file": "the file is not in the format that its name says",
    "in_future": "`ts` lies further ahead of this worker's clock than `input.max_future_s`",
    "wrong_topic": "the event's type does not belong on the topic it was read from",
}


class InvalidEvent(ValueError):  # noqa: N818 - the house name of this refusal
    """An event that breaks the contract: it goes to the dead letters with its reason.

    Attributes:
        reason: a key of :data:`REASONS`, stable, fit for metrics and queries.
        detail: what exactly was wrong, without any text of the event's content.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason: Reason = reason
        self.detail = detail
