"""Prompts of the shift bench: nothing on both sides, and nothing that gives a data set away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UsageError
from tests.benchmarks.shift import corpora
from tests.unit.benchmarks.shift_texts import write_data


def test_no_prompt_is_in_two_sets_and_what_fell_out_is_counted(tmp_path: Path) -> None:
    benign, attack = corpora.load(write_data(tmp_path))
    forms = [form for prompts in (*benign, *attack) for form in prompts.normal]
    assert len(forms) == len(set(forms))
    assert "whats 1 and 1 please" in benign[0].normal  # benign comes first: the attack set lost its copy
    sharegpt = benign[0].counts
    assert (sharegpt["repeated"], sharegpt["short"], sharegpt["other_language"]) == (1, 1, 1)
    for prompts in (*benign, *attack):
        fell = prompts.counts["repeated"] + prompts.counts["short"] + prompts.counts["other_language"]
        assert prompts.counts["rows"] == fell + prompts.counts["kept"] == fell + len(prompts.found)


def test_placeholders_of_a_set_are_gone(tmp_path: Path) -> None:
    _, attack = corpora.load(write_data(tmp_path))
    assert not [text for text in attack[0].found if "noinput" in text]
    assert all(text.endswith("x = 1") for text in attack[1].found)


@pytest.mark.parametrize(
    ("text", "form"),
    [("A\\_b, **bold**!", "a b bold"), ("It’s  it's", "its its"), ("ﬁne\n\tcafé", "fine café"), ("!?", "")],
)
def test_normal_form_keeps_words_only(text: str, form: str) -> None:
    assert corpora.normal_form(text) == form


@pytest.mark.parametrize(
    ("form", "english"),
    [
        ("write a poem about the sea", True),
        ("javascript sort array descending", True),
        ("escribe un poema para los niños", False),
        ("напиши мне стихи", False),
        ("schreib das auf und ich lese es", False),
    ],
)
def test_language(form: str, english: bool) -> None:
    assert corpora.is_english(form) is english


def test_lengths_are_alike_after_the_cut_and_texts_are_only_cut() -> None:
    rng = np.random.default_rng(3)
    long = [" ".join(["w"] * int(count)) for count in rng.integers(20, 200, 500)]
    short = [" ".join(["v"] * int(count)) for count in rng.integers(4, 40, 300)]
    left, right = corpora.cut_to_common_lengths(long, short, np.random.default_rng(0))
    at = np.linspace(0.05, 0.95, 19)
    assert np.abs(np.quantile(corpora.lengths(left), at) - np.quantile(corpora.lengths(right), at)).max() <= 1
    assert all(whole.startswith(cut) for whole, cut in zip([*long, *short], [*left, *right], strict=True))
    assert corpora.lengths([*left, *right]).max() <= corpora.MAX_WORDS


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    (data / "attack/gsm8k_train.jsonl").write_text('{"text": "no question"}\n')
    with pytest.raises(UsageError, match=r"gsm8k_train\.jsonl"):
        corpora.load(data)


def test_missing_files_are_listed(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    assert corpora.missing(data) == []
    (data / "attack/all_wiki_sents.txt").unlink()
    assert corpora.missing(data) == ["attack/all_wiki_sents.txt"]
    assert len(corpora.missing(None)) == len(corpora.BENIGN) + len(corpora.ATTACK)
