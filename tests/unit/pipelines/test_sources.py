"""Event files: formats, damage, order and merging."""

from __future__ import annotations

import errno
import gzip
import io
import json
import random
import struct
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import line_readers
from pipelines.errors import Failure, UsageError
from pipelines.sources import Line, merged, open_sources
from schemas.events import Account, Client, Message, Params, Request, decode_event, encode_event

START = 1_784_887_200_000
LIMIT = 1_000
PACKED = [".jsonl", ".jsonl.gz", ".jsonl.zst"]


def event(ts: int, name: str = "m") -> bytes:
    return json.dumps({"type": "release", "ts": START + ts, "model": name}).encode()


def pack(path: Path, content: bytes) -> Path:
    """Write content as the name of the file says."""
    if path.name.endswith(".gz"):
        content = gzip.compress(content)
    elif path.name.endswith(".zst"):
        content = zstandard.ZstdCompressor().compress(content)
    path.write_bytes(content)
    return path


def read(*paths: Path, max_line: int = LIMIT) -> list[Line]:
    """All lines of the files, in both passes."""
    sources = open_sources(paths, max_line)
    scanned: list[int] = []
    for source in sources:
        source.scan(scanned.append)
        assert list(source.times) == sorted(source.times) or not source.in_order
    lines = list(merged(sources))
    assert sum(scanned) == len(lines) == sum(len(source.times) for source in sources)
    return lines


def raws(*paths: Path) -> list[bytes]:
    return [line.raw for line in read(*paths)]


in_every_format = pytest.mark.parametrize("suffix", PACKED)


@pytest.mark.parametrize(
    "suffix", [*(t + p for t in (".jsonl", ".ndjson", ".json") for p in ("", ".gz", ".zst")), ".JSONL.Gz"]
)
def test_every_text_format_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.of.july{suffix}"
    packed = pack(tmp_path / f"x{suffix.lower()}", event(1) + b"\n" + event(2) + b"\n")
    packed.rename(path)
    assert read(path) == [Line(event(1), str(path), 1), Line(event(2), str(path), 2)]


def test_gzip_members_and_zstd_frames_are_all_read(tmp_path: Path) -> None:
    first, second = event(1) + b"\n" + event(2)[:20], event(2)[20:] + b"\n" + event(3)
    members = tmp_path / "members.jsonl.gz"
    members.write_bytes(gzip.compress(first) + gzip.compress(b"") + gzip.compress(second))
    compress = zstandard.ZstdCompressor().compress
    frames = tmp_path / "frames.jsonl.zst"
    skippable = struct.pack("<II", 0x184D2A50, 4) + b"meta"
    frames.write_bytes(compress(first) + skippable + compress(b"") + compress(second))
    assert raws(members) == raws(frames) == [event(1), event(2), event(3)]


def test_a_zstd_file_written_as_a_stream_is_read(tmp_path: Path) -> None:
    # A stream does not say its size in the header, and blocks of a flush end anywhere.
    path = tmp_path / "stream.jsonl.zst"
    rng = random.Random(1)
    wanted = [event(n, rng.randbytes(40).hex()) for n in range(5_000)]
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as writer:
        for line in wanted:
            writer.write(line + b"\n")
            if rng.random() < 0.01:
                writer.flush(zstandard.FLUSH_FRAME if rng.random() < 0.5 else zstandard.FLUSH_BLOCK)
    assert raws(path) == wanted


@in_every_format
def test_line_ends_blank_lines_and_the_end_of_the_file(tmp_path: Path, suffix: str) -> None:
    content = event(1) + b"\r\n" + event(2) + b"\n\n  \n\r\n" + event(3) + b"\r\r\n" + event(4)
    path = pack(tmp_path / f"e{suffix}", content)
    assert raws(path) == [event(1), event(2), b"", b"  ", b"", event(3) + b"\r", event(4)]
    assert [line.number for line in read(path)] == [1, 2, 3, 4, 5, 6, 7]
    path = pack(tmp_path / f"f{suffix}", event(1) + b"\n")
    assert raws(path) == [event(1)]


@in_every_format
def test_an_empty_file_has_no_lines(tmp_path: Path, suffix: str) -> None:
    assert read(pack(tmp_path / f"e{suffix}", b"")) == []
    nothing = tmp_path / f"n{suffix}"
    nothing.touch()
    assert read(nothing) == []


@in_every_format
@pytest.mark.parametrize("unordered", [False, True])
def test_lines_longer_than_is_kept(tmp_path: Path, suffix: str, unordered: bool) -> None:
    longest = b"x" * LIMIT
    lines = [event(1), longest, longest + b"y", b"z" * 5 * LIMIT, longest + b"\r", longest + b"\ry", event(2)]
    if unordered:
        lines.append(event(0))
    for end in (b"\n", b"\r\n"):
        path = pack(tmp_path / f"e{suffix}", end.join(lines) + end)
        found = sorted(read(path), key=lambda line: line.number)
        assert [line.number for line in found] == list(range(1, len(lines) + 1))
        # A carriage return before a plain line feed is part of the line's end; before "\r\n" it is not.
        too_long = [False, False, True, True, end == b"\r\n", True, False, False][: len(lines)]
        assert [line.broken is not None for line in found] == too_long
        assert [line.raw for line in found] == [line[:LIMIT] for line in lines]
        length = 5 * LIMIT + len(end) - 1
        assert found[3].broken == ("too_large", f"{length} bytes, of which the first 1000 are kept here")


@in_every_format
def test_a_line_of_ten_megabytes_is_whole(tmp_path: Path, suffix: str) -> None:
    large = event(1, "x" * 10_000_000)
    path = pack(tmp_path / f"e{suffix}", event(0) + b"\n" + large + b"\n" + event(2) + b"\n")
    assert [line.raw for line in read(path, max_line=32 << 20)] == [event(0), large, event(2)]


@in_every_format
def test_a_file_out_of_order_is_put_in_order_with_its_own_line_numbers(tmp_path: Path, suffix: str) -> None:
    order = [5, 3, 3, 9, 0]
    path = pack(tmp_path / f"e{suffix}", b"\r\n".join(event(ts, str(n)) for n, ts in enumerate(order)) + b"\r\n")
    found = read(path)
    assert [line.number for line in found] == [5, 2, 3, 1, 4]
    assert [line.raw for line in found] == [event(order[n], str(n)) for n in (4, 1, 2, 0, 3)]
    (source,) = open_sources([path], LIMIT)
    source.scan(lambda _: None)
    assert not source.in_order


def test_a_line_without_a_time_stays_behind_the_line_before_it(tmp_path: Path) -> None:
    bad = [b"nonsense", b'{"ts":"now"}', b'{"ts":1e400}', b'{"ts":-5}', b'{"ts":99999999999999}', b"\xff", b""]
    path = pack(tmp_path / "e.jsonl", b"\n".join([*bad, event(7), *bad, event(2), *bad]) + b"\n")
    assert raws(path) == [*bad, event(2), *bad, event(7), *bad]


def test_many_lines_are_put_in_order(tmp_path: Path) -> None:
    # More than one block of times.
    times = list(range(70_000))
    random.Random(3).shuffle(times)
    path = pack(tmp_path / "e.jsonl.gz", b"\n".join(event(ts) for ts in times))
    assert raws(path) == [event(ts) for ts in sorted(times)]


def test_files_are_merged_by_time_and_ties_stand_in_the_order_of_the_files(tmp_path: Path) -> None:
    one = pack(tmp_path / "b.jsonl", b"\n".join([event(1, "b"), event(4, "b1"), event(4, "b2")]))
    two = pack(tmp_path / "a.jsonl.gz", b"\n".join([event(4, "a1"), event(0, "a"), event(4, "a2")]))
    three = pack(tmp_path / "c.jsonl.zst", event(4, "c"))
    models = [decode_event(line.raw).model for line in read(one, two, three)]  # type: ignore[union-attr]
    assert models == ["a", "b", "b1", "b2", "a1", "a2", "c"]
    assert [(Path(line.source).name, line.number) for line in read(two, one)] == [
        ("a.jsonl.gz", 2),
        ("b.jsonl", 1),
        ("a.jsonl.gz", 1),
        ("a.jsonl.gz", 3),
        ("b.jsonl", 2),
        ("b.jsonl", 3),
    ]


def test_a_directory_stands_for_its_event_files(tmp_path: Path) -> None:
    pack(tmp_path / "b.jsonl", event(2))
    pack(tmp_path / "a.jsonl.gz", event(2, "first"))
    (tmp_path / "notes.txt").write_text("not read")
    (tmp_path / "deeper.jsonl").mkdir()
    assert raws(tmp_path) == [event(2, "first"), event(2)]


def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path: Path) -> None:
    def refused(*paths: Path) -> str:
        with pytest.raises(UsageError) as caught:
            open_sources(paths, LIMIT)
        return str(caught.value)

    table = tmp_path / "events.csv"
    table.touch()
    assert refused(table).startswith(f"{table}: not an event file by its name; they end in .jsonl")
    assert "name event files, or a directory of them" in refused(tmp_path / "absent.jsonl")
    assert refused(tmp_path).startswith(f"{tmp_path}: no event files in this directory; they end in .jsonl")
    good = pack(tmp_path / "a.jsonl", event(1))
    (tmp_path / "link.jsonl").symlink_to(good)
    assert "would count its events twice" in refused(good, good)
    assert "would count its events twice" in refused(tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "a.jsonl", event(1))
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"event": [event(1).decode()]}), table)
    sources = open_sources([path, table], LIMIT)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    for source in sources:
        with pytest.raises(UsageError, match=rf"{source.path}: cannot be read: Permission denied"):
            source.scan(lambda _: None)


def test_what_is_appended_to_a_file_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    for order in ([1, 2], [2, 1]):
        path = pack(tmp_path / "live.jsonl", b"".join(event(ts) + b"\n" for ts in order))
        (source,) = sources = open_sources([path], LIMIT)
        source.scan(lambda _: None)
        with path.open("ab") as file:
            file.write(event(0) + b"\n" + event(9))
        assert [line.raw for line in merged(sources)] == [event(1), event(2)]
        path.write_bytes(event(1))
        with pytest.raises(Failure, match="became shorter while it was read"):
            list(merged(sources))


def test_no_room_to_unpack_is_a_failure_that_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, *_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    path = pack(tmp_path / "a.jsonl.gz", event(2) + b"\n" + event(1))
    (source,) = open_sources([path], LIMIT)
    source.scan(lambda _: None)
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(Failure, match=r"No space left on device; name a directory with room .* TMPDIR"):
        list(source.lines())


# Damage: one line that says so, after everything that was good.


def incompressible(count: int) -> list[bytes]:
    rng = random.Random(8)
    return [event(n, rng.randbytes(300).hex()) for n in range(count)]


@pytest.mark.parametrize("suffix", PACKED[1:])
@pytest.mark.parametrize("unordered", [False, True])
def test_compressed_files_that_end_early(tmp_path: Path, suffix: str, unordered: bool) -> None:
    wanted = incompressible(400)
    shown = wanted[::-1] if unordered else wanted
    path = pack(tmp_path / f"e{suffix}", b"\n".join(shown))
    whole = path.read_bytes()
    for size in (len(whole) * 3 // 4, len(whole) - 1):
        path.write_bytes(whole[:size])
        found = sorted(read(path), key=lambda line: line.number)
        *good, last = found
        assert last.broken is not None
        assert last.broken[0] == "bad_compression"
        assert last.broken[1]
        assert [line.raw for line in good] == shown[: len(good)]
        assert all(line.broken is None for line in good)
        assert len(good) >= size / len(whole) * 400 - 250
        assert last.number == len(good) + 1
        # What came of the line that broke off is kept, to be mended by hand.
        assert shown[min(len(good), 399)].startswith(last.raw) or last.raw == b""


@pytest.mark.parametrize("suffix", PACKED[1:])
def test_compressed_files_with_a_flipped_byte_or_something_behind_them(tmp_path: Path, suffix: str) -> None:
    wanted = incompressible(400)
    path = pack(tmp_path / f"e{suffix}", b"\n".join(wanted) + b"\n")
    whole = path.read_bytes()
    path.write_bytes(whole + b"PK\x03\x04 something else")
    *good, last = read(path)
    assert [line.raw for line in good] == wanted
    assert last.broken is not None
    assert (last.broken[0], last.number, last.raw) == ("bad_compression", 401, b"")
    path.write_bytes(b"this is no archive\n")
    (only,) = read(path)
    assert only.broken is not None
    assert (only.broken[0], only.number) == ("bad_compression", 1)
    rng = random.Random(2)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        # A flipped bit can garble the text unseen, until the checksum at the end.
        lines = read(path)
        reasons = [line.broken[0] for line in lines if line.broken is not None]
        assert set(reasons) <= {"bad_compression", "too_large"}
        assert reasons.count("bad_compression") <= 1
        if "bad_compression" in reasons:
            ended = max(lines, key=lambda line: line.number)
            assert ended.broken is not None
            assert ended.broken[0] == "bad_compression"


def test_gzip_padding_is_no_damage(tmp_path: Path) -> None:
    path = pack(tmp_path / "e.jsonl.gz", event(1) + b"\n")
    path.write_bytes(path.read_bytes() + bytes(512))
    assert raws(path) == [event(1)]


def test_parquet_files_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    wanted = incompressible(5_000)
    table = pa.table({"event": [line.decode() for line in wanted]})
    pq.write_table(table, path, row_group_size=1_000, use_dictionary=False)
    assert raws(path) == wanted
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2], b"not at all parquet\n" * 9):
        path.write_bytes(content)
        (only,) = read(path)
        assert only.broken is not None
        assert (only.broken[0], only.number, only.raw) == ("bad_file", 1, b"")
    # A page of the third row group: those before it are whole.
    meta = pq.ParquetFile(io.BytesIO(whole)).metadata
    start = meta.row_group(2).column(0).data_page_offset
    path.write_bytes(whole[:start] + b"\xff" * 200 + whole[start + 200 :])
    *good, last = read(path)
    assert last.broken is not None
    assert last.broken[0] == "bad_file"
    assert [line.raw for line in good] == wanted[: len(good)]
    assert len(good) >= 1_000
    assert last.number == len(good) + 1


# Parquet


@pytest.mark.parametrize("column", ["event", "raw", "value"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_parquet_with_a_column_of_json(tmp_path: Path, column: str, kind: pa.DataType) -> None:
    texts = [event(2).decode(), None, "nonsense", json.dumps(json.loads(event(1)), indent=2)]
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"offset": [1, 2, 3, 4], column: pa.array(texts, kind)}), path)
    found = read(path)
    # Laid-out JSON has line ends of its own, also where the file is put in order.
    assert [(line.number, line.raw.decode()) for line in found] == [
        (4, texts[3]),
        (1, texts[0]),
        (2, ""),
        (3, "nonsense"),
    ]
    assert all(line.broken is None for line in found)


def test_parquet_with_one_column_a_field(tmp_path: Path) -> None:
    request = Request(
        id="r1",
        ts=START,
        account="a1",
        model="m",
        messages=[Message(role="user", content="Größe?")],
        tools=["search"],
        params=Params(temperature=1.0, max_tokens=64, logit_bias={"50256": -100.0}),
        client=Client(ip="203.0.113.4", asn=64_500),
        signatures=[],
    )
    account = Account(ts=START + 1, account="a1", created=START - 5, payment="card")
    when = [datetime.fromtimestamp(ts / 1000, UTC) for ts in (START, START + 1)]
    schema = pa.schema(
        [
            ("type", pa.dictionary(pa.int32(), pa.string())),
            ("ts", pa.timestamp("us", tz="UTC")),
            ("account", pa.binary()),
            ("id", pa.string()),
            ("model", pa.string()),
            ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
            ("tools", pa.list_(pa.string())),
            (
                "params",
                pa.struct(
                    [
                        ("temperature", pa.float64()),
                        ("seed", pa.int64()),
                        ("max_tokens", pa.decimal128(9, 0)),
                        ("logit_bias", pa.map_(pa.string(), pa.float64())),
                    ]
                ),
            ),
            ("client", pa.struct([("ip", pa.string()), ("asn", pa.float64())])),
            ("signatures", pa.list_(pa.string())),
            ("created", pa.timestamp("ns")),
            ("payment", pa.string()),
            ("value", pa.float64()),
        ]
    )
    columns: dict[str, Sequence[Any]] = {
        "type": ["request", "account"],
        "ts": when,
        "account": [b"a1", b"a1"],
        "id": ["r1", None],
        "model": ["m", None],
        "messages": [[{"role": "user", "content": "Größe?"}], None],
        "tools": [["search"], None],
        "params": [
            {"temperature": 1.0, "seed": None, "max_tokens": 64, "logit_bias": [("50256", -100.0)]},
            None,
        ],
        "client": [{"ip": "203.0.113.4", "asn": 64_500.0}, None],
        "signatures": [[], None],
        "created": [None, datetime.fromtimestamp((START - 5) / 1000, UTC).replace(tzinfo=None)],
        "payment": [None, "card"],
        "value": [0.5, 0.25],
    }
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table(columns, schema), path)
    first, second = read(path)
    assert decode_event(first.raw) == request
    assert decode_event(second.raw) == account
    # An absent field is null in every row: it must not be written as one, nor as zero.
    assert json.loads(second.raw).keys() == {"type", "ts", "account", "created", "payment", "value"}


def test_parquet_values_that_json_does_not_have_stay_visible(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    count = 4
    pq.write_table(
        pa.table(
            {
                "type": ["release"] * count,
                "ts": [START] * count,
                "model": pa.array([b"m", b"\xff\xfe", b"m", b"m"], pa.binary()),
                "score": [1.5, 1.5, float("nan"), float("-inf")],
                "day": [datetime.fromtimestamp(0, UTC).date()] * count,
            }
        ),
        path,
    )
    found = raws(path)
    assert decode_event(found[0]).ts == START
    assert b"\xff\xfe" in found[1]
    for raw, reason in zip(found[1:], ["not_utf8", "not_json", "not_json"], strict=True):
        with pytest.raises(ValueError, match=reason):
            decode_event(raw)


def test_pandas_makes_integers_with_gaps_floats_and_they_are_read_all_the_same(tmp_path: Path) -> None:
    import pandas as pd

    rows = [
        {"type": "account", "ts": START, "account": "a", "created": START - 1},
        {"type": "release", "ts": START + 1, "model": "m"},
    ]
    frame = pd.DataFrame(rows)
    assert frame["created"].dtype == float
    path = tmp_path / "e.parquet"
    frame.to_parquet(path)
    first, second = raws(path)
    assert decode_event(first) == Account(ts=START, account="a", created=START - 1)
    assert decode_event(second).ts == START + 1


# Properties


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    files=st.lists(
        st.tuples(st.sampled_from(PACKED), st.lists(st.integers(0, 30), max_size=12)), min_size=1, max_size=4
    )
)
def test_any_events_over_any_files_come_out_sorted_and_complete(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    paths: list[Path] = []
    wanted: list[tuple[int, int, int, bytes]] = []
    for number, (suffix, times) in enumerate(files):
        lines = [event(ts, f"{number}-{place}") for place, ts in enumerate(times)]
        wanted += [(ts, number, place, lines[place]) for place, ts in enumerate(times)]
        paths.append(pack(folder / f"{number}{suffix}", b"\n".join(lines)))
    found = read(*paths)
    assert [line.raw for line in found] == [raw for *_, raw in sorted(wanted)]
    assert [line.number for line in found] == [place + 1 for _, _, place, _ in sorted(wanted)]


@given(
    content=st.binary(max_size=60).map(lambda b: b.replace(b"a", b"\n")), cuts=st.integers(1, 9), keep=st.integers(0, 5)
)
def test_lines_do_not_depend_on_how_a_file_is_read(content: bytes, cuts: int, keep: int) -> None:
    chunks = [content[i : i + cuts] for i in range(0, len(content), cuts)]
    wanted = [line.removesuffix(b"\n") for line in io.BytesIO(content)]
    assert list(line_readers.split(chunks, keep)) == [(line[:keep], len(line)) for line in wanted]


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"\r")), max_size=8), st.booleans())
def test_order_makes_no_difference_to_what_a_line_is(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], packed: bool
) -> None:
    path = tmp_path_factory.mktemp("same") / ("e.jsonl.gz" if packed else "e.jsonl")
    late = b'{"ts":5}'
    pack(path, b"\n".join([late, *lines, late]))
    in_order = read(path, max_line=8)
    pack(path, b"\n".join([late, *lines, late, b'{"ts":4}', b""]))
    assert read(path, max_line=8)[1:] == in_order


def test_events_survive_a_round_trip(tmp_path: Path) -> None:
    sent = Request(id="r", ts=START, account="a", model="m", system="zwei\nZeilen\u2028und\x85mehr")
    path = pack(tmp_path / "e.jsonl", encode_event(sent) + b"\n")
    (line,) = read(path)
    assert decode_event(line.raw) == sent
