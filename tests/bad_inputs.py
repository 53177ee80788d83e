"""Inputs for tests: a stream of raw inputs that must all be refused, and a stream of varied good events.

Both are determined by their arguments alone. No input holds a line end or is blank, so that each can also
be one line of a file.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from schemas.errors import Reason
from schemas.events import Event, decode_event

BadInput = tuple[bytes, Reason]

# One in so many inputs is larger than any limit; each is some 10 MB, so they are few.
HUGE_EVERY: Final = 2_000
HUGE_BYTES: Final = 10_000_000
# Deeper than the recursion limit of any Python.
DEPTH: Final = range(20_000, 30_000)
START: Final = 1_784_887_200_000

_PLAIN: Final = [
    "summarise",
    "translate",
    "the",
    "minutes",
    "invoice",
    "order",
    "parser",
    "kettle",
    "harbour",
    "please",
    "table",
    "of",
    "contents",
]
_SCRIPTS: Final = [
    "résumé",
    "naïve",
    "Überprüfung",
    "доклад",
    "проверка",
    "光合作用",
    "請求書",
    "翻訳",
    "번역",
    "تقرير",
    "ترجمة",
    "शिक्षक",
    "🌱",
    "👩\u200d🔬",
]
_WORDS: Final = (*_PLAIN, *_SCRIPTS, "", "\u0000", "\u2028", "\\", '"', "/", "\t")


def generate(n: int, seed: int) -> Iterator[tuple[bytes, Reason]]:
    """`n` raw inputs, each with the reason with which `decode_event` must refuse it."""
    rng = random.Random(seed)
    makers = list(_MAKERS)
    for index in range(n):
        if index % HUGE_EVERY == HUGE_EVERY // 2:
            yield _huge(rng)
        elif rng.random() < 0.02:
            yield _deep(rng)
        else:
            yield rng.choice(makers)(rng)


def good_events(n: int, seed: int) -> Iterator[Event]:
    """`n` valid events of every type, with and without each optional field."""
    rng = random.Random(seed)
    for index in range(n):
        yield decode_event(json.dumps(_good(rng, index), ensure_ascii=rng.random() < 0.5).encode())


def _text(rng: random.Random, words: int = 12) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(0, words)))


def _some(rng: random.Random, **fields: Any) -> dict[str, Any]:
    """A random part of the fields; sometimes a field is there and null."""
    chosen = {name: value for name, value in fields.items() if rng.random() < 0.7}
    return {name: None if rng.random() < 0.1 else value for name, value in chosen.items()}


def _good(rng: random.Random, index: int) -> dict[str, Any]:
    base = {"ts": START + index * 250 + rng.randint(0, 5000)}
    account = {"account": f"acct-{rng.randint(0, 40)}"}
    model = {"model": rng.choice(["m-large", "m-small", "m-next"])}
    kind = rng.choices(["request", "response", "account", "enforcement", "release"], [50, 30, 10, 6, 4])[0]
    if kind == "request":
        return {"type": kind, "id": f"r{index}", **base, **account, **model, **_request_extras(rng)}
    if kind == "response":
        usage = _some(
            rng, input=rng.randint(0, 9000), output=rng.randint(0, 900), reasoning=0, cached=rng.randint(0, 9)
        )
        extras = _some(
            rng,
            status=rng.choice([200, 429, 529]),
            finish_reason="stop",
            refused=rng.random() < 0.1,
            text=_text(rng, 60),
            signatures=[_text(rng, 3) for _ in range(2)],
            usage=usage,
            latency_ms=rng.uniform(1, 60_000),
        )
        return {"type": kind, "request_id": f"r{rng.randint(0, index)}", **base, **account, **model, **extras}
    if kind == "account":
        extras = _some(
            rng,
            created=START - rng.randint(0, 10**10),
            plan=rng.choice(["free", "paid"]),
            payment=f"pay-{rng.randint(0, 9)}",
            email_domain="example.com",
            signup_ip="203.0.113.0/24",
            signup_channel="direct",
            org="org-1",
        )
        return {"type": kind, **base, **account, **extras}
    if kind == "enforcement":
        return {"type": kind, **base, **account, "action": rng.choice(["ban", "unban"])}
    return {"type": kind, **base, **model}


def _request_extras(rng: random.Random) -> dict[str, Any]:
    parts = [
        {"type": "text", "text": _text(rng)},
        {"type": "thinking", "thinking": _text(rng), "signature": "c2ln"},
        {"type": "tool_use", "id": "c1", "name": "search", "input": {"q": _text(rng, 3), "n": [1, 2.5, None, 10**25]}},
        {"type": "tool_result", "id": "c1", "content": [{"type": "text", "text": _text(rng)}]},
        {"type": "image"},
    ]
    contents: list[Any] = [_text(rng), None, rng.sample(parts, rng.randint(0, 5))]
    messages = [
        {"role": rng.choice(["user", "assistant"]), "content": rng.choice(contents)} for _ in range(rng.randint(0, 5))
    ]
    params = _some(
        rng,
        temperature=rng.uniform(0, 2),
        top_p=rng.random(),
        max_tokens=rng.randint(1, 9000),
        n=rng.randint(1, 4),
        logprobs=True,
        top_logprobs=rng.randint(0, 20),
        logit_bias={"50256": -100.0},
        seed=rng.randint(-(2**63), 2**63 - 1),
        stream=False,
        reasoning_effort="high",
        top_k=40,
    )
    client = _some(rng, ip="203.0.113.4", asn=64500, country="NL", user_agent=_text(rng, 3), tls="t13d1516h2")
    return _some(
        rng,
        org="org-1",
        end_user=_text(rng, 2),
        conversation="conv-1",
        system=_text(rng, 30),
        messages=messages,
        tools=["search", "run_sql"],
        params=params,
        client=client,
        signatures=["c2ln"],
        region={"unknown": [_text(rng)]},
    )


def _line(fields: dict[str, Any]) -> bytes:
    """ASCII JSON, so that a cut never falls into a character."""
    return json.dumps(fields).encode()


def _call(rng: random.Random, **fields: Any) -> dict[str, Any]:
    return {"type": "request", "id": f"r{rng.randint(0, 999)}", "ts": START, "account": "a1", "model": "m", **fields}


def _open(rng: random.Random) -> bytes:
    """A good request up to its last brace, for fields that no JSON writer would write."""
    return _line(_call(rng, system=_text(rng)))[:-1]


def _truncated(rng: random.Random) -> BadInput:
    whole = _line(_good(rng, rng.randint(0, 999)))
    return whole[: rng.randint(1, len(whole) - 1)], "not_json"


_WRONG: Final[tuple[tuple[str, tuple[Any, ...]], ...]] = (
    ("ts", ("1784887200123", 1.5, None, True, [], {})),
    ("id", (7, None, ["r1"], {"id": "r1"}, False)),
    ("account", (7, None, [], {})),
    ("system", (1, ["text"], {"text": "x"}, True)),
    ("messages", ("hello", {"role": "user"}, 5, ["hello"], [None], [{"role": 1}], [{"role": "user", "content": 5}])),
    ("tools", ("search", [1], [{"name": "search"}], {})),
    ("params", ("hot", [], [1], 1, {"temperature": "hot"}, {"n": 1.5}, {"stream": 1}, {"logit_bias": {"secret": "x"}})),
    ("client", ("203.0.113.4", [], {"ip": 1}, {"asn": "64500"}, {"user_agent": {}})),
    ("signatures", ("c2ln", [1], [None], {})),
)


def _wrong_type(rng: random.Random) -> BadInput:
    if rng.random() < 0.2:
        return _line({"type": "enforcement", "ts": START, "account": "a1", "action": _text(rng) + "!"}), "wrong_type"
    name, values = rng.choice(_WRONG)
    return _line(_call(rng, **{name: rng.choice(values)})), "wrong_type"


def _not_a_number(rng: random.Random) -> BadInput:
    word = rng.choice([b"NaN", b"Infinity", b"-Infinity", b"nan", b"-", b"0x1F", b"01", b"+1", b".5", b"1.", b"1e"])
    field = rng.choice([b"ts", b"unknown", b"latency_ms"])
    if field == b"ts":
        return b'{"type":"release","ts":' + word + b',"model":"m"}', "not_json"
    return _open(rng) + b',"' + field + b'":' + word + b"}", "not_json"


def _out_of_range(rng: random.Random) -> BadInput:
    number = rng.choice(["1e999", "-1e999", "1" * 400, "-" + "9" * 400 + ".5", "1e" + "9" * 30])
    # An integer of any length is JSON, but Python refuses to read more than 4,300 digits.
    beyond = rng.choice(["1e999", "-1e400", "9" * 5000])
    big = rng.choice([2**63, 2**64, 10**30, -(10**30)])
    choices = (
        f'"params":{{"temperature":{number}}}',
        f'"params":{{"logit_bias":{{"secret":{number}}}}}',
        f'"params":{{"seed":{big}}}',
        f'"params":{{"max_tokens":{-rng.randint(1, 10**9)}}}',
        f'"client":{{"asn":{2**32 + rng.randint(0, 99)}}}',
        f'"params":{{"top_p":{1 + rng.random() + 0.001}}}',
        f'"ts":{rng.choice([-1, 10**15, 2**63, 10**25])}',
        '"id":""',
        f'"account":"{"a" * rng.randint(513, 900)}"',
        f'"model":"{"m" * rng.randint(4097, 5000)}"',
        f'"messages":[{{"role":"assistant","content":[{{"type":"tool_use","input":{{"secret":{beyond}}}}}]}}]',
    )
    return _open(rng) + b"," + rng.choice(choices).encode() + b"}", "out_of_range"


def _unknown_type(rng: random.Random) -> BadInput:
    kind = rng.choice(["requset", "", "Request", "REQUEST", " request", "request\u0000", "ping", _text(rng) + "?"])
    return _line(_call(rng, type=kind)), "unknown_type"


def _missing(rng: random.Random) -> BadInput:
    if rng.random() < 0.15:
        return rng.choice(
            [b"{}", b"{ }", b'{"":{}}', b'{"TYPE":"request"}', b'{"__proto__":{"type":"request"}}']
        ), "missing_field"
    fields = _call(rng, system=_text(rng))
    del fields[rng.choice(["type", "id", "ts", "account", "model"])]
    return _line(fields), "missing_field"


def _not_utf8(rng: random.Random) -> BadInput:
    bad = rng.choice(
        [b"\xff", b"\xfe\xff", b"\xc0\xaf", b"\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x28\xa1", b"caf\xe9"]
    )
    where = rng.randrange(5)
    if where == 0:
        return bad + _line(_call(rng)), "not_utf8"
    if where == 1:
        return _line(_call(rng)) + bad, "not_utf8"
    field = (b'"system":"' + bad + b'"', b'"region":["' + bad + b'"]', b'"' + bad + b'":1')[where - 2]
    return _open(rng) + b"," + field + b"}", "not_utf8"


def _utf16(rng: random.Random) -> BadInput:
    # The byte order mark is what makes it not UTF-8; "big" would be valid UTF-8 full of NULs without it.
    return _line(_call(rng)).decode().encode("utf-16"), "not_utf8"


def _lone_surrogate(rng: random.Random) -> BadInput:
    half = rng.choice(
        [b"\\ud800", b"\\uD83D", b"\\udbff", b"\\udc00", b"\\uDFFF", b"\\udc00\\ud800", b"\\ud83dx", b"\\ud83d\\n"]
    )
    text = rng.choice([b"", b"some words before "]) + half + rng.choice([b"", b" and words behind"])
    tool = b'"messages":[{"role":"user","content":[{"type":"tool_use","input":{"k":"' + text + b'"}}]}]'
    field = rng.choice([b'"system":"' + text + b'"', b'"region":{"x":["' + text + b'"]}', b'"' + text + b'":0', tool])
    return _open(rng) + b"," + field + b"}", "not_json"


def _not_an_object(rng: random.Random) -> BadInput:
    whole = _line(_call(rng))
    return rng.choice(
        [b"[]", b"[" + whole + b"]", b"null", b"true", b"0", b"-1.5", b'"request"', b'""', b"[[]]"]
    ), "not_an_object"


def _duplicate_keys(rng: random.Random) -> BadInput:
    whole = _open(rng)
    choices: list[BadInput] = [
        (b'{"type":"release",' + whole[1:] + b"}", "unknown_type"),
        (whole + b',"ts":"later"}', "wrong_type"),
        (whole + b',"account":"a2","account":null}', "wrong_type"),
        (whole + b',"id":"r2","id":""}', "out_of_range"),
        (whole + b',"params":{"n":1,"n":-1}}', "out_of_range"),
    ]
    return rng.choice(choices)


def _syntax(rng: random.Random) -> BadInput:
    whole = _line(_call(rng))
    return rng.choice(
        [
            whole + whole,
            whole + b" trailing words",
            whole[:-1] + b",}",
            b"{" + whole,
            whole.replace(b'"', b"'"),
            whole.replace(b":", b"=", 1),
            whole.replace(b", ", b" ", 1),
            b"\xef\xbb\xbf" + whole,
            b"data: " + whole,
            whole[:-1] + b',"system":"tab\tinside"}',
            whole[:-1] + b',"region":"bell\x07inside"}',
            whole[:-1] + b',"system":"bad \\x escape"}',
            whole[:-1] + b',"system":"bad \\u00zz escape"}',
            whole[:-1] + b',"system":"never closed}',
            whole[:-1] + b",system:1}",
            whole[:-1] + b',"a\\":1}',
            b"// " + whole,
            bytes(rng.choices(b"abcdefgh{}[]:,0123456789", k=rng.randint(1, 200))).join([b"x", b"x"]),
        ]
    ), "not_json"


def _deep(rng: random.Random) -> BadInput:
    depth = rng.choice(DEPTH)
    lists, objects = b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth
    nested = rng.choice([lists, objects])
    tool = b',"messages":[{"role":"user","content":[{"type":"tool_use","input":' + nested + b"}]}]}"
    choices: list[BadInput] = [
        (lists, "not_an_object"),
        (b"[" * depth, "not_an_object"),
        (objects, "too_deep"),
        (b'{"a":' * depth, "too_deep"),
        (_open(rng) + b',"region":' + nested + b"}", "too_deep"),
        (_open(rng) + b',"system":' + nested + b"}", "wrong_type"),
        (_open(rng) + tool, "too_deep"),
    ]
    return rng.choice(choices)


def _huge(rng: random.Random) -> BadInput:
    text = b"x" * HUGE_BYTES
    fields = [b'"system":"', b'"region":"', b'"account":"', b'"messages":[{"role":"user","content":"']
    field = rng.choice(fields)
    return _open(rng) + b"," + field + text + (b'"}]}' if field.endswith(b'content":"') else b'"}'), "too_large"


_MAKERS: Final[tuple[Callable[[random.Random], BadInput], ...]] = (
    _truncated,
    _wrong_type,
    _not_a_number,
    _out_of_range,
    _unknown_type,
    _missing,
    _not_utf8,
    _utf16,
    _lone_surrogate,
    _not_an_object,
    _duplicate_keys,
    _syntax,
)
