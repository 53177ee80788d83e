"""Requests that ask for hidden reasoning (reasoning elicitation, request side)."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors.baselines import AccountRate
from detectors.contract import Findings, Report, Tick, Touches
from detectors.hashing import combine
from detectors.params import ElicitationParams
from detectors.pattern_scan import PatternScanner, check_cases

__all__ = ["KIND", "Elicitation", "check_cases"]

KIND: Final = "elicitation"

_STRONG_SCORE: Final = 0.9
_WEAK_SCORE: Final = 0.4
_ONE: Final = np.uint64(1)


class Elicitation:
    """Scores requests by the patterns they match, against how many accounts ever match one."""

    name: ClassVar[str] = "elicitation"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})

    def __init__(self, params: ElicitationParams, scanner: PatternScanner) -> None:
        self._params = params
        self._scanner = scanner
        # Priors: strong patterns match none of several thousand public chat prompts, weak ones about 0.4 %.
        self._strong = AccountRate(prior=0.0005)
        self._weak = AccountRate(prior=0.01)

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return 256  # two running means and two change tests

    def score(self, tick: Tick) -> Report:
        """Every request that matches: strong patterns near 1, weak ones under the reporting floor."""
        frame = tick.frame
        strong, weak = frame.strong, frame.weak
        row = np.flatnonzero((strong | weak) != 0)
        is_strong = strong[row] != 0
        # Two different strong techniques in one request leave less to chance than one.
        several = np.bitwise_count(strong[row]).astype(np.float64)
        score = np.where(is_strong, 1 - (1 - _STRONG_SCORE) ** several, _WEAK_SCORE)
        p_value = np.where(is_strong, self._strong.rate, self._weak.rate)
        evidence = [
            {"patterns": self._scanner.names(int(mask)), "strength": "strong" if s else "weak"}
            for mask, s in zip(strong[row] | weak[row], is_strong, strict=True)
        ]
        hit = row[is_strong]
        lowest = strong[hit] & (~strong[hit] + _ONE)  # its first strong pattern names the cohort
        identity = combine(frame.account_hash[hit], frame.ts[hit].astype(np.uint64))
        touches = Touches(KIND, hit, lowest, identity, {})
        counts = {
            "elicit_strong": (hit, np.ones(len(hit), np.int64)),
            "elicit_weak": (row[~is_strong], np.ones(int((~is_strong).sum()), np.int64)),
        }
        return Report(Findings(row, score, p_value, evidence), [touches], counts)

    def learn(self, tick: Tick) -> None:
        """Each account counts once, by its first tick with requests."""
        requests = tick.requests()
        new = requests[tick.accounts["requests"][tick.slot[requests]] == 0]
        if not len(new):
            return
        slots, place = np.unique(tick.slot[new], return_inverse=True)
        for rate, mask in ((self._strong, tick.frame.strong), (self._weak, tick.frame.weak)):
            hit = np.bincount(place, weights=mask[new] != 0, minlength=len(slots)) > 0
            rate.learn(int(hit.sum()), len(slots))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self._strong.snapshot(), self._weak.snapshot()))

    def restore(self, data: bytes) -> None:
        strong, weak = msgspec.msgpack.decode(data, type=tuple[bytes, bytes])
        self._strong.restore(strong)
        self._weak.restore(weak)
