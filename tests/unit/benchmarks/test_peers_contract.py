"""What holds for every peer in the registry."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from random import Random

import pytest

from schemas.events import Event, Request, encode_event
from tests.benchmarks.peers import PEERS, Score, Setting
from tests.benchmarks.peers.embeddings import HashedNgrams
from tests.benchmarks.peers.queries import benign_reference
from tests.scenarios import everyday, words
from tests.unit.benchmarks.peer_rig import ask, in_order


@pytest.fixture(scope="module", name="events")
def _events() -> list[Event]:
    """A crowd, and one who asks so much that PRADA looks."""
    rng = Random(6)
    eager = [ask("eager", 20 * place, words(rng, 5, 30)) for place in range(1_900)]
    return in_order([*everyday(5, 60, days=1), *eager])


@pytest.fixture(scope="module", name="setting")
def _setting(events: list[Event]) -> Setting:
    accounts = {event.account for event in events if isinstance(event, Request)}
    return Setting(embed=HashedNgrams(64), reference=benign_reference(events, accounts), texts_per_day=1_900)


@pytest.fixture(params=sorted(PEERS), name="name")
def _name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", name="scores_of")
def _scores_of(events: list[Event], setting: Setting) -> Callable[[str], list[Score]]:
    """Each peer's scores of all events, worked out once."""
    return cache(lambda name: list(PEERS[name](setting).score(events)))


def test_a_peer_carries_its_name_and_scores_in_order_of_time(
    name: str, events: list[Event], setting: Setting, scores_of: Callable[[str], list[Score]]
) -> None:
    assert PEERS[name](setting).name == name
    scores = scores_of(name)
    assert len(scores) > 10
    assert all(earlier.ts <= later.ts for earlier, later in pairwise(scores))
    assert all(math.isfinite(score.value) for score in scores)
    assert {score.account for score in scores} <= {event.account for event in events if isinstance(event, Request)}


def test_the_same_events_give_the_same_scores_and_are_left_as_they_were(
    name: str, events: list[Event], setting: Setting, scores_of: Callable[[str], list[Score]]
) -> None:
    expected = scores_of(name)
    before = [encode_event(event) for event in events]
    assert list(PEERS[name](setting).score(iter(events))) == expected
    assert [encode_event(event) for event in events] == before


def test_no_score_depends_on_what_comes_later(
    name: str, events: list[Event], setting: Setting, scores_of: Callable[[str], list[Score]]
) -> None:
    part = events[: 6 * len(events) // 7]
    known = [score for score in scores_of(name) if score.ts < part[-1].ts]
    again = list(PEERS[name](setting).score(part))[: len(known)]
    assert known
    assert [(score.account, score.ts) for score in again] == [(score.account, score.ts) for score in known]
    # Other cuts into blocks change the last digits of 32-bit sums.
    assert [score.value for score in again] == pytest.approx([score.value for score in known], abs=1e-3)


def test_no_events_give_no_scores(name: str, setting: Setting) -> None:
    assert list(PEERS[name](setting).score([])) == []
