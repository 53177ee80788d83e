"""Text and bytes of unknown origin, made fit for a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

SHOWN_BYTES: Final = 512
"""How much of a message is shown unless more is asked for."""


def safe_bytes(raw: bytes, limit: int = SHOWN_BYTES) -> str:
    r"""Bytes as a hexdump that no terminal can take for commands: offset, hex, printable ASCII.

    >>> print(safe_bytes(b"ab\x1b[31m"))
    00000000  61 62 1b 5b 33 31 6d                             |ab.[31m|
    """
    rows = []
    for start in range(0, min(len(raw), limit), 16):
        row = raw[start : min(start + 16, limit)]
        printable = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        rows.append(f"{start:08x}  {row.hex(' '):<47}  |{printable}|")
    if len(raw) > limit:
        rows.append(f"… {len(raw) - limit} more bytes")
    return "\n".join(rows)


def safe_line(text: str, limit: int = 200) -> str:
    """Text of unknown origin on one line, without control characters.

    >>> safe_line("a\\x1b[2Jb")
    'a?[2Jb'
    """
    shown = "".join(char if char.isprintable() else "?" for char in text[:limit])
    return shown + ("…" if len(text) > limit else "")


def when(ts: int) -> str:
    """Epoch milliseconds as UTC; 0 is a replay, which has no clock of its own.

    >>> when(0), when(1784887200123)
    ('in a replay', '2026-07-24T10:00:00.123Z')
    """
    if ts == 0:
        return "in a replay"
    try:
        return datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{ts} ms"
