"""Account activity: one row an account and hour, for analysts; counts only."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct


class Activity(Struct, kw_only=True, frozen=True, gc=False):
    """What one account did in one hour of event time, as its partition counted it.

    A later row of the same (`account`, `hour`) replaces an earlier one; `as_of` says which is later.
    Token counts are None where no response reported any.
    """

    account: str
    hour: int
    as_of: int
    requests: int
    responses: int
    refused: int
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None


ACTIVITY_DECODER: Final = msgspec.json.Decoder(Activity)
ENCODER: Final = msgspec.json.Encoder()
