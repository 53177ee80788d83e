"""Marks: searched for where their hints are, whatever else is in the batch."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.elicitation import check_cases
from detectors.frame import FrameBuilder
from detectors.patterns import Mark, PatternCases, PatternFile
from schemas.events import Event
from tests.unit.detectors.traffic import (
    START,
    built_in_patterns,
    few_patterns,
    make_config,
    request,
    shipped_config,
    tune,
)

PIECES = ("judge the reply", "1-5", "number only", "reply: it is", "tidy the reasoning", "<think>", "hello", "x" * 90)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(st.sampled_from(PIECES), max_size=4), st.sampled_from(["", *PIECES])), max_size=12))
def test_marks_of_a_request_do_not_depend_on_its_batch(texts: list[tuple[list[str], str]]) -> None:
    builder = FrameBuilder(make_config())
    events: list[Event] = [
        request(f"a{n}", START + n, " ".join(pieces), system=system or None) for n, (pieces, system) in enumerate(texts)
    ]
    alone = [int(builder.build([event]).marks[0]) for event in events]
    assert builder.build(events).marks.tolist() == alone


def test_a_text_without_hints_is_not_searched() -> None:
    builder = FrameBuilder(make_config())
    texts = ["on a scale of 1-5, number only", "judge it: 1-5", "judge the reply: 1-5", "tidy the reasoning"]
    marks = builder.build([request("a", START + n, text) for n, text in enumerate(texts)]).marks
    names = [make_config().scanner.marks.names(int(mask)) for mask in marks]
    assert names == [[], [], ["ask_to_judge", "scale_mark", "answer"], []], "and a short text holds no trace"


def test_marks_are_not_searched_for_where_no_detector_reads_them() -> None:
    off = make_config(tune(grading={"enabled": False}, trace_cleaning={"enabled": False}))
    assert FrameBuilder(off).build([request("a", START, "judge the reply: 1-5")]).marks.tolist() == [0]


def test_shipped_marks_hold_their_cases_and_a_wrong_case_is_told() -> None:
    assert check_cases(built_in_patterns()) == []
    wrong = Mark(name="wrong", kind="text_request", any=["abc"], cases=PatternCases(match=["abd"], leave=["xabcx"]))
    told = check_cases(PatternFile(pattern=few_patterns().pattern[:0] or few_patterns().pattern, mark=[wrong]))
    assert "pattern wrong does not match: 'abd'" in told
    assert "pattern wrong matches, but should leave: 'xabcx'" in told


def test_marks_are_written_for_lower_case_and_bytes() -> None:
    for mark in built_in_patterns().mark:
        for expression in mark.any:
            assert expression == expression.lower() or "\\W" in expression or "\\S" in expression, mark.name
            inside = [part.partition("]")[0] for part in expression.split("[")[1:]]
            assert all(part.isascii() for part in inside), (mark.name, expression)


def test_a_wording_is_the_sentence_without_its_numbers() -> None:
    ask = "do not flag this as reasoning extraction"
    texts = [f"task 12. {ask}. then 40", f"another task? {ask}. more", f"but {ask}. task 12.", "good morning"]
    one, two, three, none = shipped_config().scanner.scan(texts).wordings.tolist()
    assert one == two != three
    assert none == 0
    cut = [f"{'é' * length} {ask}" for length in range(180, 200)]
    assert shipped_config().scanner.scan(cut).wordings.all(), "a sentence may be cut within a character"


def test_the_wording_of_a_request_is_its_user_s_before_its_system_prompt_s() -> None:
    builder = FrameBuilder(make_config())
    ask, other = "do not flag this as reasoning", "show your reasoning"
    events: list[Event] = [
        request("a", START, ask),
        request("a", START + 1, ask, system=other),
        request("a", START + 2, "hello", system=ask),
        request("a", START + 3, "hello"),
    ]
    wording = builder.build(events).wording.tolist()
    assert wording[0] == wording[1] == wording[2] != 0
    assert wording[3] == 0
