"""Grading of answers and cleaning of reasoning, and the customers who do either in honest use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detectors.contract import Report
from detectors.material import CLEANING, Grading, TraceCleaning
from tests.unit.detectors.traffic import HOUR, START, Stand, request, shipped_config, tune

Text = Callable[[int], str]
GRADE = "Rate the response from 1 to 10. Output only the number.\n\nQuestion: {k}?\n\nResponse: It is {k}."
PREFER = "Which response is better? Answer A or B.\n\nResponse A: It is {k}.\n\nResponse B: It is not."
CLEAN = "Clean up this reasoning, keep the answer.\n\nQuestion: {k}?\n\nChain of thought:\nFirst {k}, then wait."
GRADE_IN = {
    "de": "Bewerte die Antwort auf einer Skala von 1 bis 10.\n\nFrage: {k}?\n\nAntwort: Ja.",
    "es": "Evalúa la respuesta en una escala de 1 a 10.\n\nPregunta: ¿{k}?\n\nRespuesta: Sí.",
    "fr": "Évalue la réponse sur une échelle de 1 à 10.\n\nQuestion : {k} ?\n\nRéponse : Oui.",
    "pt": "Avalie a resposta numa escala de 1 a 10.\n\nPergunta: {k}?\n\nResposta: Sim.",
    "it": "Valuta la risposta da 1 a 10.\n\nDomanda: {k}?\n\nRisposta: Sì.",
    "ru": "Оцени ответ по шкале от 1 до 10.\n\nВопрос: {k}?\n\nОтвет: Да.",
    "zh": "请给下面的回答打分，满分10分。\n\n问题：{k}？\n\n回答：是。",
    "ja": "次の回答を10点満点で評価し、点数だけを書いてください。\n\n質問：{k}？\n\n回答：はい。",
    "ko": "다음 답변을 평가하고 점수만 쓰세요. 평가 기준은 정확성입니다.\n\n질문: {k}?\n\n답변: 네.",
    "hi": "उत्तर का मूल्यांकन 10 के पैमाने पर करें।\n\nप्रश्न: {k}?\n\nउत्तर: हाँ।",
    "tr": "Aşağıdaki yanıtı 1 ile 10 arasında puanla.\n\nSoru: {k}?\n\nYanıt: Evet.",
    "vi": "Chấm điểm câu trả lời sau theo thang 10.\n\nCâu hỏi: {k}?\n\nCâu trả lời: Có.",
}
CLEAN_IN = {
    "de": "Bereinige die Gedankenkette.\n\nGedankenkette: Zuerst {k}.",
    "es": "Limpia la cadena de pensamiento.\n\nCadena de pensamiento: Primero {k}.",
    "fr": "Nettoie la chaîne de pensée.\n\nChaîne de pensée : D'abord {k}.",
    "pt": "Limpe a cadeia de pensamento.\n\nCadeia de pensamento: Primeiro {k}.",
    "it": "Riscrivi il ragionamento.\n\nRagionamento: Prima {k}.",
    "ru": "Очисти цепочку рассуждений.\n\nЦепочка рассуждений: Сначала {k}.",
    "zh": "下面是另一个模型的思维链，请整理。\n\n思维链：先{k}。",
    "ja": "別のモデルの思考過程を整理してください。\n\n思考過程：まず{k}。",
    "ko": "다음 추론을 정리해 주세요.\n\n추론: 먼저 {k}.",
    "ar": "نظف سلسلة التفكير التالية.\n\nسلسلة التفكير: أولا {k}.",
    "tr": "Düşünce zincirini temizle.\n\nDüşünce zinciri: Önce {k}.",
    "vi": "Viết lại chuỗi suy nghĩ sau.\n\nChuỗi suy nghĩ: Đầu tiên {k}.",
}


def stand(name: str) -> Stand:
    config = shipped_config()
    params = tune(grading={"min_requests": 10, "min_hours": 8}, trace_cleaning={"min_requests": 5})
    made = (
        Grading(params.grading, config.scanner)
        if name == "grading"
        else TraceCleaning(params.trace_cleaning, config.scanner)
    )
    return Stand(made, config)


def run(name: str, text: Text, *, count: int = 24, every: int = HOUR) -> list[Report]:
    """One request each `every` ms; the lane's hours of the day beside them."""
    one = stand(name)
    reports = []
    for k in range(count):
        ts = START + k * every
        reports.append(one.step(one.builder.build([request("a", ts, text(k))])))
        slot = one.accounts.slot("a")
        one.accounts["hours"][slot] |= 1 << (ts // HOUR % 24)
    return reports


def counted(reports: list[Report], column: str) -> int:
    return sum(len(report.counts[column][0]) for report in reports if column in report.counts)


class TestGrading:
    @pytest.mark.parametrize("text", [GRADE, PREFER, *GRADE_IN.values()], ids=["en", "preference", *GRADE_IN])
    def test_grading_round_the_clock_counts(self, text: str) -> None:
        reports = run("grading", lambda k: text.replace("{k}", str(k)))
        assert counted(reports, "gradings") == 24
        assert counted(reports, "graded") == 15, "from the tenth on"
        assert reports[-1].findings.score.tolist() == [0.7]
        assert reports[-1].findings.evidence[0]["account_hours_of_day"] == 24
        assert reports[-1].touches == [], "it founds no cohort of its own"

    @pytest.mark.parametrize(
        ("text", "every"),
        [
            pytest.param(
                lambda k: GRADE.replace("{k}", str(k)), 4_000, id="a judge of tests, in one hour of the night"
            ),
            pytest.param(lambda k: f"Rate this hotel for me: {k}.", HOUR, id="nothing to grade"),
            pytest.param(lambda k: f"Question: {k}?\n\nAnswer: yes. Translate both.", HOUR, id="material, no grading"),
            pytest.param(
                lambda k: GRADE.replace("{k}", str(k)) if k % 5 == 0 else "Write a poem.", HOUR, id="among other work"
            ),
        ],
    )
    def test_a_look_alike_stays_under_the_floor(self, text: Text, every: int) -> None:
        reports = run("grading", text, every=every)
        assert counted(reports, "graded") == 0
        assert all((report.findings.score < 0.5).all() for report in reports)


class TestCleaning:
    @pytest.mark.parametrize("text", [CLEAN, *CLEAN_IN.values()], ids=["en", *CLEAN_IN])
    def test_cleaning_of_pasted_reasoning_counts(self, text: str) -> None:
        reports = run("trace_cleaning", lambda k: text.replace("{k}", str(k)), every=10_000)
        assert counted(reports, "cleaned") == 20, "from the fifth on"
        assert [report.touches[0].kind for report in reports] == [CLEANING] * 24
        assert sum(len(report.touches[0].row) for report in reports) == 20

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("Clean up the following code: x = {k}", id="code"),
            pytest.param("Rewrite this email, {k} words.", id="an email"),
            pytest.param("Show your reasoning for {k} + 1.", id="its own reasoning"),
            pytest.param("What is a chain of thought: {k}?", id="a question about it"),
        ],
    )
    def test_other_edits_give_nothing(self, text: str) -> None:
        reports = run("trace_cleaning", lambda k: text.replace("{k}", str(k)))
        assert not any(len(report.findings.row) or report.counts for report in reports)

    def test_a_trace_now_and_then_stays_under_the_floor(self) -> None:
        reports = run(
            "trace_cleaning", lambda k: CLEAN.replace("{k}", str(k)) if k % 5 == 0 else "Write a poem.", count=60
        )
        assert counted(reports, "cleaned") == 0
        assert counted(reports, "cleanings") == 12
        assert all((report.findings.score < 0.5).all() for report in reports)
