"""Rows of evidence, and populations of honest accounts, as the campaign stage gets them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from detectors.population import ANSWERS, SIGNATURES
from detectors.reference import Reference, build
from schemas.evidence import AccountRow, CohortEvidence, MemberRow, PopulationEvidence
from tests.unit.detectors.traffic import DAY, START, TICK


def row(account: str, **more: Any) -> AccountRow:
    """An account about which nothing is known but one request."""
    values: dict[str, Any] = {
        "requests": 1,
        "first_seen": START,
        "last_seen": START,
        "elicit_strong": 0,
        "elicit_weak": 0,
        "replayed": 0,
        "hours": 1,
        "created": None,
        "payment": None,
        "email_domain": None,
        "signup": None,
        "ip_prefix": None,
        "asn_agent": None,
        "tls_agent": None,
    }
    return AccountRow(account=account, **(values | more))


def member(account: str, *, part: int | None = None, **more: Any) -> MemberRow:
    """An account in a cohort; `part` of its requests belong to the cohort, by default all of them."""
    own = row(account, **more)
    requests = own.requests if part is None else part
    return MemberRow(own, requests, own.elicit_strong, own.elicit_weak, own.first_seen, own.last_seen)


def honest(count: int, seed: int = 7, prefix: str = "honest") -> list[AccountRow]:
    """Accounts of one person each: own cards and networks, two public mail domains, few clients, uneven use."""
    rng = random.Random(seed)
    return [
        row(
            f"{prefix}{n}",
            requests=max(1, int(rng.lognormvariate(1.5, 1.2))),
            created=START - int(rng.uniform(1, 700) * DAY),
            payment=1_000_000 + n,
            email_domain=rng.choice([11, 11, 11, 12, 13_000 + n]),
            signup=2_000_000 + n,
            ip_prefix=3_000_000 + n,
            asn_agent=rng.randrange(20, 32),
            tls_agent=rng.randrange(40, 52),
        )
        for n in range(count)
    ]


def population(count: int = 300, seed: int = 7) -> Reference:
    return build(honest(count, seed), 2048, ())


def pool(count: int, seed: int = 3, prefix: str = "pool", **more: Any) -> list[MemberRow]:
    """The accounts of a campaign: even use, few cards and networks, all of them young."""
    rng = random.Random(seed)
    values: dict[str, Any] = {"elicit_strong": 5}
    return [
        member(
            f"{prefix}{n}",
            **(
                {
                    "requests": 10 + rng.randrange(3),
                    "created": START - int(rng.uniform(0, 2) * DAY),
                    "payment": 500 + n // 4,
                    "email_domain": 11,
                    "signup": 600 + n // 5,
                    "ip_prefix": 700 + n // 5,
                    "asn_agent": 25,
                    "tls_agent": 45,
                }
                | values
                | more
            ),
        )
        for n in range(count)
    ]


def cohort(members: Iterable[MemberRow], *, source: int = 0, tick: int = START + TICK, **more: Any) -> CohortEvidence:
    values: dict[str, Any] = {"kind": "template", "key": "k1", "slots": list(range(1, 60))}
    return CohortEvidence(source=source, tick=tick, members=list(members), **(values | more))


def sample(
    rows: list[AccountRow], *, source: int = 0, tick: int = START + TICK, fields: dict[str, float] | None = None
) -> PopulationEvidence:
    """A source's sample, from a gateway that reports signatures and texts of answers unless `fields` differ."""
    known = {SIGNATURES: 1.0, ANSWERS: 1.0} if fields is None else fields
    return PopulationEvidence(source, tick, rows, len(rows), sum(one.requests for one in rows), known)
