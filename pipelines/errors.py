"""Errors that the command line shows to a user: a sentence and a remedy, never a traceback."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class UsageError(Exception):
    """The command or its config is wrong, and the user can put it right; exit code 2."""


class Failure(Exception):  # noqa: N818 - the word that the exit-code contract uses
    """The command was right and its work failed (broker gone, disk full); exit code 1."""


class Problem(Struct, frozen=True, order=True):
    """One thing wrong in one config file.

    Attributes:
        file: the file (or directory) as the user can open it.
        line: line number from 1; None where the problem is the file as a whole.
        path: dotted key inside the file, or "" for the file as a whole.
        message: what is wrong: ``table.key must be …, got …``.
        remedy: what would be right; may be empty.
    """

    file: str
    line: int | None
    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        text = f"{where}: {self.message}"
        return f"{text}; {self.remedy}" if self.remedy else text


class ConfigError(UsageError):
    """A config that cannot be used, with all of its problems.

    Raises nothing itself; `str()` is one problem a line, in the order of the files and lines.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: list[Problem] = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
