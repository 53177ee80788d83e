"""The prompts of the shift bench: read, made comparable, and cut to one distribution of lengths.

A prompt that is both in a benign and in an attack set counts as benign only; texts are compared by their
:func:`normal_form`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.simulate.prompts import tidy

I64 = NDArray[np.int64]
Row = dict[str, Any]

MIN_WORDS: Final = 4  # shorter ones say nothing about a task: greetings, "continue"
MAX_WORDS: Final = 64  # about what the sentence encoder was trained on; the tail of long pastes is cut
_ASCII_LETTERS: Final = 0.98

_WORD: Final = re.compile(r"[^\W_]+")
_PLACEHOLDER: Final = re.compile(r"<no ?input>", re.IGNORECASE)

# Function words of English, and of languages in Latin script that chats hold: more of the latter, and a prompt
# is taken for foreign. The attack sets are English, so language alone would tell them from chats.
_ENGLISH: Final = frozenset((
    "the", "of", "to", "and", "a", "in", "is", "it", "for", "that", "this", "with", "are", "how", "what", "i", "you",
    "on", "be", "write", "can", "from", "my", "your", "which",
))  # fmt: skip
_FOREIGN: Final = frozenset((
    "el", "los", "las", "para", "una", "por", "con", "como", "que", "del", "et", "les", "des", "est", "pour", "dans",
    "une", "der", "die", "und", "das", "ist", "nicht", "mit", "ein", "eine", "fur", "ich", "não", "uma", "os", "dos",
    "il", "che", "gli", "per", "di", "sono", "yang", "dan", "untuk", "de", "la", "le", "en", "un", "o", "e", "van",
    "het", "een", "jest", "nie",
))  # fmt: skip


class Source(NamedTuple):
    """One file of prompts: where it is, and how its prompts are read out of the file's bytes."""

    name: str
    file: str
    read: Callable[[bytes], Iterator[str]]


def _lines(data: bytes) -> Iterator[Row]:
    return (msgspec.json.decode(line) for line in data.splitlines() if line.strip())


def _with_input(row: Row) -> str:
    given = _PLACEHOLDER.sub("", row.get("input", ""))
    return f"{row['instruction']}\n{given}".strip()


def _human_turns(data: bytes) -> Iterator[str]:
    for row in msgspec.json.decode(data):
        yield from [turn["value"] for turn in row["conversations"] if turn["from"] == "human"][:1]


def _arena(data: bytes) -> Iterator[str]:
    return (row["turns"][0]["content"] for row in _lines(data))


def _mt_bench(data: bytes) -> Iterator[str]:
    return (turn for row in _lines(data) for turn in row["turns"])


def _alpaca_eval(data: bytes) -> Iterator[str]:
    return (row["instruction"] for row in _lines(data))


def _user_oriented(data: bytes) -> Iterator[str]:
    return (f"{row['instruction']}\n{row['instances'][0]['input']}".strip() for row in _lines(data))


def _instructions(data: bytes) -> Iterator[str]:
    return (_with_input(row) for row in msgspec.json.decode(data))


def _questions(data: bytes) -> Iterator[str]:
    return (row["question"] for row in _lines(data))


def _sentences(data: bytes) -> Iterator[str]:
    return iter(data.decode().splitlines())


BENIGN: Final = (
    Source("sharegpt", "benign/sharegpt_first_turns_2978.json", _human_turns),
    Source("arena_hard", "benign/arena_hard_v0.1_question.jsonl", _arena),
    Source("alpaca_eval", "benign/alpaca_eval_instructions.jsonl", _alpaca_eval),
    Source("mt_bench", "benign/mt_bench_question.jsonl", _mt_bench),
    Source("user_oriented", "benign/user_oriented_instructions.jsonl", _user_oriented),
)
ATTACK: Final = (
    Source("alpaca", "attack/alpaca_5000.json", _instructions),
    Source("code_alpaca", "attack/code_alpaca_2k.json", _instructions),
    Source("gsm8k", "attack/gsm8k_train.jsonl", _questions),
    Source("wiki", "attack/all_wiki_sents.txt", _sentences),
)


class PromptSet(Struct, frozen=True):
    """The prompts of one file that the bench uses, in the file's order.

    Attributes:
        found: as in the file, but for the escapes and spacing that mark a set (``tidy``).
        normal: the same prompts in :func:`normal_form`, not yet cut.
        counts: rows of the file, and how many fell out for which reason.
    """

    name: str
    found: tuple[str, ...]
    normal: tuple[str, ...]
    counts: dict[str, int]


def normal_form(text: str) -> str:
    r"""Words only: no case, punctuation, markup or layout, any of which would give a data set away.

    >>> normal_form("**Don't** use my\\_var, please!")
    'dont use my var please'
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_WORD.findall(text.replace("'", "").replace("’", "")))


def is_english(normal: str) -> bool:
    """ASCII letters, and no more function words of other languages than of English.

    >>> is_english("sort a list in python"), is_english("escribe una lista para los alumnos")
    (True, False)
    """
    letters = [letter for letter in normal if letter.isalpha()]
    if sum(map(str.isascii, letters)) < _ASCII_LETTERS * len(letters):
        return False
    words = normal.split()
    return sum(word in _FOREIGN for word in words) <= sum(word in _ENGLISH for word in words)


def missing(directory: Path | None) -> list[str]:
    """Files of the bench that `directory` lacks."""
    files = [source.file for source in (*BENIGN, *ATTACK)]
    return files if directory is None else [file for file in files if not (directory / file).is_file()]


def load(directory: Path) -> tuple[list[PromptSet], list[PromptSet]]:
    """Benign and attack sets; no prompt twice, by :func:`normal_form`.

    Raises:
        UsageError: a file is missing or cannot be read; the message names it.
    """
    seen: set[str] = set()
    return [_read(directory, source, seen) for source in BENIGN], [_read(directory, source, seen) for source in ATTACK]


def _read(directory: Path, source: Source, seen: set[str]) -> PromptSet:
    path = directory / source.file
    try:
        texts = [tidy(text) for text in source.read(path.read_bytes())]
    except (OSError, UnicodeDecodeError, msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
        raise UsageError(f"{path}: is not the file that data/README.md describes: {error!r}") from error
    counts = {"rows": len(texts), "repeated": 0, "short": 0, "other_language": 0}
    kept: list[tuple[str, str]] = []
    for text in texts:
        form = normal_form(text)
        if form in seen:
            counts["repeated"] += 1
        elif form.count(" ") + 1 < MIN_WORDS:
            counts["short"] += 1
        elif not is_english(form):
            counts["other_language"] += 1
        else:
            kept.append((text, form))
        seen.add(form)
    counts["kept"] = len(kept)
    return PromptSet(source.name, tuple(text for text, _ in kept), tuple(form for _, form in kept), counts)


def lengths(texts: Iterable[str]) -> I64:
    """Words of each text, split at blanks."""
    return np.array([text.count(" ") + 1 for text in texts], np.int64)


def cut_to_common_lengths(
    left: Sequence[str], right: Sequence[str], rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Cut two sets of texts so that their lengths in words have one distribution.

    The common distribution is the smaller of both quantile functions, at most :data:`MAX_WORDS`: every text
    keeps its rank in its own set and is cut (at its end) as little as possible. Ties are ranked at random.

    >>> cut_to_common_lengths(["a b", "a b c d"], ["a b c", "a b c d e"], np.random.default_rng(0))
    (['a b', 'a b c d'], ['a b', 'a b c d'])
    """
    ours, theirs = (np.sort(lengths(texts)) for texts in (left, right))

    def cut(texts: Sequence[str]) -> list[str]:
        own = lengths(texts)
        order = np.lexsort((rng.random(len(own)), own))
        at = (np.arange(len(own)) + 0.5) / len(own)
        limit = np.minimum.reduce([_quantile(ours, at), _quantile(theirs, at), np.full(len(own), MAX_WORDS)])
        target = np.empty(len(own), np.int64)
        target[order] = limit
        return [" ".join(text.split(" ", int(words))[: int(words)]) for text, words in zip(texts, target, strict=True)]

    return cut(left), cut(right)


def _quantile(ordered: I64, at: NDArray[np.float64]) -> I64:
    return ordered[np.minimum((at * len(ordered)).astype(np.int64), len(ordered) - 1)]
