"""Event files line by line: JSON lines, gzip or zstd of them, and the rows of Parquet.

What is damaged ends in one line that says so; everything before it comes out.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from pipelines.errors import UsageError
from schemas.errors import Reason

TEXT: Final = (".jsonl", ".ndjson", ".json")
READABLE: Final = (*TEXT, *(text + packed for text in TEXT for packed in (".gz", ".zst")), ".parquet")
FORMATS: Final = "they end in .jsonl, .ndjson or .json, alone or with .gz or .zst behind it, or in .parquet"

_CHUNK: Final = 1 << 20
# A block of zstd unpacks to 128 KiB from as little as 4 bytes: so a read of 4 KiB gives 128 MiB at the worst.
_ZSTD_CHUNK: Final = 1 << 12
_PARQUET_ROWS: Final = 1_024
_JSON_COLUMNS: Final = ("event", "raw", "value")
_EXACT: Final = 2**53


class Line(NamedTuple):
    """One line of one file; `broken` says why it is none, where that shows before it is decoded."""

    raw: bytes
    source: str
    number: int
    broken: tuple[Reason, str] | None = None


class _DamagedError(Exception):
    """Compressed data that ends early or cannot be unpacked.

    Attributes:
        rest: what came of the line that it broke off in.
    """

    rest = b""


def suffix(path: Path) -> str:
    """The ending that says how a file is read; whatever it is where the file is not readable."""
    name = path.name.lower()
    return max((ending for ending in READABLE if name.endswith(ending)), key=len, default=path.suffix)


def reader(path: Path, max_line: int) -> Callable[[], Iterator[Line]]:
    """A function that reads a file from its start, each time it is called.

    Args:
        max_line: bytes of a line that are kept at most; the rest of a longer one is left out.

    Raises:
        UsageError: not a format that is read; from the reader, a file that cannot be opened or read.
    """
    ending = suffix(path)
    if ending not in READABLE:
        raise UsageError(f"{path}: not an event file by its name; {FORMATS}")
    if ending == ".parquet":
        return partial(_parquet_lines, path)
    chunks = {".gz": _gzip_chunks, ".zst": _zstd_chunks}.get(path.suffix.lower(), plain_chunks)
    return partial(_text_lines, path, chunks, max_line)


def plain_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The content of a file in pieces."""
    while chunk := file.read(_CHUNK):
        yield chunk


def _gzip_chunks(file: IO[bytes]) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as unpacked:
        while True:
            try:
                chunk = unpacked.read1(_CHUNK)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise _DamagedError(str(error)) from None
            if not chunk:
                return
            yield chunk


def _zstd_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """All frames of a file; the library's own file object stops after one, and takes a cut frame for whole."""
    import zstandard

    unpacker = zstandard.ZstdDecompressor()
    frame, inside = unpacker.decompressobj(), False
    while packed := file.read(_ZSTD_CHUNK):
        while packed:
            try:
                chunk = frame.decompress(packed)
            except zstandard.ZstdError as error:
                raise _DamagedError(str(error)) from None
            if chunk:
                yield chunk
            inside, packed = not frame.eof, frame.unused_data
            if not inside:
                frame = unpacker.decompressobj()
    if inside:
        raise _DamagedError("the file ends inside a zstd frame")


def split(chunks: Iterable[bytes], keep: int) -> Iterator[tuple[bytes, int]]:
    r"""Lines without their line feeds: the first `keep` bytes of each, and its length.

    >>> list(split([b"ab\nlon", b"ger\n\ncd"], 3))
    [(b'ab', 2), (b'lon', 6), (b'', 0), (b'cd', 2)]
    """
    kept, length = bytearray(), 0
    try:
        for chunk in chunks:
            *ended, rest = chunk.split(b"\n")
            for piece in ended:
                if length:
                    kept += piece[: keep - len(kept)]
                    yield bytes(kept), length + len(piece)
                    kept, length = bytearray(), 0
                else:
                    yield piece[:keep], len(piece)
            kept += rest[: keep - len(kept)]
            length += len(rest)
    except _DamagedError as error:
        error.rest = bytes(kept)
        raise
    if length:
        yield bytes(kept), length


def text_line(kept: bytes, length: int, max_line: int, source: str, number: int) -> Line:
    """A line of text of which the first `max_line` + 1 bytes are at hand: the last may be a carriage return."""
    content = kept.removesuffix(b"\r") if length == len(kept) else kept
    if len(content) <= max_line:
        return Line(content, source, number)
    detail = f"{length} bytes, of which the first {max_line} are kept here"
    return Line(content[:max_line], source, number, ("too_large", detail))


def _text_lines(path: Path, chunks: Callable[[IO[bytes]], Iterator[bytes]], max_line: int) -> Iterator[Line]:
    name, number = str(path), 0
    try:
        with path.open("rb") as file:
            for kept, length in split(chunks(file), max_line + 1):
                number += 1
                yield text_line(kept, length, max_line, name, number)
    except _DamagedError as error:
        yield Line(error.rest[:max_line], name, number + 1, ("bad_compression", str(error)))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def _parquet_lines(path: Path) -> Iterator[Line]:
    """Rows as JSON: a column `event`, `raw` or `value` of JSON text, or one column a field of the contract."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, number = str(path), 0
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            whole = _json_column(file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=None if whole is None else [whole]):
                for row in _without_timestamps(batch).to_pylist(maps_as_pydicts="lossy"):
                    number += 1
                    yield Line(_as_json(row if whole is None else row[whole]), name, number)
    except (pa.ArrowException, OSError) as error:
        # Arrow tells damage as an OSError too, but without an error number.
        if isinstance(error, OSError) and error.errno is not None:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        yield Line(b"", name, number + 1, ("bad_file", str(error).splitlines()[0]))


def _json_column(names: list[str]) -> str | None:
    """The column that holds whole events; a table with a column `type` has one column a field."""
    return None if "type" in names else next((name for name in _JSON_COLUMNS if name in names), None)


def _without_timestamps(batch: Any) -> Any:
    """Timestamp columns as epoch milliseconds."""
    import pyarrow as pa

    for i, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type):
            column = batch.column(i).cast(pa.timestamp("ms", tz=field.type.tz), safe=False).cast(pa.int64())
            batch = batch.set_column(i, field.name, column)
    return batch


def _as_json(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    # json, not msgspec: it writes NaN as NaN, which the decoder refuses, where msgspec would make it null.
    # Bytes that are no UTF-8 come out as they were, and the decoder refuses them.
    return json.dumps(_plain(value), ensure_ascii=False).encode("utf-8", "surrogateescape")


def _plain(value: Any) -> Any:
    """A value as JSON has it, without nulls: an absent field of a column format is null in every row."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)  # a column of integers with nulls becomes one of floats in pandas
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)  # dates, times, intervals: no field of the contract is one, and unknown fields are allowed
