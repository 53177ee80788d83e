"""SEAT-style pairs, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.peers.seat import Seat, similar_distance
from tests.unit.benchmarks.peer_rig import ask, setting

REFERENCE = [[0.0], [10.0], [20.0]]


def test_similar_pairs_by_hand() -> None:
    peer = Seat(setting(REFERENCE), within=0.25)
    asked = [("a", "1"), ("a", "1.4"), ("b", "1.2"), ("a", "5"), ("a", "1.2"), ("b", "1.3")]
    scores = [score.value for score in peer.score([ask(who, place, text) for place, (who, text) in enumerate(asked)])]
    # a: 1.4 with 1; 5 with nothing; 1.2 with 1 and 1.4. b: 1.3 with its own 1.2 only.
    assert scores == [0, 1, 0, 1, 3, 1]


def test_only_the_last_queries_are_paired() -> None:
    peer = Seat(setting(REFERENCE), within=0.25, memory=2)
    scores = [score.value for score in peer.score([ask("a", place, text) for place, text in enumerate("1991")])]
    assert scores == [0, 0, 1, 1]


def test_similar_is_what_hardly_any_unrelated_benign_pair_is() -> None:
    vectors = np.array([[0], [1], [3], [7]], np.float32)
    # Squared distances: 1, 4, 9, 16, 36, 49.
    assert similar_distance(vectors, 0.0) == 1
    assert similar_distance(vectors, 0.4) == 9
    assert similar_distance(vectors, 1.0) == 49
    with pytest.raises(ValueError, match="two of them"):
        similar_distance(vectors[:1])
