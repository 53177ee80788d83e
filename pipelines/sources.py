"""Event files as one stream in event-time order.

Each file is read twice. The first pass notes the time of every line, 8 bytes each; a file that turns out not
to be in order is then read through an index of its lines (in place, or unpacked into the system's temporary
files), so the order of a file's lines never matters. The second pass hands the lines out, merged over all
files.
"""

from __future__ import annotations

import heapq
import mmap
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines import line_readers
from pipelines.errors import Failure, UsageError
from pipelines.line_readers import FORMATS, READABLE, Line
from schemas.errors import InvalidEvent
from schemas.events import MAX_TS

__all__ = ["READABLE", "Line", "Source", "merged", "open_sources"]

_BLOCK: Final = 65_536


class _Time(msgspec.Struct):
    ts: int


_TIME: Final = msgspec.json.Decoder(_Time)


def _time(line: Line, before: int, time_of: Callable[[bytes], int] | None) -> int:
    """Where a line belongs: its own time, also if it is no event but has one; else that of the line before."""
    if line.broken is not None:
        return before
    if time_of is not None:
        with suppress(InvalidEvent):
            return time_of(line.raw)
    try:
        ts = _TIME.decode(line.raw).ts
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return before
    return ts if 0 <= ts <= MAX_TS else before


class _Index(NamedTuple):
    """Where the lines of a file are: (lines,) first byte and length; of an unpacked file also which are broken."""

    file: IO[bytes]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    broken: dict[int, Line] | None


class Source:
    """One file, its lines and their times.

    Args:
        path: an existing file.
        max_line: bytes of a line that are kept at most; the rest of a longer one is left out.

    Attributes:
        times: (lines,) event time of each line; a line without a readable time has that of the line before.
        in_order: True if no line is earlier than the one before it.
    """

    def __init__(self, path: Path, max_line: int) -> None:
        self.path = path
        self._max_line = max_line
        self._read = line_readers.reader(path, max_line)
        self.times: NDArray[np.int64] = np.empty(0, np.int64)
        self.in_order = True

    def scan(self, advance: Callable[[int], object], time_of: Callable[[bytes], int] | None = None) -> None:
        """The first pass.

        Args:
            advance: called with the number of lines read since the last call.
            time_of: the time of a line that is an event, or InvalidEvent; without it only `ts` is read.
        """
        times: list[NDArray[np.int64]] = []
        block: list[int] = []
        last = 0
        for line in self._read():
            last = _time(line, last, time_of)
            block.append(last)
            if len(block) == _BLOCK:
                times.append(np.array(block, np.int64))
                advance(len(block))
                block = []
        times.append(np.array(block, np.int64))
        advance(len(block))
        self.times = np.concatenate(times)
        self.in_order = bool((np.diff(self.times) >= 0).all())

    def lines(self) -> Iterator[Line]:
        """The lines in order of time; equal times in the order of the file.

        Raises:
            Failure: the file has become shorter since :meth:`scan`, or there is no room to unpack it. What was
                appended to it since is left out.
        """
        if not self.in_order:
            yield from self._in_order()
            return
        count = 0
        for line in islice(self._read(), len(self.times)):
            yield line
            count += 1
        self._check(count)

    def _in_order(self) -> Iterator[Line]:
        source = str(self.path)
        with self._index() as index:
            self._check(len(index.starts))
            with mmap.mmap(index.file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for i in map(int, np.argsort(self.times, kind="stable")):
                    start, length = int(index.starts[i]), int(index.lengths[i])
                    if index.broken is None:
                        kept = content[start : start + min(length, self._max_line + 1)]
                        yield line_readers.text_line(kept, length, self._max_line, source, i + 1)
                    else:
                        yield index.broken.get(i) or Line(content[start : start + length], source, i + 1)

    def _check(self, lines: int) -> None:
        if lines < len(self.times):
            raise Failure(f"{self.path}: it became shorter while it was read; replay a copy that nobody writes to")

    @contextmanager
    def _index(self) -> Iterator[_Index]:
        """The file itself if it is plain text, else its lines one after another in a temporary file."""
        if line_readers.suffix(self.path) in line_readers.TEXT:
            with self.path.open("rb") as plain:
                lines = line_readers.split(line_readers.plain_chunks(plain), 0)
                lengths = np.fromiter((length for _, length in islice(lines, len(self.times))), np.int64)
                yield _Index(plain, np.cumsum(lengths + 1) - lengths - 1, lengths, None)
            return
        with tempfile.TemporaryFile() as file:
            broken: dict[int, Line] = {}

            def unpack() -> Iterator[int]:
                for i, line in enumerate(islice(self._read(), len(self.times))):
                    if line.broken is not None:
                        broken[i] = line
                    file.write(line.raw)
                    yield len(line.raw)

            try:
                lengths = np.fromiter(unpack(), np.int64)
                file.flush()
            except OSError as error:
                where = tempfile.gettempdir()
                raise Failure(
                    f"{self.path} is not in order of `ts`, and cannot be unpacked in {where} to put it in order: "
                    f"{error.strerror}; name a directory with room in the environment variable TMPDIR"
                ) from None
            yield _Index(file, np.cumsum(lengths) - lengths, lengths, broken)


def open_sources(paths: Sequence[Path], max_line: int) -> list[Source]:
    """The given files, and for a directory the event files in it.

    Raises:
        UsageError: a path that does not exist or is given twice, or a format that is not read.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and line_readers.suffix(p) in READABLE)
            if not found:
                raise UsageError(f"{path}: no event files in this directory; {FORMATS}")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise UsageError(f"{path}: no such file or directory; name event files, or a directory of them")
    seen: set[Path] = set()
    for path in files:
        if path.resolve() in seen:
            raise UsageError(f"{path}: is read twice, which would count its events twice; name it once")
        seen.add(path.resolve())
    return [Source(path, max_line) for path in files]


def merged(sources: Sequence[Source]) -> Iterator[Line]:
    """The lines of all sources in order of time; equal times in the order of the sources."""
    if len(sources) == 1:
        yield from sources[0].lines()
        return

    def keyed(number: int, source: Source) -> Iterator[tuple[int, int, int, Line]]:
        times = source.times if source.in_order else np.sort(source.times)
        for place, (ts, line) in enumerate(zip(map(int, times), source.lines(), strict=True)):
            yield ts, number, place, line

    for _, _, _, line in heapq.merge(*(keyed(i, source) for i, source in enumerate(sources))):
        yield line
