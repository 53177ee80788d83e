"""Word vectors out of a sentence model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.peers.contract import F32
from tests.benchmarks.peers.embeddings import HashedNgrams
from tests.benchmarks.peers.minilm import MiniLM
from tests.benchmarks.shift import word_table
from tests.benchmarks.shift.word_table import principal, word_vectors

WORDS = ["the", "cat", "dog", "##s", "[CLS]", "naïve", "house", "tree", "7"]


class Small(MiniLM):
    dims = 5

    def __init__(self) -> None:
        self.vocabulary = WORDS
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> F32:
        self.asked += texts
        return np.stack([np.random.default_rng(len(text) * 7 + ord(text[0])).normal(size=5) for text in texts]).astype(
            np.float32
        )


def test_each_whole_word_goes_through_the_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_table, "_CHUNK", 4)
    model = Small()
    told: list[int] = []
    first = word_vectors(model, tmp_path, told.append)(["the cat", "nothing known", "7"])
    assert model.asked == ["the", "cat", "dog", "house", "tree", "7"]
    assert sum(told) == 6
    again = word_vectors(model, tmp_path)(["the cat", "nothing known", "7"])
    assert len(model.asked) == 6
    np.testing.assert_array_equal(first, again)
    assert np.linalg.norm(first, axis=1).round(5).tolist() == [1, 0, 1]


def test_without_the_model_words_have_vectors_from_hashes(tmp_path: Path) -> None:
    assert word_vectors(HashedNgrams(), tmp_path)(["anything"]).any()
    assert not list(tmp_path.iterdir())


def test_principal_axes_keep_distances() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    turned = principal(vectors, 4)
    np.testing.assert_allclose(
        np.linalg.norm(turned[0] - turned[1]), np.linalg.norm(vectors[0] - vectors[1]), rtol=1e-4
    )
    assert np.all(np.diff(turned.std(axis=0)) < 0)
