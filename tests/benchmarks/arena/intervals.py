"""95 % intervals for shares, and for rates of rare events that may come in clumps.

Accounts of one look-alike group (a company, a class) tend to be named together. Their number is then a compound
Poisson count, whose dispersion is the mean clump, weighted by size: :func:`clump` of them tell about as much as one
account that is named for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scipy import stats

LEVEL: Final = 0.95


def clump(sizes: Sequence[int]) -> float:
    """The size of the clump that an average account of all clumps is in; 1 if there are none.

    >>> clump([1, 1, 1]), clump([6, 1]), clump([])
    (1.0, 5.285714285714286, 1.0)
    """
    total = sum(sizes)
    return sum(size * size for size in sizes) / total if total else 1.0


def share_interval(hits: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Clopper and Pearson's (1934) interval for a share; 0 to 1 without trials.

    >>> [round(bound, 4) for bound in share_interval(0, 100)]
    [0.0, 0.0362]

    Raises:
        ValueError: hits are negative or outnumber the trials.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"hits must be between 0 and {trials}, got {hits}")
    if trials == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(stats.beta.ppf(1 - tail, hits + 1, trials - hits))
    return low, high


def count_interval(count: float, clump: float = 1.0, level: float = LEVEL) -> tuple[float, float]:
    """Garwood's (1936) interval for the mean of a Poisson count, of clumps of the given size.

    >>> [round(bound, 3) for bound in count_interval(0)]
    [0.0, 3.689]
    >>> [round(bound, 3) for bound in count_interval(20, clump=10)]
    [2.422, 72.247]

    Raises:
        ValueError: the count is negative, or a clump is smaller than one.
    """
    if count < 0:
        raise ValueError(f"a count is at least 0, got {count}")
    if not clump >= 1:
        raise ValueError(f"a clump is at least 1, got {clump}")
    tail = (1 - level) / 2
    clumps = count / clump
    low = 0.0 if count == 0 else float(stats.chi2.ppf(tail, 2 * clumps)) / 2 * clump
    return low, float(stats.chi2.ppf(1 - tail, 2 * clumps + 2)) / 2 * clump
