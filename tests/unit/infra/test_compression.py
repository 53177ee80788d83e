"""Content encodings: every frame is read, and none of them reads for ever."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
from backports import zstd

from infra.clickhouse.compression import BodyTooLargeError, UnknownEncodingError, compress, decompress

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("encoding", ENCODERS)
def test_frames_in_a_row_are_one_body(encoding: str) -> None:
    encode = ENCODERS[encoding]
    assert (
        decompress(encode(b"a" * 60) + encode(b"") + encode(b"b" * 40), encoding.upper(), 100) == b"a" * 60 + b"b" * 40
    )


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_body_that_is_cut_damaged_or_too_large(encoding: str) -> None:
    whole = ENCODERS[encoding](bytes(range(256)))
    with pytest.raises(UnknownEncodingError, match=r"ends early|not valid"):
        decompress(whole[:-5], encoding, 1000)
    with pytest.raises(UnknownEncodingError, match=r"ends early|not valid"):
        decompress(whole + b"junk behind it", encoding, 1000)
    with pytest.raises(BodyTooLargeError, match="more than 255 bytes"):
        decompress(whole, encoding, 255)
    with pytest.raises(BodyTooLargeError):
        decompress(ENCODERS[encoding](bytes(50_000_000)), encoding, 1000)
    assert decompress(whole, encoding, 256) == bytes(range(256))


def test_unknown_and_none() -> None:
    assert decompress(b"as it is", "identity", 1) == b"as it is"
    with pytest.raises(UnknownEncodingError, match="'br' is not supported"):
        decompress(b"x", "br", 10)


@pytest.mark.parametrize(
    ("accept", "chosen"), [("lz4,gzip", "lz4"), ("gzip;q=1.0, br", "gzip"), ("br", None), ("", None)]
)
def test_answers_in_what_the_caller_reads(accept: str, chosen: str | None) -> None:
    data = b"row\n" * 10_000
    body, encoding = compress(data, accept)
    assert encoding == chosen
    assert decompress(body, encoding or "", len(data)) == data
