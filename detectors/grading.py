"""Rubric grading and preference labelling: a model's judgement collected as a reward signal.

A request is a grading if it holds what is to be judged (two labelled candidates, or a labelled answer), and two of
three: a request to judge, a scale, a demand for the bare verdict (a number, a letter, a JSON key). Candidates with a
scale and a bare verdict are told in any language. A judge in a customer's tests runs in one part of the day; reward
data is made round the clock, so an account has to send in many hours of the day as well.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.frame import EventFrame
from detectors.habits import Habit
from detectors.mark_scan import MarkScanner
from detectors.material import holds_candidates
from detectors.params import GradingParams

KIND: Final = "grading"


class Grading(Habit):
    """Finds accounts that have answers graded, or compared, round the clock."""

    name: ClassVar[str] = "grading"
    _column, _telling = "gradings", "graded"

    def __init__(self, params: GradingParams, scanner: MarkScanner) -> None:
        super().__init__(params.min_requests, params.min_hours, scanner)
        kinds = ("grading_request", "grading_scale", "bare_verdict", "labelled_answer")
        self._asks, self._scale, self._verdict, self._answer = map(scanner.mask, kinds)
        self._scale_or_verdict = np.uint64(self._scale | self._verdict)

    def _candidates(self, frame: EventFrame) -> list[int]:
        # Of the three, two: the scale with either of the others, or these two.
        marked = np.flatnonzero(frame.marks & self._scale_or_verdict)
        kinds = (self._asks, self._scale, self._verdict)
        return [row for row in marked.tolist() if sum(int(frame.marks[row]) & kind != 0 for kind in kinds) >= 2]

    def _holds(self, frame: EventFrame, row: int, texts: list[str]) -> list[str]:
        held = ["candidates"] if any(map(holds_candidates, texts)) else []
        marks = int(frame.marks[row])
        # A lone answer beside numbers may be a form; only a request to judge makes it one that is graded.
        if not held and marks & self._answer and marks & self._asks:
            held = ["answer"]
        return held
