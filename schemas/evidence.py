"""Evidence: what detect workers tell the correlate stage, small, mergeable and free of prompts.

An account lives on one partition, so counts of accounts add up over partitions; the latest row of an
account replaces its earlier ones, so a message that arrives twice changes nothing. Fingerprints are
keyed 64-bit hashes; 0 never occurs in them, None means that the field was absent.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct


class AccountRow(Struct, array_like=True, gc=False):
    """One account as its partition knows it at a tick; times in epoch ms, counts since first seen."""

    account: str
    requests: int
    first_seen: int
    last_seen: int
    elicit_strong: int
    elicit_weak: int
    replayed: int
    hours: int
    created: int | None
    payment: int | None
    email_domain: int | None
    signup: int | None
    ip_prefix: int | None
    asn_agent: int | None
    tls_agent: int | None
    banned: bool = False
    foreign_turns: int = 0
    leaked: int = 0
    refused: int = 0
    covered: int = 0
    techniques: int = 0
    graded: int = 0
    cleaned: int = 0


class MemberRow(Struct, array_like=True, gc=False):
    """An account inside one cohort: its own row, and its part in the cohort."""

    row: AccountRow
    requests: int
    elicit_strong: int
    elicit_weak: int
    first_seen: int
    last_seen: int


class CohortEvidence(Struct, tag_field="type", tag="cohort", omit_defaults=True):
    """What one partition saw of one cohort since it last spoke of it.

    `slots` is a bottom-k sketch of the hashes of what varied between the cohort's requests
    (see :mod:`detectors.sketches`); `skeleton` shows only words that many accounts sent.
    """

    source: int
    tick: int
    kind: str
    key: str
    members: list[MemberRow]
    slots: list[int] = []
    skeleton: str | None = None
    patterns: list[str] = []


class PopulationEvidence(Struct, tag_field="type", tag="population", omit_defaults=True):
    """Changed rows of one partition's uniform sample over its accounts, and its totals."""

    source: int
    tick: int
    rows: list[AccountRow]
    accounts: int
    requests: int
    fields: dict[str, float] = {}


class NewcomerEvidence(Struct, tag_field="type", tag="newcomers"):
    """Accounts of one partition that were told a payer of, or that sent their first request."""

    source: int
    tick: int
    rows: list[AccountRow]


class Watermark(Struct, tag_field="type", tag="watermark", omit_defaults=True):
    """All evidence of `source` up to event time `ts` has been sent; an idle source holds nobody up.

    `newest` is the time of the newest event behind it, 0 where there was none.
    """

    source: int
    ts: int
    newest: int = 0
    idle: bool = False


Evidence = CohortEvidence | PopulationEvidence | NewcomerEvidence | Watermark

EVIDENCE_DECODER: Final = msgspec.json.Decoder(Evidence)
ENCODER: Final = msgspec.json.Encoder()
