"""Who is on which side of a split, and which prompts a window holds.

Prompts are dealt in blocks of neighbours in their file: what is alike stands together there (subjects, tasks of
one kind). Test windows share no block with the reference, so calibration windows must not either, or the
threshold would be too low.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


class Split(NamedTuple):
    """Row numbers into the benign prompts (calibration, test) and into the attack prompts (attack)."""

    calibration: I64
    test: I64
    attack: I64


def blocks_of(sizes: Sequence[int], block: int) -> tuple[I64, I64]:
    """Of the prompts of several sets, one after the other: the set's number, and the number of a block of neighbours.

    >>> blocks_of([3, 2], block=2)
    (array([0, 0, 0, 1, 1]), array([0, 0, 1, 2, 2]))
    """
    sets = np.repeat(np.arange(len(sizes)), sizes)
    within = np.concatenate([np.arange(size) // block for size in sizes]) if len(sizes) else np.empty(0, np.int64)
    first = np.cumsum([0, *(-(-size // block) for size in sizes[:-1])])
    return sets, within + first[sets]


def take_blocks(sets: I64, blocks: I64, share: float, rng: np.random.Generator) -> Bool:
    """Which prompts are taken, when whole blocks are: of each set as near to `share` of its prompts as blocks allow.

    Args:
        sets, blocks: of each prompt, see :func:`blocks_of`; shape (prompts,).
    """
    taken = np.zeros(len(sets), np.bool_)
    for number in np.unique(sets):
        own = np.flatnonzero(sets == number)
        names, owner = np.unique(blocks[own], return_inverse=True)
        order = rng.permutation(len(names))
        filled = np.cumsum(np.bincount(owner)[order])
        wanted = share * len(own)
        count = int(np.argmin(np.abs(np.concatenate([[0], filled]) - wanted)))
        taken[own] = np.isin(owner, order[:count])
    return taken


def some_blocks(size: int, limit: int, block: int, rng: np.random.Generator) -> I64:
    """Rows of at most `limit` of `size` prompts, in blocks but for the last one, ascending."""
    rows = (rng.permutation(-(-size // block))[:, None] * block + np.arange(block)).ravel()
    return np.sort(rows[rows < size][:limit])


def draw(pool: int, size: int, count: int, rng: np.random.Generator) -> Bool:
    """`count` windows of `size` prompts, without replacement inside a window; shape (count, pool).

    Raises:
        ValueError: the pool is smaller than a window.
    """
    if size > pool:
        raise ValueError(f"a window of {size} cannot be drawn from {pool} prompts")
    chosen = np.zeros((count, pool), np.bool_)
    if size:
        keys = rng.random((count, pool))
        np.put_along_axis(chosen, np.argpartition(keys, size - 1, axis=1)[:, :size], values=True, axis=1)
    return chosen


def draw_beside(references: Bool, which: I64, size: int, rng: np.random.Generator) -> Bool:
    """One window for each of `which`, from the prompts that its reference does not hold; (len(which), pool)."""
    pool = references.shape[1]
    keys = rng.random((len(which), pool))
    keys[references[which]] = 2.0
    free = free_beside(references)
    if size > free:
        raise ValueError(f"a window of {size} cannot be drawn from {free} prompts beside the reference")
    chosen = np.zeros((len(which), pool), np.bool_)
    np.put_along_axis(chosen, np.argpartition(keys, size - 1, axis=1)[:, :size], values=True, axis=1)
    return chosen


def free_beside(references: Bool) -> int:
    """Prompts that the largest of the references leaves."""
    return int(references.shape[1]) - int(references.sum(axis=1).max())


def draw_mixed(benign: int, attack: int, size: int, percent: int, count: int, rng: np.random.Generator) -> Bool:
    """Windows with `percent` of attack prompts (rounded); shape (count, benign + attack)."""
    harvested = round(size * percent / 100)
    return np.hstack([draw(benign, size - harvested, count, rng), draw(attack, harvested, count, rng)])


def threshold(calibration: F64, rate: float) -> float:
    """The score that a further, exchangeable benign window exceeds with probability at most `rate`.

    The split-conformal rank ceil((1 - rate) (n + 1)) of n calibration windows (Vovk, Gammerman and Shafer, 2005).

    Raises:
        ValueError: there are too few windows for the rate.

    >>> threshold(np.arange(1.0, 1001.0), 0.003)
    998.0
    """
    rank = int(np.ceil((1 - rate) * (len(calibration) + 1) - 1e-9))
    if rank > len(calibration):
        raise ValueError(
            f"a rate of {rate} needs {int(np.ceil(1 / rate)) - 1} calibration windows, not {len(calibration)}"
        )
    return float(np.sort(calibration)[rank - 1])


def interval(blocks: F64, independent: int, rng: np.random.Generator, *, resamples: int = 2_000) -> tuple[float, float]:
    """95 % interval of the mean of blocks that share prompts: a block bootstrap of few blocks.

    A block is everything measured on one split: its windows are made of the same prompts and stay together.
    Splits share prompts too; so a resample holds only as many blocks as could be made without sharing any, not
    as many as were measured (m out of n: Bickel, Goetze and van Zwet, Statistica Sinica 1997).

    Args:
        blocks: one figure a split.
        independent: how many test sides the prompts can fill without sharing any; at least 1.
    """
    picked = rng.integers(0, len(blocks), size=(resamples, max(1, independent)))
    low, high = np.quantile(blocks[picked].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
