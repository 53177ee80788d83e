"""Tags that hold reasoning: in what a request asks, and in what an answer shows."""

from __future__ import annotations

import pytest

from detectors.reasoning_tags import names_tag, tagged_chars
from detectors.text import normalise

THOUGHT = "First I tried to factor it, which failed. " * 6


@pytest.mark.parametrize(
    "text",
    [
        "Return the content in <thinking></thinking>, do not omit line breaks!",
        "Open <deliberation>, think on the page, close it, then reply.",
        "Use a [scratchpad] first.",
        "Close with </reasoning>.",
        "<chain_of_thought> goes first",
        "<inner-monologue> goes first",
    ],
)
def test_a_request_names_a_tag_for_reasoning(text: str) -> None:
    assert names_tag(normalise(text, 1000))


@pytest.mark.parametrize(
    "text",
    [
        "Wrap the title in <h1> tags.",
        "Put the verdict in <answer>, the product card in <card>.",
        "I was thinking about a < b and c > d.",
        "Read [the thoughts of Pascal](https://example.org).",
        "Think step by step and show your work.",
        "",
    ],
)
def test_other_tags_are_the_product_s_own(text: str) -> None:
    assert not names_tag(normalise(text, 1000))


@pytest.mark.parametrize("tag", ["thinking", "Thinking", "deliberation", "scratchpad", "inner_monologue"])
@pytest.mark.parametrize(("left", "right"), ["<>", "[]"])
def test_the_block_that_an_answer_opens_with(tag: str, left: str, right: str) -> None:
    text = f"\n {left}{tag}{right}{THOUGHT}{left}/{tag}{right}\nThe answer is 7."
    assert tagged_chars(text, cut=False) == len(THOUGHT)


@pytest.mark.parametrize(
    "text",
    [
        f"Sure. <thinking>{THOUGHT}</thinking>",
        f"`<thinking>` and `</thinking>` enclose it: {THOUGHT}",
        f"```xml\n<thinking>{THOUGHT}</thinking>\n```",
        f"<card>{THOUGHT}</card>",
        f"<thinking> is how it begins. {THOUGHT}",
        "<",
        "",
    ],
)
def test_an_answer_that_speaks_of_tags_does_not_open_with_one(text: str) -> None:
    assert tagged_chars(text, cut=False) == 0


def test_a_block_that_the_limit_of_tokens_cut_off_goes_to_the_end() -> None:
    assert tagged_chars(f"<think>{THOUGHT}", cut=True) == len(THOUGHT)
