"""MMD, against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.benchmarks.peers.contract import reference_vectors
from tests.benchmarks.peers.mmd import AccountMMD, StreamMMD, median_gamma, mmd2
from tests.unit.benchmarks.peer_rig import ask, setting, spell


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def unit_rows(rng: np.random.Generator, centre: tuple[float, float], count: int) -> list[list[float]]:
    rows = rng.normal(centre, 0.3, size=(count, 2))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).round(4).tolist()


def test_unbiased_mmd_by_hand() -> None:
    # With gamma = ln 2 the kernel is 2 to the minus squared distance.
    # Within {0, 1}: 1/2. Within {0, 2}: 1/16. Between: (1 + 1/16 + 1/2 + 1/2) / 4 = 33/64.
    assert mmd2(column(0, 1), column(0, 2), math.log(2)) == pytest.approx(1 / 2 + 1 / 16 - 33 / 32)


def test_the_kernel_is_as_wide_as_the_median_distance() -> None:
    # Distances 1, 2 and 3: the median is 2, so gamma is 1 / (2 * 4).
    assert median_gamma(column(0, 1, 3)) == pytest.approx(1 / 8)


def test_too_little_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="two rows"):
        mmd2(column(1), column(0, 2), 1.0)
    with pytest.raises(ValueError, match="two vectors"):
        median_gamma(column(1))
    with pytest.raises(ValueError, match="the same"):
        median_gamma(column(1, 1, 1))


def test_an_accounts_window_equals_the_definition_also_after_it_slid() -> None:
    rng = np.random.default_rng(3)
    benign = unit_rows(rng, (1, 0), 60)
    own = unit_rows(rng, (0, 1), 37)
    peer = AccountMMD(setting(benign), window=12, least=5)
    scores = list(peer.score([ask("a", place, spell(row)) for place, row in enumerate(own)]))
    assert len(scores) == len(own) - 4
    reference = reference_vectors(setting(benign))
    gamma = median_gamma(reference)
    for place, score in enumerate(scores, start=5):
        window = np.array(own[max(0, place - 12) : place], np.float32)
        scale = len(window) * 60 / (len(window) + 60)
        assert score.value == pytest.approx(scale * mmd2(window, reference, gamma), abs=2e-4)


def test_an_account_unlike_the_reference_scores_above_one_like_it() -> None:
    rng = np.random.default_rng(4)
    peer = AccountMMD(setting(unit_rows(rng, (1, 0), 100)))
    texts = {"usual": unit_rows(rng, (1, 0), 40), "other": unit_rows(rng, (0, 1), 40)}
    events = [ask(name, place, spell(texts[name][place])) for place in range(40) for name in texts]
    best = {score.account: score.value for score in peer.score(events)}
    assert best["usual"] < 1 < 10 < best["other"]


def test_what_the_queries_of_a_window_contribute_adds_up_to_its_mmd() -> None:
    rng = np.random.default_rng(5)
    benign, window = unit_rows(rng, (1, 0), 80), unit_rows(rng, (0.5, 1), 50)
    peer = StreamMMD(setting(benign))
    reference = np.array(benign, np.float32)
    expected = mmd2(np.array(window, np.float32), reference, median_gamma(reference))
    assert peer.witness([spell(row) for row in window]).mean() == pytest.approx(expected, abs=1e-5)


def test_stream_windows_score_every_account_in_them_at_their_end() -> None:
    rng = np.random.default_rng(6)
    benign = unit_rows(rng, (1, 0), 100)
    peer = StreamMMD(setting(benign), window=20, least=10)
    crowd = unit_rows(rng, (1, 0), 45)
    events = [ask(f"crowd-{place}", place, spell(row)) for place, row in enumerate(crowd)]
    events[7] = ask("thief", 7, spell(unit_rows(rng, (0, 1), 1)[0]))
    scores = list(peer.score(events))
    # Two windows of 20; the five queries that are left are too few for a third.
    assert sorted({score.ts - events[0].ts for score in scores}) == [19_000, 39_000]
    assert len(scores) == 40
    assert max(scores, key=lambda score: score.value).account == "thief"


@pytest.mark.parametrize(("window", "least"), [(5, 6), (5, 1)])
def test_impossible_windows_are_refused(window: int, least: int) -> None:
    benign = unit_rows(np.random.default_rng(1), (1, 0), 10)
    for peer in (AccountMMD, StreamMMD):
        with pytest.raises(ValueError, match="least"):
            peer(setting(benign), window=window, least=least)
