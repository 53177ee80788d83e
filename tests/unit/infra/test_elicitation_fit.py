"""The texts that the paraphrase classifier is fitted from."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from infra.elicitation.fit.texts import Template, draw, expand, fill, read_development, read_templates
from pipelines.config import load_config

TEMPLATES = read_templates()
TECHNIQUES = {pattern.technique for pattern in load_config().patterns.pattern}


@pytest.mark.parametrize("language", sorted({template.language for template in TEMPLATES}))
def test_each_language_has_every_technique_and_its_look_alikes(language: str) -> None:
    own = [template for template in TEMPLATES if template.language == language]
    kinds = Counter(template.label for template in own)
    assert {t.kind for t in own if t.label == "flagged"} >= TECHNIQUES
    assert kinds["honest"] >= 25
    assert kinds["task"] >= 5


def test_there_are_at_least_ten_languages() -> None:
    assert len({template.language for template in TEMPLATES}) >= 10


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: f"{template.language}-{template.text[:24]}")
def test_alternatives_are_closed(template: Template) -> None:
    assert "[" not in expand(template.text, Random(1))
    assert "]" not in expand(template.text, Random(1))


def test_alternatives_may_hold_further_ones() -> None:
    seen = {expand("[print|[show|tell] me] it", Random(seed)) for seed in range(30)}
    assert seen == {"print it", "show me it", "tell me it"}


def test_every_slot_is_filled_in_and_other_braces_stand() -> None:
    assert fill('{out} {"a": 1} {other}', {"out": "[x|y]"}) == '[x|y] {"a": 1} {other}'
    assert not [
        t.text for t in TEMPLATES if any(f"{{{slot}}}" in t.text for slot in ("cot", "full", "out", "no", "pre"))
    ]


def test_the_development_set_shares_no_text_with_the_templates() -> None:
    development = read_development()
    assert {example.label for example in development} == {"flagged", "honest"}
    assert {example.language for example in development} == {template.language for template in TEMPLATES}
    assert not {example.text for example in development} & {template.text for template in TEMPLATES}


def test_no_template_stands_twice() -> None:
    assert len({template.text for template in TEMPLATES}) == len(TEMPLATES)


def test_examples_say_where_their_wish_is() -> None:
    flagged = [t for t in TEMPLATES if t.language == "en" and t.label in ("flagged", "task")]
    examples = [e for e in draw(flagged, ["Sort these names."], 5, Random(2)) if e.label == "flagged"]
    assert any(e.start for e in examples)
    assert any(e.end < len(e.text) for e in examples)
    assert all(e.text[e.start : e.end].strip() == e.text[e.start : e.end] for e in examples)


def test_drawing_repeats_itself() -> None:
    assert list(draw(TEMPLATES, ["x"], 3, Random(4))) == list(draw(TEMPLATES, ["x"], 3, Random(4)))
