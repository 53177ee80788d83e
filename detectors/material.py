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
# What is sought is the letter or number; the word before it is looked at only there.
_LABEL: Final = re.compile(rf"([{_LETTERS}{_NUMBERS}])(?:'s [^\W\d_]{{2,16}})?[)\]>*\"']{{0,3}} ?[:\n>\])]")
_WORD: Final = re.compile(r"([^\W\d_][^\s\d\x00-\x60\x7b-\x7f])([ _#-]{0,2}[(\[*]{0,2})$")
_ALPHABETS: Final = frozenset("abcdefghijklmnopqrstuvwxyzабвгдежзийклмнопрстуфхцчшщъыьэюяё")
_LEAST: Final = 30  # characters of a candidate
# How thought that runs on turns back on itself; a finished text seldom does. Plain phrases, counted by `str.count`: one
# expression of them all takes Python's `re` ten times as long.
_CORRECTION: Final = (
    *(
        " wait,",
        " wait.",
        " wait ",
        " hmm",
        " hold on",
        " let me re",
        " let me check",
        " let me double",
        " let me think",
    ),
    *(
        " let me see",
        " let me try",
        " actually,",
        " oh no",
        " oh right",
        " scratch that",
        " no, that",
        " no, this",
        " no, it",
    ),
    *(
        " moment mal",
        " warte,",
        " warte.",
        " halt,",
        " stopp,",
        " nein,",
        " attends,",
        " attendez",
        " voyons",
        " en fait,",
    ),
    *(" espera,", " espera.", " un momento", " a ver,", " déjame", " calma,", " deixa eu", " deixe-me", " na verdade,"),
    *(" aspetta,", " vediamo", " подожди", " погоди", " стоп,", " хм", " bekle,", " dur bir", " tunggu", " sebentar,"),
    *(" khoan", "để tôi xem", "等等", "等一下", "不对", "不對", "让我再", "让我重新", "让我检查", "讓我再", "讓我重新"),
    *(
        "待って",
        "いや、",
        "いや,",
        "うーん",
        "잠깐",
        "아니,",
        "아니야",
        "음,",
        "다시 생각",
        "다시 확인",
        "انتظر",
        "لحظة",
        "دعني",
    ),
    *("रुको", "रुकिए", "ठहरो", "हम्म"),
)
# How thought goes on from step to step, and speaks of the task as of something before it.
_STEP: Final = (
    *(
        " step 1",
        " step 2",
        " step 3",
        " step 4",
        " step 5",
        " step 6",
        " step 7",
        " step 8",
        " first,",
        " next,",
        " then,",
    ),
    *(
        " finally,",
        " therefore",
        " thus,",
        " hence,",
        " so,",
        " now,",
        " okay,",
        " ok,",
        " alright,",
        " i need",
        " i should",
    ),
    *(
        " i have to",
        " i want",
        " i can",
        " i think",
        " i notice",
        " i wonder",
        " let's",
        " let us",
        " we need",
        " we have",
    ),
    *(" we can", " we get", " we know", " the user", " the question", " the problem", " which means", " which gives"),
    *(" this means", " that means", " this gives", " so the ", " it follows", " in other words"),
    *(
        " schritt ",
        " zuerst",
        " zunächst",
        " dann ",
        " also ",
        " daher ",
        " somit ",
        " folglich",
        " ich muss",
        " ich sollte",
    ),
    *(
        " étape ",
        " d'abord",
        " ensuite",
        " puis ",
        " donc ",
        " ainsi ",
        " enfin,",
        " par conséquent",
        " je dois",
        " je pense",
    ),
    *(
        " paso ",
        " passo ",
        " primero",
        " luego ",
        " entonces",
        " por lo tanto",
        " por tanto",
        " primeiro",
        " então",
        " portanto",
    ),
    *(
        " quindi",
        " dunque",
        " infine",
        " шаг ",
        " сначала",
        " затем",
        " потом ",
        " значит",
        " следовательно",
        " поэтому",
        " итак",
    ),
    *(
        "首先",
        "其次",
        "然后",
        "然後",
        "接着",
        "接下来",
        "因此",
        "所以",
        "那么",
        "第一步",
        "第二步",
        "第三步",
        "まず",
        "次に",
    ),
    *("したがって", "よって", "つまり", "だから", "먼저", "다음으로", "따라서", "그러므로", "그러면", "단계"),
    *(
        "أولا",
        "لذلك",
        "إذن",
        "وبالتالي",
        "पहले",
        "इसलिए",
        "अतः",
        " önce",
        " sonra",
        "dolayısıyla",
        " pertama",
        " kemudian",
    ),
    *("đầu tiên", "sau đó", "vì vậy", "do đó"),
)
_CORRECTIONS, _STEPS = 3, 5
_HEAD, _TAIL = 800, 500  # characters from either end of a text in which a wish about the rest of it stands
# "You are a helpful assistant": the model that is asked, not the one whose reasoning is pasted in.
_A_MODEL: Final = (
    r"[^\s,.;:]{0,12}(?:assistant|assistent|asistent|asistan|asisten|model|modèle|chatbot|\bai\b|\bki\b|\bia\b|\bии\b|"
    r"llm|yapay zeka|ассистент|модель|помощник|مساعد|نموذج|सहायक|मॉडल|trợ lý|mô hình)(?!.?['’])"
)
_ASKED: Final = re.compile(
    r"\b(?:(?:you are|you're|act as)(?= (?:an?|the|our) )|du bist|sie sind|tu es|vous êtes|eres|"
    r"usted es|você é|tu és|sei|lei è|kamu adalah|"
    r"anda adalah|bạn là|sen|siz) (?:(?!of |for |from |by |who |that |which |and |der |die |das |qui |que )[^\s,.;:]+ )"
    rf"{{0,5}}?{_A_MODEL}|(?:\b(?:ты|вы)|أنت|आप|तुम)[ —-]{{1,3}}(?:[^\s,.;:]+ ){{0,2}}?{_A_MODEL}"
    r"|(?:[你您]是|あなたは|당신은|너는)[^,.;:。]{0,20}?(?:助手|模型|アシスタント|モデル|어시스턴트|모델|\bai)"
    r"(?=[,.;:。\s]|です|である|だ|입니다|이다|이야|$)"
)
# Of a sentence in normalised text, which has a list's items in one paragraph.
_END: Final = re.compile(r"\n+|[.!?؟]+(?:\s+|$)|[。।]+|\s[-*•#|]+\s")
_SENTENCE: Final = 240  # characters: what goes on for longer is no wish, but a wish may begin or end it
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
        start = found.start()
        word = _WORD.search(text[max(0, start - 6) : start])
        # Within a word of its script a letter is no label: "data:" ends in none, "回答a:" does.
        if word is None or (not word[2] and found[1] in _LETTERS and word[1][-1] in _ALPHABETS):
            continue
        places.setdefault(word[1], ([], [], []))[_PLACE[found[1]]].append(found.end())
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
    words = f" {text}".replace("\n", " ")
    if _dense(words, _CORRECTION, _CORRECTIONS, _CHARS_A_CORRECTION):
        return "corrections"
    return "steps" if _dense(words, _STEP, _STEPS, _CHARS_A_STEP) else None


def opening_and_end(text: str) -> list[str]:
    """The sentences that a text opens and ends with, in its order: where a request says what it wants.

    >>> opening_and_end("tidy it. it is by version 4.1 of a bot:\\n\\n12 / 4 = 3")
    ['tidy it', 'it is by version 4.1 of a bot:', '12 / 4 = 3']
    >>> opening_and_end("you are a kind assistant, who tidies what a model thought.")
    [', who tidies what a model thought']
    """
    ends = [text] if len(text) <= _HEAD + _TAIL else [text[:_HEAD], text[-_TAIL:]]
    sentences: list[str] = []
    for end in ends:
        for sentence in filter(None, _END.split(_ASKED.sub("", end))):
            long = len(sentence) > 2 * _SENTENCE
            sentences += [sentence[:_SENTENCE], sentence[-_SENTENCE:]] if long else [sentence]
    return sentences


def _dense(text: str, signs: tuple[str, ...], least: int, chars: int) -> bool:
    count = sum(map(text.count, signs))
    return count >= least and count * chars >= len(text)
