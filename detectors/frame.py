"""A batch of events as columns, with every feature that the detectors share.

Nothing here depends on what else is in the batch: a frame of many events equals the concatenation of
frames of few, so results do not depend on how the input was cut.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.config import DetectConfig
from detectors.hashing import U64, hash_strings
from detectors.pattern_scan import NO_ODDS
from detectors.reasoning_tags import names_tag, tagged_chars
from detectors.sampling import sampling_of
from detectors.text import Ragged, concat_ragged, normalise, text_features
from detectors.turns import Turn, assistant_turns, turn_of
from schemas.events import Account, Client, Enforcement, Event, Message, Part, Release, Request, Response, encode_event

I64 = NDArray[np.int64]
Strings = NDArray[np.object_]

REQUEST: Final = 3
RESPONSE: Final = 4
# Ranks order events of the same millisecond: what is known about an account comes before what it does.
RANKS: Final[dict[type, int]] = {Release: 0, Account: 1, Enforcement: 2, Request: REQUEST, Response: RESPONSE}

PLANS: Final = ("free", "paid", "enterprise")
"""Plans by their number in a frame, from 1; 0 is unknown."""
_PLAN_NUMBERS: Final = {plan: number for number, plan in enumerate(PLANS, 1)}
_UNSET: Final = (0, 0)  # no parameters, nothing that stands out
_CUT: Final = frozenset({"length", "max_tokens"})  # finish reasons of an answer that hit its limit
_TOOL_CALL: Final = ("tool", "function")  # how finish reasons begin that call one

ABSENT: Final = -1
"""Marks an absent count in an integer column; absent is not zero."""


class EventFrame(NamedTuple):
    """Columns over n events; a column that does not apply to an event's type holds 0, ABSENT or "".

    Attributes:
        rank: (n,) type, see RANKS. ts: (n,) epoch ms. account, ids: (n,) strings.
        account_hash: (n,) unkeyed, for placement only.
        ip_prefix, asn_agent, tls_agent: (n,) keyed hashes of a request's client; 0 is absent.
        payment, email_domain, signup: (n,) keyed hashes of an account's enrichment; 0 is absent.
        created: (n,) epoch ms or ABSENT. plan: (n,) number of an account's plan, see PLANS.
        banned: (n,) 1 ban, 0 unban, ABSENT.
        tokens: (n, 3) input, output, reasoning tokens of a response, or ABSENT. refused: (n,) or ABSENT.
        answered: (n,) of a response: 1 if all that it said is known (its text, or that it failed, refused or called
            a tool instead), 0 if a text is missing; ABSENT for other events.
        visible, thought: (n,) characters of a response's text, and of the reasoning in tags that it opens with; or
            ABSENT. names_tags: (n,) 1 if a request's texts name a tag for reasoning, else 0; ABSENT without text.
        sampling: (n,) hash of a request's combination of sampling parameters, 0 is absent; sampling_use: (n,) what
            stands out in it (see :mod:`detectors.sampling`).
        strong, weak: (n,) bit masks of elicitation patterns, by their place in the pattern file. marks: (n,) of the
            marks of other work, of requests that are worth a look for them, else 0. wording: (n,) hash of the sentence
            that matches a pattern, of the user's text if it has one; 0 is none.
        paraphrase: (n,) log odds of the paraphrase classifier, the higher one of a request's texts.
        text_code, system_code: (n,) row of `shingles` and of `texts`; ABSENT without text.
        shingles: shingle hashes of the distinct texts of the frame. vocabulary: a sample of their words'
            hashes, if a detector reads it.
        texts: (m,) those texts, normalised.
        issued, presented: (n rows) hashes of a response's and of a request's reasoning signatures.
        turns: (n rows) of a request's assistant turns, newest first, and of a response's text: two hashes each,
            its head and its tail (see :mod:`detectors.turns`).
    """

    rank: NDArray[np.int8]
    ts: I64
    account: Strings
    ids: Strings
    account_hash: U64
    ip_prefix: U64
    asn_agent: U64
    tls_agent: U64
    payment: U64
    email_domain: U64
    signup: U64
    created: I64
    plan: NDArray[np.int8]
    banned: NDArray[np.int8]
    tokens: I64
    refused: NDArray[np.int8]
    answered: NDArray[np.int8]
    visible: I64
    thought: I64
    names_tags: NDArray[np.int8]
    sampling: U64
    sampling_use: NDArray[np.int8]
    strong: U64
    weak: U64
    marks: U64
    wording: U64
    paraphrase: NDArray[np.float64]
    text_code: I64
    system_code: I64
    issued: Ragged
    presented: Ragged
    turns: Ragged
    shingles: Ragged
    vocabulary: Ragged
    texts: Strings

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, indices: I64) -> EventFrame:
        """The given events, in that order; the table of texts keeps only those still used."""
        columns = {name: getattr(self, name)[indices] for name in _PLAIN}
        used, codes = np.unique(np.concatenate([columns["text_code"], columns["system_code"]]), return_inverse=True)
        first = int(np.searchsorted(used, 0))
        codes = np.where(codes >= first, codes - first, ABSENT)
        columns["text_code"], columns["system_code"] = codes[: len(indices)], codes[len(indices) :]
        used = used[first:]
        return EventFrame(
            **columns,
            issued=self.issued.take(indices),
            presented=self.presented.take(indices),
            turns=self.turns.take(indices),
            shingles=self.shingles.take(used),
            vocabulary=self.vocabulary.take(used),
            texts=self.texts[used],
        )


_RAGGED: Final = ("issued", "presented", "turns")
_PLAIN: Final = tuple(name for name in EventFrame._fields if name not in (*_RAGGED, "shingles", "vocabulary", "texts"))


def concat(frames: Sequence[EventFrame]) -> EventFrame:
    """All events of all frames, in order. Needs at least one frame."""
    if len(frames) == 1:
        return frames[0]
    columns = {name: np.concatenate([getattr(f, name) for f in frames]) for name in _PLAIN}
    shift = np.cumsum([0] + [len(f.texts) for f in frames[:-1]])
    per_event = np.repeat(shift, [len(f) for f in frames])
    for name in ("text_code", "system_code"):
        columns[name] = np.where(columns[name] >= 0, columns[name] + per_event, ABSENT)
    return EventFrame(
        **columns,
        issued=concat_ragged([f.issued for f in frames]),
        presented=concat_ragged([f.presented for f in frames]),
        turns=concat_ragged([f.turns for f in frames]),
        shingles=concat_ragged([f.shingles for f in frames]),
        vocabulary=concat_ragged([f.vocabulary for f in frames]),
        texts=np.concatenate([f.texts for f in frames]),
    )


def event_order(frame: EventFrame) -> I64:
    """Indices that put a frame into its one order: time, type, account, id; input order does not matter."""
    keys = (frame.account_hash, frame.rank, frame.ts)
    order = np.lexsort(keys)
    tied = np.ones(max(len(order) - 1, 0), np.bool_)
    for key in keys:
        tied &= key[order][1:] == key[order][:-1]
    if not tied.any():
        return order
    return np.lexsort((hash_strings(frame.ids.tolist()), *keys))


class FrameBuilder:
    """Turns decoded events into frames.

    Args:
        config: limits of the text features, the elicitation patterns, and the keyed hashes of fingerprints.
    """

    def __init__(self, config: DetectConfig) -> None:
        self._params = config.params.features
        self._sample = config.params.coverage.enabled  # the one detector that reads words
        self._marks = config.scanner.marks
        self._min_trace = config.params.trace_cleaning.min_chars
        self._scanner = config.scanner
        self._hash = config.hasher

    def build(self, events: Sequence[Event]) -> EventFrame:
        """Columns and features of `events`; row i is event i."""
        n = len(events)
        zeros = [np.zeros(n, np.uint64) for _ in range(6)]
        ip_prefix, asn_agent, tls_agent, payment, email_domain, signup = zeros
        created = np.full(n, ABSENT, np.int64)
        plan = np.zeros(n, np.int8)
        banned = np.full(n, ABSENT, np.int8)
        refused = np.full(n, ABSENT, np.int8)
        answered = np.full(n, ABSENT, np.int8)
        sampling, sampling_use = np.zeros(n, np.uint64), np.zeros(n, np.int8)
        visible, thought = np.full(n, ABSENT, np.int64), np.full(n, ABSENT, np.int64)
        tokens = np.full((n, 3), ABSENT, np.int64)
        issued: list[Sequence[str]] = [()] * n
        presented: list[Sequence[str]] = [()] * n
        turns: list[Sequence[Turn]] = [()] * n
        text_code = np.full(n, ABSENT, np.int64)
        system_code = np.full(n, ABSENT, np.int64)
        texts: dict[str, int] = {}
        limit = self._params.max_chars
        for i, event in enumerate(events):
            if isinstance(event, Request):
                if event.client is not None:
                    ip_prefix[i], asn_agent[i], tls_agent[i] = self._client(event.client)
                if event.signatures:
                    presented[i] = event.signatures
                turns[i] = self._history(event)
                sampling[i], sampling_use[i] = sampling_of(event.params) if event.params is not None else _UNSET
                system, text = split_text(event)
                if text:
                    text_code[i] = texts.setdefault(normalise(text, limit), len(texts))
                if system:
                    system_code[i] = texts.setdefault(normalise(system, limit), len(texts))
            elif isinstance(event, Response):
                if event.signatures:
                    issued[i] = event.signatures
                if event.refused is not None:
                    refused[i] = event.refused
                answered[i] = event.text is not None or _says_nothing(event)
                if event.text is not None:
                    turns[i] = (turn_of(event.text),)
                    visible[i] = len(event.text)
                    thought[i] = tagged_chars(event.text, cut=event.finish_reason in _CUT)
                if event.usage is not None:
                    usage = event.usage
                    tokens[i] = [ABSENT if v is None else v for v in (usage.input, usage.output, usage.reasoning)]
            elif isinstance(event, Account):
                payment[i], email_domain[i], signup[i], plan[i] = self._enrichment(event)
                if event.created is not None:
                    created[i] = event.created
            elif isinstance(event, Enforcement):
                banned[i] = event.action == "ban"
        distinct = list(texts)
        shingle_hashes, vocabulary = text_features(
            distinct, self._params.shingle_words, self._params.max_shingles, sample=self._sample
        )
        masks = self._scanner.scan(distinct)
        names_tags = _any_of([names_tag(text) for text in distinct], text_code, system_code)
        marks = self._marks.of_requests(distinct, masks.hints, (text_code, system_code), names_tags, self._min_trace)
        accounts = ["" if isinstance(event, Release) else event.account for event in events]
        return EventFrame(
            rank=np.fromiter((RANKS[type(event)] for event in events), np.int8, n),
            ts=np.fromiter((event.ts for event in events), np.int64, n),
            account=_strings(accounts),
            ids=_strings([_event_id(event) for event in events]),
            account_hash=hash_strings(accounts),
            ip_prefix=ip_prefix,
            asn_agent=asn_agent,
            tls_agent=tls_agent,
            payment=payment,
            email_domain=email_domain,
            signup=signup,
            created=created,
            plan=plan,
            banned=banned,
            tokens=tokens,
            refused=refused,
            answered=answered,
            visible=visible,
            thought=thought,
            names_tags=names_tags,
            sampling=sampling,
            sampling_use=sampling_use,
            strong=_either(masks.strong, text_code, system_code),
            weak=_either(masks.weak, text_code, system_code),
            marks=marks,
            wording=_first_of(masks.wordings, text_code, system_code),
            paraphrase=_higher(masks.odds, text_code, system_code),
            text_code=text_code,
            system_code=system_code,
            issued=_hash_ragged(issued),
            presented=_hash_ragged(presented),
            turns=_turn_ragged(turns),
            shingles=shingle_hashes,
            vocabulary=vocabulary,
            texts=_strings(distinct),
        )

    def _client(self, client: Client) -> tuple[int, int, int]:
        prefix = address_prefix(client.ip) if client.ip else None
        agent = client.user_agent
        return (
            self._hash("ip_prefix", prefix) if prefix else 0,
            self._hash("asn_agent", f"{client.asn}|{agent}") if client.asn is not None and agent else 0,
            self._hash("tls_agent", f"{client.tls}|{agent or ''}") if client.tls else 0,
        )

    def _history(self, event: Request) -> Sequence[Turn]:
        if event.messages is None or len(event.messages) < 2:
            return ()
        return assistant_turns(event.messages, self._params.max_turns, self._params.min_turn_chars)

    def _enrichment(self, event: Account) -> tuple[int, int, int, int]:
        signup = None
        if event.signup_ip:
            signup = address_prefix(event.signup_ip.partition("/")[0])
        return (
            self._hash("payment", event.payment) if event.payment else 0,
            self._hash("email_domain", event.email_domain.lower()) if event.email_domain else 0,
            self._hash("signup", signup) if signup else 0,
            _PLAN_NUMBERS.get(event.plan or "", 0),
        )


def split_text(event: Request) -> tuple[str, str]:
    """The system text of a request and the text of its last user turn; "" where absent.

    Earlier user turns were the last turn of an earlier request, so each text is read once.
    """
    system = [event.system] if event.system else []
    text = ""
    for message in event.messages or ():
        if message.role == "user":
            text = _message_text(message) or text
        elif message.role in ("system", "developer"):
            system.append(_message_text(message))
    return "\n".join(system), text


def _message_text(message: Message) -> str:
    content = message.content
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(_part_texts(content))


def _part_texts(parts: Iterable[Part]) -> Iterable[str]:
    return (part.text for part in parts if part.type == "text" and part.text)


def _event_id(event: Event) -> str:
    if isinstance(event, Request):
        return event.id
    if isinstance(event, Response):
        return event.request_id
    # Two enrichments of one moment differ in what they say, and need an order as well.
    return encode_event(event).decode()


def _strings(values: list[str]) -> Strings:
    out = np.empty(len(values), object)
    out[:] = values
    return out


def _either(mask: U64, *codes: I64) -> U64:
    padded = np.append(mask, np.uint64(0))  # code -1 (absent) picks the 0 at the end
    out = np.zeros(len(codes[0]), np.uint64)
    for code in codes:
        out |= padded[code]
    return out


def _first_of(value: U64, *codes: I64) -> U64:
    """The first value that is not 0, over an event's texts."""
    padded = np.append(value, np.uint64(0))
    out = padded[codes[0]]
    for code in codes[1:]:
        out = np.where(out != 0, out, padded[code])
    return out


def _any_of(flags: list[bool], *codes: I64) -> NDArray[np.int8]:
    """Whether any of an event's texts has a flag; ABSENT where it has no text."""
    padded = np.append(np.array(flags, np.int8), np.int8(ABSENT))
    return np.asarray(np.maximum.reduce([padded[code] for code in codes]))


def _higher(odds: NDArray[np.float64], *codes: I64) -> NDArray[np.float64]:
    padded = np.append(odds, NO_ODDS)
    return np.asarray(np.maximum.reduce([padded[code] for code in codes]))


def _hash_ragged(rows: list[Sequence[str]]) -> Ragged:
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)), out=offsets[1:])
    return Ragged(hash_strings([value for row in rows for value in row]), offsets)


def _turn_ragged(rows: list[Sequence[Turn]]) -> Ragged:
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(2 * np.fromiter(map(len, rows), np.int64, len(rows)), out=offsets[1:])
    ends = (end for row in rows for turn in row for end in turn)
    return Ragged(np.fromiter(ends, np.uint64, int(offsets[-1])), offsets)


def _says_nothing(event: Response) -> bool:
    """Is there no text because there was nothing to say: it failed, refused, or called a tool?"""
    failed = event.status is not None and event.status >= 400
    return failed or event.refused is True or (event.finish_reason or "").startswith(_TOOL_CALL)


@lru_cache(maxsize=262_144)
def address_prefix(address: str) -> str | None:
    """The network that one subscriber usually holds: /24 of IPv4, /48 of IPv6; None if unreadable.

    >>> address_prefix("203.0.113.4"), address_prefix("2001:db8:1:2::3"), address_prefix("unknown")
    ('203.0.113.0/24', '2001:db8:1::/48', None)
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    width = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, width), strict=False))
