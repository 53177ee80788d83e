"""The text-only baseline."""

from __future__ import annotations

from random import Random

import msgspec
import numpy as np
import pytest

from schemas.events import Message, Part, Request
from tests.benchmarks.arena import text_only

SUMS = [f"How many apples has Ann after she buys {n} and eats {n // 2}?" for n in range(60)]
CODE = [f"Write a function that sorts list number {n} in place." for n in range(60)]


def learned() -> text_only.SourceModel:
    return text_only.SourceModel.fit([*SUMS[:30], *CODE[:30]], ["harvest: sums"] * 30 + ["code"] * 30)


def test_sources_of_other_words_are_told_apart() -> None:
    found = text_only.recognised(learned(), [*SUMS[30:], CODE[31]], ["harvest: sums"] * 30 + ["code"])
    assert (found["accuracy"], found["chance"]) == (1.0, 0.5)
    assert found["sources"] == {
        "code": {"tested": 1, "recognised": 1},
        "harvest: sums": {"tested": 30, "recognised": 30},
    }


def test_each_source_counts_once() -> None:
    found = text_only.recognised(learned(), [*SUMS[30:], CODE[31]], ["harvest: sums"] * 31)
    assert found["accuracy"] == 30 / 31


def test_sources_of_the_same_words_are_not() -> None:
    rng = Random(3)
    texts = [" ".join(rng.choices("abcdefghijk", k=12)) for _ in range(800)]
    sources = ["left", "right"] * 200
    model = text_only.SourceModel.fit(texts[:400], sources)
    assert abs(text_only.recognised(model, texts[400:], sources)["accuracy"] - 0.5) < 0.08


def test_the_same_text_is_never_learned_and_tested() -> None:
    # Were it, the repeats would be recognised: words are of no other use here.
    rng = Random(5)
    texts = [" ".join(rng.choices("abcdefghijklmnop", k=10)) for _ in range(300)]
    pairs = [(text, source) for text, source in zip(texts, ["left", "right"] * 150, strict=True)]
    found = text_only.told_apart([*pairs, *((f"  {text.upper()}", source) for text, source in pairs)])
    assert abs(found["accuracy"] - 0.5) < 0.12
    assert sum(row["tested"] for row in found["sources"].values()) % 2 == 0


def test_one_source_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="two sources or more"):
        text_only.SourceModel.fit(SUMS, ["sums"] * len(SUMS))


def test_features_are_presence_by_content_alone() -> None:
    table = text_only.features(["One one ONE", "one", "", "other"])
    assert set(np.unique(table.toarray())) == {0.0, 1.0}
    assert table.sum(axis=1).tolist() == [2, 1, 1, 1]  # the word and its pair; an empty text has one feature


def request(index: int, account: str, text: str) -> Request:
    return Request(id=f"r{index}", ts=index, account=account, model="m", messages=[Message(role="user", content=text)])


def test_accounts_grow_suspicious_with_every_harvested_prompt() -> None:
    events = [request(i, "farmer", SUMS[30 + i]) for i in range(5)] + [request(9, "coder", CODE[40])]
    scores = list(text_only.suspicion(learned(), events))
    farmer = [score.value for score in scores if score.account == "farmer"]
    assert farmer == sorted(farmer)
    assert farmer[0] > 0 > scores[-1].value
    assert [score.ts for score in scores] == [0, 1, 2, 3, 4, 9]


def test_the_last_user_turn_is_read() -> None:
    turns = [
        Message(role="user", content=CODE[31]),
        Message(role="user", content=[Part(type="text", text=SUMS[31]), Part(type="image")]),
        Message(role="assistant", content="answer"),
    ]
    silent = Request(id="s", ts=1, account="a", model="m")
    asked = Request(id="r", ts=1, account="a", model="m", messages=turns)
    assert list(text_only.suspicion(learned(), [silent, asked])) == list(
        text_only.suspicion(
            learned(), [msgspec.structs.replace(asked, messages=[Message(role="user", content=SUMS[31])])]
        )
    )


def test_a_text_that_comes_back_counts_as_often_as_it_comes() -> None:
    events = [request(0, "one", SUMS[40]), request(1, "two", SUMS[40]), request(2, "one", SUMS[40])]
    first, other, again = (score.value for score in text_only.suspicion(learned(), events))
    assert first == other
    assert again == pytest.approx(first * (2 / 5) / (1 / 4))
