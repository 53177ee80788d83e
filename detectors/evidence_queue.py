"""Evidence that waits until every source has passed its tick."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.campaign_state import Changes
from schemas.evidence import Evidence, Watermark


class Source(msgspec.Struct):
    """How far a source has spoken."""

    ts: int = 0
    idle: bool = False


class EvidenceQueue:
    """Hands evidence out tick by tick, and within a tick source by source, whatever order it came in.

    Args:
        capacity: messages that may wait. Beyond it the oldest tick is handed out without the sources that
            have not passed it: their evidence then counts in a later tick, as late.
        changes: told of every entry that changes.

    Attributes:
        decided: the last tick handed out; later evidence of it or before waits under this tick.
        forced: ticks handed out because too much was waiting.
    """

    def __init__(self, capacity: int, changes: Changes) -> None:
        self._capacity = capacity
        self._changes = changes
        self._sources: dict[int, Source] = {}
        self._waiting: dict[tuple[int, int], list[Evidence]] = {}
        self._held = 0
        self.decided = 0
        self.forced = 0

    def put(self, evidence: Evidence) -> None:
        """Take one message in."""
        if evidence.source not in self._sources:
            self._changes.mark(f"source:{evidence.source}")
        source = self._sources.setdefault(evidence.source, Source())
        if isinstance(evidence, Watermark):
            source.idle = evidence.idle
            source.ts = max(source.ts, evidence.ts)
            self._changes.mark(f"source:{evidence.source}")
        tick = max(evidence.ts if isinstance(evidence, Watermark) else evidence.tick, self.decided)
        self._waiting.setdefault((tick, evidence.source), []).append(evidence)
        self._held += 1
        self._changes.mark(f"waiting:{tick}:{evidence.source}")

    def ready(self) -> Iterator[tuple[int, list[Evidence]]]:
        """The ticks that all sources have passed, oldest first; idle sources hold nobody up."""
        active = [source.ts for source in self._sources.values() if not source.idle]
        everybody = [source.ts for source in self._sources.values()]
        yield from self._until(min(active) if active else max(everybody, default=0))
        while self._held > self._capacity:
            self.forced += 1
            yield from self._until(min(self._waiting)[0])

    def rest(self) -> Iterator[tuple[int, list[Evidence]]]:
        """All ticks (end of input)."""
        yield from self._until(2**62)

    def _until(self, watermark: int) -> Iterator[tuple[int, list[Evidence]]]:
        due = sorted(key for key in self._waiting if key[0] <= watermark)
        for tick in sorted({tick for tick, _ in due}):
            messages: list[Evidence] = []
            for key in due:
                if key[0] == tick:
                    messages += self._waiting.pop(key)
                    self._changes.drop(f"waiting:{tick}:{key[1]}")
            self._held -= len(messages)
            self.decided = tick
            yield tick, messages

    def keys(self) -> set[str]:
        """Names of all entries."""
        waiting = {f"waiting:{tick}:{source}" for tick, source in self._waiting}
        return waiting | {f"source:{source}" for source in self._sources}

    def entry(self, kind: str, rest: str) -> bytes:
        """One entry: a source, or what waits of one source and tick."""
        if kind == "source":
            return msgspec.json.encode(self._sources[int(rest)])
        tick, source = map(int, rest.split(":"))
        return msgspec.json.encode(self._waiting[tick, source])

    def restore(self, kind: str, rest: str, data: bytes) -> None:
        """Take an entry back."""
        if kind == "source":
            self._sources[int(rest)] = msgspec.json.decode(data, type=Source)
            return
        tick, source = map(int, rest.split(":"))
        self._waiting[tick, source] = msgspec.json.decode(data, type=list[Evidence])
        self._held += len(self._waiting[tick, source])
