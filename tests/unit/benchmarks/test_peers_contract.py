"""What holds for every peer in the registry."""

from __future__ import annotations

import math
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


@cache
def crowd(eager: int) -> tuple[Event, ...]:
    """Sixty customers of a day, and one who asks so much that PRADA looks."""
    rng = Random(6)
    asked = [ask("eager", 40_000 / eager * place, words(rng, 5, 30)) for place in range(eager)]
    return tuple(in_order([*everyday(5, 60, days=1), *asked]))


@cache
def setting() -> Setting:
    accounts = {event.account for event in crowd(300) if isinstance(event, Request)}
    return Setting(HashedNgrams(64), benign_reference(crowd(300), accounts), texts_per_day=2_000)


@cache
def scores_of(name: str) -> list[Score]:
    """A peer's scores of all events, worked out once."""
    return list(PEERS[name](setting()).score(events_for(name)))


def events_for(name: str) -> tuple[Event, ...]:
    """Only windows over the whole stream need a long one."""
    return crowd(1_600 if name == "mmd_stream" else 300)


@pytest.fixture(params=sorted(PEERS), name="name")
def _name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_peer_carries_its_name_and_scores_in_order_of_time(name: str) -> None:
    assert PEERS[name](setting()).name == name
    scores = scores_of(name)
    assert len(scores) > 10
    assert all(earlier.ts <= later.ts for earlier, later in pairwise(scores))
    assert all(math.isfinite(score.value) for score in scores)
    assert {score.account for score in scores} <= {
        event.account for event in events_for(name) if isinstance(event, Request)
    }


def test_the_same_events_give_the_same_scores_and_are_left_as_they_were(name: str) -> None:
    expected = scores_of(name)
    before = [encode_event(event) for event in events_for(name)]
    assert list(PEERS[name](setting()).score(iter(events_for(name)))) == expected
    assert [encode_event(event) for event in events_for(name)] == before


def test_no_score_depends_on_what_comes_later(name: str) -> None:
    events = events_for(name)
    part = events[: 6 * len(events) // 7]
    known = [score for score in scores_of(name) if score.ts < part[-1].ts]
    again = list(PEERS[name](setting()).score(part))[: len(known)]
    assert known
    assert [(score.account, score.ts) for score in again] == [(score.account, score.ts) for score in known]
    # Other cuts into blocks change the last digits of 32-bit sums.
    assert [score.value for score in again] == pytest.approx([score.value for score in known], abs=1e-3)


def test_no_events_give_no_scores(name: str) -> None:
    assert list(PEERS[name](setting()).score([])) == []
