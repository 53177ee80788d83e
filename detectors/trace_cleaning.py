"""Chain-of-thought cleaning: another model's trace is pasted in, to be cleaned, rewritten, shortened or judged.

A request counts if it holds a trace and asks for work on it: a long block in tags for reasoning, with any request to
edit or to judge a text; or a train of thought without tags, which corrects itself or draws one conclusion after
another, in a request that calls it by a name. A trace may also be a finished derivation, without a sign of thought in
it: then a request counts that says itself, in sentences next to one another, that the text is a model's reasoning, and
what to do with it. Whether it is true, and which model thought it, cannot be seen; an account counts when it lives by
such work.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.contract import I64, Touches
from detectors.frame import EventFrame
from detectors.habits import Habit
from detectors.hashing import combine
from detectors.mark_scan import MarkScanner
from detectors.material import holds_tagged_trace, opening_and_end, train_of_thought
from detectors.params import TraceCleaningParams

KIND: Final = "cleaning"
CLEANERS: Final = np.uint64(1)
"""The one cohort of this detector: all accounts that live by cleaning reasoning."""
_STRETCH: Final = 3  # sentences in a row in which all is said


class TraceCleaning(Habit):
    """Finds accounts that have reasoning, pasted in, cleaned, rewritten or judged."""

    name: ClassVar[str] = "trace_cleaning"
    _column, _telling = "cleanings", "cleaned"

    def __init__(self, params: TraceCleaningParams, scanner: MarkScanner) -> None:
        super().__init__(params.min_requests, 0, scanner)
        self._min_chars = params.min_chars
        self._names_it = scanner.mask("trace_request", "trace")
        self._work = scanner.mask("trace_request", "text_request", "grading_request")
        self._said = [scanner.mask(kind) for kind in ("thought", "model_source", "trace_work")]
        self._own = scanner.mask("own_source")
        self._any_work = np.uint64(self._work | self._said[0])

    def _touches(self, frame: EventFrame, hit: I64) -> list[Touches]:
        identity = combine(frame.account_hash[hit], frame.ts[hit].astype(np.uint64))
        return [Touches(KIND, hit, np.full(len(hit), CLEANERS), identity, {})]

    def _candidates(self, frame: EventFrame) -> list[int]:
        marked = np.flatnonzero(frame.marks & self._any_work)
        marks, tags = frame.marks[marked].tolist(), frame.names_tags[marked].tolist()
        return [
            row
            for row, mask, tag in zip(marked.tolist(), marks, tags, strict=True)
            if (mask & self._work and (mask & self._names_it or tag == 1)) or self._may_say(mask)
        ]

    def _holds(self, frame: EventFrame, row: int, texts: list[str]) -> list[str]:
        mask = int(frame.marks[row])
        held: list[str] = []
        if mask & self._work:
            held += ["tags"] if any(holds_tagged_trace(text, self._min_chars) for text in texts) else []
            if mask & self._names_it:
                kinds = (train_of_thought(text, self._min_chars) for text in texts)
                held += sorted({kind for kind in kinds if kind})
        return held or (["stated"] if self._may_say(mask) and self._says(texts) else [])

    def _may_say(self, mask: int) -> bool:
        return all(mask & kind for kind in self._said)

    def _says(self, texts: list[str]) -> bool:
        """Do sentences in a row name reasoning, a model and work, with a long text besides?"""
        sentences = [sentence for text in texts for sentence in opening_and_end(text)]
        masks = self._scanner.scan(sentences).tolist()
        for width in range(1, _STRETCH + 1):
            for first in range(len(masks) - width + 1):
                if self._all_said(masks[first : first + width]):
                    wish = sum(map(len, sentences[first : first + width]))
                    return max(map(len, texts)) - wish >= self._min_chars
        return False

    def _all_said(self, masks: list[int]) -> bool:
        """Work anywhere, and whose reasoning it is in one sentence or in two; not the asker's own, nor a pupil's."""
        thought, model, work = self._said
        if not any(mask & work for mask in masks):
            return False
        others = [0 if mask & self._own else mask for mask in masks]
        pairs = [a | b for a, b in zip(others, [*others[1:], 0], strict=True)]
        return any(pair & thought and pair & model for pair in pairs)
