"""The command line: lazy, teaching, and exact in its exit codes."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import typer

from pipelines import cli
from pipelines.cli import COMMANDS, Command, main
from pipelines.errors import ConfigError, Failure, Problem, UsageError

ROOT = Path(__file__).resolve().parents[3]


def raising(error: BaseException) -> object:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_there_and_its_help_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    assert isinstance(target, typer.Typer) or inspect.isfunction(target)
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: distillwatch {name}" in out
    assert out.count("Example") == 1, f"`distillwatch {name} --help` shows no example, or two"


def test_the_list_names_every_command_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in out
        assert command.summary in out
    assert main([]) == 2


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"distillwatch {metadata.version('distillwatch')}\n"


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replya"]) == 2
    assert "Did you mean 'replay'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("give one source"), 2, "distillwatch: give one source\n"),
        (Failure("the broker is gone"), 1, "distillwatch: the broker is gone\n"),
        (
            ConfigError([Problem("a.toml", 3, "x", "x must be 1, got 2", "the default is 1")]),
            2,
            "a.toml:3: x must be 1, got 2; the default is 1\ndistillwatch: 1 problem(s) in the config\n",
        ),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(1), 1, ""),
        (SystemExit(), 0, ""),
    ],
)
def test_errors_become_exit_codes_without_a_traceback(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "_load", lambda name, command: raising(error))
    assert main(["replay"]) == code
    assert capsys.readouterr().err == said


def test_a_command_that_lacks_a_library_does_not_break_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "detect", Command("no_such_library.commands:detect", "Broken."))
    assert main(["detect"]) == 1
    assert "needs the module no_such_library, which is not installed" in capsys.readouterr().err
    assert main(["config", "check"]) == 0


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_load", lambda name, command: raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["replay"])


def test_a_reader_that_has_seen_enough_gets_no_complaint() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m pipelines.cli config show | head -n 1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""
