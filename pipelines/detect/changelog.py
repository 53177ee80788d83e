"""The state of a partition as records of a compacted topic: blocks of its parts, written where they changed.

A state is parts, by name (:meth:`detectors.engine.Lane.parts`); a part is cut into blocks of fixed size, and a
block is a record under its own key. What a checkpoint has to write is then found by comparing digests, without
any book-keeping in the detectors, and the topic's compaction keeps the newest of each. The record `head` says
how the blocks of one checkpoint fit together; it is the only one that every checkpoint writes.

A record is a header of fixed size (magic, version, length, checksum) and a compressed payload. Whatever is
truncated, of another version or damaged raises :class:`StateError` with its reason; nothing is guessed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

FORMAT: Final = 1
HEAD: Final = b"head"

_MAGIC: Final = b"dw"
_HEADER: Final = struct.Struct(">2sBxII")  # magic, version, pad, length and CRC-32 of the payload, uncompressed
# Small blocks where rows change here and there: a row of an account is 0.2 kB. Large ones for the rest, whose
# hashes scatter over all of it, so that small blocks would save nothing and cost a record each.
_ROW_BLOCK: Final = 8 * 1024
_BLOCK: Final = 128 * 1024
_MAX_PAYLOAD: Final = 64 * 1024 * 1024
_LEVEL: Final = 1


class StateError(ValueError):
    """A state that cannot be taken over; the message says why."""


class TopicProgress(Struct, array_like=True, frozen=True):
    """How far one topic of the partition was read when its state was taken.

    Attributes:
        committed: where reading goes on. position: offset after the last record read.
        waiting: offsets from `committed` on whose events are not in the state; others before `position` are.
        newest: greatest event time read, epoch ms.
    """

    committed: int
    position: int
    waiting: list[int]
    newest: int | None


class Head(Struct, frozen=True):
    """One checkpoint of a partition.

    Attributes:
        layout: of the lane (:attr:`detectors.engine.Lane.layout`).
        closed: end of the last closed tick, epoch ms.
        topics: by name.
        parts: bytes of each part.
    """

    layout: str
    closed: int
    topics: dict[str, TopicProgress]
    parts: dict[str, int]


class State(Struct, frozen=True):
    """A state as it was read back."""

    head: Head
    parts: dict[str, bytes]


def encode(payload: bytes) -> bytes:
    """A record's value."""
    import zstandard

    packed = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(payload)
    return _HEADER.pack(_MAGIC, FORMAT, len(payload), zlib.crc32(payload)) + packed


def decode(value: bytes) -> bytes:
    """The payload of a record's value.

    Raises:
        StateError: it is truncated, damaged, or of another version.
    """
    import zstandard

    if len(value) < _HEADER.size:
        raise StateError(f"truncated: {len(value)} bytes, a header has {_HEADER.size}")
    magic, version, length, checksum = _HEADER.unpack_from(value)
    if magic != _MAGIC:
        raise StateError("not a state record")
    if version != FORMAT:
        raise StateError(f"of version {version}; this program reads version {FORMAT}")
    if length > _MAX_PAYLOAD:
        raise StateError(f"claims {length} bytes")
    try:
        # The length is the header's own, so no record can ask for more memory than it names.
        payload = zstandard.ZstdDecompressor().decompress(value[_HEADER.size :], max_output_size=length)
    except zstandard.ZstdError as error:
        raise StateError(f"truncated or damaged: {error}") from None
    if len(payload) != length or zlib.crc32(payload) != checksum:
        raise StateError("damaged: the checksum does not fit")
    return payload


def block_size(part: str) -> int:
    """Bytes in a block of a part."""
    return _ROW_BLOCK if part.endswith("/rows") else _BLOCK


def _key(part: str, number: int) -> bytes:
    return f"{part}:{number}".encode()


class BlockWriter:
    """Finds what changed since the last durable checkpoint of one partition.

    It holds a digest of 16 bytes a block, and no copy of the state.
    """

    def __init__(self) -> None:
        self._durable: dict[bytes, bytes] = {}
        self._next: dict[bytes, bytes] | None = None

    def changes(self, head: Head, parts: Mapping[str, bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        """Records that bring the topic from the last durable state to this one; a None is a tombstone.

        Nothing counts as durable before :meth:`durable` is called, so what could not be written comes again.
        """
        digests: dict[bytes, bytes] = {}
        for name, data in parts.items():
            size, view = block_size(name), memoryview(data)
            for number, start in enumerate(range(0, len(data), size)):
                block = view[start : start + size]
                key = _key(name, number)
                digests[key] = hashlib.blake2b(block, digest_size=16).digest()
                if self._durable.get(key) != digests[key]:
                    yield key, encode(bytes(block))
        for key in self._durable.keys() - digests.keys():
            yield key, None
        yield HEAD, encode(msgspec.msgpack.encode(head))
        self._next = digests

    def head_only(self, head: Head) -> Iterator[tuple[bytes, bytes | None]]:
        """The record of a checkpoint in which reading went on, and the state did not change."""
        yield HEAD, encode(msgspec.msgpack.encode(head))
        self._next = None

    def durable(self) -> None:
        """What the last call gave is on the broker."""
        if self._next is not None:
            self._durable, self._next = self._next, None

    def forget(self, keys: Mapping[bytes, bytes]) -> None:
        """Start over what the topic holds under these keys: all is written anew, and what is not needed is removed."""
        self._durable = dict.fromkeys(keys, b"")
        self._durable.pop(HEAD, None)

    def rewrite(self) -> None:
        """Write everything anew: others may have written meanwhile."""
        self._durable = dict.fromkeys(self._durable, b"")

    def adopt(self, state: State) -> None:
        """Take a state that was read back for durable."""
        for _ in self.changes(state.head, state.parts):
            pass
        self.durable()


def assemble(records: Mapping[bytes, bytes]) -> State | None:
    """The state that the newest record of each key makes; None where nothing was ever written.

    Raises:
        StateError: a record is missing, truncated, damaged or of another version; with its key.
    """
    if not records:
        return None
    if HEAD not in records:
        raise StateError("there are blocks and no head")
    head: Head = _read(records, HEAD, Head)
    parts: dict[str, bytes] = {}
    for name, length in head.parts.items():
        count = -(-length // block_size(name))
        blocks = [_payload(records, _key(name, number)) for number in range(count)]
        parts[name] = b"".join(blocks)
        if len(parts[name]) != length:
            raise StateError(f"part {name} has {len(parts[name])} bytes, {length} are needed")
    return State(head, parts)


def _payload(records: Mapping[bytes, bytes], key: bytes) -> bytes:
    value = records.get(key)
    if value is None:
        raise StateError(f"record {key.decode()} is missing")
    try:
        return decode(value)
    except StateError as error:
        raise StateError(f"record {key.decode()} is {error}") from None


def _read(records: Mapping[bytes, bytes], key: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(_payload(records, key), type=kind)
    except msgspec.DecodeError as error:
        raise StateError(f"record {key.decode()} is damaged: {error}") from None
