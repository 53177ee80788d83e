"""Exact 95 % intervals for shares and rates of rare events.

Both take the accounts for independent. Accounts of one look-alike group (a company, a class) are named
together or not at all, so their intervals are too narrow; the report says so.
"""

from __future__ import annotations

from typing import Final

from scipy import stats

LEVEL: Final = 0.95


def share_interval(hits: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
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


def count_interval(count: int, level: float = LEVEL) -> tuple[float, float]:
    """Garwood's (1936) interval for the mean of a Poisson count.

    >>> [round(bound, 3) for bound in count_interval(0)]
    [0.0, 3.689]

    Raises:
        ValueError: the count is negative.
    """
    if count < 0:
        raise ValueError(f"a count is at least 0, got {count}")
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(stats.chi2.ppf(tail, 2 * count)) / 2
    return low, float(stats.chi2.ppf(1 - tail, 2 * count + 2)) / 2
