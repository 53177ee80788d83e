"""The state of a partition as records of a compacted topic: blocks of its parts, written where they changed.

A state is parts, by name, and a part is blocks (:class:`detectors.blocks.Part`); a block is a record under its own
key. The holders of a state mark what they change, so a checkpoint looks at marked blocks alone, and the topic's
compaction keeps the newest of each. The record `head` says how the blocks of one checkpoint fit together; it is the
only one that every checkpoint writes.

A record is a header of fixed size (magic, version, length, checksum) and a compressed payload. Whatever is
truncated, of another version or damaged raises :class:`StateError` with its reason; nothing is guessed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from detectors.blocks import Part

FORMAT: Final = 1
HEAD: Final = b"head"

_MAGIC: Final = b"dw"
_HEADER: Final = struct.Struct(">2sBxII")  # magic, version, pad, length and CRC-32 of the payload, uncompressed
_MAX_PAYLOAD: Final = 64 * 1024 * 1024
_LEVEL: Final = 1
_MARKED: Final = b""  # in place of a digest, for a block whose holder marks it


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
        group: the consumer group whose offsets these are.
        layout: of the lane (:attr:`detectors.engine.Lane.layout`).
        closed: end of the last closed tick, epoch ms.
        topics: by name.
        parts: number of the first block, and how many there are, of each part.
        records: how many of these blocks have a record; the others are empty. Its writer knows.
    """

    group: str
    layout: str
    closed: int
    topics: dict[str, TopicProgress]
    parts: dict[str, tuple[int, int]]
    records: int = 0


class State(Struct, frozen=True):
    """A state as it was read back: the blocks of each part."""

    head: Head
    parts: dict[str, list[bytes]]


def encode(payload: bytes) -> bytes:
    """A record's value."""
    packed: bytes = _compressor().compress(payload)
    return _HEADER.pack(_MAGIC, FORMAT, len(payload), zlib.crc32(payload)) + packed


@cache
def _compressor() -> Any:
    import zstandard

    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)


@cache
def _decompressor() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor()


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
        payload: bytes = _decompressor().decompress(value[_HEADER.size :], max_output_size=length)
    except zstandard.ZstdError as error:
        raise StateError(f"truncated or damaged: {error}") from None
    if len(payload) != length or zlib.crc32(payload) != checksum:
        raise StateError("damaged: the checksum does not fit")
    return payload


def _key(part: str, number: int) -> bytes:
    return f"{part}:{number}".encode()


def extent(parts: Mapping[str, Part]) -> dict[str, tuple[int, int]]:
    """What a head says of parts."""
    return {name: (part.first, part.count) for name, part in parts.items()}


class BlockWriter:
    """Finds what changed since the last durable checkpoint of one partition.

    It writes the blocks that are marked as changed; of a part without marks it looks at all, and writes those whose
    digest is another. It holds the keys of the blocks, digests of unmarked ones, and no copy of the state.
    """

    def __init__(self) -> None:
        self._durable: dict[bytes, bytes] = {}
        self._extent: dict[str, tuple[int, int]] = {}
        self._foreign: set[bytes] = set()
        self._everything = True
        self._unsure = False  # what the topic holds
        self._due: dict[str, set[int]] = {}
        self._next: tuple[dict[bytes, bytes], set[bytes], dict[str, tuple[int, int]]] | None = None

    def changes(self, head: Head, parts: Mapping[str, Part]) -> Iterator[tuple[bytes, bytes | None]]:
        """Records that bring the topic from the last durable state to this one; a None is a tombstone.

        Nothing counts as durable before :meth:`durable` is called, so what could not be written comes again.
        """
        digests: dict[bytes, bytes] = {}
        now = extent(parts)
        gone = self._foreign | {
            _key(name, number)
            for name, (first, count) in self._extent.items()
            for number in _left(first, count, now.get(name))
        }
        for name, part in parts.items():
            marked = part.changed()
            for number in self._to_look_at(name, part, marked):
                block, key = part.read(number), _key(name, number)
                if not block:
                    if self._unsure or key in self._durable:
                        gone.add(key)
                    continue
                # A digest of what is marked would cost as much as its compression, and would seldom save it.
                digest = _digest(block) if marked is None else _MARKED
                gone.discard(key)
                if marked is not None or self._durable.get(key) != digest:
                    digests[key] = digest
                    yield key, encode(block)
        for key in sorted(gone):
            yield key, None
        kept = len(self._durable.keys() - gone) + len(digests.keys() - self._durable.keys())
        yield HEAD, _encode_head(head, kept)
        self._next = digests, gone, now

    def _to_look_at(self, name: str, part: Part, changed: Sequence[int] | None) -> Iterable[int]:
        held = range(part.first, part.first + part.count)
        if changed is None or self._everything:
            return held
        # What was marked before a checkpoint that could not be written is marked no more.
        due = self._due.setdefault(name, set())
        due.update(changed)
        return sorted(number for number in due if number in held)

    def head_only(self, head: Head) -> Iterator[tuple[bytes, bytes | None]]:
        """The record of a checkpoint in which reading went on, and the state did not change."""
        yield HEAD, _encode_head(head, len(self._durable))
        self._next = None

    def durable(self) -> None:
        """What the last call gave is on the broker."""
        if self._next is None:
            return
        digests, gone, self._extent = self._next
        self._durable.update(digests)
        for key in gone:
            self._durable.pop(key, None)
        self._everything, self._unsure, self._foreign, self._next = False, False, set(), None
        self._due.clear()

    @property
    def records(self) -> int:
        """Blocks that the durable state has."""
        return len(self._durable)

    def forget(self, keys: Mapping[bytes, bytes]) -> None:
        """Start over what the topic holds under these keys: all is written anew, and what is not needed is removed."""
        self.rewrite()
        self._extent, self._unsure, self._foreign = {}, False, set(keys) - {HEAD}

    def rewrite(self) -> None:
        """Write everything anew: others may have written meanwhile."""
        self._durable, self._everything, self._unsure = {}, True, True

    def adopt(self, state: State, parts: Mapping[str, Part]) -> None:
        """Take a state that was read back for durable, and for what `parts`, which were restored from it, have."""
        unmarked = {name for name, part in parts.items() if part.changed() is None}
        self._durable = {
            _key(name, state.head.parts[name][0] + place): _digest(block) if name in unmarked else _MARKED
            for name, blocks in state.parts.items()
            for place, block in enumerate(blocks)
            if block
        }
        self._extent, self._everything, self._unsure, self._foreign = state.head.parts, False, False, set()
        self._due.clear()


def _digest(block: bytes) -> bytes:
    return hashlib.blake2b(block, digest_size=16).digest()


def _encode_head(head: Head, records: int) -> bytes:
    return encode(msgspec.msgpack.encode(msgspec.structs.replace(head, records=records)))


def _left(first: int, count: int, now: tuple[int, int] | None) -> Iterator[int]:
    """The numbers of blocks that there were and are no more."""
    held = range(0) if now is None else range(now[0], now[0] + now[1])
    return (number for number in range(first, first + count) if number not in held)


def assemble(records: Mapping[bytes, bytes]) -> State | None:
    """The state that the newest record of each key makes; None where nothing was ever written.

    Raises:
        StateError: a record is missing, or one is truncated, damaged or of another version; with its key.
    """
    if not records:
        return None
    if HEAD not in records:
        raise StateError("there are blocks and no head")
    head: Head = _read(records, HEAD, Head)
    parts = {
        name: [_payload(records, _key(name, number)) for number in range(first, first + count)]
        for name, (first, count) in head.parts.items()
    }
    found = sum(1 for blocks in parts.values() for block in blocks if block)
    if found != head.records:
        raise StateError(f"it has {found} blocks, {head.records} are needed")
    return State(head, parts)


def _payload(records: Mapping[bytes, bytes], key: bytes) -> bytes:
    value = records.get(key)
    if value is None:
        return b""
    try:
        return decode(value)
    except StateError as error:
        raise StateError(f"record {key.decode()} is {error}") from None


def _read(records: Mapping[bytes, bytes], key: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(_payload(records, key), type=kind)
    except msgspec.DecodeError as error:
        raise StateError(f"record {key.decode()} is damaged: {error}") from None
