"""The accounts of a campaign: where they come from, when each is in use, and who replaces the banned."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from pipelines.demo.campaign import HARNESS
from pipelines.demo.people import (
    DAY,
    DISPOSABLE_MAIL,
    HOUR,
    MINUTE,
    PUBLIC_MAIL,
    STACKS,
    Network,
    Person,
    client,
    network,
    opaque,
    pick,
)
from pipelines.simulate.scenario import Campaign
from pipelines.simulate.world import World
from schemas.events import Account

# A proxy network shows another address almost every time; so many are drawn for each account.
_PROXY_ADDRESSES: Final = 24


class Recruit(NamedTuple):
    """One account of a campaign.

    Attributes:
        pool: 0, or 1 for the accounts held ready for a ban.
        entry: epoch ms of its first possible request.
        leave: epoch ms at which it stops.
        banned: it stops because the provider bans it.
    """

    number: int
    pool: int
    entry: int
    leave: int
    banned: bool = False


class Pool:
    """What the accounts of one pool share: payments, address blocks, programs."""

    def __init__(self, world: World, campaign: Campaign, number: int, accounts: int) -> None:
        rng = world.rng("campaign", campaign.name, "pool", number)
        plan = campaign.infrastructure
        self._mark = (campaign.name, number)
        self._seed = world.seed
        self.payments: list[str] = []
        if plan.accounts_per_payment:
            count = -(-accounts // plan.accounts_per_payment)
            self.payments = [self._name("payment", index, size=8, prefix="pm_") for index in range(count)]
        self.blocks: list[Network] = [network(rng, v4=True) for _ in range(plan.blocks)]
        # Common programs in builds of the operator's own, beside the plain one that everybody has.
        names = rng.sample([stack for stack, _ in STACKS], plan.stacks)
        self.stacks: list[tuple[str, int]] = [(name, 3 + place if place else 0) for place, name in enumerate(names)]
        self.domain = f"{self._name('domain')}.example"

    def _name(self, *parts: object, size: int = 4, prefix: str = "") -> str:
        return prefix + opaque(self._seed, *self._mark, *parts, size=size)


def recruits(world: World, campaign: Campaign) -> list[Recruit]:
    """All accounts that the campaign ever uses, with their time of use; the same for the same seed."""
    rng = world.rng("campaign", campaign.name, "roster")
    begin, span = world.at(campaign.begin_hours), campaign.hours * HOUR
    end = begin + int(span)
    used = campaign.pacing.account_hours * HOUR
    bans = campaign.bans
    ban = begin + int(bans.after_hours * HOUR) if bans.after_hours and bans.share else None
    found: list[Recruit] = []
    replacements: list[Recruit] = []
    for index in range(campaign.accounts):
        entry = begin + int((index + rng.random()) / campaign.accounts * campaign.pacing.entry * span)
        leave = min(end, entry + int(used)) if used else end
        struck = rng.random() < bans.share
        if ban is None or not entry < ban < leave or not struck:
            late = ban is not None and bans.reaction == "second_pool" and entry >= ban
            found.append(Recruit(index, int(late), entry, leave))
            continue
        at = ban + rng.randrange(10 * MINUTE)
        found.append(Recruit(index, 0, entry, at, banned=True))
        if bans.reaction != "stop":
            begins = at + rng.randrange(MINUTE, 20 * MINUTE)
            pool = int(bans.reaction == "second_pool")
            if begins < leave:
                replacements.append(Recruit(campaign.accounts + len(replacements), pool, begins, leave))
    return found + replacements


def enlist(world: World, campaign: Campaign, recruit: Recruit, pool: Pool, rng: Random) -> Person:
    """The person that the provider sees behind one recruit."""
    plan = campaign.infrastructure
    evasion = campaign.evasion
    account = f"acct_{opaque(world.seed, 'campaign', campaign.name, recruit.number)}"
    fresh = "fresh_addresses" in evasion
    places = _places(plan.networks if not fresh else "residential", pool.blocks, rng, one=fresh)
    stack, build = rng.choice(pool.stacks)
    created = int(recruit.entry - rng.uniform(2 * HOUR, max(3 * HOUR, plan.max_age_days * DAY)))
    mail = {
        "disposable": pick(rng, DISPOSABLE_MAIL if rng.random() < 0.6 else PUBLIC_MAIL),
        "public": pick(rng, PUBLIC_MAIL),
        "own": pool.domain,
    }[plan.mail]
    paid = bool(pool.payments)
    known = rng.random() < plan.enriched and "no_enrichment" not in evasion
    enrichment = Account(
        ts=max(world.start + rng.randrange(10 * MINUTE), created),
        account=account,
        created=created,
        plan="paid" if paid else "free",
        payment=pool.payments[recruit.number % len(pool.payments)] if paid else None,
        email_domain=mail,
        signup_ip=places[0].cidr if fresh or rng.random() < 0.6 else network(rng).cidr,
        signup_channel=plan.channels[recruit.number % len(plan.channels)],
    )
    return Person(
        account=account,
        enrichment=enrichment if known else None,
        clients=tuple(client(rng, place, stack, build=build) for place in places),
        models=(campaign.model,),
        params=HARNESS,
        offset=places[0].offset,
    )


def _places(kind: str, blocks: Sequence[Network], rng: Random, *, one: bool) -> list[Network]:
    match kind:
        case "hosting":
            return [rng.choice(blocks)]
        case "proxies":
            # Exits of a proxy network are homes; some blocks hold many of them.
            return [rng.choice(blocks) if rng.random() < 0.3 else network(rng) for _ in range(_PROXY_ADDRESSES)]
    return [network(rng)] if one or rng.random() < 0.7 else [network(rng), network(rng)]
