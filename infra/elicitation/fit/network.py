"""The fits: logistic regression, and the small network that joins concepts to the score of n-grams."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse
from scipy.special import expit

from detectors.concepts import WIDTH, Network

F64 = NDArray[np.float64]

_UNITS: Final = 8  # of one network
_NETWORKS: Final = 2  # that start elsewhere and are averaged
_L2: Final = 5e-4
_SCORE: Final = 4.0  # what the score is divided by, to be about as large as the other inputs
_STEPS: Final = 150


def logistic(
    counts: sparse.csr_array, flagged: NDArray[np.bool_], weight: F64, penalty: float, steps: int
) -> tuple[F64, float]:
    """Weights of the columns and the intercept, with an L2 penalty, by at most so many steps of L-BFGS."""
    turned = counts.T.tocsr()
    sign = np.where(flagged, 1.0, -1.0)
    share = weight / weight.sum()

    def loss(x: F64) -> tuple[float, F64]:
        margin = sign * (counts @ x[:-1] + x[-1])
        pull = -sign * share * expit(-margin)
        value = share @ np.logaddexp(0, -margin) + 0.5 * penalty * (x[:-1] @ x[:-1])
        return value, np.append(turned @ pull + penalty * x[:-1], pull.sum())

    start = np.zeros(counts.shape[1] + 1)
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 10})
    return found.x[:-1], float(found.x[-1])


class _Parts(NamedTuple):
    first: F64
    start: F64
    out: F64
    direct: F64
    bias: float


def _parts(x: F64, inputs: int) -> _Parts:
    cut = np.cumsum([inputs * _UNITS, _UNITS, _UNITS, inputs])
    first, start, out, direct, bias = np.split(x, cut)
    return _Parts(first.reshape(inputs, _UNITS), start, out, direct, float(bias[0]))


def _learn_one(inputs: F64, flagged: NDArray[np.bool_], weight: F64, seed: int) -> _Parts:
    size = inputs.shape[1]
    sign = np.where(flagged, 1.0, -1.0)
    share = weight / weight.sum()
    penalty = np.full(size * _UNITS + 2 * _UNITS + size + 1, _L2)
    penalty[-1] = 0

    def loss(x: F64) -> tuple[float, F64]:
        net = _parts(x, size)
        unit = inputs @ net.first + net.start
        divisor = 1 + np.abs(unit)
        bent = unit / divisor
        margin = sign * (bent @ net.out + inputs @ net.direct + net.bias)
        pull = -sign * share * expit(-margin)
        back = pull[:, None] * net.out / divisor**2
        slope = np.concatenate(
            [(inputs.T @ back).ravel(), back.sum(axis=0), bent.T @ pull, inputs.T @ pull, [pull.sum()]]
        )
        return float(share @ np.logaddexp(0, -margin) + 0.5 * penalty @ x**2), slope + penalty * x

    start = np.random.default_rng(seed).normal(0, 0.3, len(penalty))
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return _parts(found.x, size)


def learn_network(
    present: NDArray[np.bool_], score: F64, flagged: NDArray[np.bool_], weight: F64, seed: int
) -> Network:
    """The network that tells flagged windows by their concepts (n, WIDTH) and the score (n,) of their n-grams."""
    inputs = np.column_stack([present.astype(np.float64), score / _SCORE])
    nets = [_learn_one(inputs, flagged, weight, seed + i) for i in range(_NETWORKS)]
    first = np.hstack([*(net.first[:WIDTH] for net in nets), np.mean([net.direct[:WIDTH] for net in nets], 0)[:, None]])
    unit = float(np.abs(first).max()) / 2047
    return Network(
        np.rint(first / unit).astype(np.int16),
        unit,
        np.concatenate([net.first[WIDTH] for net in nets]) / _SCORE,
        np.concatenate([net.start for net in nets]),
        np.concatenate([net.out for net in nets]) / _NETWORKS,
        float(np.mean([net.direct[WIDTH] for net in nets])) / _SCORE,
        float(np.mean([net.bias for net in nets])),
    )
