"""Chain-of-thought cleaning: another model's trace is pasted in, to be cleaned, rewritten, shortened or judged.

A request counts if it holds a trace and asks for work on it: a long block in tags for reasoning, with any request to
edit or to judge a text; or a train of thought without tags, which corrects itself again and again, with a request
that names it. Whether this model or another thought it cannot be seen; an account counts when it lives by such work.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from detectors.contract import I64
from detectors.frame import EventFrame
from detectors.habits import Habit
from detectors.mark_scan import MarkScanner
from detectors.material import holds_tagged_trace, holds_train_of_thought
from detectors.params import TraceCleaningParams


class TraceCleaning(Habit):
    """Finds accounts that have reasoning, pasted in, cleaned, rewritten or judged."""

    name: ClassVar[str] = "trace_cleaning"
    _column, _telling = "cleanings", "cleaned"

    def __init__(self, params: TraceCleaningParams, scanner: MarkScanner) -> None:
        super().__init__(params.min_requests, 0, scanner)
        self._min_chars = params.min_chars
        self._names_it = scanner.mask("trace_request")
        self._any_work = scanner.mask("trace_request", "text_request", "grading_request")

    def _candidates(self, frame: EventFrame) -> I64:
        marked = np.flatnonzero(frame.marks & self._any_work)
        if not len(marked):
            return marked
        worth = ((frame.marks[marked] & self._names_it) != 0) | (frame.names_tags[marked] == 1)
        return np.asarray(marked[worth])

    def _holds(self, frame: EventFrame, row: int, texts: list[str]) -> list[str]:
        held = ["tags"] if any(holds_tagged_trace(text, self._min_chars) for text in texts) else []
        if frame.marks[row] & self._names_it and any(holds_train_of_thought(text, self._min_chars) for text in texts):
            held.append("corrections")
        return held
