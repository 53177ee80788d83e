"""Dead letters: input that broke the contract, kept whole."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct


class DeadLetter(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One rejected message.

    `source` is a topic or a file; `offset` counts messages of a partition or lines of a file (from 1).
    `raw` holds the original bytes (base64 in JSON). On Kafka the record's value *is* `raw` and the other
    fields travel as headers, so that a large message does not grow on its way.
    """

    reason: str
    detail: str
    source: str
    partition: int | None
    offset: Annotated[int, Meta(ge=0)]
    ts: Annotated[int, Meta(ge=0, description="when it was rejected, or 0 in a replay; epoch milliseconds")]
    raw: bytes
    key: bytes | None = None


DEAD_LETTER_DECODER: Final = msgspec.json.Decoder(DeadLetter)
ENCODER: Final = msgspec.json.Encoder()
