"""Rubric grading and preference labelling, in many languages, beside what only looks like it."""

from __future__ import annotations

import pytest

from detectors.contract import Report
from detectors.grading import Grading
from detectors.material import holds_candidates
from schemas.events import Event
from tests.unit.detectors.traffic import HOUR, START, Stand, request, shipped_config, tune

ONE = "The moon pulls the water on its near side more strongly than the earth itself."
TWO = "Tides come from the wind that blows over the sea for many hours each day."

GRADINGS = {
    "en": f"Rate the answer below from 1 to 10. Output the number only.\n\nQuestion: why tides?\n\nAnswer: {ONE}",
    "en pair": f"Which response is better? Say A or B.\n\nResponse A: {ONE}\n\nResponse B: {TWO}",
    "en json": (
        f'Judge the two summaries and reply with {{"winner": ...}}\n\n<summary_1>{ONE}</summary_1>\n'
        f"<summary_2>{TWO}</summary_2>"
    ),
    "de": f"Bewerte die Antwort auf einer Skala von 1 bis 5. Gib nur die Zahl aus.\n\nAntwort: {ONE}",
    "fr": f"Évalue la réponse de 0 à 10. Donne uniquement le chiffre.\n\nRéponse : {ONE}",
    "es": f"¿Cuál respuesta es mejor? Responde solo con la letra.\n\nRespuesta A: {ONE}\n\nRespuesta B: {TWO}",
    "pt": f"Avalie a resposta de 1 a 5, apenas a nota.\n\nResposta: {ONE}",
    "ru": f"Оцените ответ по шкале от 1 до 10. Выведите только число.\n\nОтвет: {ONE}",
    "zh": f"请评估下面两个回答,哪个更好?只输出字母。\n\n回答A:{ONE}\n\n回答B:{TWO}",
    "ja": f"次の回答を1から5で採点し、数字のみを出力してください。\n\n回答:{ONE}",
    "ko": f"아래 답변을 평가하세요. 1에서 10 점. 숫자만 .\n\n답변: {ONE}",
    "tr": f"Aşağıdaki yanıtı 1 ile 5 arasında değerlendir, yalnızca sayı yaz.\n\nYanıt: {ONE}",
}

OTHERS = {
    "poll of products": "Which phone is better, A or B? Give each a score from 1 to 10.",
    "a question": "What is the answer to life? Rate it from 1 to 10.",
    "own essay": "Please grade my essay. Essay: I spent the summer at my grandmother's house by the lake.",
    "a recipe": "Step 1: heat the oil and add the onions.\nStep 2: add the stock and simmer it for an hour or two.",
    "output format": 'Extract the data. Output: {"name": "x", "age": 3}',
    "form": f"Answer: {ONE}\n\nScore: 7",
}


def stand(**params: int) -> Stand:
    config = shipped_config()
    return Stand(Grading(tune(grading=params).grading, config.scanner.marks), config)


def score(tried: Stand, events: list[Event]) -> Report:
    report = tried.step(tried.builder.build(events))
    assert len(report.findings.row) == len(report.findings.evidence)
    return report


@pytest.mark.parametrize("language", GRADINGS)
def test_a_grading_is_one_in_many_languages(language: str) -> None:
    report = score(stand(), [request("a", START, GRADINGS[language])])
    assert report.findings.score.tolist() == [0.4], "one alone stays under the floor"
    assert report.findings.evidence[0]["holds"] == (["candidates"] if "A" in _labels(language) else ["answer"])


def _labels(language: str) -> str:
    return "A" if language in ("en pair", "en json", "es", "zh") else ""


@pytest.mark.parametrize("other", OTHERS)
def test_what_only_looks_like_a_grading_is_none(other: str) -> None:
    assert not len(score(stand(), [request("a", START, OTHERS[other])]).findings.row)


def test_rubric_in_the_system_prompt_and_answer_in_the_turn() -> None:
    rubric = "You are an impartial judge. Score the reply from 1 to 5 and return a single integer."
    report = score(stand(), [request("a", START, f"Response: {ONE}", system=rubric)])
    assert len(report.findings.row) == 1


def test_candidates_with_a_scale_and_a_verdict_need_no_request_to_judge() -> None:
    text = f"1-10: [[score]]\n\nfree output a: {ONE} {ONE}\n\nfree output b: {TWO} {TWO}\n\nscoring"
    assert score(stand(), [request("a", START, text)]).findings.evidence[0]["holds"] == ["candidates"]


def gradings(who: str, hours: int, requests: int, others: int = 0) -> list[list[Event]]:
    """Gradings and other requests, spread over `hours`, in one list an hour."""
    groups: list[list[Event]] = []
    for hour in range(hours):
        at = START + hour * HOUR
        events: list[Event] = [request(who, at + n, GRADINGS["en"]) for n in range(requests)]
        groups.append(events + [request(who, at + 500 + n, "hello there") for n in range(others)])
    return groups


def run(groups: list[list[Event]], **params: int) -> list[Report]:
    tried = stand(**params)
    reports = []
    for events in groups:
        tick = tried.builder.build(events)
        reports.append(score(tried, events))
        hours = tick.ts // HOUR % 24
        slot = tried.accounts.slot("a")
        tried.accounts["hours"][slot] |= int(1 << int(hours[0]))
    return reports


def test_an_account_that_grades_round_the_clock_counts() -> None:
    reports = run(gradings("a", 10, 3), min_requests=10, min_hours=8)
    counted = [sum(r.findings.score == 0.7) for r in reports]
    assert counted == [0] * 7 + [3] * 3
    assert sum(len(r.counts["graded"][0]) for r in reports[7:]) == 9
    assert reports[-1].findings.evidence[0]["account_hours_of_day"] == 10


def test_a_judge_of_nightly_tests_does_not() -> None:
    assert all((r.findings.score < 0.5).all() for r in run(gradings("a", 3, 200), min_requests=10, min_hours=8))


def test_nor_does_who_grades_now_and_then() -> None:
    assert all(
        (r.findings.score < 0.5).all() for r in run(gradings("a", 12, 2, others=20), min_requests=10, min_hours=8)
    )


@pytest.mark.parametrize(
    "text",
    [
        f"[the start of assistant a's answer]\n{ONE}\n[the end of assistant a's answer]\n"
        f"[the start of assistant b's answer]\n{TWO}\n[the end of assistant b's answer]".lower(),
        f"**option 1**\n{ONE}\n**option 2**\n{TWO}".lower(),
        f"вариант а: {ONE} вариант б: {TWO}",
        f"候補1:{ONE}候補2:{TWO}",
    ],
)
def test_candidates_by_their_labels(text: str) -> None:
    assert holds_candidates(text)


@pytest.mark.parametrize(
    "text",
    [
        f"data: {ONE} web: {TWO}",
        f"step 1: {ONE} step 2: {TWO} step 3: {ONE}",
        "answer a: yes answer b: no",
        f"response b: {ONE} response a: {TWO}"[:60],
    ],
)
def test_no_candidates(text: str) -> None:
    assert not holds_candidates(text)
