"""Writing a group of table entries so that all of them hold after a kill, or none.

A changelog keeps the order of its records and knows nothing of groups. A group is therefore written three
times over: its entries in parts, then one record that commits the group, then every entry under its own
name. Cut off before the commit, the group never was; cut off behind it, :func:`load` takes the entries
from the parts. The parts of the next group overwrite these only when every entry stands under its name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

PREFIX: Final = "stage:"
COMMIT: Final = "stage:commit"
_PART: Final = "stage:part:"

# Well below what the changelog takes as one record; a single larger entry makes a part of its own.
_PART_BYTES: Final = 2 * 1024 * 1024

Entries = dict[str, bytes | None]


class StateTable(Protocol):
    """A table of entries with a changelog."""

    def load(self) -> dict[str, bytes]:
        """All entries."""

    def write(self, name: str, value: bytes | None) -> Awaitable[Any]:
        """Set or delete an entry; the result is done when the changelog has it."""


class Commit(Struct, frozen=True, array_like=True):
    """The record that commits a group: its number, its parts, and how far the input was taken."""

    group: int
    parts: int
    next_offset: int


class _Part(Struct, frozen=True, array_like=True):
    group: int
    entries: Entries


class Journal:
    """The entries of one table, written in groups.

    Attributes:
        next_offset: offset after the last message whose effects are in the table.
    """

    def __init__(self, table: StateTable) -> None:
        self._table = table
        self._group = 0
        self._again: Entries = {}
        self.next_offset = 0

    def load(self) -> dict[str, bytes]:
        """The entries as of the last committed group."""
        stored = self._table.load()
        entries = {name: value for name, value in stored.items() if not name.startswith(PREFIX)}
        self._group, self._again, self.next_offset = 0, {}, 0
        if COMMIT not in stored:
            # A first group that was cut off may have left entries only of itself, and only as parts.
            return entries
        commit = msgspec.msgpack.decode(stored[COMMIT], type=Commit)
        self._group, self.next_offset = commit.group, commit.next_offset
        self._again = _overlay(stored, commit)
        for name, value in self._again.items():
            if value is None:
                entries.pop(name, None)
            else:
                entries[name] = value
        return entries

    def write(self, entries: Mapping[str, bytes | None], next_offset: int) -> list[Awaitable[Any]]:
        """Write a group; it is durable when all of the result is done.

        Args:
            entries: what changed; None deletes.
            next_offset: offset after the last message that is in it.
        """
        # What a killed process left in parts must stand under its names before the parts are overwritten.
        done = [self._table.write(name, value) for name, value in self._again.items()]
        self._again = {}
        group = self._group + 1
        parts = list(_parts(entries))
        for number, part in enumerate(parts):
            done.append(self._table.write(f"{_PART}{number}", msgspec.msgpack.encode(_Part(group, part))))
        done.append(self._table.write(COMMIT, msgspec.msgpack.encode(Commit(group, len(parts), next_offset))))
        done += [self._table.write(name, value) for name, value in entries.items()]
        self._group, self.next_offset = group, next_offset
        return done


def _overlay(stored: Mapping[str, bytes], commit: Commit) -> Entries:
    """The committed group's entries; none where the next group's parts have begun to replace them."""
    overlay: Entries = {}
    for number in range(commit.parts):
        raw = stored.get(f"{_PART}{number}")
        part = None if raw is None else msgspec.msgpack.decode(raw, type=_Part)
        if part is None or part.group != commit.group:
            return {}
        overlay |= part.entries
    return overlay


def _parts(entries: Mapping[str, bytes | None]) -> Iterator[Entries]:
    part: Entries = {}
    size = 0
    for name, value in entries.items():
        length = len(name) + len(value or b"")
        if part and size + length > _PART_BYTES:
            yield part
            part, size = {}, 0
        part[name] = value
        size += length
    if part:
        yield part
