"""A text as a point: its words' vectors, whatever stands beside it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from detectors.shift_points import SCALE, Fitted, WordPoints, pack
from pipelines.config import load_config

SUBJECTS = "sort list names table date birth letter train harbour town sunday child sky red evening music garden bread"
WORDS = SUBJECTS.split()


def test_do_not_depend_on_the_other_texts() -> None:
    points = WordPoints(load_config().words)
    rng = random.Random(1)
    texts = [" ".join(rng.sample(WORDS, 9)) for _ in range(600)]
    together = points(texts)[0]
    assert all((points([text])[0][0] == together[i]).all() for i, text in enumerate(texts))


def test_are_alike_for_texts_of_one_subject() -> None:
    points, has = WordPoints(load_config().words)(
        ["how do i bake bread at home", "a recipe for a loaf of bread", "why does my python function crash"]
    )
    assert has.all()
    near, far = (points[0].astype(int) @ points[i].astype(int) / SCALE**2 for i in (1, 2))
    assert near > 0.2 > far


def test_need_three_known_words_and_half_of_all() -> None:
    read = WordPoints(load_config().words)
    assert read(["what bread", "what is bread", "", "what is bread xqz wvk zzq fqf"])[1].tolist() == [
        False,
        True,
        False,
        False,
    ]


def test_the_file_is_small_and_others_are_refused() -> None:
    assert len(load_config().words) < 1_000_000
    with pytest.raises(ValueError, match="cannot be read"):
        WordPoints(b"x")
    bad = Fitted(
        np.zeros(2, np.uint64), np.ones((2, 3), np.float32), np.zeros(4, np.float32), np.zeros((3, 3), np.float32)
    )
    with pytest.raises(ValueError, match="another shape"):
        WordPoints(pack(bad, version="x"))
