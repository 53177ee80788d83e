"""How far the figures of an arena may get worse before that is a failure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

SMALL: Final = Path(__file__).with_name("small_tolerances.toml")

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


class CampaignTolerance(Struct, frozen=True, forbid_unknown_fields=True):
    """The worst figures allowed for one campaign."""

    exposure_at_most: Share
    accounts_named_at_least: Count
    purity_at_least: Share = 0.0


class Tolerances(Struct, frozen=True, forbid_unknown_fields=True):
    """The worst figures allowed for a scenario; every campaign of it has to be listed.

    Attributes:
        findings_at_least: per detector and campaign, accounts that it says anything about.
    """

    benign_named_at_most: Count
    campaign: dict[str, CampaignTolerance]
    findings_at_least: dict[str, dict[str, Count]]


def load(path: Path = SMALL) -> Tolerances:
    """Read a file of tolerances.

    Raises:
        msgspec.ValidationError: unknown keys, or values out of range.
    """
    return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Tolerances)


def worse(report: Mapping[str, Any], allowed: Tolerances) -> list[str]:
    """Every figure of a report that is worse than allowed, in a sentence; empty if none is."""
    rows = {row["name"]: row for row in report["scenarios"]}
    found = [
        f"{name} is {'not in the tolerances' if name in rows else 'no campaign of the scenario'}"
        for name in sorted(rows.keys() ^ allowed.campaign.keys())
    ]
    for name in sorted(rows.keys() & allowed.campaign.keys()):
        row, bound = rows[name], allowed.campaign[name]
        if row["exposure"] > bound.exposure_at_most:
            found.append(f"{name}: exposure {row['exposure']:.3f}, at most {bound.exposure_at_most} is allowed")
        if row["accounts_named"] < bound.accounts_named_at_least:
            least = bound.accounts_named_at_least
            found.append(f"{name}: {row['accounts_named']} accounts named, at least {least} are wanted")
        if bound.purity_at_least and (row["purity"] is None or row["purity"] < bound.purity_at_least):
            found.append(f"{name}: purity {row['purity']}, at least {bound.purity_at_least} is wanted")
    for detector, campaigns in allowed.findings_at_least.items():
        for name, least in campaigns.items():
            if (count := report["findings"].get(detector, {}).get(name, 0)) < least:
                found.append(f"{name}: {detector} sees {count} accounts, at least {least} are wanted")
    named = report["benign"]["accounts_named"]
    if named > allowed.benign_named_at_most:
        kinds = {kind: row["accounts_named"] for kind, row in report["benign"]["by_kind"].items()}
        kinds = {kind: count for kind, count in kinds.items() if count}
        found.append(f"{named} benign accounts named ({kinds}), at most {allowed.benign_named_at_most} are allowed")
    return found
