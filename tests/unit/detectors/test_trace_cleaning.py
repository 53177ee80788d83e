"""Chain-of-thought cleaning: traces pasted in, in many languages, beside what only looks like it."""

from __future__ import annotations

import pytest

from detectors.contract import Report
from detectors.mark_scan import MarkScanner
from detectors.material import opening_and_end, train_of_thought
from detectors.reasoning_tags import tagged_block
from detectors.trace_cleaning import TraceCleaning
from schemas.events import Event
from tests.unit.detectors import stated_traces
from tests.unit.detectors.traffic import START, TICK, Stand, request, shipped_config, tune

TRACE = (
    "Okay, so the train leaves at 9:40 and needs 75 minutes. That gives 10:55. Wait, the clocks change that night, so "
    "I have to add an hour. Hmm, no, that is only in spring. Let me check the date. It is October, so the clock goes "
    "back. "
    "Actually, the ticket says local time, which means that the hour is in it. So 10:55 it is, on platform 3."
)
GERMAN = f"{'Moment mal, das stimmt so nicht ganz. ' * 4}Es sind 56. {'Und so geht es weiter. ' * 12}"
SPANISH = "Sumo las dos partes y salen 14. Espera, falta una. A ver, otra vez. " * 6
RUSSIAN = "Складываем и получаем 14. Подожди, одно слагаемое пропущено. Хм, ещё раз. " * 6
CHINESE = "先把两边相加得到十四。等等,漏了一项。不对,再算一次,得到十五。" * 12
JAPANESE = "両辺を足すと十四になる。待って、一つ足りない。うーん、もう一度計算する。" * 10
MINUTES = "The committee met on Friday and agreed on the plan. " * 12
ARGUMENT = "The first premise holds, and the second one holds as well. " * 10
TRACES = {
    "en": f"Tidy up this chain of thought and drop the detours.\n\n{TRACE}",
    "de": f"Kürze den folgenden Gedankengang.\n\nAlso 7 mal 8 ist 54. {GERMAN}",
    "es": f"Reescribe este razonamiento de forma breve.\n\n{SPANISH}",
    "ru": f"Перепиши это рассуждение без повторов.\n\n{RUSSIAN}",
    "zh": f"请精简下面的推理过程。\n\n{CHINESE}",
    "ja": f"次の思考過程を簡潔に書き直してください。\n\n{JAPANESE}",
}
OTHERS = {
    "asks for reasoning": "Show your reasoning step by step and keep the chain of thought short. " * 8,
    "edits a text": f"Rewrite this text in plain words.\n\n{MINUTES}",
    "names the tags": f"Rewrite the text. Put your thoughts inside <thinking></thinking>. {MINUTES}",
    "a short one": "Shorten this chain of thought: wait, no. hmm. let me check.",
    "no work on it": TRACE,
    "a finished argument": f"Shorten the reasoning.\n\n{ARGUMENT}",
}


def stand(**params: int) -> Stand:
    config = shipped_config()
    # The frame's own floor on the length of a trace is that of `shipped_config`, below the shipped one.
    return Stand(
        TraceCleaning(tune(trace_cleaning={"min_chars": 300, **params}).trace_cleaning, config.scanner.marks), config
    )


def run(*texts: str, **params: int) -> list[Report]:
    tried = stand(**params)
    events: list[Event] = [request("a", START + k * TICK, text) for k, text in enumerate(texts)]
    return tried.run(events)


@pytest.mark.parametrize("language", TRACES)
def test_a_train_of_thought_to_be_cleaned_in_many_languages(language: str) -> None:
    (report,) = run(TRACES[language])
    assert report.findings.score.tolist() == [0.4], "one alone stays under the floor"
    assert report.findings.evidence[0]["holds"] == ["corrections"]
    assert "work_on_a_trace" in report.findings.evidence[0]["marks"]


@pytest.mark.parametrize(
    "ask", ["Polish it.", "Переведи на английский.", "改写下面的内容。", "Rate the response for clarity."]
)
def test_a_block_in_tags_needs_no_word_for_what_it_is(ask: str) -> None:
    plain = "First both sides are squared, then the terms are sorted. " * 8
    (report,) = run(f"{ask}\n\n<think>{plain}</think>")
    assert report.findings.evidence[0]["holds"] == ["tags"]


@pytest.mark.parametrize("other", OTHERS)
def test_what_only_looks_like_it_is_none(other: str) -> None:
    (report,) = run(OTHERS[other])
    assert not len(report.findings.row)


def test_an_account_that_lives_by_it_counts() -> None:
    reports = run(*[TRACES["en"]] * 8, min_requests=5)
    assert [report.findings.score.tolist() for report in reports] == [[0.4]] * 4 + [[0.7]] * 4
    assert sum(len(report.counts["cleaned"][0]) for report in reports[4:]) == 4
    shown = reports[-1].findings.evidence[0]
    assert (shown["account_of_this_kind"], shown["account_requests"]) == (8, 8)


def test_an_editor_with_other_work_does_not() -> None:
    day = [TRACES["en"], *["What rhymes with orange?"] * 5]
    assert all((report.findings.score < 0.5).all() for report in run(*day * 8, min_requests=5))


def test_what_is_usual_is_learned_from_accounts_each_counting_once() -> None:
    tried = stand()
    before = tried.detector._usual.rate  # type: ignore[attr-defined]
    events: list[Event] = [request(f"b{n}", START + n, "hello") for n in range(100)]
    tried.run([*events, *(request("a", START + TICK + n, TRACES["en"]) for n in range(50))])
    assert tried.detector._usual.rate == pytest.approx((before * 100 + 1) / 201)  # type: ignore[attr-defined]


def test_the_longest_block_in_tags() -> None:
    assert tagged_block("<think>a</think> and <reasoning>three</reasoning>") == 5
    assert tagged_block("<think>open without an end") == 0
    assert tagged_block("<thinking>not closed by another</think>") == 0


def test_thin_corrections_in_a_long_text_are_no_train_of_thought() -> None:
    assert train_of_thought("wait, hmm. actually, no." + " word" * 100, 300) == "corrections"
    assert train_of_thought("wait, hmm. actually, no." + " word" * 2000, 300) is None


def test_steps_without_a_detour_are_a_train_of_thought_too() -> None:
    steps = (
        "First, we take the price of one ticket. Then, we add the fee. So, it is 14. Therefore, we need 56 for four. "
    )
    (report,) = run(f"This is a model's reasoning. Please make it shorter. Rewrite it in one paragraph.\n\n{steps * 3}")
    assert report.findings.evidence[0]["holds"] == ["steps"]
    assert train_of_thought("the committee met on friday and agreed on the plan. " * 20, 300) is None


DERIVATION = "\n".join(f"{n} * {n + 1} = {n * (n + 1)}" for n in range(10, 60))
"""Finished and orderly: no structure tells that it is a train of thought."""
STATED = {
    language: (*first, *stated_traces.SECOND[language]) for language, first in stated_traces.FIRST.items()
}  # the marks were written for these


def holds(text: str, system: str | None = None) -> list[str]:
    """What a single request is seen to hold."""
    (report,) = stand().run([request("a", START, text, system=system)])
    return [what for shown in report.findings.evidence for what in shown["holds"]]


@pytest.mark.parametrize("language", STATED)
def test_a_request_may_say_itself_that_a_model_s_reasoning_is_to_be_worked_on(language: str) -> None:
    assert [said for said in STATED[language] if holds(f"{said}\n\n{DERIVATION}") != ["stated"]] == []


def test_most_of_what_was_written_after_the_marks_is_found_too() -> None:
    said = [one for language in stated_traces.LAST.values() for one in language]
    found = sum(holds(f"{one}\n\n{DERIVATION}") == ["stated"] for one in said)
    assert found >= 0.85 * len(said)


@pytest.mark.parametrize("kind", [*stated_traces.OTHERS, "second", "last"])
def test_own_texts_pupils_questions_and_answers_are_not_a_model_s_reasoning(kind: str) -> None:
    others = {
        **stated_traces.OTHERS,
        "second": stated_traces.OTHERS_SECOND,
        "last": stated_traces.OTHERS_LAST,
    }[kind]
    assert [said for said in others if holds(f"{said}\n\n{DERIVATION}")] == []


def test_what_is_said_may_stand_in_the_system_prompt_or_at_the_end() -> None:
    said = "Shorten the reasoning of the other model."
    assert holds(DERIVATION, system=said) == ["stated"]
    assert holds(f"{DERIVATION}\n\n{said}") == ["stated"]
    assert holds(f"{DERIVATION * 2}\n{said}\n{DERIVATION * 2}") == [], "within a long text it is the text's own"


def test_what_is_said_stands_in_sentences_next_to_one_another() -> None:
    whose, work, apart = "An LLM wrote this reasoning.", "Shorten it.", "It is Monday. The sun is out. Trams run."
    assert holds(f"{whose} {work}\n\n{DERIVATION}") == ["stated"]
    assert holds(f"{work} {whose}\n\n{DERIVATION}") == ["stated"]
    assert holds(f"{whose} {apart} {work}\n\n{DERIVATION}") == []
    assert holds(f"This is reasoning. {apart} An LLM wrote it. {work}\n\n{DERIVATION}") == []


def test_a_wish_without_a_text_beside_it_holds_no_trace() -> None:
    said = "Shorten the reasoning of the other model."
    assert holds(said) == holds(f"{said}\n\n{DERIVATION[:250]}") == []
    assert holds(f"{said}\n\n{DERIVATION[:310]}") == ["stated"]


def test_the_model_that_is_asked_is_not_the_one_that_reasoned() -> None:
    assert holds(DERIVATION, system="You are a large language model. Check the reasoning for mistakes.") == []
    assert holds(DERIVATION, system="You are a language model that checks the reasoning of another.") == []
    assert holds(DERIVATION, system="You are a language model that checks the reasoning of another model.") == [
        "stated"
    ]


@pytest.mark.parametrize(
    "given", ["You are shown another model's reasoning.", "You are a corrector of an LLM's rationales."]
)
def test_a_model_that_is_only_spoken_of_is_another(given: str) -> None:
    assert holds(DERIVATION, system=f"{given} Shorten it.") == ["stated"]


def test_an_account_that_lives_by_stated_traces_counts() -> None:
    day = [f"Clean this chain of thought of an LLM.\n\n{DERIVATION} {n}" for n in range(6)]
    assert [report.findings.score.tolist() for report in run(*day, min_requests=5)] == [[0.4]] * 4 + [[0.7]] * 2


def test_what_a_text_opens_and_ends_with_is_bounded() -> None:
    for text in ("a" * 50_000, "ab. " * 20_000, "you are a " * 5_000, "- " * 20_000):
        sentences = opening_and_end(text)
        assert sum(map(len, sentences)) <= 1300
        assert max(map(len, sentences), default=0) <= 480


@pytest.mark.parametrize("kind", ["thought", "model_source", "trace_work"])
def test_without_a_kind_of_mark_nothing_is_stated(kind: str) -> None:
    config = shipped_config()
    left = [mark for mark in config.scanner.marks.marks if mark.kind != kind]
    detector = TraceCleaning(tune(trace_cleaning={"min_chars": 300}).trace_cleaning, MarkScanner(left))
    assert not detector._may_say((1 << 63) - 1)
