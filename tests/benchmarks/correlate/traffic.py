"""Evidence as detect workers would send it, of many accounts and few campaigns, without any text.

Which accounts send, and which of their requests carry what text, is drawn; how cohorts are followed, what is news and
how much of it goes out in a tick is decided by the lanes' own :class:`detectors.cohorts.CohortBook`, with the bounds of
`detectors.toml`. The population sample follows the rule of :mod:`detectors.population`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.cohorts import CohortBook, Touch
from detectors.elicitation import KIND as ELICITATION
from detectors.params import DetectorParams
from detectors.population import ANSWERS, SIGNATURES
from detectors.template_family import KIND as TEMPLATE
from schemas.evidence import AccountRow, CohortEvidence, Evidence, PopulationEvidence, Watermark

I64 = NDArray[np.int64]

START: Final = 1_793_577_600_000
_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_GROWTH: Final = 1.25
_TEMPLATES: Final = 3  # of a campaign, used in turn
_FAMILIES: Final = 2_000  # of honest accounts: frameworks, apps, companies
_FIRST_CAMPAIGN: Final = 100_000  # keys: those below are families
_WIDEST: Final = 3  # rank r of the families has a share of 1 / (r + this)
_ELICITS: Final = 0.0005  # of honest requests
_TECHNIQUES: Final = 20
_ABSENT: Final = 0
_ACCOUNTS: Final = 2**32  # more than there are
_MOST_VARIANTS: Final = 2_000  # of one cohort at a time; sketches keep 64
_SLICES: Final = 4  # of the hour before the start


class Shape(NamedTuple):
    """Who is there.

    Attributes:
        accounts: in all. campaigns: of so many `members` each.
        events_per_s: requests and responses together.
        in_families: share of the honest accounts whose requests all carry a text that others send as well.
        campaign_requests: of each campaign account, a day.
        minutes: of event time; campaigns take on their accounts in the first four fifths.
    """

    accounts: int = 1_000_000
    campaigns: int = 5
    members: int = 20_000
    partitions: int = 16
    events_per_s: float = 5_000.0
    in_families: float = 0.35
    campaign_requests: float = 100.0
    minutes: float = 60.0
    seed: int = 20_261_124


class Burst(NamedTuple):
    """What one partition says after one tick."""

    partition: int
    tick: int
    evidence: list[Evidence]


class Workers:
    """Detect workers over all partitions.

    Args:
        shape: who is there.
        params: the bounds of evidence.
    """

    def __init__(self, shape: Shape, params: DetectorParams) -> None:
        self._shape, self._params = shape, params
        self._rng = rng = np.random.default_rng(shape.seed)
        count, own = shape.accounts, shape.campaigns * shape.members
        if own >= count:
            raise ValueError(f"{shape.campaigns} campaigns of {shape.members} leave nobody of {count} accounts")
        # The first accounts are the campaigns', in the order in which they come into use.
        weight = rng.lognormal(0.0, 1.2, count)
        weight[:own] = 0
        self._cumulative = np.cumsum(weight) / weight.sum()
        rank = np.arange(_FAMILIES)
        share = 1 / (rank + _WIDEST)
        self._family = rng.choice(_FAMILIES, count, p=share / share.sum())
        self._family[rng.random(count) >= shape.in_families] = -1
        self._requests, self._strong, self._weak = (np.zeros(count, np.int64) for _ in range(3))
        self._first, self._last = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._columns = _fingerprints(rng, count, own, shape.members)
        self._created = START - (rng.exponential(300.0, count) * _DAY_MS).astype(np.int64)
        self._created[:own] = START - (rng.random(own) * 14 * _DAY_MS).astype(np.int64)
        self._sample_order = rng.permutation(count)
        self._sent_at: list[int | None] = [None] * shape.partitions
        self._sent_accounts = [0] * shape.partitions
        self._books = [
            CohortBook(
                params.cohorts,
                floors={TEMPLATE: params.template_family.min_accounts},
                row_of=self._row,
                show=lambda kind, key: f"{kind}{key:016x}",
            )
            for _ in range(shape.partitions)
        ]

    @property
    def seen(self) -> int:
        """Accounts that sent anything."""
        return int((self._requests > 0).sum())

    @property
    def waiting(self) -> int:
        """Cohorts whose news found no room in the last tick."""
        return sum(book.waiting for book in self._books)

    def before(self) -> Iterator[Burst]:
        """The honest accounts as they are after a day of their traffic, each told of once within the last hour."""
        share = np.diff(self._cumulative, prepend=0.0)
        day = self._rng.poisson(share * self._shape.events_per_s / 2 * 86_400)
        for number in range(_SLICES):
            end = START - _HOUR_MS // _SLICES * (_SLICES - number)
            who = np.flatnonzero(day)
            who = who[who % _SLICES == number]
            self._requests[who] = day[who]
            self._first[who], self._last[who] = end - _DAY_MS, end - 1
            known = who[self._family[who] >= 0]
            self._touch(TEMPLATE, known, self._family[known], day[known], end)
            yield from self._told(end, everything=True)

    def bursts(self) -> Iterator[Burst]:
        """Tick by tick, and within a tick partition by partition."""
        tick_ms = self._params.tick_ms
        ticks = int(self._shape.minutes * 60_000) // tick_ms
        for number in range(ticks):
            end = START + (number + 1) * tick_ms
            self._send(end, number / ticks)
            yield from self._told(end)

    def _told(self, end: int, *, everything: bool = False) -> Iterator[Burst]:
        for partition, book in enumerate(self._books):
            evidence: list[Evidence] = [*book.due(partition, end, everything=everything)]
            population = self._population(partition, end)
            if population is not None:
                evidence.append(population)
            evidence.append(Watermark(source=partition, ts=end, newest=end - 1))
            yield Burst(partition, end, evidence)

    def _send(self, end: int, done: float) -> None:
        """All requests of a tick."""
        shape, rng, tick_s = self._shape, self._rng, self._params.tick_ms / 1000
        honest = rng.poisson(shape.events_per_s / 2 * tick_s)
        drawn = np.searchsorted(self._cumulative, rng.random(honest))
        key = self._family[drawn]
        account = [drawn]
        keys = [key]
        entered = int(shape.members * min(done / 0.8, 1.0)) + 1
        per_account = shape.campaign_requests / 86_400 * tick_s
        for campaign in range(shape.campaigns):
            count = rng.poisson(entered * per_account)
            account.append(campaign * shape.members + rng.integers(0, min(entered, shape.members), count))
            keys.append(_FIRST_CAMPAIGN + campaign * _TEMPLATES + rng.integers(0, _TEMPLATES, count))
        who, what = np.concatenate(account), np.concatenate(keys)
        elicits = (what < _FIRST_CAMPAIGN) & (rng.random(len(who)) < _ELICITS)
        self._count(who, what, elicits, end)
        self._touch(TEMPLATE, *_pairs(who[what >= 0], what[what >= 0]), end)
        self._touch(ELICITATION, *_pairs(who[elicits], rng.integers(0, _TECHNIQUES, int(elicits.sum()))), end)

    def _count(self, who: I64, what: I64, elicits: NDArray[np.bool_], end: int) -> None:
        np.add.at(self._requests, who, 1)
        np.add.at(self._strong, who[elicits], 1)
        np.add.at(self._weak, who[what >= _FIRST_CAMPAIGN], 1)
        new = who[self._first[who] == 0]
        self._first[new] = end - self._params.tick_ms
        self._last[who] = end - 1

    def _touch(self, kind: str, who: I64, what: I64, requests: I64, end: int) -> None:
        """Requests (k,) of accounts `who` (k,) in cohorts `what` (k,), each pair once."""
        order = np.lexsort((who, what, who % self._shape.partitions))
        who, what, requests = who[order], what[order], requests[order]
        place = who % self._shape.partitions
        bounds = np.flatnonzero(np.diff(place * 2**32 + what, prepend=-1, append=-1))
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            book, key = self._books[int(place[start])], (kind, int(what[start]))
            strong, weak = kind == ELICITATION, key[1] >= _FIRST_CAMPAIGN
            touches = [
                Touch(_name(a), n, n * strong, n * weak, end - 2, end - 1)
                for a, n in zip(who[start:stop].tolist(), requests[start:stop].tolist(), strict=True)
            ]
            tasks = min(int(requests[start:stop].sum()), _MOST_VARIANTS)
            book.touch(key, touches, self._rng.integers(1, 2**63, tasks).tolist(), [])
            if kind == TEMPLATE and book.wants_skeleton(key):
                book.set_skeleton(key, f"skeleton {key[1]} " + "of words that many accounts send " * 8)

    def _row(self, account: str) -> AccountRow:
        i = int(account[5:])

        def fingerprint(field: str) -> int | None:
            return int(self._columns[field][i]) or None

        return AccountRow(
            account=account,
            requests=int(self._requests[i]),
            first_seen=int(self._first[i]),
            last_seen=int(self._last[i]),
            elicit_strong=int(self._strong[i]),
            elicit_weak=int(self._weak[i]),
            replayed=0,
            hours=1,
            created=int(self._created[i]),
            payment=fingerprint("payment"),
            email_domain=fingerprint("email_domain"),
            signup=fingerprint("signup"),
            ip_prefix=fingerprint("ip_prefix"),
            asn_agent=fingerprint("asn_agent"),
            tls_agent=fingerprint("tls_agent"),
        )

    def _population(self, partition: int, tick: int) -> PopulationEvidence | None:
        """As :class:`detectors.population.PopulationSample` sends it."""
        requests = self._requests[partition :: self._shape.partitions]
        size, sent_at = int((requests > 0).sum()), self._sent_at[partition]
        over = sent_at is not None and tick - sent_at >= _HOUR_MS
        if not (over or (size >= 8 and size >= _GROWTH * self._sent_accounts[partition])):
            return None
        order = self._sample_order[self._sample_order % self._shape.partitions == partition]
        chosen = order[self._requests[order] > 0][: self._params.population.sample]
        since = -1 if sent_at is None else sent_at - _HOUR_MS
        self._sent_at[partition], self._sent_accounts[partition] = tick, size
        return PopulationEvidence(
            source=partition,
            tick=tick,
            rows=[self._row(_name(i)) for i in chosen[self._last[chosen] >= since].tolist()],
            accounts=size,
            requests=int(requests.sum()),
            fields={SIGNATURES: 1.0, ANSWERS: 1.0},
        )


def rows_of(evidence: Evidence) -> int:
    """Member rows in a message."""
    return len(evidence.members) if isinstance(evidence, CohortEvidence) else 0


def _pairs(who: I64, what: I64) -> tuple[I64, I64, I64]:
    """Each account with each of its cohorts, and how often it is there."""
    pairs, counts = np.unique(what * _ACCOUNTS + who, return_counts=True)
    return pairs % _ACCOUNTS, pairs // _ACCOUNTS, counts


def _name(index: int) -> str:
    return f"acct_{index:08d}"


def _fingerprints(rng: np.random.Generator, count: int, own: int, members: int) -> dict[str, I64]:
    """(count,) 64-bit fingerprints of each account; 0 where it has none."""

    def anything(size: int) -> I64:
        return rng.integers(1, 2**63, size)

    def among(values: int, size: int) -> I64:
        """Values of a long-tailed choice."""
        table = anything(values)
        return table[np.minimum((rng.pareto(0.7, size)).astype(np.int64), values - 1)]

    place = anything(count)
    columns = {
        "payment": np.where(rng.random(count) < 0.55, anything(count), _ABSENT),
        "email_domain": np.where(rng.random(count) < 0.2, anything(count), among(24, count)),
        "signup": place,
        "ip_prefix": place,
        "asn_agent": among(3_000, count),
        "tls_agent": among(60, count),
    }
    for begin in range(0, own, members):
        pool = np.arange(members)
        theirs = slice(begin, begin + members)
        columns["payment"][theirs] = anything(members // 40 + 1)[pool // 40]
        blocks = anything(max(1, members // 60))
        columns["signup"][theirs] = columns["ip_prefix"][theirs] = blocks[rng.integers(0, len(blocks), members)]
        columns["asn_agent"][theirs] = anything(40)[rng.integers(0, 40, members)]
        columns["email_domain"][theirs] = among(24, members)
    return columns
