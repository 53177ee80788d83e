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
# How thought goes on from step to step, and speaks of the task as of something before it.
_STEP: Final = re.compile(
    r"\bstep \d+\b|\b(?:first(?:ly)?|next|then|finally|therefore|thus|hence|so|now|okay|ok|alright), |"
    r"\b(?:i (?:need|should|have|want|can|will|think|notice|wonder|guess)|let'?s|let us|"
    r"we (?:need|have|can|get|know|want)|"
    r"the (?:user|question|problem|task) (?:is|asks?|wants?|says?)|which (?:means|gives|leaves)|this (?:means|gives)|"
    r"so the answer|it follows|in other words)\b|"
    r"\bschritt \d+|\b(?:zuerst|zunächst|dann|also|daher|somit|folglich|schließlich)\b|"
    r"ich (?:muss|sollte|denke|kann)\b|"
    r"étape \d+|\b(?:d'abord|ensuite|puis|donc|ainsi|enfin|par conséquent)\b|je (?:dois|pense|peux)\b|"
    r"\b(?:paso|passo) \d+|\b(?:primero|luego|entonces|después|por lo tanto|finalmente)\b|"
    r"\b(?:primeiro|então|depois|portanto)\b|"
    r"\b(?:prima|poi|quindi|dunque|infine)\b|шаг \d+|\b(?:сначала|затем|потом|значит|следовательно|поэтому|итак)\b|"
    r"首先|其次|然后|然後|接着|接下来|因此|所以|那么|最后|最後に|第[一二三四五]步|まず|次に|したがって|よって|つまり|だから|"
    r"먼저|다음으로|따라서|그러므로|그러면|마지막으로|단계 ?\d|\d단계|"
    r"أولا|ثم |لذلك|إذن|وبالتالي|पहले|फिर|इसलिए|अतः|önce|sonra|dolayısıyla|"
    r"pertama|kemudian|jadi|đầu tiên|sau đó|vì vậy|do đó"
)
_CORRECTIONS, _STEPS = 3, 5
_CHARS_A_CORRECTION: Final = 1500  # thinner than that, a long text of another kind has some too
_CHARS_A_STEP: Final = 200


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


def train_of_thought(text: str, min_chars: int) -> str | None:
    """How a text of at least `min_chars` is one: it corrects itself, or goes on in steps; None if it is none.

    >>> train_of_thought("so 12 + 7 is 18. wait, no, it is 19. hmm, and the rest? let me check that. 40.", 60)
    'corrections'
    >>> train_of_thought("first, we need the sum. then, we have 19. so, it is odd. therefore, the answer is 3.", 60)
    'steps'
    """
    if len(text) < min_chars:
        return None
    if _dense(text, _CORRECTION, _CORRECTIONS, _CHARS_A_CORRECTION):
        return "corrections"
    return "steps" if _dense(text, _STEP, _STEPS, _CHARS_A_STEP) else None


def _dense(text: str, sign: re.Pattern[str], least: int, chars: int) -> bool:
    count = sum(1 for _ in sign.finditer(text))
    return count >= least and count * chars >= len(text)
