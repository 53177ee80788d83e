"""The campaign stage driven by hand: evidence of several sources in, alerts out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec

from detectors.campaigns import CampaignCore
from detectors.params import CampaignParams
from schemas.alerts import Alert
from schemas.evidence import Evidence, MemberRow, NewcomerEvidence, Watermark
from tests.unit.detectors.rows import cohort, honest, member, pool, row, sample
from tests.unit.detectors.traffic import SMALL, START, TICK

SOURCES = 3
POPULATION = 240

Streams = dict[int, list[Evidence]]


def make_core(**params: Any) -> CampaignCore:
    return CampaignCore(CampaignParams(**params), SMALL, config_version="test")


def of_source(members: Iterable[MemberRow], source: int) -> list[MemberRow]:
    return [one for n, one in enumerate(members) if n % SOURCES == source]


def later(one: MemberRow, factor: int, at: int) -> MemberRow:
    """The same member after `factor` times the requests."""
    own = msgspec.structs.replace(one.row, requests=one.row.requests * factor, last_seen=at)
    return MemberRow(own, own.requests, one.elicit_strong, one.elicit_weak, one.first_seen, at)


def at(k: int) -> int:
    """The end of tick k."""
    return START + (k + 1) * TICK


def streams(accounts: int = 60, ticks: int = 6) -> Streams:
    """A pool that grows from tick to tick over all sources, a population, its second cohort, and newcomers."""
    members, second = pool(accounts), pool(24, seed=8, prefix="second")
    stock = [row(f"stock{n}", requests=0, payment=500 + n if n % 2 else 900_000 + n) for n in range(4 * ticks)]
    strangers = [member(f"stranger{n}", requests=3) for n in range(30)]
    out: Streams = {}
    for source in range(SOURCES):
        sent: list[Evidence] = [Watermark(source=source, ts=0)]
        for k in range(ticks):
            now = at(k)
            if k % 2 == 0:
                known = honest(POPULATION)[: POPULATION * (k + 2) // ticks]
                sent.append(sample(known[source::SOURCES], source=source, tick=now))
            there = members[: accounts * (k + 1) // ticks]
            rows = [later(one, 1 + k - n * ticks // accounts, now) for n, one in enumerate(there)]
            sent.append(cohort(of_source(rows, source), source=source, tick=now, slots=list(range(k, 50 + 9 * k))))
            if k >= 3:
                sent.append(cohort(of_source(second[: 8 * k], source), source=source, tick=now, key="k2"))
            sent.append(cohort(of_source(strangers, source), source=source, tick=now, key="k3", slots=[1]))
            sent.append(NewcomerEvidence(source, now, stock[4 * k : 4 * k + 4][source::SOURCES]))
            sent.append(Watermark(source=source, ts=now, newest=now - 1))
        out[source] = sent
    return out


def in_turn(parts: Streams) -> list[Evidence]:
    """One message of each source after the other."""
    return [evidence for group in zip(*parts.values(), strict=True) for evidence in group]


def interleaved(parts: Streams, rng: random.Random) -> list[Evidence]:
    """Any order over the sources; the messages of one source stay in order, as in a partition of the topic."""
    out: list[Evidence] = [stream[0] for stream in parts.values()]
    rest = {source: stream[1:] for source, stream in parts.items()}
    while rest:
        source = rng.choice(sorted(rest))
        out.append(rest[source].pop(0))
        if not rest[source]:
            del rest[source]
    return out


def run(core: CampaignCore, evidence: Iterable[Evidence]) -> list[Alert]:
    return [alert for one in evidence for alert in core.ingest(one)]


def decided(core: CampaignCore, *evidence: Evidence, tick: int = at(0), source: int = 0) -> list[Alert]:
    """The alerts of a tick with this evidence of one source."""
    return run(core, [*evidence, Watermark(source=source, ts=tick, newest=tick - 1)])


def ready(**params: Any) -> CampaignCore:
    """A core that knows a population."""
    core = make_core(**params)
    assert decided(core, sample(honest(POPULATION), tick=at(0))) == []
    return core


def named(alerts: Iterable[Alert]) -> list[str]:
    return [account for alert in alerts for account in alert.accounts]


def elsewhere(members: Iterable[MemberRow], *, but: str | None = None) -> list[MemberRow]:
    """The same pool with other payments, sign-up places and networks; `but` one of them stays."""
    fields = [field for field in ("payment", "signup", "ip_prefix") if field != but]
    return [
        MemberRow(
            msgspec.structs.replace(one.row, **{field: getattr(one.row, field) + 10_000 for field in fields}),
            *msgspec.structs.astuple(one)[1:],
        )
        for one in members
    ]
