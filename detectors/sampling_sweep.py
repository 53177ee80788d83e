"""Sampling parameters that are varied systematically: logit extraction, and grids over settings.

Logit extraction reads a model's last layer through the API: `logit_bias` lifts one set of tokens after another
into the `top_logprobs` of the same prompt (Carlini et al., "Stealing part of a production language model", 2024;
Finlayson, Ren and Swayamdipta, 2024). So each request differs from the last in its parameters, where products
and evaluations keep to a few. An account counts when it has tried many combinations, and a new one in a large
share of its requests. Seeds are no part of a combination: harnesses set a new one each time.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors.baselines import AccountRate
from detectors.blocks import Blocked, Blocks, Part, under, whole, whole_of, within
from detectors.contract import I64, Findings, Report, Tick, no_findings
from detectors.hashing import KeyedHasher, combine
from detectors.params import SamplingParams
from detectors.sampling import BIAS, LOGPROBS, MANY, MOST_LOGPROBS
from detectors.sketches import PanedBloom

_HOUR_MS: Final = 3_600_000
_SHARE: Final = 0.25  # of an account's requests with parameters that bring a new combination
_COLUMNS: Final = ("sampled", "combinations", "probes")


class SamplingSweep(Blocked):
    """Finds requests that go on with a sweep over sampling parameters."""

    name: ClassVar[str] = "sampling_sweep"
    needs: ClassVar[frozenset[str]] = frozenset({"request.params"})

    def __init__(self, params: SamplingParams, hasher: KeyedHasher) -> None:
        self._params = params
        self._hasher = hasher
        bits = PanedBloom.bits_for(params.capacity, params.false_positive_rate)
        self._tried = PanedBloom(bits, int(params.pane_hours * _HOUR_MS))
        # Priors: few accounts read log-probabilities at all, and hardly one biases them as well.
        self._logprobs = AccountRate(prior=0.02)
        self._probing = AccountRate(prior=0.001)

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self._tried.nbytes

    def score(self, tick: Tick) -> Report:
        """Requests with a new combination, of accounts that try many."""
        frame = tick.frame
        row = np.flatnonzero(frame.sampling != 0)
        if not len(row):
            return Report(no_findings(), [], {})
        use = frame.sampling_use[row]
        probe = ((use & BIAS) != 0) & ((use & LOGPROBS) != 0)
        new = self._new(tick, row)
        counts = {
            name: (row[which], np.ones(int(which.sum()), np.int64))
            for name, which in zip(_COLUMNS, (np.ones(len(row), np.bool_), new, probe), strict=True)
            if which.any()
        }
        totals = {name: _totals(tick, name, counts.get(name), tick.slot[row]) for name in _COLUMNS}
        tried, sampled = totals["combinations"], totals["sampled"]
        sweeps = new & (tried >= self._params.min_combinations) & (tried >= _SHARE * sampled)
        if not sweeps.any():
            return Report(no_findings(), [], counts)
        hit, use = row[sweeps], use[sweeps]
        tried, sampled, probes = tried[sweeps], sampled[sweeps], totals["probes"][sweeps]
        # A grid without log-probabilities may be a study of settings; a bias beside them reads the logits.
        mostly = 2 * probes >= sampled
        score = np.where(mostly, 0.9, np.where((use & (LOGPROBS | MANY)) != 0, 0.6, 0.3))
        rate = np.where(mostly, self._probing.rate, self._logprobs.rate)
        evidence = [
            {
                "combination": self._hasher.show("sampling", int(frame.sampling[r])),
                "account_combinations": int(t),
                "account_requests": int(s),
                "account_biased_logprobs": int(p),
                "logit_bias": bool(u & BIAS),
                "logprobs": bool(u & LOGPROBS),
                "most_logprobs": bool(u & MOST_LOGPROBS),
                "many_choices": bool(u & MANY),
                "accounts_like_it": round(float(usual), 6),
            }
            for r, t, s, p, u, usual in zip(hit, tried, sampled, probes, use, rate, strict=True)
        ]
        counted = hit[score > 0.5]
        if len(counted):
            counts["swept"] = (counted, np.ones(len(counted), np.int64))
        return Report(Findings(hit, score, rate, evidence), [], counts)

    def _new(self, tick: Tick, row: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        pairs = combine(tick.frame.sampling[row], tick.frame.account_hash[row])
        new = np.zeros(len(row), np.bool_)
        new[np.unique(pairs, return_index=True)[1]] = True
        return np.asarray(new & ~self._tried.contains(pairs))

    def learn(self, tick: Tick) -> None:
        frame = tick.frame
        row = np.flatnonzero(frame.sampling != 0)
        self._tried.turn(tick.end)
        if not len(row):
            return
        self._tried.add(np.unique(combine(frame.sampling[row], frame.account_hash[row])))
        # Each account counts once, by its first tick with parameters.
        fresh = row[tick.accounts["sampled"][tick.slot[row]] == 0]
        if not len(fresh):
            return
        slots, place = np.unique(tick.slot[fresh], return_inverse=True)
        use = frame.sampling_use[fresh]
        for rate, mask in ((self._logprobs, LOGPROBS), (self._probing, LOGPROBS | BIAS)):
            hits = np.bincount(place, weights=(use & mask) == mask, minlength=len(slots)) > 0
            rate.learn(int(hits.sum()), len(slots))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        state = (self._logprobs.snapshot(), self._probing.snapshot())
        return {"rates": whole(msgspec.msgpack.encode(state)), **within("tried", self._tried.parts())}

    def restore_parts(self, parts: Blocks) -> None:
        logprobs, probing = msgspec.msgpack.decode(whole_of(parts["rates"]), type=tuple[bytes, bytes])
        self._tried.restore_parts(under("tried", parts))
        self._logprobs.restore(logprobs)
        self._probing.restore(probing)


def _totals(tick: Tick, column: str, added: tuple[I64, I64] | None, slot: I64) -> I64:
    """A column of the account table at some slots, with what this tick adds to it."""
    more = np.empty(0, np.int64) if added is None else tick.slot[added[0]]
    slots, place = np.unique(np.concatenate([slot, more]), return_inverse=True)
    sums = np.bincount(place[len(slot) :], minlength=len(slots))
    return np.asarray(tick.accounts[column][slot] + sums[place[: len(slot)]], np.int64)
