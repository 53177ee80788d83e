"""State as blocks: parts that are cut so that a change touches few of them, and marks of what changed.

A checkpoint has to find what changed without looking at everything. So whoever holds much marks what it changes,
block by block; what is small is given whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

_WHOLE_BLOCK: Final = 64 * 1024  # bytes

Blocks = Mapping[str, Sequence[bytes]]
"""The blocks of each part, in order, as :meth:`Blocked.restore_parts` takes them."""


class Part(msgspec.Struct, frozen=True):
    """One part of a state, as it is now; read it before the state changes again.

    Attributes:
        first: number of the first block. count: how many there are.
        read: gives a block by its number; an empty one stands for what a new state has there.
        changed: numbers of the blocks that may differ from what they were at the last call, in any order; some may
            be gone. None where that is not known, and all have to be compared.
    """

    first: int
    count: int
    read: Callable[[int], bytes]
    changed: Callable[[], Sequence[int] | None]

    def blocks(self) -> list[bytes]:
        """All of them."""
        return [self.read(number) for number in range(self.first, self.first + self.count)]


class Marks:
    """Which blocks of rows were changed.

    Args:
        rows: in a block; a power of two.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._shift = rows.bit_length() - 1
        self._marked = np.zeros(0, np.bool_)

    def count(self, rows: int) -> int:
        """Blocks of so many rows."""
        return -(-rows // self.rows)

    def grow(self, rows: int) -> None:
        """Make room for marks of rows below this number."""
        need = self.count(rows)
        if need > len(self._marked):
            self._marked = np.concatenate([self._marked, np.zeros(need, np.bool_)])

    def mark(self, rows: NDArray[Any]) -> None:
        """These rows changed; there has to be room for their marks."""
        self._marked[rows >> self._shift] = True

    def mark_from(self, row: int, end: int) -> None:
        """All rows from `row` on changed, of `end` in all."""
        self.grow(end)
        self._marked[row >> self._shift : self.count(end)] = True

    def take(self) -> list[int]:
        """The marked blocks; none is marked afterwards."""
        found = np.flatnonzero(self._marked)
        self._marked[found] = False
        return found.tolist()


def whole(data: bytes) -> Part:
    """A small part, always looked at."""
    return Part(
        0,
        -(-len(data) // _WHOLE_BLOCK),
        lambda number: data[number * _WHOLE_BLOCK : (number + 1) * _WHOLE_BLOCK],
        lambda: None,
    )


def whole_of(blocks: Sequence[bytes]) -> bytes:
    """The bytes that :func:`whole` cut."""
    return b"".join(blocks)


def words(array: NDArray[Any], marks: Marks) -> Part:
    """A part of the items of an array that begins as zeros, and whose changes are marked; zeros are empty blocks."""
    flat = array.reshape(-1)

    def read(number: int) -> bytes:
        block = flat[number * marks.rows : (number + 1) * marks.rows]
        return block.tobytes() if block.any() else b""

    return Part(0, marks.count(len(flat)), read, marks.take)


def words_of(blocks: Sequence[bytes], like: NDArray[Any], rows: int) -> NDArray[Any]:
    """The array of the shape and type of `like` that :func:`words` gave; `rows` are the items of a block.

    Raises:
        ValueError: it has another size.
    """
    out = np.zeros(like.size, like.dtype)
    if len(blocks) != -(-like.size // rows):
        raise ValueError(f"a sketch of {len(blocks)} blocks does not fit one of {like.nbytes} bytes")
    for number, block in enumerate(blocks):
        held = out[number * rows : (number + 1) * rows]
        if block and len(block) != held.nbytes:
            raise ValueError(f"block {number} of {len(block)} bytes does not fit a sketch of {like.nbytes} bytes")
        if block:
            held[:] = np.frombuffer(block, like.dtype)
    return out.reshape(like.shape)


def under(prefix: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`within` put under a name."""
    return {name.removeprefix(f"{prefix}/"): part for name, part in parts.items() if name.startswith(f"{prefix}/")}


def within(prefix: str, parts: Mapping[str, Part]) -> dict[str, Part]:
    """Parts of something that is held under a name."""
    return {f"{prefix}/{name}": part for name, part in parts.items()}


class Blocked(ABC):
    """Something whose state is parts."""

    @abstractmethod
    def parts(self) -> dict[str, Part]:
        """The whole state, by name."""

    @abstractmethod
    def restore_parts(self, parts: Blocks) -> None:
        """Replace the state by that of another of the same parameters.

        Raises:
            KeyError, ValueError: a part is missing or is not what it should be; this is then of no use.
        """

    def snapshot(self) -> bytes:
        """The state in one piece."""
        return msgspec.msgpack.encode({name: part.blocks() for name, part in self.parts().items()})

    def restore(self, data: bytes) -> None:
        """Replace the state by a snapshot; see :meth:`restore_parts`."""
        self.restore_parts(msgspec.msgpack.decode(data, type=dict[str, list[bytes]]))
