"""What is usual: random groups of the sample, and what is above them."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.shift_baseline import Baseline
from detectors.shift_store import row_type

DIMS = 32
SAMPLE = 128


def points(count: int, seed: int, centre: int | None = None) -> np.ndarray:
    """Directions without a centre, or around an axis."""
    out = np.random.default_rng(seed).normal(size=(count, DIMS))
    if centre is not None:
        out[:, centre] += 6
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return np.rint(out * 127).astype(np.int8)


def rows(count: int, seed: int, *, ts: int = 0, first: int = 1) -> np.ndarray:
    out = np.zeros(count, row_type(DIMS))
    # Scattered, as hashes are.
    out["account"] = (np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)
    out["ts"], out["text"], out["point"] = ts, out["account"], points(count, seed)
    return out


NOBODY = np.empty(0, np.uint64)


def fitted(seed: int = 1) -> Baseline:
    out = Baseline(SAMPLE, 8, DIMS)
    out.turn(1, 1, rows(400, seed), NOBODY)
    assert out.accounts == 0, "what is new is not usual yet"
    out.turn(2, 2, rows(0, seed), NOBODY)
    assert out.ready
    return out


def test_groups_like_the_sample_stand_out_no_more_often_than_chance_says() -> None:
    several = [fitted(seed) for seed in range(1, 9)]
    p_values = np.array([usual.judge(points(16, 100 + n)).p_value for n in range(50) for usual in several])
    for limit in (0.02, 0.05, 0.2, 0.5):
        assert (p_values <= limit).mean() <= 1.6 * limit
    assert (p_values <= 0.5).mean() >= 0.2, "it is not silent either"


def test_a_crowd_is_far_above_and_each_of_it_adds_much() -> None:
    verdict = fitted().judge(points(12, 7, centre=3))
    assert verdict.p_value == pytest.approx(1 / 201)
    assert verdict.deviations > 8
    assert (verdict.tails <= 0.02).all()


def test_in_a_mixture_the_crowd_adds_more_than_the_others() -> None:
    mixed = np.concatenate([points(10, 7, centre=3), points(30, 8)])
    tails = fitted().judge(mixed).tails
    assert np.median(tails[:10]) < 0.05 < np.median(tails[10:])


def test_a_sample_holds_each_text_and_account_once_and_no_more_than_asked_for() -> None:
    twice = rows(300, 1)
    twice["text"][100:200] = 5
    usual = Baseline(SAMPLE, 8, DIMS)
    for pane in (1, 2):
        usual.turn(pane, pane, np.concatenate([twice, twice]), NOBODY)
    held = usual._rows
    assert len(held) <= 2 * SAMPLE
    assert len(set(held["account"].tolist())) == len(held) == len(set(held["text"].tolist()))


def test_whoever_was_found_meanwhile_does_not_become_usual() -> None:
    usual = Baseline(SAMPLE, 8, DIMS)
    some = rows(200, 1)
    usual.turn(1, 1, some, NOBODY)
    usual.turn(2, 2, rows(0, 1), some["account"][:50])
    assert not np.isin(some["account"][:50], usual._rows["account"]).any()
    assert np.isin(some["account"][50:], usual._rows["account"]).all()


def test_what_is_a_week_old_is_forgotten() -> None:
    usual = fitted()
    week = 7 * 86_400_000
    usual.turn(3, week + 2, rows(0, 1), NOBODY)
    assert not usual.ready
    assert usual.accounts == 0


def test_a_restored_one_judges_just_the_same() -> None:
    usual, other = fitted(), Baseline(SAMPLE, 8, DIMS)
    other.restore(usual.snapshot())
    window = points(20, 9, centre=1)
    first, second = usual.judge(window), other.judge(window)
    assert first[:3] == second[:3]
    assert (first.tails == second.tails).all()
    assert other.snapshot() == usual.snapshot()


@pytest.mark.parametrize("size", [8, 9, 16, 31, 64])
def test_windows_of_every_size_are_judged(size: int) -> None:
    verdict = fitted().judge(points(size, 4))
    assert len(verdict.tails) == size
    assert np.isfinite([verdict.excess, verdict.deviations, *verdict.tails]).all()
