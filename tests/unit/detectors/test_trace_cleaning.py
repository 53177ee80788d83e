"""Chain-of-thought cleaning: traces pasted in, in many languages, beside what only looks like it."""

from __future__ import annotations

import pytest

from detectors.contract import Report
from detectors.material import train_of_thought
from detectors.reasoning_tags import tagged_block
from detectors.trace_cleaning import TraceCleaning
from schemas.events import Event
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
