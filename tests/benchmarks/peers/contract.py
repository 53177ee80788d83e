"""What a peer is, and the bounded state that peers share.

A peer is another method for the same task, written anew from its published description. It reads events in
order of time and says, as it goes, how suspicious an account has become; it alerts on nothing by itself, for
its threshold is set afterwards (:mod:`tests.benchmarks.peers.budget`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from schemas.events import Event

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

MAX_ACCOUNTS: Final = 50_000
_MOST_REFERENCE: Final = 4_000
_SHUFFLE: Final = 20_190_617


class Score(NamedTuple):
    """How suspicious an account is from `ts` (epoch ms) on; more is worse. Peers share no scale."""

    account: str
    ts: int
    value: float


class Peer(Protocol):
    """A method that scores accounts over time.

    Attributes:
        name: as in the registry.
        published: the threshold that its authors chose, where they did and it carries over: they name an
            account at its first score *above* it.
    """

    @property
    def name(self) -> str: ...

    @property
    def published(self) -> float | None: ...

    def score(self, events: Iterable[Event]) -> Iterator[Score]:
        """Scores in order of time, each from no event later than itself.

        Args:
            events: in order of time. A second call starts afresh.
        """
        ...


class Embedder(Protocol):
    """Texts to unit vectors.

    Attributes:
        name: what a report calls it.
        dims: numbers in a vector.
    """

    @property
    def name(self) -> str: ...

    @property
    def dims(self) -> int: ...

    def __call__(self, texts: Sequence[str]) -> F32:
        """(texts, dims) with rows of length 1, or 0 for a text without anything to embed."""
        ...


class Setting(Struct, frozen=True):
    """What peers are built from.

    Attributes:
        embed: for those that compare texts.
        reference: distinct texts of benign accounts, best some thousand; what is normal is learnt from these.
        texts_per_day: at most so many texts an account and UTC day are embedded, its first ones; the rest is
            not looked at by the peers that embed. It bounds the cost, and above all that of a real model.
        max_accounts: states kept at once; the account that was silent longest is forgotten first.
    """

    embed: Embedder
    reference: Sequence[str]
    texts_per_day: int = 500
    max_accounts: int = MAX_ACCOUNTS


def reference_vectors(setting: Setting) -> F32:
    """(at most 4,000, dims) of the reference texts, shuffled: they may come sorted by where they are from.

    Raises:
        ValueError: fewer than two texts.
    """
    if len(setting.reference) < 2:
        raise ValueError("what is normal cannot be learnt from fewer than two texts")
    texts = list(setting.reference)
    Random(_SHUFFLE).shuffle(texts)
    return setting.embed(texts[:_MOST_REFERENCE])


Key = TypeVar("Key")
State = TypeVar("State")


class Recent(Generic[Key, State]):
    """The states of the keys seen last, at most `limit` of them."""

    def __init__(self, make: Callable[[], State], limit: int) -> None:
        if limit < 1:
            raise ValueError(f"at least one state must be kept, not {limit}")
        self._make = make
        self._limit = limit
        self._states: OrderedDict[Key, State] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, key: Key) -> State:
        """The state of a key, a new one if it has none; forgets the key that was asked for longest ago."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = self._make()
            if len(self._states) > self._limit:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(key)
        return state


class Ring:
    """The last `limit` vectors of an account; memory grows with what is in it.

    >>> ring = Ring(2, 1)
    >>> [ring.put(np.array([x], np.float32)) for x in (1, 2, 3)]
    [0, 1, 0]
    >>> ring.squared_distances(np.array([5], np.float32)).tolist()
    [4.0, 9.0]
    """

    def __init__(self, limit: int, dims: int) -> None:
        self._limit = limit
        self._vectors: F32 = np.empty((min(limit, 4), dims), np.float32)
        self._norms: F32 = np.empty(limit, np.float32)
        self._put = 0

    def __len__(self) -> int:
        return min(self._put, self._limit)

    def __getitem__(self, row: int) -> F32:
        vector: F32 = self._vectors[row]
        return vector

    @property
    def oldest(self) -> int | None:
        """The row that :meth:`put` will overwrite next, None while there is room."""
        return self._put % self._limit if self._put >= self._limit else None

    def squared_distances(self, vector: F32) -> F32:
        """(len,) to each vector that is kept, in the order of the rows; never below 0."""
        count = len(self)
        found: F32 = self._vectors[:count] @ vector
        found *= -2
        found += self._norms[:count]
        found += vector @ vector
        np.maximum(found, 0, out=found)
        return found

    def put(self, vector: F32) -> int:
        """Keep a vector; returns its row."""
        row = self._put % self._limit
        if row >= len(self._vectors):
            grown = np.empty((min(self._limit, 2 * len(self._vectors)), self._vectors.shape[1]), np.float32)
            grown[: len(self._vectors)] = self._vectors
            self._vectors = grown
        self._vectors[row] = vector
        self._norms[row] = vector @ vector
        self._put += 1
        return row
