"""From an account and its texts to request and response events with plausible times and token counts."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipelines.demo.people import HOUR, MINUTE, Person
from pipelines.demo.prompts import Dialogue, Prompt
from schemas.events import Client, Event, Message, Part, Request, Response, Usage

# Relative activity by local hour: quiet nights, a dip at noon, some evening use.
RHYTHM: Final = (4, 2, 1, 1, 1, 2, 5, 12, 30, 45, 50, 48, 38, 44, 50, 48, 42, 34, 26, 22, 20, 18, 13, 8)
CHARS_PER_TOKEN: Final = 4
REASONING_MODELS: Final = frozenset({"m-large", "m-medium"})


class Style(Struct, frozen=True):
    """What the model's answers look like; medians in tokens, shares of 1."""

    output: float = 180.0
    reasoning: float = 300.0
    refused: float = 0.012
    failed: float = 0.02


PLAIN: Final = Style()


class Deck:
    """Prompts dealt to accounts by app, so that one app's prompts mostly stay with one account.

    Once all are dealt the apps are shuffled anew and prompts come a second time: people ask the same things.
    """

    def __init__(self, prompts: Sequence[Prompt], rng: Random) -> None:
        if not prompts:
            raise ValueError("a deck needs at least one prompt")
        self._apps: dict[str, list[Prompt]] = {}
        for prompt in prompts:
            self._apps.setdefault(prompt.app, []).append(prompt)
        self._rng = rng
        self._queue: list[Prompt] = []

    def deal(self, count: int) -> list[Prompt]:
        """The next `count` prompts."""
        dealt: list[Prompt] = []
        while len(dealt) < count:
            if not self._queue:
                apps = list(self._apps.values())
                self._rng.shuffle(apps)
                self._queue = [prompt for app in apps for prompt in app]
            dealt.append(self._queue.pop())  # from the end: apps come shuffled, one after the other
        return dealt


def times(rng: Random, count: int, *, offset: int, start: int, end: int) -> list[int]:
    """`count` times (epoch ms, ascending) in `start`..`end`: sessions by day, bursts within them."""
    found: list[int] = []
    while len(found) < count:
        at = start + rng.random() * (end - start)
        hour = int(at // HOUR + offset) % 24
        if rng.random() * max(RHYTHM) > RHYTHM[hour]:
            continue
        for _ in range(min(count - len(found), 1 + int(rng.expovariate(1 / 4)))):
            if at < end:
                found.append(int(at))
            at += rng.lognormvariate(math.log(40_000), 1.1)
    return sorted(found)


def spaced(rng: Random, count: int, *, start: int, gap: float) -> list[int]:
    """`count` times from `start` on, `gap` ms apart with some jitter: a program working off a list."""
    at = float(start)
    found = []
    for _ in range(count):
        found.append(int(at))
        at += gap * rng.uniform(0.6, 1.4)
    return found


def send(
    rng: Random,
    person: Person,
    at: int,
    messages: list[Message],
    *,
    system: str | None = None,
    tools: Sequence[str] = (),
    conversation: str | None = None,
    signatures: Sequence[str] = (),
    style: Style = PLAIN,
    client: Client | None = None,
) -> Iterator[Request | Response]:
    """One call and its answer; a call that fails is usually sent again a little later."""
    failed = rng.random() < style.failed
    request = Request(
        id=f"req_{rng.randbytes(9).hex()}",
        ts=at,
        account=person.account,
        model=rng.choice(person.models),
        conversation=conversation,
        system=system,
        messages=messages,
        tools=list(tools) or None,
        params=person.params,
        client=client or rng.choice(person.clients),
        signatures=list(signatures) or None,
    )
    response = _failure(rng, request) if failed else _answer(rng, request, style)
    yield request
    yield response
    if failed and rng.random() < 0.8:
        again = response.ts + rng.randrange(2_000, 20_000)
        yield from send(
            rng, person, again, messages, system=system, tools=tools, conversation=conversation,
            signatures=signatures, style=replace(style, failed=0.0), client=client,
        )  # fmt: skip


def ask(
    rng: Random,
    person: Person,
    at: int,
    text: str,
    *,
    system: str | None = None,
    tools: Sequence[str] = (),
    style: Style = PLAIN,
) -> Iterator[Request | Response]:
    """A call of one user message."""
    yield from send(rng, person, at, [Message(role="user", content=text)], system=system, tools=tools, style=style)


def converse(rng: Random, person: Person, at: int, dialogue: Dialogue) -> Iterator[Request | Response]:
    """A conversation: every call carries the history, with the reasoning signatures issued so far."""
    conversation = f"conv_{rng.randbytes(6).hex()}"
    client = rng.choice(person.clients)
    history: list[Message] = []
    signatures: list[str] = []
    for turn in dialogue.turns:
        history = [*history, Message(role="user", content=turn)]
        last = None
        for event in send(
            rng, person, at, history, tools=dialogue.tools, conversation=conversation, signatures=signatures,
            client=client,
        ):  # fmt: skip
            yield event
            last = event
        if not isinstance(last, Response) or last.text is None:
            return
        parts = [Part(type="text", text=last.text)]
        if last.signatures:
            # Providers hand the reasoning back sealed: the signature, and no text.
            parts.insert(0, Part(type="thinking", thinking="", signature=last.signatures[0]))
            signatures = [*signatures, *last.signatures]
        history = [*history, Message(role="assistant", content=parts)]
        at = last.ts + int(rng.lognormvariate(math.log(25_000), 0.8))


def in_order(events: list[Event]) -> list[Event]:
    """The events by time; at the same time in the order in which they were made."""
    return sorted(events, key=lambda event: event.ts)


def _answer(rng: Random, request: Request, style: Style) -> Response:
    refused = rng.random() < style.refused
    words = _last_words(request)
    limit = request.params.max_tokens if request.params is not None else None
    output = max(4, int(rng.lognormvariate(math.log(25 if refused else style.output), 0.7)))
    cut = False
    if limit is not None and output > limit:
        cut, output = True, limit
    reasons = request.model in REASONING_MODELS and rng.random() < 0.8
    reasoning = int(rng.lognormvariate(math.log(style.reasoning), 0.8)) if reasons else 0
    latency = _latency(rng, output + reasoning)
    sent = len(request.system or "") + sum(_length(message) for message in request.messages or ())
    return Response(
        request_id=request.id,
        ts=request.ts + latency,
        account=request.account,
        model=request.model,
        status=200,
        finish_reason="refusal" if refused else "length" if cut else "stop",
        refused=refused,
        text="I can't help with that request." if refused else _reply(rng, words, output),
        signatures=[base64.b64encode(rng.randbytes(48)).decode()] if reasoning else None,
        usage=Usage(
            input=8 + sent // CHARS_PER_TOKEN + 60 * len(request.tools or ()),
            output=output,
            reasoning=reasoning,
            cached=0,
        ),
        latency_ms=float(latency),
    )


def _failure(rng: Random, request: Request) -> Response:
    latency = rng.randrange(30, 2_000)
    return Response(
        request_id=request.id,
        ts=request.ts + latency,
        account=request.account,
        model=request.model,
        status=rng.choice((429, 429, 429, 500, 529)),
        latency_ms=float(latency),
    )


def _latency(rng: Random, tokens: int) -> int:
    # 60 to 140 tokens a second after a third of a second for the first one; never over two minutes.
    return min(300 + int(tokens * rng.uniform(7, 16)), 2 * MINUTE)


def _reply(rng: Random, words: list[str], tokens: int) -> str:
    """Stand-in for an answer: words of the question in another order, at most about fifty of them."""
    shown = min(tokens, 50)
    return " ".join(
        [rng.choice(("Sure:", "Here you go:", "Result:", "Done.", "The answer:")), *rng.choices(words, k=shown)]
    )


def _last_words(request: Request) -> list[str]:
    content = request.messages[-1].content if request.messages else None
    words = content.split()[-80:] if isinstance(content, str) else []
    return words or ["ok"]


def _length(message: Message) -> int:
    if isinstance(message.content, str):
        return len(message.content)
    return sum(len(part.text or "") for part in message.content or ())
