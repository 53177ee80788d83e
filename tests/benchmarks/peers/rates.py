"""Call-count rules: how many requests an account sent in the time just past.

* `AWS Bedrock High-Frequency Single-Model Inference API Probing` (elastic/detection-rules, 2026): at least
  500 calls of one principal to one model in 60 minutes. Its own text says that paced or distributed probing
  evades it.
* `API Rate Abuse` (khan5v/dr_platform, 2026): more than 60 requests of one user in 60 seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from schemas.events import Event, Request
from tests.benchmarks.peers.contract import MAX_ACCOUNTS, Recent, Score

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
_MOST_CALLS: Final = 20_000


class CallRate:
    """The requests of an account within the last `window_ms`, the present one included.

    Args:
        published: alert *above* so many.
        per_model: calls to different models are counted apart.
        most: calls that are counted at most, which bounds the memory of an account.
    """

    def __init__(
        self,
        name: str,
        window_ms: int,
        published: float,
        *,
        per_model: bool = False,
        most: int = _MOST_CALLS,
        max_accounts: int = MAX_ACCOUNTS,
    ) -> None:
        self.name = name
        self.published: float | None = published
        self._window_ms = window_ms
        self._per_model = per_model
        self._most = most
        self._max_accounts = max_accounts

    def score(self, events: Iterable[Event]) -> Iterator[Score]:
        calls: Recent[tuple[str, str], deque[int]] = Recent(lambda: deque(maxlen=self._most), self._max_accounts)
        for event in events:
            if not isinstance(event, Request):
                continue
            recent = calls[event.account, event.model if self._per_model else ""]
            since = event.ts - self._window_ms
            while recent and recent[0] <= since:
                recent.popleft()
            recent.append(event.ts)
            yield Score(event.account, event.ts, float(len(recent)))


def calls_per_hour(max_accounts: int = MAX_ACCOUNTS) -> CallRate:
    """At least 500 calls to one model in 60 minutes."""
    return CallRate("calls_per_hour_500", HOUR_MS, 499, per_model=True, max_accounts=max_accounts)


def requests_per_minute(max_accounts: int = MAX_ACCOUNTS) -> CallRate:
    """More than 60 requests in 60 seconds."""
    return CallRate("requests_per_minute_60", MINUTE_MS, 60, max_accounts=max_accounts)
