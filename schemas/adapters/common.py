"""What the adapters share: reading a record, and writing events that keep the contract.

Values that an adapter does not calculate with pass through unchecked: every event is decoded again by
:func:`schemas.events.decode_event`, which says what is wrong with them.
"""

from __future__ import annotations

import calendar
import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent
from schemas.events import Client, Count, Event, Id, Label, Ts, decode, decode_event, encode_json

Record = bytes | Mapping[str, Any]
T = TypeVar("T")

_ISO_8601: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):?(\d\d))?", re.ASCII
)


class Context(Struct, kw_only=True):
    """What a gateway knows of a call beside its two bodies.

    `ts` is when the request arrived, `response_ts` when the answer was complete, both epoch milliseconds;
    without `response_ts` it is `ts` plus `latency_ms`, and without that `ts`.
    """

    account: Id
    ts: Ts
    id: Id | None = None
    response_ts: Ts | None = None
    org: Label | None = None
    end_user: Label | None = None
    conversation: Label | None = None
    client: Client | None = None
    status: int | None = None
    latency_ms: float | None = None

    def answered_at(self) -> int:
        """Time of the response event, epoch milliseconds."""
        if self.response_ts is not None:
            return self.response_ts
        return self.ts if self.latency_ms is None else self.ts + round(self.latency_ms)


def bounded(adapter: Callable[[Record], list[Event]]) -> Callable[[Record], list[Event]]:
    """An adapter that refuses what the decoder could still read, but is too deep to be walked through."""

    @functools.wraps(adapter)
    def events(record: Record) -> list[Event]:
        try:
            return adapter(record)
        except RecursionError:
            raise InvalidEvent("too_deep") from None

    return events


def read(decoder: msgspec.json.Decoder[T], record: Record) -> T:
    """Decode a record, given as bytes or as a mapping.

    Raises:
        InvalidEvent: with a reason and a path into the record.
    """
    return decode(decoder, record if isinstance(record, bytes) else encode_json(record))


def event(kind: str, **fields: Any) -> Event:
    """One event; fields that are None are absent.

    Raises:
        InvalidEvent: with a path into the event.
    """
    return decode_event(encode_json({"type": kind, **present(**fields)}))


def present(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def group(**fields: Any) -> dict[str, Any] | None:
    """The fields that are not None, or None if all are: a group of unknowns is unknown."""
    return present(**fields) or None


def filled(text: str | None) -> str | None:
    """Some gateways write "" for what they do not know."""
    return text or None


def visible(output: Count | None, reasoning: Count | None) -> int | None:
    """Output tokens without hidden reasoning, from a total that includes it."""
    if output is None or reasoning is None:
        return output
    return max(output - reasoning, 0)


def total(*counts: Count | None) -> int | None:
    """Sum of the known counts; None if none is known."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def from_seconds(value: float | str, path: str) -> int:
    """Epoch seconds, or an ISO 8601 time (UTC unless it names an offset), as epoch milliseconds.

    Raises:
        InvalidEvent: naming `path`.

    >>> from_seconds("2026-07-24T12:00:00.123456+02:00", "$.start_time")
    1784887200123
    """
    if isinstance(value, str):
        return _from_iso_8601(value, path)
    if not math.isfinite(value):
        raise InvalidEvent("out_of_range", f"not a time - at `{path}`")
    # round: 0.123 s is 122.99… ms in binary
    return round(value * 1000)


def _from_iso_8601(text: str, path: str) -> int:
    match = _ISO_8601.fullmatch(text)
    if match is None:
        raise InvalidEvent("wrong_type", f"neither seconds nor an ISO 8601 time - at `{path}`")
    year, month, day, hour, minute, second = (int(digits) for digits in match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    # 60 is a leap second.
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise InvalidEvent("out_of_range", f"no such date - at `{path}`")
    if hour > 23 or minute > 59 or second > 60:
        raise InvalidEvent("out_of_range", f"no such time of day - at `{path}`")
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    if sign is not None:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if sign == "+" else -offset
    return seconds * 1000 + int(((fraction or "") + "000")[:3])


def among(value: Any, names: frozenset[str]) -> bool:
    """Whether a value is one of some names; lists and objects, which no set can be asked for, are none."""
    return isinstance(value, str) and value in names


def parse_json(text: Any) -> Any:
    """The JSON value that a text holds; a text that is not JSON stays as it is, and so does anything else."""
    if not isinstance(text, str):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


def required(value: T | None, path: str) -> T:
    """`value`, unless it is absent.

    Raises:
        InvalidEvent: missing_field, naming `path`.
    """
    if value is None:
        raise InvalidEvent("missing_field", f"nothing says - at `{path}`")
    return value
