"""Chain-of-thought cleaning: another model's trace is pasted in, to be cleaned, rewritten, shortened or judged.

A request counts if it holds a trace and asks for work on it: a long block in tags for reasoning, with any request to
edit or to judge a text; or a train of thought without tags, which corrects itself or draws one conclusion after
another, in a request that calls it by a name. Whether this model or another thought it cannot be seen; an account
counts when it lives by such work.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.contract import I64, Touches
from detectors.frame import EventFrame
from detectors.habits import Habit
from detectors.hashing import combine
from detectors.mark_scan import MarkScanner
from detectors.material import holds_tagged_trace, train_of_thought
from detectors.params import TraceCleaningParams

KIND: Final = "cleaning"
CLEANERS: Final = np.uint64(1)
"""The one cohort of this detector: all accounts that live by cleaning reasoning."""


class TraceCleaning(Habit):
    """Finds accounts that have reasoning, pasted in, cleaned, rewritten or judged."""

    name: ClassVar[str] = "trace_cleaning"
    _column, _telling = "cleanings", "cleaned"

    def __init__(self, params: TraceCleaningParams, scanner: MarkScanner) -> None:
        super().__init__(params.min_requests, 0, scanner)
        self._min_chars = params.min_chars
        self._names_it = scanner.mask("trace_request", "trace")
        self._work = scanner.mask("trace_request", "text_request", "grading_request")
        self._any_work = np.uint64(self._work)

    def _touches(self, frame: EventFrame, hit: I64) -> list[Touches]:
        identity = combine(frame.account_hash[hit], frame.ts[hit].astype(np.uint64))
        return [Touches(KIND, hit, np.full(len(hit), CLEANERS), identity, {})]

    def _candidates(self, frame: EventFrame) -> list[int]:
        marked = np.flatnonzero(frame.marks & self._any_work)
        return [row for row in marked.tolist() if int(frame.marks[row]) & self._names_it or frame.names_tags[row] == 1]

    def _holds(self, frame: EventFrame, row: int, texts: list[str]) -> list[str]:
        held = ["tags"] if any(holds_tagged_trace(text, self._min_chars) for text in texts) else []
        if int(frame.marks[row]) & self._names_it:
            kinds = (train_of_thought(text, self._min_chars) for text in texts)
            held += sorted({kind for kind in kinds if kind})
        return held
