"""Half-space trees, against the scores in river's documentation, and the features by hand."""

from __future__ import annotations

import math
from random import Random

import pytest

from schemas.events import Client, Message, Request, Response, Usage
from tests.benchmarks.peers.half_space_trees import HalfSpaceTrees, Hour, pipeline
from tests.benchmarks.peers.rates import HOUR_MS
from tests.scenarios import START
from tests.unit.benchmarks.peer_rig import ask, in_order


def test_the_scores_that_rivers_documentation_prints() -> None:
    trees = pipeline(trees=5, height=3, window=3)["HalfSpaceTrees"]
    values = [0.5, 0.45, 0.43, 0.44, 0.445, 0.45, 0.0]
    for value in values[:3]:
        trees.learn_one({"x": value})
    scores = []
    for value in values:
        scores.append(round(trees.score_one({"x": value}), 3))
        trees.learn_one({"x": value})
    assert scores == [0.107, 0.071, 0.107, 0.107, 0.107, 0.071, 0.853]


def call(second: int, text: str, ip: str) -> Request:
    return Request(
        id=f"r{second}",
        ts=START + second * 1_000,
        account="a",
        model="m",
        messages=[Message(role="user", content=text)],
        client=Client(ip=ip, user_agent="sdk"),
    )


def test_an_hour_as_numbers_by_hand() -> None:
    hour = Hour()
    for event in (call(0, "abcd", "1"), call(10, "abcd", "2"), call(40, "abcdefgh", "1")):
        hour.request(event)
    answer = Response(request_id="r0", ts=START, account="a", model="m", usage=Usage(output=30, reasoning=8))
    hour.response(answer)
    hour.response(Response(request_id="r10", ts=START, account="a", model="m", refused=True))
    # Gaps of 10 and 30 s: mean 20, deviation 10. Lengths 4, 4, 8: mean 16/3, variance 32/9.
    assert hour.features(created=START - 2 * HOUR_MS) == pytest.approx(
        {
            "requests": math.log(4),
            "mean_gap": math.log(21),
            "gap_variation": 0.5,
            "mean_chars": math.log1p(16 / 3),
            "chars_spread": math.log1p(math.sqrt(32) / 3),
            "distinct_texts": 2 / 3,
            "addresses": math.log(3),
            "user_agents": math.log(2),
            "output_tokens": math.log(16),
            "reasoning_tokens": math.log(5),
            "refused": 0.5,
            "age_hours": math.log(3),
        }
    )
    assert hour.features(created=None)["age_hours"] == -1


def test_accounts_are_scored_at_the_end_of_each_hour_and_the_odd_one_stands_out() -> None:
    rng = Random(7)
    events: list = []
    for hour in range(60):
        for number in range(20):
            times = sorted(rng.sample(range(3_500), rng.randint(1, 8)))
            events += [ask(f"steady-{number}", hour * 3_600 + at, "x" * rng.randint(20, 80)) for at in times]
    events += [ask("flood", 59 * 3_600 + k, f"{k}" * 400) for k in range(600)]
    scores = list(HalfSpaceTrees(1_000).score(in_order(events)))
    assert len(scores) == 60 * 20 + 1
    assert all((score.ts - START) % HOUR_MS == 0 for score in scores)
    last = [score for score in scores if score.ts == START + 60 * HOUR_MS]
    flood = next(score.value for score in last if score.account == "flood")
    # Ten trees are a blunt instrument: among the three most anomalous of 21.
    assert sum(score.value > flood for score in last) <= 2


def test_an_hour_tells_only_so_many_accounts_apart() -> None:
    events = [ask(f"a{number}", number) for number in range(10)]
    assert {score.account for score in HalfSpaceTrees(4).score(events)} == {"a0", "a1", "a2", "a3"}
