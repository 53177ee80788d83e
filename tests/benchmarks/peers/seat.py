"""SEAT-style counting of similar pairs of queries per account.

Zhang, Chen and Wagner, "SEAT: Similarity Encoder by Adversarial Training for Detecting Model Extraction Attack
Queries" (AISec 2021): an encoder maps queries to vectors, two queries are similar if these are close, and an
account with too many similar pairs is closed. Adapted: their encoder is trained for images, so texts are
embedded as for the other peers, and a query is paired with the last ones of its account only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from schemas.events import Event
from tests.benchmarks.peers.contract import F32, Recent, Ring, Score, Setting, reference_vectors
from tests.benchmarks.peers.mmd import squared_distances
from tests.benchmarks.peers.queries import blocks, queries

_SAMPLE: Final = 1_000
SIMILAR_SHARE: Final = 1e-4
"""How many pairs of unrelated benign texts may be called similar; 1,000 texts make 500,000 pairs."""


def similar_distance(vectors: F32, share: float = SIMILAR_SHARE) -> float:
    """The squared distance below which `share` of the pairs of different benign texts lie.

    Raises:
        ValueError: fewer than two vectors.
    """
    if len(vectors) < 2:
        raise ValueError("the similarity of benign texts needs two of them or more")
    sample = vectors[:_SAMPLE].astype(np.float64)
    pairs = squared_distances(sample, sample)[np.triu_indices(len(sample), 1)]
    return float(np.quantile(pairs, share))


class _Pairs:
    """The last queries of an account, and how many similar pairs there were."""

    def __init__(self, limit: int, dims: int) -> None:
        self.ring = Ring(limit, dims)
        self.count = 0

    def put(self, vector: F32, within: float) -> None:
        if len(self.ring):
            self.count += int(np.count_nonzero(self.ring.squared_distances(vector) <= within))
        self.ring.put(vector)


class Seat:
    """Similar pairs that an account has made so far.

    Args:
        memory: earlier queries that a new one is compared with.
        within: squared distance of similar queries; from the reference if None.
    """

    name = "seat"
    published: float | None = None

    def __init__(self, setting: Setting, *, memory: int = 128, within: float | None = None) -> None:
        self._setting = setting
        self._memory = memory
        self._within = similar_distance(reference_vectors(setting)) if within is None else within

    def score(self, events: Iterable[Event]) -> Iterator[Score]:
        setting = self._setting
        dims = setting.embed.dims
        accounts: Recent[str, _Pairs] = Recent(lambda: _Pairs(self._memory, dims), setting.max_accounts)
        for block in blocks(queries(events, setting.texts_per_day)):
            for query, vector in zip(block, setting.embed([query.text for query in block]), strict=True):
                pairs = accounts[query.account]
                pairs.put(vector, self._within)
                yield Score(query.account, query.ts, float(pairs.count))
