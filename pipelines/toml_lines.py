"""On which line of a TOML file each key stands; `tomllib` reads values but forgets where they were."""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

Path = tuple[str | int, ...]

_SPACE: Final = " \t"
_BREAK: Final = "\n"


def key_lines(text: str) -> dict[Path, int]:
    """Line (from 1) of the first mention of every key, table and array element.

    A path's parts are keys and, inside arrays and arrays of tables, indices from 0. The empty path is
    line 1. Dotted keys, quoted keys, inline tables and nested arrays count like any other.

    Args:
        text: TOML that `tomllib.loads` has accepted; anything else gives lines without meaning.

    >>> key_lines('a = 1\\n[b]\\nc.d = 2\\n[[e]]\\nf = [1,\\n  2]')[("e", 0, "f", 1)]
    6
    """
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    """One pass over a valid document, value by value, skipping what strings and comments hold."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = len(text)
        self._at = 0
        self._breaks = [index for index, char in enumerate(text) if char == _BREAK]
        self._lines: dict[Path, int] = {(): 1}
        self._elements: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip_blank():
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)
        return self._lines

    def _header(self, brackets: int) -> Path:
        start = self._at
        self._at += brackets
        keys = list(self._dotted())
        self._skip_to("]")
        self._at += brackets
        path: Path = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            self._note(path, start)
            if brackets == 2 and position == len(keys) - 1:
                self._elements[path] = self._elements.get(path, 0) + 1
            if path in self._elements:
                path = (*path, self._elements[path] - 1)
                self._note(path, start)
        return path

    def _pair(self, table: Path) -> None:
        start = self._at
        path = table
        for key in self._dotted():
            path = (*path, key)
            self._note(path, start)
        self._skip_to("=")
        self._at += 1
        self._skip_blank()
        self._value(path)

    def _value(self, path: Path) -> None:
        char = self._text[self._at]
        if char in "\"'":
            self._string()
        elif char == "[":
            self._at += 1
            index = 0
            while self._inside("]"):
                self._note((*path, index), self._at)
                self._value((*path, index))
                index += 1
        elif char == "{":
            self._at += 1
            while self._inside("}"):
                self._pair(path)
        else:
            while self._at < self._end and self._text[self._at] not in ",]}#\n":
                self._at += 1

    def _inside(self, close: str) -> bool:
        """Step to the next element of an array or inline table; False, and past its end, if there is none."""
        self._skip_blank(",")
        if self._at < self._end and self._text[self._at] != close:
            return True
        self._at += 1
        return False

    def _string(self) -> str:
        """Step over a string of any of the four kinds; its source text, quotes included."""
        start = self._at
        quote = self._text[start]
        triple = self._text.startswith(quote * 3, start)
        mark = quote * 3 if triple else quote
        self._at += len(mark)
        while self._at < self._end and not self._text.startswith(mark, self._at):
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += len(mark)
        if triple:
            # Up to two quotes may stand right before the closing three.
            while self._text.startswith(quote, self._at):
                self._at += 1
        return self._text[start : self._at]

    def _dotted(self) -> Iterator[str]:
        """The parts of a key; stops before whatever is no part of it."""
        while True:
            self._skip(_SPACE)
            start = self._at
            if self._text[self._at] in "\"'":
                yield str(tomllib.loads(f"key = {self._string()}")["key"])
            else:
                while self._at < self._end and self._text[self._at] not in " \t.=]":
                    self._at += 1
                yield self._text[start : self._at]
            self._skip(_SPACE)
            if self._at >= self._end or self._text[self._at] != ".":
                return
            self._at += 1

    def _skip(self, chars: str) -> None:
        while self._at < self._end and self._text[self._at] in chars:
            self._at += 1

    def _skip_to(self, char: str) -> None:
        self._at = self._text.find(char, self._at) % (self._end + 1)

    def _skip_blank(self, extra: str = "") -> bool:
        """Step over white space, line breaks, comments and `extra`; whether anything is left."""
        while True:
            self._skip(_SPACE + _BREAK + extra)
            if self._at >= self._end:
                return False
            if self._text[self._at] != "#":
                return True
            while self._at < self._end and self._text[self._at] != _BREAK:
                self._at += 1

    def _note(self, path: Path, at: int) -> None:
        self._lines.setdefault(path, bisect_left(self._breaks, at) + 1)
