"""Many accounts as one stream of events in order of time, without ever holding all of it.

An account is a sequence of calls, ascending by their first event. A heap holds the next call of every
account that has begun, another the events of the calls under way (a response comes seconds after its
request). So memory grows with the accounts, not with the events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from schemas.events import Event, Request

Heard = Callable[[str, str], object]
"""Called with the id and the campaign of each request that harvests."""


class Call(NamedTuple):
    """Events that belong together: a call and its answer, a conversation, or one piece of enrichment.

    Attributes:
        events: by time is not needed, but no event may be earlier than the first.
        harvest: the requests among them are those that a campaign is for.
    """

    events: list[Event]
    harvest: bool = False

    @property
    def ts(self) -> int:
        """Epoch ms of the first event."""
        return self.events[0].ts


class Actor(NamedTuple):
    """One simulated account, or (without a kind) the provider itself.

    Attributes:
        kind: the honest kind, or ``campaign``; "" for events of the provider, which have no label.
        begin: epoch ms; no call is earlier.
        calls: makes its calls anew each time it is called, ascending by `ts`.
        group: the company, class or wave that a look-alike belongs to; None for whoever stands alone.
    """

    account: str
    kind: str
    begin: int
    calls: Callable[[], Iterator[Call]]
    campaign: str | None = None
    shape: str | None = None
    evasion: str | None = None
    group: str | None = None


def merged(actors: Iterable[Actor], end: int, heard: Heard) -> Iterator[Event]:
    """All events before `end`, ascending by `ts`; the same actors give the same order.

    Raises:
        ValueError: an account's calls are not in order of time.
    """
    waiting: list[tuple[int, int, Call | None, Iterator[Call] | None, Actor]] = [
        (actor.begin, index, None, None, actor) for index, actor in enumerate(actors)
    ]
    heapq.heapify(waiting)
    pending: list[tuple[int, int, Event]] = []
    made = 0
    while waiting:
        at, index, call, calls, actor = waiting[0]
        if call is not None:
            while pending and pending[0][0] < at:
                yield heapq.heappop(pending)[2]
            for event in call.events:
                if event.ts < end:
                    heapq.heappush(pending, (event.ts, made, event))
                    made += 1
                    if call.harvest and actor.campaign is not None and isinstance(event, Request):
                        heard(event.id, actor.campaign)
        calls = actor.calls() if calls is None else calls
        following = next(calls, None)
        if following is None or following.ts >= end:
            heapq.heappop(waiting)
            continue
        if following.ts < at:
            raise ValueError(f"{actor.kind} {actor.account}: a call at {following.ts} after one at {at}")
        heapq.heapreplace(waiting, (following.ts, index, following, calls, actor))
    while pending:
        yield heapq.heappop(pending)[2]
