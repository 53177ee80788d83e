"""What a text holds that a model is asked to work on: answers side by side, or a chain of thought.

Looked at is structure, which differs little between languages: labels that go in pairs, tags with much between them,
a train of thought that corrects itself again and again. Texts are normalised (:func:`detectors.text.normalise`).
"""

from __future__ import annotations

import re
from typing import Final

from detectors.reasoning_tags import tagged_block

_LETTERS, _NUMBERS = "abcабв", "123一二三甲乙丙"
_PLACE: Final = {letter: i % 3 for letters in (_LETTERS, _NUMBERS) for i, letter in enumerate(letters)}
# A label ends in the same letters for both candidates, whatever language they are of: "response a:", "ответ 2)",
# "回答b:", "<answer_a>", "**assistant 1**", "[start of assistant a's answer]".
_LABEL: Final = re.compile(
    r"([^\W\d_][^\s\d\x00-\x60\x7b-\x7f])[ _#-]{0,2}[(\[*]{0,2}"
    # A letter is a label where it stands alone: "data:" ends in none.
    rf"((?<![a-zà-ÿа-яё])[{_LETTERS}]|[{_NUMBERS}])(?:'s [^\W\d_]{{2,16}})?[)\]>*\"']{{0,3}} ?[:\n>\])]"
)
_LEAST: Final = 30  # characters of a candidate
# How thought that runs on turns back on itself, at the begin of a sentence or clause; a finished text seldom does.
_CORRECTION: Final = re.compile(
    r"\b(?:wait[,.]|hmm+\b|hold on\b|let me (?:re-?\w+|double[- ]check|check|think|see|try)\b|actually, |"
    r"oh,? (?:no|right)\b|scratch that\b|no, (?:that|this|it)\b|"
    r"moment mal\b|warte[,. ]|halt[,. ]|stopp[,. ]|nein, |"
    r"attends[,. ]|attendez\b|voyons\b|en fait, |non, |"
    r"espera[,. ]|un momento[,. ]|a ver[,. ]|déjame\b|no, espera\b|calma[,. ]|deixa(?:-me)? (?:eu )?ver\b|na verdade, |"
    r"aspetta[,. ]|vediamo\b|подожди\w*|погоди\w*|стоп[,. ]|хм+\b|так, |"
    r"bekle[,. ]|dur bir\b|tunggu[,. ]|sebentar[,. ]|khoan\b|để tôi xem)"
    r"|等等|等一下|不对|不對|让我(?:再|重新|想|检查|看)|讓我(?:再|重新|想|檢查|看)|嗯[,。…]"
    r"|待って|いや[、,]|うーん|ちょっと待|잠깐|아니[,야]|음[,.…]|다시 (?:생각|확인)"
    r"|انتظر|لحظة|دعني أ|رुको|रुकिए|रुको|ठहरो|हम्म|अरे नहीं"
)
_CORRECTIONS: Final = 3
_CHARS_A_CORRECTION: Final = 1500  # thinner than that, a long text of another kind has some too


def holds_candidates(text: str) -> bool:
    """Do two labelled texts stand side by side, and no third?

    >>> holds_candidates("answer a: paris, which lies on the seine.\\nanswer b: lyon, the second city of france.")
    True
    >>> holds_candidates("step 1: heat the oil and add the onions.\\nstep 2: add stock.\\nstep 3: simmer an hour.")
    False
    """
    places: dict[str, tuple[list[int], list[int], list[int]]] = {}
    for found in _LABEL.finditer(text):
        places.setdefault(found[1], ([], [], []))[_PLACE[found[2]]].append(found.end())
    for first, second, third in places.values():
        # A prompt may speak of its labels before it comes to them, and say where a candidate ends.
        apart = [at for at in second if first and at - first[0] >= _LEAST]
        if apart and len(text) - apart[0] >= _LEAST and not third:
            return True
    return False


def holds_tagged_trace(text: str, min_chars: int) -> bool:
    """Does a block of at least `min_chars` stand in tags for reasoning?"""
    return tagged_block(text) >= min_chars


def holds_train_of_thought(text: str, min_chars: int) -> bool:
    """Does a text of at least `min_chars` correct itself, again and again?

    >>> holds_train_of_thought("so 12 + 7 is 18. wait, no, it is 19. hmm, and the rest? let me check that. 40.", 60)
    True
    """
    if len(text) < min_chars:
        return False
    count = sum(1 for _ in _CORRECTION.finditer(text))
    return count >= _CORRECTIONS and count * _CHARS_A_CORRECTION >= len(text)
