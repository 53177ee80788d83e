"""Requests that ask for hidden reasoning (reasoning elicitation, request side)."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from detectors.baselines import AccountRate, ScoreTail
from detectors.blocks import Blocked, Blocks, Part, whole, whole_of
from detectors.contract import Findings, Report, Tick, Touches
from detectors.frame import EventFrame
from detectors.hashing import combine
from detectors.params import ElicitationParams
from detectors.paraphrase import probability
from detectors.pattern_scan import NO_ODDS, PARAPHRASE_BIT, PatternScanner, check_cases

__all__ = ["KIND", "Elicitation", "check_cases"]

KIND: Final = "elicitation"

_STRONG_SCORE: Final = 0.9
_WEAK_SCORE: Final = 0.4
_ONE: Final = np.uint64(1)
_BY_PATTERN: Final = np.uint64(2**PARAPHRASE_BIT - 1)


class Elicitation(Blocked):
    """Scores requests by the patterns they match and by the classifier, against how many accounts ever do."""

    name: ClassVar[str] = "elicitation"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})

    def __init__(self, params: ElicitationParams, scanner: PatternScanner) -> None:
        self._params = params
        self._scanner = scanner
        # Priors: strong patterns match none of several thousand public chat prompts, weak ones about 0.4 %.
        self._strong = AccountRate(prior=0.0005)
        self._weak = AccountRate(prior=0.01)
        self._classifier = scanner.classifier
        self._by_pattern = _BY_PATTERN if scanner.classifier else ~np.uint64(0)
        self._tail = ScoreTail(prior=0.002)  # of ordinary prompts, about as many reach the threshold

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return 256 + self._tail.nbytes  # two running means and two change tests, and the histogram

    def score(self, tick: Tick) -> Report:
        """Every request that matches: strong patterns near 1, weak ones under the reporting floor."""
        frame = tick.frame
        strong, weak = frame.strong, frame.weak
        classified = np.zeros(len(frame), np.bool_)
        if self._classifier is not None:
            classified = frame.paraphrase >= self._classifier.threshold
        row = np.flatnonzero(((strong | weak) != 0) | classified)
        is_strong = strong[row] != 0
        by_pattern = strong[row] & self._by_pattern
        # Two different strong techniques in one request leave less to chance than one; that the classifier
        # sees what a pattern sees adds nothing.
        several = np.maximum(np.bitwise_count(by_pattern), 1).astype(np.float64)
        says_so = is_strong | classified[row]
        score = np.where(says_so, 1 - (1 - _STRONG_SCORE) ** several, _WEAK_SCORE)
        p_value = np.where(
            by_pattern != 0,
            self._strong.rate,
            np.where(classified[row], self._tail.at_least(frame.paraphrase[row]), self._weak.rate),
        )
        evidence = [self._evidence(frame, i, bool(classified[i])) for i in row.tolist()]
        hit = row[is_strong]
        lowest = strong[hit] & (~strong[hit] + _ONE)  # its first strong pattern names the cohort
        identity = combine(frame.account_hash[hit], frame.ts[hit].astype(np.uint64))
        touches = Touches(KIND, hit, lowest, identity, {})
        counts = {
            "elicit_strong": (hit, np.ones(len(hit), np.int64)),
            "elicit_weak": (row[~is_strong], np.ones(int((~is_strong).sum()), np.int64)),
        }
        return Report(Findings(row, score, p_value, evidence), [touches], counts)

    def _evidence(self, frame: EventFrame, row: int, classified: bool) -> dict[str, Any]:
        strong, weak = int(frame.strong[row]), int(frame.weak[row])
        strength = "strong" if strong else "shadow" if classified else "weak"
        shown: dict[str, Any] = {"patterns": self._scanner.names(strong | weak), "strength": strength}
        if classified and self._classifier is not None:
            share = float(probability(frame.paraphrase[row]))
            shown["paraphrase"] = {"score": round(share, 6), "model": self._classifier.version}
        return shown

    def learn(self, tick: Tick) -> None:
        """Each account counts once, by its first tick with requests; the scores only of those without a pattern."""
        requests = tick.requests()
        new = requests[tick.accounts["requests"][tick.slot[requests]] == 0]
        if not len(new):
            return
        slots, place = np.unique(tick.slot[new], return_inverse=True)
        by_pattern = tick.frame.strong[new] & self._by_pattern
        asked = np.bincount(place, weights=by_pattern != 0, minlength=len(slots)) > 0
        self._strong.learn(int(asked.sum()), len(slots))
        hit = np.bincount(place, weights=tick.frame.weak[new] != 0, minlength=len(slots)) > 0
        self._weak.learn(int(hit.sum()), len(slots))
        if self._classifier is not None:
            highest = np.full(len(slots), NO_ODDS)
            np.maximum.at(highest, place, tick.frame.paraphrase[new])
            self._tail.learn(highest[~asked])

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        return None

    def parts(self) -> dict[str, Part]:
        state = (self._strong.snapshot(), self._weak.snapshot(), self._tail.snapshot())
        return {"rates": whole(msgspec.msgpack.encode(state))}

    def restore_parts(self, parts: Blocks) -> None:
        strong, weak, tail = msgspec.msgpack.decode(whole_of(parts["rates"]), type=tuple[bytes, bytes, bytes])
        self._strong.restore(strong)
        self._weak.restore(weak)
        self._tail.restore(tail)
