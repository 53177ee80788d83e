"""What was told since a state: the cuts of a lane's input whose results can be read already.

A state is large and its results are small, so results become readable before the state that they come from is written.
Whoever takes the partition over begins with the older state, reads the same records again, gives them to the lane in
the same cuts, and says nothing of what was told: the lane does the same again, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct

from pipelines.detect.changelog import StateError, decode, encode
from pipelines.detect.offsets import Longs

TOLD: Final = b"told"
"""Key of the record, beside those of the state."""

MOST_CUTS: Final = 1_000
"""More of them are not told on top of one state; a checkpoint makes a new one."""


class Cut(Struct, array_like=True, frozen=True):
    """All that a lane had been given when it closed ticks.

    Attributes:
        closed: end of the last tick that was closed, epoch ms.
        positions: offset after the last record that had been read, by topic.
        control: offset after the last control record that had been read.
    """

    closed: int
    positions: dict[str, int]
    control: int


class Told(Struct, frozen=True):
    """Cuts since the state beside it, in order; under another config the lane would say something else."""

    config: str
    cuts: list[Cut]


def encode_told(told: Told) -> bytes:
    """The record's value."""
    return encode(msgspec.msgpack.encode(told))


def decode_told(value: bytes | None) -> Told | None:
    """What was told; None where nothing was.

    Raises:
        StateError: it is truncated, damaged, or of another version.
    """
    if value is None:
        return None
    try:
        return msgspec.msgpack.decode(decode(value), type=Told)
    except (StateError, msgspec.DecodeError) as error:
        raise StateError(f"record {TOLD.decode()} is {error}") from None


class Piece(Struct, frozen=True):
    """Records of one topic that were read together; see :meth:`PendingOffsets.read`. Without any, `frame` is None."""

    topic: str
    offsets: Longs
    times: Longs
    position: int
    frame: Any


class Retelling:
    """Gives records that are read again to a lane in the cuts of the first time.

    Args:
        cuts: in order, at least one.

    Attributes:
        cuts: those that are left.
        held: events that wait for their cut.
        read: offset after the last record taken, by topic.
    """

    def __init__(self, cuts: Sequence[Cut]) -> None:
        self.cuts = list(cuts)
        self.held = 0
        self.read: dict[str, int] = {}
        self._done = 0
        self._pieces: dict[int, list[Piece]] = {}
        # A position that a cut does not have is of a topic that was added since: nothing of it was in the cuts.
        topics = set().union(*(cut.positions for cut in cuts))
        self._bounds = {topic: np.array([cut.positions.get(topic, 0) for cut in cuts]) for topic in topics}

    def take(self, piece: Piece) -> None:
        """Take what was read of a topic; offsets ascend from one call to the next."""
        self.read[piece.topic] = piece.position
        bounds = self._bounds.get(piece.topic, np.zeros(len(self.cuts) + self._done, np.int64))
        # The cut of a record is the first one whose position is behind it.
        places = np.searchsorted(bounds, piece.offsets, side="right")
        last = int(np.searchsorted(bounds, piece.position - 1, side="right"))
        for place in sorted({*places.tolist(), last}):
            rows = np.flatnonzero(places == place)
            offsets = piece.offsets[rows]
            position = piece.position if place == last else int(offsets[-1]) + 1
            frame = piece.frame.take(rows) if len(rows) else None
            held = Piece(piece.topic, offsets, piece.times[rows], position, frame)
            self._pieces.setdefault(place, []).append(held)
            self.held += len(rows)

    def due(self, positions: Mapping[str, int]) -> tuple[Cut, list[Piece]] | None:
        """The next cut and what came with it, once everything before it is read; None where that is not yet so.

        Args:
            positions: where reading stands, by topic.
        """
        if not self.cuts or any(positions.get(topic, 0) < at for topic, at in self.cuts[0].positions.items()):
            return None
        pieces = self._pieces.pop(self._done, [])
        self._done += 1
        self.held -= sum(len(piece.offsets) for piece in pieces)
        return self.cuts.pop(0), pieces

    def rest(self) -> list[Piece]:
        """What is left behind the last cut, or behind the one where this was given up."""
        pieces = [piece for place in sorted(self._pieces) for piece in self._pieces[place]]
        self._pieces, self.held = {}, 0
        return pieces
