"""Inline text tags that hold reasoning: does a request name one, and how much of an answer stands in one?"""

from __future__ import annotations

import re
from typing import Final

# What tags for reasoning are called in prompts and in the output of open models. `analysis`, `reason` and `plan`
# are left out: products name parts of their answers so.
_NAMES: Final = (
    r"think|thinking|thoughts?|thought[_-]?process|reasoning|scratch[_-]?pad|deliberations?|reflections?|rationale|"
    r"(?:inner|internal)[_-]?(?:monologue|thoughts?|reasoning)|monologue|chain[_-]?of[_-]?thought|cot"
)
_NAMED: Final = re.compile(rf"[<\[]/?(?:{_NAMES})[>\]]")
_BLOCK: Final = re.compile(rf"([<\[])({_NAMES})[>\]]")
_OPENS: Final = re.compile(rf"\s*([<\[])({_NAMES})[>\]]", re.IGNORECASE)


def names_tag(text: str) -> bool:
    """Does a normalised request name a tag for reasoning?

    >>> names_tag("put your thoughts inside <thinking></thinking>"), names_tag("wrap the title in <h1>")
    (True, False)
    """
    return ("<" in text or "[" in text) and _NAMED.search(text) is not None


def tagged_block(text: str) -> int:
    """Characters of the longest block that stands in tags for reasoning, anywhere in a normalised text.

    >>> tagged_block("shorten it: <think>first the left side, then the right one</think> done")
    39
    >>> tagged_block("answer inside <think></think>, please")
    0
    """
    longest = 0
    for opened in _BLOCK.finditer(text):
        end = text.find(f"{opened[1]}/{opened[2]}", opened.end())
        if end < 0:
            break
        longest = max(longest, end - opened.end())
    return longest


def tagged_chars(text: str, *, cut: bool) -> int:
    """Characters of the block of reasoning that an answer opens with; 0 if it opens with none.

    A tag that is only spoken of, in prose or in code, does not open an answer.

    Args:
        text: as the provider answered.
        cut: the answer hit its limit of tokens, so the block may lack its end.

    >>> tagged_chars("<thinking>It is odd.</thinking>No.", cut=False)
    10
    >>> tagged_chars("The <thinking>tags</thinking> go first.", cut=False)
    0
    """
    # Most answers begin with a letter; only of the others is more than their first character looked at.
    if text[:1].isalnum():
        return 0
    opened = _OPENS.match(text)
    if opened is None:
        return 0
    end = text.find(f"{opened[1]}/{opened[2]}", opened.end())
    if end >= 0:
        return end - opened.end()
    return len(text) - opened.end() if cut else 0
