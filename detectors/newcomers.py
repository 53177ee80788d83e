"""Accounts that a campaign's payer pays for, before they do anything.

An operator buys accounts in stock, and pays for many with one card. Once some of them were named for what they did, the
others are named with them, when they are opened or when that becomes known, and not only after their first harvesting
request. Two things make the case, either of them with nine chances in ten:

- A payment has one payer, so its accounts are nearly all of one kind: those that have done anything were named.
- An account shares more than a card with the campaign (:class:`detectors.membership.Traits`), also where the others of
  its card have not shown themselves yet, for they are used for other things as well.

Networks, sign-up places and mail providers are rented to anybody: without a payer of the campaign they name nobody.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from detectors.campaign_state import Changes
from detectors.membership import Traits
from schemas.evidence import AccountRow

KNOWN_PAYER: Final = "known_payer"
"""The signal by which accounts are named for their payer alone."""

_SHARDS: Final = 8192  # of the state: a few kB each where there is no room for more
_LEAST: Final = 4  # accounts named for what they did before their payer says anything
# Before anything is known of a payer, it is one of a campaign in one case of twenty, and pays for one kind only: a beta
# distribution of this mean with most of its weight at both ends.
_CAMPAIGNS, _OTHERS = 0.01, 0.2
_ENOUGH: Final = 0.9
_LEAST_ALIKE: Final = 2  # accounts named for what they did before what an account shares is looked at


class Newcomer(msgspec.Struct, array_like=True, gc=False):
    """An account with a payer.

    Attributes:
        active: it has sent a request. campaign: the one that it was named in for what it did, or None.
        order: accounts told of earlier have less.
    """

    account: str
    order: int
    payment: int
    email_domain: int | None
    signup: int | None
    ip_prefix: int | None
    asn_agent: int | None
    tls_agent: int | None
    active: bool
    campaign: str | None = None


class Payer(NamedTuple):
    """What the accounts of one payer did.

    Attributes:
        payment: its fingerprint. campaign: the one that most of its named accounts are of; `named` counts them.
        active: how many of its accounts have sent a request. rest: those that were not named for what they did.
    """

    payment: int
    campaign: str
    named: int
    active: int
    rest: list[Newcomer]

    @property
    def is_known(self) -> bool:
        """Is the payer one of the campaign?

        >>> [Payer(0, "c", named, active, []).is_known for named, active in ((4, 4), (3, 3), (4, 6), (20, 22))]
        [True, False, False, True]
        """
        share = (self.named + _CAMPAIGNS) / (self.active + _CAMPAIGNS + _OTHERS)
        return self.named >= _LEAST and share >= _ENOUGH

    def alike(self, traits: Traits, prior: float) -> list[str]:
        """The rest of its accounts, as far as each shares enough with the campaign.

        Args:
            traits: of the campaign.
            prior: share of all accounts that the campaign has: what speaks for an account of which nothing is known.
        """
        if self.named < _LEAST_ALIKE or traits.holds.get("payment", {}).get(self.payment, 0.0) <= 0:
            return []
        least = math.log10(_ENOUGH / (1 - _ENOUGH)) - math.log10(prior / (1 - prior))
        return [one.account for one in self.rest if traits.bits(one) >= least]


class Arrivals:
    """The accounts of one partition that the campaign stage is still to be told of.

    Args:
        waiting: how many may wait; beyond it the oldest are given up, and are told of for what they do.
    """

    def __init__(self, waiting: int) -> None:
        self._waiting: deque[str] = deque(maxlen=waiting)

    def add(self, accounts: Iterable[str]) -> None:
        """Let accounts wait."""
        self._waiting.extend(accounts)

    def take(self, most: int) -> list[str]:
        """The accounts that waited longest, each once."""
        return list(dict.fromkeys(self._waiting.popleft() for _ in range(min(most, len(self._waiting)))))

    def snapshot(self) -> list[str]:
        """All that wait."""
        return list(self._waiting)

    def restore(self, waiting: list[str]) -> None:
        """Replace all that wait."""
        self._waiting = deque(waiting, maxlen=self._waiting.maxlen)


class NewcomerBook:
    """Accounts by payer, the newest of them.

    Args:
        capacity: accounts held; the oldest go first.
        changes: told of every entry of the state that changes.
    """

    def __init__(self, capacity: int, changes: Changes) -> None:
        self._capacity = capacity
        self._changes = changes
        self._held: OrderedDict[str, Newcomer] = OrderedDict()
        self._shards: dict[int, dict[int, dict[str, None]]] = {}  # accounts by shard and payer
        self._news: dict[int, None] = {}  # payers of which something new is known
        self._order = 0

    def __len__(self) -> int:
        return len(self._held)

    def put(self, row: AccountRow, campaign: str | None = None) -> None:
        """Remember an account, if its payer is known.

        Args:
            campaign: the one that it is named in for what it did.
        """
        if row.payment is None:
            return
        self.drop(row.account)
        self._order += 1
        known = (row.payment, row.email_domain, row.signup, row.ip_prefix, row.asn_agent, row.tls_agent)
        self._hold(Newcomer(row.account, self._order, *known, row.requests > 0, campaign))
        self._news[row.payment] = None
        self._changes.mark(_key(row.payment))
        if len(self._held) > self._capacity:
            self.drop(next(iter(self._held)))

    def _hold(self, one: Newcomer) -> None:
        self._held[one.account] = one
        self._shards.setdefault(one.payment % _SHARDS, {}).setdefault(one.payment, {})[one.account] = None

    def move(self, account: str, campaign: str | None) -> None:
        """The account is in another campaign now, or in none."""
        one = self._held.get(account)
        if one is not None and one.campaign is not None:
            one.campaign = campaign
            self._news[one.payment] = None
            self._changes.mark(_key(one.payment))

    def drop(self, account: str) -> None:
        """Forget an account."""
        one = self._held.pop(account, None)
        if one is None:
            return
        shard = self._shards[one.payment % _SHARDS]
        del shard[one.payment][account]
        if not shard[one.payment]:
            del shard[one.payment]
        if not shard:
            del self._shards[one.payment % _SHARDS]
        (self._changes.mark if shard else self._changes.drop)(_key(one.payment))

    def look_again(self, payments: Iterable[int]) -> None:
        """More is known of what the accounts of some payers share."""
        self._news.update((payment, None) for payment in payments if self._of_payer(payment))

    def news(self) -> Iterator[Payer]:
        """Payers of a campaign of which something new was learned since the last call, and who have other accounts."""
        news, self._news = self._news, {}
        for payment in news:
            held = [self._held[account] for account in self._of_payer(payment)]
            rest = [one for one in held if one.campaign is None]
            if rest and len(rest) < len(held):
                named = Counter(one.campaign for one in held if one.campaign is not None)
                campaign, count = max(named.items(), key=lambda item: (item[1], item[0]))
                active = len(held) - len(rest) + sum(one.active for one in rest)
                yield Payer(payment, campaign, count, active, rest)

    def _of_payer(self, payment: int) -> dict[str, None]:
        return self._shards.get(payment % _SHARDS, {}).get(payment, {})

    def keys(self) -> set[str]:
        """Names of all entries of the state."""
        return {f"newcomers:{number}" for number in self._shards}

    def entry(self, shard: int) -> bytes:
        """One entry of the state."""
        held = [self._held[account] for accounts in self._shards[shard].values() for account in accounts]
        return msgspec.json.encode(sorted(held, key=_order))

    def restore(self, entries: Iterable[bytes]) -> None:
        """Replace everything by entries."""
        held = [one for data in entries for one in msgspec.json.decode(data, type=list[Newcomer])]
        self._held, self._shards, self._news = OrderedDict(), {}, {}
        for one in sorted(held, key=_order):
            self._hold(one)
        self._order = max((one.order for one in held), default=0)


def _key(payment: int) -> str:
    return f"newcomers:{payment % _SHARDS}"


def _order(one: Newcomer) -> int:
    return one.order
