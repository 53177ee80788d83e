"""Word vectors for the project's own statistic: what the sentence model makes of each word of its vocabulary alone.

As in the static models of model2vec (Minish Lab, 2024): every word once through the model, then its principal axes.
Made once, in one to two minutes, and kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from detectors.shift_statistic import WordVectors
from tests.benchmarks.peers.contract import F32, Embedder
from tests.benchmarks.peers.minilm import MiniLM

WORDS: Final = 14_000
DIMENSIONS: Final = 192
_CHUNK: Final = 500


def word_vectors(model: Embedder, cache: Path, advance: Callable[[int], object] = lambda _: None) -> WordVectors:
    """Vectors of the model's words, from `cache` where they were made before; from hashes if it is no MiniLM."""
    if not isinstance(model, MiniLM):
        return WordVectors(dims=DIMENSIONS)
    vocabulary, path = _kept(model, cache)
    if not path.is_file():
        raw = np.empty((len(vocabulary), model.dims), np.float32)
        for start in range(0, len(vocabulary), _CHUNK):
            some = vocabulary[start : start + _CHUNK]
            raw[start : start + len(some)] = model(some)
            advance(len(some))
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, principal(raw, DIMENSIONS))
        partial.replace(path)
    table: F32 = np.load(path)
    return WordVectors(vocabulary, table)


def _kept(model: MiniLM, cache: Path) -> tuple[list[str], Path]:
    vocabulary = [word for word in model.vocabulary if word.isascii() and word.isalnum()][:WORDS]
    digest = hashlib.sha256(f"{model.name} {DIMENSIONS} {' '.join(vocabulary)}".encode()).hexdigest()[:24]
    return vocabulary, cache / f"words-{digest}.npy"


def vocabulary_of(model: MiniLM, cache: Path) -> tuple[list[str], F32]:
    """The words, frequent ones first, and the vectors that :func:`word_vectors` left in `cache`."""
    vocabulary, path = _kept(model, cache)
    table: F32 = np.load(path)
    return vocabulary, table


def principal(vectors: F32, dims: int) -> F32:
    """The vectors along their `dims` principal axes, less their mean; shape (vectors, dims)."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    out: F32 = (centred @ axes[:, ::-1][:, :dims]).astype(np.float32)
    return out
