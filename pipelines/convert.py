"""Gateway records to events: the adapters of `schemas.adapters` over files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from pipelines.dead_letters import FileDeadLetters
from pipelines.errors import UsageError
from pipelines.line_readers import reader
from pipelines.progress import Progress
from pipelines.sources import open_sources
from schemas.adapters import ADAPTERS
from schemas.deadletters import DeadLetter
from schemas.errors import InvalidEvent
from schemas.events import encode_event

# Of a record too large for an event, this much more is kept in its dead letter.
_KEPT: Final = 4


class Conversion(Struct, frozen=True, kw_only=True):
    """What a conversion did."""

    records: int
    events: int
    bad: int


def convert(
    paths: Sequence[Path], *, adapter: str, out: Path, dead_letters: Path | None, max_bytes: int, progress: bool = False
) -> Conversion:
    """Write the events of gateway records, one record a line, in the order of the records.

    Args:
        paths: files or directories, as `replay` reads them.
        adapter: a name in :data:`schemas.adapters.ADAPTERS`.
        out: JSON lines of events; `replay` puts them in order of time.
        dead_letters: records that the adapter refused, with reason and original bytes.
        max_bytes: a larger record is refused.

    Raises:
        UsageError: an unknown adapter, input that cannot be read, or output that cannot be written.
    """
    if adapter not in ADAPTERS:
        raise UsageError(f"no adapter {adapter!r}; there are {', '.join(ADAPTERS)}")
    read = ADAPTERS[adapter]
    records = events = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileDeadLetters(dead_letters) as letters,
            out.open("wb") as file,
            Progress(enabled=progress) as bars,
            bars.bar("converting", None) as advance,
        ):
            for source in open_sources(paths, max_bytes * _KEPT):
                for line in reader(source.path, max_bytes * _KEPT)():
                    records += 1
                    advance(1)
                    try:
                        if line.broken is not None:
                            raise InvalidEvent(*line.broken)
                        if len(line.raw) > max_bytes:
                            raise InvalidEvent("too_large", f"{len(line.raw)} bytes, the limit is {max_bytes}")
                        found = read(line.raw)
                    except InvalidEvent as error:
                        letters.put(
                            DeadLetter(
                                reason=error.reason,
                                detail=error.detail,
                                source=line.source,
                                partition=None,
                                offset=line.number,
                                ts=0,
                                raw=line.raw,
                            )
                        )
                        continue
                    file.writelines(encode_event(event) + b"\n" for event in found)
                    events += len(found)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from None
    return Conversion(records=records, events=events, bad=letters.count)
