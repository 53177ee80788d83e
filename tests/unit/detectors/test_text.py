"""Words and shingles of texts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.text import Ragged, Words, concat_ragged, empty_ragged, normalise, shingles, text_features, words

# No lone surrogates: events are valid UTF-8.
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=8)
MIXED = st.lists(
    st.text(st.sampled_from("ab 1,_.“—🙂語ひ글éЖ\0\n"), max_size=30),
    max_size=8,
)


def cut(text: str, max_chars: int = 10_000) -> list[str]:
    found = words([normalise(text, max_chars)])
    return [found.data[start:end].decode() for start, end in zip(found.starts, found.ends, strict=True)]


def shingled(texts: list[str], width: int, limit: int = 10_000) -> list[list[int]]:
    return rows(shingles(words(texts), width, limit).hashes)


def rows(ragged: Ragged) -> list[list[int]]:
    return [row.tolist() for row in np.split(ragged.values, ragged.offsets[1:-1])] if ragged.rows else []


def ragged(lists: list[list[int]]) -> Ragged:
    values = np.array([value for one in lists for value in one], np.uint64)
    return Ragged(values, np.cumsum([0] + [len(one) for one in lists]).astype(np.int64))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n.,;!?", []),
        ("Hello, World", ["hello", "world"]),
        ("snake_case stays; kebab-case does not", ["snake_case", "stays", "kebab", "case", "does", "not"]),
        ("don’t — “quoted” … end", ["don", "t", "quoted", "end"]),
        ("naïve Ärger ЖУРНАЛ", ["naïve", "ärger", "журнал"]),
        ("思考過程", ["思", "考", "過", "程"]),
        ("AIの回答v2", ["ai", "の", "回", "答", "v2"]),
        ("추론 과정", ["추", "론", "과", "정"]),
        ("ＦＵＬＬ　ｗｉｄｔｈ", ["full", "width"]),
        ("كيف الحال", ["كيف", "الحال"]),
        ("a\0b", ["a", "b"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


def read_one_by_one(text: str) -> list[str]:
    """The words of a normalised text, a character at a time."""
    out, inside = [], False
    for char in text:
        code = ord(char)
        alone = 0x3040 <= code <= 0xD7FF
        mark = 0x80 <= code < 0xC0 or 0x2000 <= code < 0x3040
        if not ((char.isascii() and char.isalnum()) or char == "_" or (code >= 0x80 and not mark)):
            inside = False
        elif alone or not inside:
            out.append(char)
            inside = not alone
        else:
            out[-1] += char
    return out


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=60), MIXED.map("".join)))
def test_words_are_what_one_reads_character_by_character(text: str) -> None:
    read = normalise(text, 10_000)
    assert cut(text) == read_one_by_one(read)


def test_case_and_compatibility_forms_make_no_difference() -> None:
    variants = ["the ﬁnal Answer", "THE FINAL ANSWER", "the ｆｉｎａｌ answer", "the, final... answer!"]
    hashes = {tuple(words([normalise(text, 100)]).hashes.values.tolist()) for text in variants}
    assert len(hashes) == 1


def test_every_digit_counts_as_the_same_digit_but_their_number_counts() -> None:
    def hashed(text: str) -> list[int]:
        found: list[int] = words([text]).hashes.values.tolist()
        return found

    assert hashed("row 17 of 90") == hashed("row 42 of 11")
    assert hashed("row 17") != hashed("row 170")
    assert hashed("v1") != hashed("w1")


def test_words_that_differ_have_different_hashes() -> None:
    many = [f"{a}{b}{c}" for a in "abcdefghij" for b in "klmnopqrst" for c in ("", "x", "yz", "é", "語")]
    hashes = words(many).hashes
    assert len(set(hashes.values.tolist())) == len({word for text in many for word in cut(text)})


def test_a_blob_is_one_word_whatever_its_length() -> None:
    assert words(["a" * 100_000 + " b"]).hashes.lengths.tolist() == [2]


@settings(max_examples=60, deadline=None)
@given(TEXTS | MIXED, st.integers(2, 4), st.integers(1, 9))
def test_a_text_has_the_same_words_and_shingles_in_any_company(texts: list[str], width: int, limit: int) -> None:
    texts = [normalise(text, 50) for text in texts]
    together: Words = words(texts)
    alone = [words([text]) for text in texts]
    assert rows(together.hashes) == [one.hashes.values.tolist() for one in alone]
    spans = [together.data[a:b] for a, b in zip(together.starts, together.ends, strict=True)]
    assert spans == [one.data[a:b] for one in alone for a, b in zip(one.starts, one.ends, strict=True)]
    assert shingled(texts, width, limit) == [shingled([text], width, limit)[0] for text in texts]


@settings(max_examples=60, deadline=None)
@given(MIXED)
def test_words_are_valid_text_without_space_between_them(texts: list[str]) -> None:
    found = words([normalise(text, 50) for text in texts])
    assert found.hashes.rows == len(texts)
    assert (found.ends > found.starts).all()
    assert (found.starts[1:] >= found.ends[:-1]).all()
    for start, end in zip(found.starts, found.ends, strict=True):
        assert not set(found.data[start:end].decode()) & set(" ,.\0\n“—")


def test_a_shingle_is_a_run_of_words_and_its_order_counts() -> None:
    there, again, back = shingled(["a b c d", "x a b c d", "d c b a"], 3)
    assert len(there) == 2
    assert set(there) < set(again)
    assert not set(there) & set(back)


def test_a_text_of_fewer_words_than_the_width_has_no_shingle() -> None:
    assert [len(one) for one in shingled(["a b", "", "a b c", "a b c d"], 3)] == [0, 0, 1, 2]


def test_a_run_of_numbers_has_no_shingle() -> None:
    """All digits count alike, so tables of numbers would make strangers look alike."""
    assert shingled(["10 20 30 40 50 60"], 3) == [[]]
    assert [len(one) for one in shingled(["row 10 of 20 and 30 of 40", "a 1 2 b", "v1 v2 v3"], 3)] == [3, 0, 1]


@settings(max_examples=40, deadline=None)
@given(MIXED, st.integers(2, 4), st.integers(1, 9))
def test_a_shingle_tells_where_it_stands(texts: list[str], width: int, limit: int) -> None:
    found = words([normalise(text, 50) for text in texts])
    every = shingles(found, width, limit)
    for place, value, row in zip(every.place, every.hashes.values, every.hashes.row_ids(), strict=True):
        span = found.data[found.starts[place] : found.ends[place + width - 1]].decode()
        assert shingled([span], width) == [[value]]
        assert found.hashes.row_ids()[place] == row


def test_many_texts_are_worked_off_in_blocks_that_do_not_show() -> None:
    texts = [f"{'word ' * (n % 700)}end{n} of text {n}" for n in range(120)]
    texts += ["", "x " * 70_000, "a b c d", ""]
    assert sum(map(len, texts)) > 5 * 32_768
    for sample in (True, False):
        assert rows(text_features(texts, 3, 50, sample=sample)[0]) == shingled(texts, 3, 50)
        assert rows(text_features([], 3, 50, sample=sample)[0]) == []


def test_words_are_sampled_alike_in_every_text_and_only_where_they_are_read() -> None:
    own = ["".join(letters) for letters in itertools.islice(itertools.product("abcdefghij", repeat=3), 800)]
    texts = [" ".join(own[start : start + 400]) for start in range(0, 401, 100)]
    assert rows(text_features(texts, 3, 50, sample=False)[1]) == [[]] * len(texts)
    sampled = rows(text_features(texts, 3, 50, sample=True)[1])
    assert all(25 < len(row) < 85 for row in sampled), "about one in eight of 400"
    assert set(sampled[1]) <= {*sampled[0], *sampled[4]}, "what a text has in the middle of others it has as they do"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(1, 12))
def test_shingles_over_the_limit_come_from_head_and_tail(count: int, limit: int) -> None:
    text = " ".join(chr(97 + i % 26) * (1 + i // 26) for i in range(count + 1))
    every = shingled([text], 2)[0]
    assert len(every) == count
    kept = shingled([text], 2, limit)[0]
    if count <= limit:
        assert kept == every
    else:
        head = (limit + 1) // 2
        assert kept == every[:head] + (every[-(limit - head) :] if limit > head else [])


@settings(max_examples=40, deadline=None)
@given(st.text(st.sampled_from("ab é"), max_size=80), st.integers(1, 20).map(lambda n: 2 * n))
def test_only_head_and_tail_of_a_long_text_are_read(text: str, limit: int) -> None:
    read = normalise(text, limit)
    if len(text) <= limit:
        assert read == normalise(text, 10**6)
    else:
        assert read == normalise(f"{text[: limit // 2]}\n\n{text[-(limit // 2) :]}", 10**6)


LISTS = st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=4), max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.data(), LISTS)
def test_rows_are_taken_in_the_order_asked_for(data: st.DataObject, lists: list[list[int]]) -> None:
    indices = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=12) if lists else st.just([]))
    taken = ragged(lists).take(np.array(indices, np.int64))
    assert rows(taken) == [lists[i] for i in indices]
    assert taken.row_ids().tolist() == [i for i, k in enumerate(indices) for _ in lists[k]]


@settings(max_examples=50, deadline=None)
@given(st.lists(LISTS, min_size=1, max_size=4))
def test_rows_are_joined_and_come_apart_again(parts: list[list[list[int]]]) -> None:
    joined = concat_ragged([ragged(part) for part in parts])
    assert rows(joined) == [one for part in parts for one in part]
    at = 0
    for part in parts:
        assert rows(joined.take(np.arange(at, at + len(part)))) == part
        at += len(part)


def test_empty_rows() -> None:
    assert rows(empty_ragged(3)) == [[], [], []]
    assert empty_ragged(0).rows == 0
