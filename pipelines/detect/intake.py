"""From records to events: decoding, the checks that need to know the topic or the time, dead letters."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.detect.ports import Clock, Envelope
from pipelines.kafka_io import ROLE_TYPES
from schemas.deadletters import DeadLetter
from schemas.errors import InvalidEvent
from schemas.events import Event, decode_event


class Intake:
    """Decodes records and says why one is rejected.

    Args:
        roles: role by topic name (see :data:`pipelines.kafka_io.ROLE_TYPES`).
        max_bytes: size of one event.
        max_future_s: seconds that `ts` may lie ahead of `wall`.
        wall: the wall clock, seconds since the epoch.
    """

    def __init__(self, roles: Mapping[str, str], *, max_bytes: int, max_future_s: int, wall: Clock) -> None:
        self._types = {topic: ROLE_TYPES[role] for topic, role in roles.items()}
        self._roles = dict(roles)
        self._max_bytes = max_bytes
        self._max_future_ms = max_future_s * 1000
        self._wall = wall

    def now_ms(self) -> int:
        """The wall clock, epoch ms."""
        return int(self._wall() * 1000)

    def admit(self, envelope: Envelope, now_ms: int) -> Event | DeadLetter | None:
        """The event of a record, or the letter that its rejection makes.

        None is a tombstone of the accounts topic: compaction removed an account, which says nothing here.
        """
        if envelope.value is None and self._roles[envelope.topic] == "accounts":
            return None
        try:
            event = decode_event(envelope.value or b"", max_bytes=self._max_bytes)
            if not isinstance(event, self._types[envelope.topic]):
                raise InvalidEvent("wrong_topic", f"{type(event).__name__.lower()} on the {self._role(envelope)} topic")
            if event.ts > now_ms + self._max_future_ms:
                raise InvalidEvent("in_future", f"{event.ts - now_ms} ms ahead of this worker's clock")
        except InvalidEvent as error:
            return DeadLetter(
                reason=error.reason,
                detail=error.detail,
                source=envelope.topic,
                partition=envelope.partition,
                offset=envelope.offset,
                ts=now_ms,
                raw=envelope.value or b"",
                key=envelope.key,
            )
        return event

    def _role(self, envelope: Envelope) -> str:
        return self._roles[envelope.topic]
