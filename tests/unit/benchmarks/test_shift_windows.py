"""Splits, windows, thresholds and intervals of the shift bench."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.shift import corpora
from tests.benchmarks.shift.pair import comparable, deal
from tests.benchmarks.shift.windows import (
    blocks_of,
    draw,
    draw_beside,
    draw_mixed,
    interval,
    some_blocks,
    take_blocks,
    threshold,
)
from tests.unit.benchmarks.shift_texts import SMALL, write_data


@pytest.mark.parametrize("as_found", [False, True])
def test_calibration_test_and_attack_share_no_text(tmp_path: Path, as_found: bool) -> None:
    benign, attack = corpora.load(write_data(tmp_path))
    for prompts in attack:
        texts = comparable(benign, prompts, SMALL, 7, as_found=as_found)
        for number in range(5):
            dealt = deal(texts, SMALL, np.random.default_rng(number))
            sides = [{corpora.normal_form(texts.benign[row]) for row in rows} for rows in dealt[:2]]
            sides.append({corpora.normal_form(texts.attack[row]) for row in dealt.attack})
            assert len(set.union(*sides)) == sum(map(len, sides)) == sum(map(len, dealt))
            assert len(dealt.calibration) + len(dealt.test) == texts.alive.sum()


def test_the_benign_side_is_dealt_alike_for_every_attack_set(tmp_path: Path) -> None:
    benign, attack = corpora.load(write_data(tmp_path))
    first, second = (comparable(benign, prompts, SMALL, 7, as_found=True) for prompts in attack[:2])
    one, other = (deal(texts, SMALL, np.random.default_rng(1)) for texts in (first, second))
    np.testing.assert_array_equal(one.test, other.test)


def test_blocks_stay_whole_and_every_set_gives_its_share() -> None:
    sets, blocks = blocks_of([100, 41, 7], block=10)
    taken = take_blocks(sets, blocks, 0.4, np.random.default_rng(2))
    for name in np.unique(blocks):
        assert len(np.unique(taken[blocks == name])) == 1
        assert len(np.unique(sets[blocks == name])) == 1
    assert taken[sets == 0].sum() == 40
    assert 11 <= taken[sets == 1].sum() <= 21
    assert not taken[sets == 2].any()  # one block: nearer to 0 than to 7 of 7


def test_some_blocks_are_blocks() -> None:
    rows = some_blocks(95, 40, 10, np.random.default_rng(0))
    assert len(rows) == len(set(rows.tolist())) == 40
    assert sorted(np.bincount(rows // 10, minlength=10).tolist())[-3:] == [10, 10, 10]


def test_windows_hold_each_prompt_once_and_as_many_as_asked() -> None:
    rng = np.random.default_rng(0)
    assert draw(20, 7, 50, rng).sum(axis=1).tolist() == [7] * 50
    assert draw(20, 20, 2, rng).all()
    assert not draw(20, 0, 2, rng).any()
    mixed = draw_mixed(30, 12, 10, 25, 40, rng)
    assert set(mixed[:, 30:].sum(axis=1).tolist()) == {2}  # 2.5 rounds to even
    assert set(mixed.sum(axis=1).tolist()) == {10}
    references = draw(30, 8, 4, rng)
    which = np.arange(20) % 4
    beside = draw_beside(references, which, 22, rng)
    assert not (beside & references[which]).any()
    assert beside.sum(axis=1).tolist() == [22] * 20


def test_a_pool_that_is_too_small_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="21 cannot be drawn from 20"):
        draw(20, 21, 1, rng)
    with pytest.raises(ValueError, match="13 cannot be drawn from 12"):
        draw_beside(draw(20, 8, 2, rng), np.array([0]), 13, rng)


def test_the_threshold_holds_its_rate_and_needs_enough_windows() -> None:
    with pytest.raises(ValueError, match="needs 333 calibration windows"):
        threshold(np.arange(300.0), 0.003)
    rng = np.random.default_rng(5)
    above = [np.mean(rng.normal(size=500) > threshold(rng.normal(size=999), 0.01)) for _ in range(200)]
    assert np.mean(above) == pytest.approx(0.01, abs=0.0015)


def test_the_interval_counts_independent_blocks_only() -> None:
    rng = np.random.default_rng(0)
    blocks = np.random.default_rng(1).uniform(size=200)
    low, high = interval(blocks, 200, rng)
    wide_low, wide_high = interval(blocks, 2, rng)
    assert low < blocks.mean() < high
    # Two of two hundred: ten times as wide where the bounds of a share do not cut it.
    assert 6 < (wide_high - wide_low) / (high - low) < 12
    assert interval(np.full(10, 0.5), 2, rng) == (0.5, 0.5)
