"""Dead letters: keeping rejected input, reading it back and sending it again.

On Kafka the record's value is the rejected message itself and its key the original key; the rest travels
as headers (:data:`HEADERS`), so a message of the largest size still fits. In a file each line is one
:class:`schemas.deadletters.DeadLetter`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Protocol, Self

import msgspec
from msgspec import Struct

from pipelines.errors import Failure, UsageError
from pipelines.safe_text import SHOWN_BYTES, safe_bytes, safe_line, when
from schemas.deadletters import DEAD_LETTER_DECODER, ENCODER, DeadLetter
from schemas.errors import REASONS

HEADERS: Final = ("dw-reason", "dw-detail", "dw-source", "dw-partition", "dw-offset", "dw-ts")
"""Header names in the order in which they are written; values are UTF-8 text."""

PROCESSING_FAILED: Final = "processing_failed"
"""Reason of a message that kept the contract and still made the core fail; no fault of its sender."""

_PROCESSING_REMEDY: Final = (
    "the message is valid but processing it failed; report it with this letter, and send it back after the fix"
)

# A detail is a msgspec message; only a hostile path of field names could make it longer.
_MAX_DETAIL: Final = 2_000


class Sender(Protocol):
    """What dead letters need of :class:`pipelines.kafka_io.ConfirmedProducer`."""

    def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        """Queue one record."""

    def flush(self) -> None:
        """Wait until everything sent is acknowledged, or raise."""


def remedy(reason: str) -> str:
    """What to do about a reason.

    >>> remedy("empty")
    'the message has no bytes; drop it at the producer'
    """
    if reason == PROCESSING_FAILED:
        return _PROCESSING_REMEDY
    known = {str(name): text for name, text in REASONS.items()}
    return known.get(reason, "a reason that this version does not know; it was written by another version")


def to_headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    """Kafka headers of a letter; an absent partition is the empty string."""
    values = (
        letter.reason,
        letter.detail[:_MAX_DETAIL],
        letter.source,
        "" if letter.partition is None else str(letter.partition),
        str(letter.offset),
        str(letter.ts),
    )
    return [(name, value.encode("utf-8", "replace")) for name, value in zip(HEADERS, values, strict=True)]


def from_record(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> DeadLetter:
    """A letter from its Kafka record.

    Headers that are absent or damaged become unknowns, so that a record written by somebody else can still
    be listed and shown.

    >>> from_record(b"k", b"x", [("dw-reason", b"not_json"), ("dw-offset", b"0")]).offset
    0
    """
    texts = {name: raw.decode("utf-8", "replace") for name, raw in headers if raw is not None}

    def number(name: str) -> int | None:
        text = texts.get(name, "")
        return int(text) if text.isascii() and text.isdigit() else None

    offset, ts = number("dw-offset"), number("dw-ts")
    return DeadLetter(
        reason=texts.get("dw-reason", "unknown"),
        detail=texts.get("dw-detail", ""),
        source=texts.get("dw-source", ""),
        partition=number("dw-partition"),
        offset=0 if offset is None else offset,
        ts=0 if ts is None else ts,
        raw=b"" if value is None else value,
        key=key,
    )


class TopicDeadLetters:
    """Dead letters to a Kafka topic, confirmed by `flush` before the offset of their source is committed."""

    def __init__(self, sender: Sender, topic: str) -> None:
        self._sender = sender
        self._topic = topic
        self.count = 0

    def put(self, letter: DeadLetter) -> None:
        """Queue a letter.

        Raises:
            DeliveryFailure: it cannot be queued; the worker must stop, because a letter lost is an event lost.
        """
        self._sender.send(self._topic, letter.raw, key=letter.key, headers=to_headers(letter))
        self.count += 1

    def flush(self) -> None:
        """Return when the broker has every letter.

        Raises:
            DeliveryFailure: it refused one.
        """
        self._sender.flush()


class FileDeadLetters:
    """Dead letters to a file of JSON lines, replaced at the start; a context manager.

    The file exists from the start, also when nothing was rejected. `path` None counts without writing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.count = 0

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            UsageError: it cannot be written.
        """
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("wb")
            except OSError as error:
                raise UsageError(f"cannot write dead letters to {self._path}: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def put(self, letter: DeadLetter) -> None:
        """Write one line."""
        if self._path is not None:
            if self._file is None:
                raise RuntimeError("FileDeadLetters.put outside of its `with` block")
            self._file.write(ENCODER.encode(letter))
            self._file.write(b"\n")
        self.count += 1

    def flush(self) -> None:
        """Bring what was written to the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())


class Stored(Struct, frozen=True):
    """A letter and its own place: offset in the dead-letter topic, or line number of the file (from 1)."""

    place: int
    letter: DeadLetter


class Selection(Struct, frozen=True, kw_only=True):
    """Which letters are meant; None and empty mean all."""

    reason: str | None = None
    source: str | None = None
    places: frozenset[int] = frozenset()

    def takes(self, stored: Stored) -> bool:
        """Whether the letter is meant."""
        return (
            (self.reason is None or stored.letter.reason == self.reason)
            and (self.source is None or stored.letter.source == self.source)
            and (not self.places or stored.place in self.places)
        )


def read_file(path: Path) -> Iterator[Stored]:
    """Letters of a file, one at a time.

    Raises:
        UsageError: no such file, or a line that is not a dead letter, with file and line.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield Stored(number, _decode_line(path, number, line))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _decode_line(path: Path, number: int, line: bytes) -> DeadLetter:
    try:
        return DEAD_LETTER_DECODER.decode(line)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{path}:{number}: not a dead letter ({error}); name a file written by --dead-letters"
        ) from None


def read_topic(consumer: Any, topic: str, *, timeout_s: float = 30.0) -> Iterator[Stored]:
    """Letters of a topic from its oldest to those that were there at the call, one at a time.

    `consumer` is a kafka-python consumer without a group; nothing is committed. The dead-letter topic has
    one partition, so a letter's offset names it.

    Raises:
        Failure: the topic is missing, has several partitions, or the broker falls silent for `timeout_s`.
    """
    from kafka import TopicPartition

    partitions = consumer.partitions_for_topic(topic)
    if not partitions:
        raise Failure(f"no topic {topic} on the broker; kafka.topics.dead_letters in pipeline.toml names another?")
    if len(partitions) > 1:
        raise Failure(f"topic {topic} has {len(partitions)} partitions, wanted 1: an offset must name one letter")
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    while consumer.position(partition) < end:
        batch = consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=200)
        if not batch:
            raise Failure(f"topic {topic}: no record for {timeout_s:g} s before offset {end}; is the broker up?")
        for record in batch.get(partition, []):
            if record.offset < end:
                yield Stored(record.offset, from_record(record.key, record.value, record.headers))


class Summary(Struct, frozen=True):
    """What `list` shows: counts by reason, the largest first, and the newest letters, the newest first."""

    total: int
    by_reason: dict[str, int]
    newest: list[Stored]


def summarise(letters: Iterable[Stored], newest: int) -> Summary:
    """Count letters by reason and keep the last `newest`; memory does not grow with the number of letters."""
    from collections import Counter, deque

    counts: Counter[str] = Counter()
    last: deque[Stored] = deque(maxlen=max(newest, 0))
    for stored in letters:
        counts[stored.letter.reason] += 1
        last.append(stored)
    return Summary(counts.total(), dict(counts.most_common()), list(reversed(last)))


def describe(stored: Stored, limit: int = SHOWN_BYTES) -> str:
    """One letter in full, for `show`."""
    letter = stored.letter
    place = f"{safe_line(letter.source)}" + ("" if letter.partition is None else f" partition {letter.partition}")
    key = "none" if letter.key is None else safe_line(letter.key.decode("utf-8", "backslashreplace"))
    return "\n".join(
        (
            f"letter    {stored.place}",
            f"reason    {safe_line(letter.reason)}",
            f"detail    {safe_line(letter.detail, _MAX_DETAIL)}",
            f"from      {place} offset {letter.offset}",
            f"rejected  {when(letter.ts)}",
            f"key       {key}",
            f"size      {len(letter.raw)} bytes",
            f"remedy    {remedy(letter.reason)}",
            "",
            safe_bytes(letter.raw, limit),
        )
    )


def plan_send_back(letters: Iterable[Stored], *, to: str | None) -> dict[str, int]:
    """How many messages :func:`send_back` would send, by topic; sends nothing.

    Raises:
        UsageError: a letter came from a file and `to` is not given.
    """
    planned: dict[str, int] = {}
    for stored in letters:
        topic = to or _topic_of(stored)
        planned[topic] = planned.get(topic, 0) + 1
    return planned


def send_back(letters: Iterable[Stored], sender: Sender, *, to: str | None) -> dict[str, int]:
    """Send the original bytes and keys to the topics they came from, or all of them to the topic `to`.

    Returns:
        Messages sent, by topic; each is acknowledged.

    Raises:
        UsageError: as :func:`plan_send_back`, which a caller asks first.
        DeliveryFailure: the broker did not take one.
    """
    sent: dict[str, int] = {}
    for stored in letters:
        topic = to or _topic_of(stored)
        sender.send(topic, stored.letter.raw, key=stored.letter.key)
        sent[topic] = sent.get(topic, 0) + 1
    sender.flush()
    return sent


def _topic_of(stored: Stored) -> str:
    letter = stored.letter
    if letter.partition is None or not letter.source:
        raise UsageError(
            f"letter {stored.place} came from the file {safe_line(letter.source)}, which has no topic; "
            "say --to-topic TOPIC or --output FILE"
        )
    return letter.source


def write_back(letters: Iterable[Stored], path: Path) -> int:
    """Write the original bytes to `path`, one message a line; a new file, never over an old one.

    Raises:
        UsageError: the file exists or cannot be written, or a message contains a line end; no file is left then.
    """
    count = 0
    try:
        with path.open("xb") as output:
            for stored in letters:
                if b"\n" in stored.letter.raw:
                    raise UsageError(
                        f"letter {stored.place} contains a line end and cannot be one line of {path}; "
                        "leave it out with --reason or --offset, or say --to-topic"
                    )
                output.write(stored.letter.raw + b"\n")
                count += 1
    except UsageError:
        path.unlink()
        raise
    except FileExistsError:
        raise UsageError(f"{path} exists; name a new file") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return count
