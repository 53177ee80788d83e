"""Event files as one stream in event-time order: JSON lines, gzip or zstd of them, and Parquet.

Each file is read twice. The first pass notes the time of every line, 8 bytes each; a file that turns out not
to be in order is then read through an index of its lines (in place, or unpacked beside the system's temporary
files), so the order of a file's lines never matters. The second pass hands the lines out, merged over all
files.
"""

from __future__ import annotations

import gzip
import heapq
import json
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from schemas.errors import Reason
from schemas.events import MAX_TS

_PARQUET_ROWS: Final = 4_096
_JSON_COLUMNS: Final = ("event", "raw", "value")

READABLE: Final = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".jsonl.zst", ".parquet")


class Line(NamedTuple):
    """One line of one file; `broken` says that the file ends here in a way it should not."""

    raw: bytes
    source: str
    number: int
    broken: tuple[Reason, str] | None = None


class _Time(msgspec.Struct):
    ts: int


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
        self._read = _reader(path, max_line)
        self.times: NDArray[np.int64] = np.empty(0, np.int64)
        self.in_order = True

    def scan(self, advance: Callable[[int], object]) -> None:
        """The first pass; `advance` is called with the number of lines read since the last call."""
        decode = msgspec.json.Decoder(_Time).decode
        times: list[NDArray[np.int64]] = []
        block: list[int] = []
        last = 0
        for line in self._read():
            try:
                ts = decode(line.raw).ts if line.broken is None else last
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                ts = last
            if 0 <= ts <= MAX_TS:
                last = ts
            block.append(last)
            if len(block) == 65_536:
                times.append(np.array(block, np.int64))
                advance(len(block))
                block = []
        times.append(np.array(block, np.int64))
        advance(len(block))
        self.times = np.concatenate(times)
        self.in_order = bool((np.diff(self.times) >= 0).all())

    def lines(self) -> Iterator[Line]:
        """The lines in order of time; equal times in the order of the file."""
        if self.in_order:
            yield from self._read()
            return
        order = np.argsort(self.times, kind="stable")
        with self._unpacked() as file:
            starts = np.zeros(len(order) + 1, np.int64)
            np.cumsum([len(line) for line in _split(file, self._max_line, None)], out=starts[1:])
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for i in order.tolist():
                    end = min(int(starts[i + 1]), int(starts[i]) + self._max_line)
                    yield Line(content[int(starts[i]) : end].rstrip(b"\r\n"), str(self.path), i + 1)

    def _unpacked(self) -> AbstractContextManager[IO[bytes]]:
        """The lines as a plain file."""
        if _suffix(self.path) in (".jsonl", ".ndjson", ".json"):
            return self.path.open("rb")
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        for line in self._read():
            file.write(line.raw + b"\n")
        file.flush()
        file.seek(0)
        return file


def open_sources(paths: Sequence[Path], max_line: int) -> list[Source]:
    """The given files, and for a directory the event files in it.

    Raises:
        UsageError: a path that does not exist, or a format that is not read.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and _suffix(p) in READABLE)
            if not found:
                raise UsageError(f"{path}: no event files in this directory; they end in {', '.join(READABLE)}")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise UsageError(f"{path}: no such file")
    return [Source(path, max_line) for path in files]


def merged(sources: Sequence[Source]) -> Iterator[Line]:
    """The lines of all sources in order of time; equal times in the order of the sources."""
    if len(sources) == 1:
        yield from sources[0].lines()
        return

    def keyed(number: int, source: Source) -> Iterator[tuple[int, int, int, Line]]:
        times = np.sort(source.times, kind="stable")
        for place, (ts, line) in enumerate(zip(times.tolist(), source.lines(), strict=True)):
            yield ts, number, place, line

    for _, _, _, line in heapq.merge(*(keyed(i, source) for i, source in enumerate(sources))):
        yield line


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in sorted(READABLE, key=len, reverse=True) if name.endswith(suffix)), path.suffix)


def _reader(path: Path, max_line: int) -> Callable[[], Iterator[Line]]:
    suffix = _suffix(path)
    if suffix == ".parquet":
        return lambda: _parquet_lines(path)
    if suffix not in READABLE:
        raise UsageError(f"{path}: not an event file; readable are {', '.join(READABLE)}")
    opener = {".jsonl.gz": _open_gzip, ".jsonl.zst": _open_zstd}.get(suffix, _open_plain)
    return lambda: _text_lines(path, opener, max_line)


def _open_plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _open_gzip(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb"))


def _open_zstd(path: Path) -> IO[bytes]:
    import zstandard

    return cast("IO[bytes]", zstandard.open(path, "rb"))


def _text_lines(path: Path, opener: Callable[[Path], IO[bytes]], max_line: int) -> Iterator[Line]:
    name = str(path)
    number = 0
    try:
        with opener(path) as file:
            for raw in _split(file, max_line, max_line):
                number += 1
                yield Line(raw.rstrip(b"\r\n"), name, number)
    except OSError as error:
        if error.errno is not None and not isinstance(error, gzip.BadGzipFile):
            raise UsageError(f"{path}: cannot be read: {os.strerror(error.errno)}") from None
        yield Line(b"", name, number + 1, ("bad_compression", str(error)))
    except EOFError as error:
        yield Line(b"", name, number + 1, ("bad_compression", str(error)))
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        yield Line(b"", name, number + 1, ("bad_compression", str(error)))


def _split(file: IO[bytes], max_line: int, keep: int | None) -> Iterator[bytes]:
    """Lines with their ends; of one longer than `keep`, the rest is skipped (None keeps all)."""
    while raw := file.readline(max_line):
        if not raw.endswith(b"\n") and len(raw) == max_line:
            while more := file.readline(max_line):
                if keep is None:
                    raw += more
                if more.endswith(b"\n"):
                    break
        yield raw


def _parquet_lines(path: Path) -> Iterator[Line]:
    """Rows as JSON: a column `event`, `raw` or `value` of JSON text, or one column a field of the contract."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, number = str(path), 0
    try:
        with pq.ParquetFile(path) as file:
            whole = next((c for c in _JSON_COLUMNS if c in file.schema_arrow.names), None)
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=None if whole is None else [whole]):
                for row in _without_timestamps(batch).to_pylist():
                    number += 1
                    value = row if whole is None else row[whole]
                    yield Line(_as_json(value), name, number)
    except pa.ArrowException as error:
        yield Line(b"", name, number + 1, ("bad_file", str(error).splitlines()[0]))


def _without_timestamps(batch: Any) -> Any:
    """Timestamp columns as epoch milliseconds."""
    import pyarrow as pa

    for i, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type):
            column = batch.column(i).cast(pa.timestamp("ms", tz=field.type.tz), safe=False).cast(pa.int64())
            batch = batch.set_column(i, field.name, column)
    return batch


def _as_json(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    # json, not msgspec: it writes NaN as NaN, which the decoder refuses, where msgspec would make it null.
    return json.dumps(_present(value), ensure_ascii=False).encode()


def _present(value: Any) -> Any:
    """Without nulls: an absent field of a column format is null in every row."""
    if isinstance(value, dict):
        return {key: _present(v) for key, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_present(v) for v in value]
    return value
