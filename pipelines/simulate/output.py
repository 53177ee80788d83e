"""Simulated events and their labels as files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipelines.demo.people import HOUR
from pipelines.errors import Failure
from pipelines.simulate.simulation import Simulation
from schemas.events import Event, encode_event

if TYPE_CHECKING:
    import pyarrow as pa

Write = Callable[[Event], object]
Deliver = Callable[[Iterable[Event]], int]
"""Takes all events and returns how many there were."""

# One write for some hundred events: a call of the compressor or the file for each would cost more than encoding.
_BUFFER: Final = 1 << 18
_ROWS: Final = 8_192
_ZSTD_LEVEL: Final = 3

NOTICE: Final = (
    "The texts are real prompts. Which account sends which of them and when is simulated, and so are answers, token "
    "counts, addresses, payments and ages: no public data holds real API traffic."
)


class Written(Struct, frozen=True, kw_only=True):
    """What a simulation left behind."""

    events: int
    accounts: int
    harvest: int
    files: tuple[Path, ...]


def write(simulation: Simulation, out: Path, *, deliver: Deliver, advance: Callable[[int], object]) -> Written:
    """Deliver the events and write labels, harvest and the scenario as used into a directory.

    Args:
        deliver: where the events go, see :func:`to_file` and :func:`pipelines.simulate.kafka.to_kafka`.
        advance: called with the simulated hours that have passed since the last call.

    Raises:
        Failure: the directory cannot be written.
    """
    import pyarrow.parquet as pq

    files = (out / "labels.parquet", out / "harvest.parquet", out / "scenario.toml")
    try:
        out.mkdir(parents=True, exist_ok=True)
        labels = simulation.labels
        pq.write_table(labels, files[0])
        files[2].write_bytes(_as_used(simulation))
        with _harvest(files[1]) as harvested:
            count = deliver(_watched(simulation.events(harvested.add), simulation.start, advance))
    except OSError as error:
        raise Failure(f"{out}: cannot be written: {error.strerror or error}") from error
    return Written(events=count, accounts=len(labels), harvest=harvested.count, files=files)


def to_file(directory: Path, ending: str) -> tuple[Path, Deliver]:
    """The file of events in a directory, and what writes it; `ending` is a key of :data:`WRITERS`."""
    path = directory / f"events.{FILE_ENDINGS[ending]}"

    def deliver(events: Iterable[Event]) -> int:
        count = 0
        with WRITERS[ending](path) as put:
            for event in events:
                put(event)
                count += 1
        return count

    return path, deliver


def _watched(events: Iterable[Event], start: int, advance: Callable[[int], object]) -> Iterator[Event]:
    passed = 0
    for event in events:
        hours = (event.ts - start) // HOUR
        if hours > passed:
            advance(hours - passed)
            passed = hours
        yield event


def _as_used(simulation: Simulation) -> bytes:
    """The scenario with every default written out and the seed that was used: simulating it gives the same."""
    used = msgspec.to_builtins(replace(simulation.scenario, seed=simulation.seed))
    notice = textwrap.fill(NOTICE, 110, initial_indent="# ", subsequent_indent="# ")
    sources = "".join(f"# Prompts: {source}.\n" for source in simulation.sources)
    return f"{notice}\n{sources}\n{''.join(_tables(used))}".encode()


def _tables(used: dict[str, Any]) -> Iterator[str]:
    """TOML: plain values first, then tables, then arrays of tables."""
    nested = {key: value for key, value in used.items() if isinstance(value, dict)}
    arrays = {key: value for key, value in used.items() if isinstance(value, list) and key not in nested}
    for key, value in used.items():
        if key not in nested and key not in arrays:
            yield f"{key} = {_toml(value)}\n"
    for key, value in nested.items():
        yield f"\n[{key}]\n" + "".join(f"{name} = {_toml(inner)}\n" for name, inner in value.items())
    for key, items in arrays.items():
        for item in items:
            yield f"\n[[{key}]]\n" + "".join(f"{name} = {_toml(inner)}\n" for name, inner in item.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    # Numbers, booleans and text are written alike in JSON and in TOML.
    return msgspec.json.encode(value).decode()


@contextmanager
def _lines(path: Path) -> Iterator[Write]:
    with path.open("wb") as file, _buffered(file) as put:
        yield put


@contextmanager
def _zstd(path: Path) -> Iterator[Write]:
    import zstandard

    with (
        path.open("wb") as file,
        zstandard.ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(file, closefd=False) as packed,
        _buffered(packed) as put,
    ):
        yield put


@contextmanager
def _buffered(file: IO[bytes] | Any) -> Iterator[Write]:
    buffer = bytearray()

    def put(event: Event) -> None:
        buffer.extend(encode_event(event))
        buffer.append(10)
        if len(buffer) >= _BUFFER:
            file.write(bytes(buffer))
            buffer.clear()

    yield put
    file.write(bytes(buffer))


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    """A column of whole events as JSON, and `ts` and `account` beside it for whoever wants to filter."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("ts", pa.int64()), ("account", pa.string()), ("event", pa.string())])
    rows: list[tuple[int, str | None, str]] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def flush() -> None:
            columns = zip(*rows, strict=True) if rows else ((), (), ())
            arrays = [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            rows.clear()

        def put(event: Event) -> None:
            rows.append((event.ts, getattr(event, "account", None), encode_event(event).decode()))
            if len(rows) == _ROWS:
                flush()

        yield put
        flush()


class _Harvest:
    """Writes request ids and campaigns in batches."""

    def __init__(self, writer: Any, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._rows: dict[str, str] = {}
        self.count = 0

    def add(self, request: str, campaign: str) -> None:
        self._rows[request] = campaign
        self.count += 1
        if len(self._rows) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        arrays = [pa.array(list(column), pa.string()) for column in (self._rows.keys(), self._rows.values())]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._rows.clear()


@contextmanager
def _harvest(path: Path) -> Iterator[_Harvest]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("request_id", pa.string()), ("campaign", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        harvest = _Harvest(writer, schema)
        yield harvest
        harvest.flush()


WRITERS: Final = {"jsonl": _lines, "zst": _zstd, "parquet": _parquet}
FILE_ENDINGS: Final = {"jsonl": "jsonl", "zst": "jsonl.zst", "parquet": "parquet"}
