"""Two operators with one public text, side by side: `python -m tests.benchmarks.correlate.operators`.

Each has a pool of its own: no payment, network, place of sign-up or client is in both. What differs from row to row is
how much of their work uses the text that both took from the same place, and when they work. Told is how many campaigns
come out, and for each how many accounts of either operator it names.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from schemas.events import Event, Release, encode_event
from tests.scenarios import HOUR, START, Text, campaign, everyday, in_order, template
from tests.unit.pipelines.replay_rig import quick_config, run, write_lines

PUBLIC: Final = (
    "You are an expert data analyst combining statistical rigor with deep domain knowledge. Your goal is to deliver "
    "data-driven insights grounded in real data and supported by complete and transparent reasoning."
)
OWN: Final = {
    "north": (
        "Act as a senior engineer who plans every change in small steps, names the files it touches, and then writes "
        "the patch; think aloud about each alternative before you reject it."
    ),
    "south": (
        "Imagine a patient teacher of physics at the blackboard, deriving each formula from the one before, and say at "
        "every line which law allows it and what you considered and dropped."
    ),
}
ACCOUNTS: Final = 50
BEGIN: Final = START + 26 * HOUR
DAYS: Final = 4.0
TICK: Final = 600_000
SEEDS: Final = (31, 32)


class Case(NamedTuple):
    """One way of working side by side.

    Attributes:
        public: share of each operator's requests that use the public text; the others use a text of its own.
        by_account: whole accounts use one of the two texts, and not each account both.
        apart_h: hours by which the second operator begins later.
        own_first_h: hours in which each uses its own text alone, before both turn to the public one.
    """

    name: str
    public: float = 1.0
    by_account: bool = False
    apart_h: int = 0
    own_first_h: int = 0


CASES: Final = (
    Case("nothing but the public text"),
    Case("nothing but the public text, a day and a half apart", apart_h=36),
    Case("nine requests of ten with the public text", public=0.9),
    Case("half of each account's requests with it", public=0.5),
    Case("half of each one's accounts with it, the others with an own text", public=0.5, by_account=True),
    Case("one request of ten with it", public=0.1),
    Case("an own text for fifteen hours of thirty, then nothing but the public one", own_first_h=15),
    Case("each with its own text alone", public=0.0),
)


class Found(NamedTuple):
    """One campaign: accounts of either operator that it names, and all that it names."""

    north: int
    south: int
    accounts: int


def events(case: Case, seed: int) -> list[Event]:
    """Everyday accounts and both pools."""
    begin = (BEGIN, BEGIN + case.apart_h * HOUR)
    pools = [event for name, at in zip(OWN, begin, strict=True) for event in _pool(case, seed, name, at)]
    return in_order([*everyday(seed, 300, days=DAYS), *pools])


def _pool(case: Case, seed: int, name: str, begin: int) -> list[Event]:
    public, own = template(PUBLIC), template(OWN[name])

    def pool(text: Text) -> list[Event]:
        return campaign(seed, name, ACCOUNTS, text, begin=begin, requests=(4, 8))

    if case.own_first_h:
        turn = begin + case.own_first_h * HOUR
        return [
            *(event for event in pool(own) if event.ts < turn),
            *(event for event in pool(public) if event.ts >= turn),
        ]
    if case.by_account:
        chosen = {f"{name}-{number}" for number in range(round(case.public * ACCOUNTS))}
        return [
            *(event for event in pool(public) if _account(event) in chosen),
            *(event for event in pool(own) if _account(event) not in chosen),
        ]
    return pool(lambda rng: (public if rng.random() < case.public else own)(rng))


def _account(event: Event) -> str | None:
    return None if isinstance(event, Release) else event.account


def found(case: Case, seed: int, folder: Path) -> list[Found]:
    """The campaigns that a replay leaves, in the order in which it found them; an account counts where it last was."""
    path = write_lines(folder / "events.jsonl", map(encode_event, events(case, seed)))
    outcome = run([path], folder / "out", quick_config(folder / "config", sketch_bits=22, tick_ms=TICK))
    campaign_of: dict[str, str] = {}
    order: dict[str, None] = {}
    for alert in outcome.found:
        if alert.kind == "campaign" and alert.campaign_id is not None:
            order.setdefault(alert.campaign_id)
            campaign_of |= dict.fromkeys(alert.accounts, alert.campaign_id)
    return [
        Found(sum(owner == "north" for owner in owners), sum(owner == "south" for owner in owners), len(owners))
        for campaign_id in order
        if (owners := [account.split("-")[0] for account, its in campaign_of.items() if its == campaign_id])
    ]


def main() -> None:
    """Print a line a case and seed."""
    for case in CASES:
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                campaigns = found(case, seed, Path(folder))
            shown = "; ".join(f"{one.north} + {one.south} of {one.accounts}" for one in campaigns) or "none"
            sys.stdout.write(f"{case.name}, seed {seed}: {len(campaigns)} ({shown})\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
