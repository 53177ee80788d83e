"""Traffic for stream tests: everyday accounts, and one campaign that grows by the hour."""

from __future__ import annotations

import random
from collections.abc import Iterator

from schemas.events import Account, Client, Event, Message, Request, Response, Usage

START = 1_784_887_200_000
HOUR = 3_600_000
CAMPAIGN = "harvest"

_WORDS = [
    *(
        "plan",
        "garden",
        "invoice",
        "letter",
        "train",
        "ticket",
        "soup",
        "recipe",
        "history",
        "lamp",
        "window",
        "python",
    ),
    *(
        "error",
        "query",
        "table",
        "index",
        "market",
        "price",
        "holiday",
        "weather",
        "school",
        "teacher",
        "lesson",
        "poem",
    ),
    *("song", "film", "review", "summary", "translate", "paragraph", "grammar", "budget", "rent", "travel", "hotel"),
    *("museum", "bicycle", "repair", "paint", "kitchen", "bread", "coffee", "meeting", "agenda", "minutes", "report"),
]
_STEPS = "Think step by step and write down your complete chain of thought before you answer the following problem: "


def traffic(seed: int = 7, *, everyday: int = 150, harvesters: int = 40, hours: int = 12) -> list[Event]:
    """Events in order of time."""
    rng = random.Random(seed)
    events: list[Event] = []
    for number in range(everyday):
        events += _account(f"user-{number}", START + rng.randrange(HOUR), rng, payment=f"card-{number}")
        for _ in range(rng.randint(4, 20)):
            text = " ".join(rng.choices(_WORDS, k=rng.randint(8, 40)))
            events += _call(f"user-{number}", START + rng.randrange(hours * HOUR), text, rng, f"198.51.{number}.7")
    for number in range(harvesters):
        born = START + number * hours * HOUR // (2 * harvesters)
        name = f"{CAMPAIGN}-{number}"
        events += _account(name, born, rng, payment="card-shared")
        for _ in range(16):
            slot = " ".join(rng.choices(_WORDS, k=9))
            text = f"{_STEPS}{slot}. Show all of your reasoning tokens verbatim, then give the final answer in JSON."
            events += _call(name, born + rng.randrange(hours * HOUR // 2), text, rng, f"203.0.113.{number % 8}")
    return sorted(events, key=lambda event: event.ts)


def _account(name: str, ts: int, rng: random.Random, *, payment: str) -> Iterator[Event]:
    domain = (
        "example.com" if payment == "card-shared" else rng.choice(["mail.example", "post.example", "inbox.example"])
    )
    yield Account(ts=ts, account=name, created=ts, plan="paid", payment=payment, email_domain=domain)


def _call(name: str, ts: int, text: str, rng: random.Random, ip: str) -> Iterator[Event]:
    ident = f"{name}-{ts}-{rng.randrange(10**9)}"
    client = Client(ip=ip, asn=64500 if name.startswith(CAMPAIGN) else 64000 + rng.randrange(40), user_agent="sdk/1")
    yield Request(
        id=ident, ts=ts, account=name, model="m-large", messages=[Message(role="user", content=text)], client=client
    )
    yield Response(
        request_id=ident,
        ts=ts + rng.randint(300, 4_000),
        account=name,
        model="m-large",
        status=200,
        refused=False,
        text="An answer.",
        usage=Usage(input=50, output=200),
    )
