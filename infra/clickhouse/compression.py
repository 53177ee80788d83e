"""Content encodings of the endpoint: lz4, zstd, gzip and deflate in, lz4 and gzip out."""

from __future__ import annotations

import gzip
import zlib
from typing import Any, Final

_LEVEL: Final = 1
_SMALLEST: Final = 4096


class UnknownEncodingError(ValueError):
    """A Content-Encoding that is not one of the four, or bytes that are not in it."""


class BodyTooLargeError(ValueError):
    """More bytes than the limit."""


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding; a bomb ends at `limit` bytes.

    >>> decompress(gzip.compress(b"SELECT 1"), "gzip", 100)
    b'SELECT 1'
    >>> decompress(gzip.compress(bytes(1000)), "gzip", 100)
    Traceback (most recent call last):
    ...
    infra.clickhouse.compression.BodyTooLargeError: the request has more than 100 bytes once decompressed
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return data
    plain = bytearray()
    try:
        # Callers compress block by block: a body is any number of frames in a row.
        while data:
            decoder = _decoder(encoding)
            plain += decoder.decompress(data, limit + 1 - len(plain))
            if len(plain) > limit:
                raise BodyTooLargeError(f"the request has more than {limit} bytes once decompressed")
            if not decoder.eof:
                raise UnknownEncodingError(f"the {encoding} body ends early")
            data = decoder.unused_data
    except (BodyTooLargeError, UnknownEncodingError):
        raise
    except Exception as error:
        # lz4, zstd and zlib each have an error type of their own, lz4's is a RuntimeError.
        raise UnknownEncodingError(f"the body is not valid {encoding}: {error}") from None
    return bytes(plain)


def _decoder(encoding: str) -> Any:
    if encoding == "gzip":
        return zlib.decompressobj(wbits=31)
    if encoding == "deflate":
        return zlib.decompressobj()
    if encoding == "lz4":
        import lz4.frame  # type: ignore[import-untyped]

        return lz4.frame.LZ4FrameDecompressor()
    if encoding == "zstd":
        from backports import zstd

        return zstd.ZstdDecompressor()
    raise UnknownEncodingError(f"Content-Encoding {encoding!r} is not supported; use lz4, zstd, gzip, deflate or none")


def compress(data: bytes, accept: str) -> tuple[bytes, str | None]:
    """Encode an answer in what the caller accepts; small ones and other encodings stay plain.

    >>> compress(b"short", "gzip")
    (b'short', None)
    """
    accepted = {name.split(";")[0].strip().lower() for name in accept.split(",")}
    if len(data) < _SMALLEST:
        return data, None
    if "lz4" in accepted:
        import lz4.frame

        return lz4.frame.compress(data), "lz4"
    if "gzip" in accepted:
        return gzip.compress(data, compresslevel=_LEVEL), "gzip"
    return data, None
