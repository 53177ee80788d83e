"""The figures of the arena, as functions of tables (see :mod:`tests.benchmarks.arena.tables`).

A request counts as served before its account was named if it came no later than the newest event that the
first alert on the account had seen. An account that is never named was served in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from msgspec import Struct

from pipelines.demo.outcome import FOUND_SHARE
from schemas.alerts import Alert, Signal
from tests.benchmarks.arena import spread
from tests.benchmarks.arena.intervals import clump, count_interval, share_interval
from tests.benchmarks.arena.tables import CAMPAIGN, Traffic

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
_NEVER: Final = np.iinfo(np.int64).max
_RESAMPLES: Final = 1_000
# Operating points closer together than this are one in a plot.
_LEAST_GAIN: Final = 0.001


class CampaignFigures(Struct, frozen=True, kw_only=True):
    """One campaign against the namings; see `docs/benchmark.md` for what each figure means.

    Attributes:
        accounts: that sent any of its harvest.
        requests: its harvest; what its accounts send besides is not counted.
        detected: at least :data:`FOUND_SHARE` of the accounts were named.
        exposure: share of the requests served before their account was named.
        exposure_interval, accounts_named_interval, purity_interval: where another seed's is expected, 95 %; see
            :mod:`tests.benchmarks.arena.spread`.
        first_alert_requests, first_alert_hours: harvest served, and time since its start, when one of its
            accounts was first named; None where none was.
        purity: share of its own among the accounts of the campaign alerts that are mostly about it; None
            where there are none.
    """

    name: str
    shape: str
    evasive: str | None
    accounts: int
    requests: int
    detected: bool
    exposure: float
    exposure_interval: tuple[float, float]
    first_alert_requests: int | None
    first_alert_hours: float | None
    accounts_named: int
    accounts_named_interval: tuple[float, float]
    purity: float | None
    purity_interval: tuple[float, float] | None


def first_named(namings: pd.DataFrame) -> pd.Series[int]:
    """Account to the time at which it was first named, epoch ms."""
    return namings.groupby("account")["ts"].min()


def served_before(requests: pd.DataFrame, named: pd.Series[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(requests,) was the request served before its account was named?"""
    at = requests["account"].astype(object).map(named).fillna(_NEVER).to_numpy()
    return np.asarray(requests["ts"].to_numpy() <= at)


def bootstrap(parts: np.ndarray, sizes: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % percentile interval of sum(parts) / sum(sizes) over units drawn anew."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=_RESAMPLES)
    low, high = np.quantile(draws @ parts / (draws @ sizes), [0.025, 0.975])
    return float(low), float(high)


def over_campaigns(found: Sequence[CampaignFigures]) -> dict[str, Any]:
    """Mean exposure and campaigns detected, each with a 95 % interval; each campaign counts once.

    The interval of the mean is a bootstrap over campaigns, that of the count is exact for a share of them. Both
    are about campaigns such as these, so they are wider than what another seed of these campaigns gives.
    """
    detected = sum(row.detected for row in found)
    exposures = np.array([row.exposure for row in found])
    many = len(found) > 1
    return {
        "mean_exposure": float(exposures.mean()) if found else None,
        "mean_exposure_interval": list(bootstrap(exposures, np.ones(len(found)), len(found))) if many else None,
        "detected": detected,
        "detected_interval": [bound * len(found) for bound in share_interval(detected, len(found))],
    }


def owners_of_alerts(namings: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """The campaign alerts: `group`, `accounts`, `owner` (the campaign most are of; empty if none), `own`.

    Accounts of no campaign count together, so an alert on a crowd with a few members of a campaign in it
    belongs to no campaign.
    """
    rows = namings[namings["kind"] == "campaign"].drop_duplicates(["group", "account"])
    campaign_of = labels.set_index("account")["campaign"]
    owners = rows["account"].map(campaign_of)
    table = pd.DataFrame({"group": rows["group"], "owner": owners.where(owners.notna(), "")})
    counts = table.value_counts(["group", "owner"]).rename("own").reset_index()
    counts = counts.sort_values(["group", "own", "owner"], ascending=[True, False, True], kind="stable")
    top = counts.drop_duplicates("group").set_index("group")
    top["accounts"] = counts.groupby("group")["own"].sum()
    return top.reset_index()[["group", "accounts", "owner", "own"]]


def campaigns(traffic: Traffic, namings: pd.DataFrame) -> list[CampaignFigures]:
    """The figures of every campaign, in the order of their names."""
    reach = spread.load()
    named = first_named(namings)
    alerts = owners_of_alerts(namings, traffic.labels)
    known = traffic.labels.dropna(subset="campaign").drop_duplicates("campaign").set_index("campaign")
    harvest = traffic.requests.dropna(subset="campaign")
    out = []
    for name in sorted(known.index):
        own = harvest[harvest["campaign"] == name]
        if own.empty:
            raise ValueError(f"campaign {name} has accounts, but no harvest")
        members = own["account"].astype(str).unique()
        exposure = float(served_before(own, named).mean())
        found = named[named.index.isin(members)]
        first = int(found.min()) if len(found) else None
        about = alerts[alerts["owner"] == name]
        own_named, all_named = int(about["own"].sum()), int(about["accounts"].sum())
        out.append(
            CampaignFigures(
                name=name,
                shape=str(known.loc[name, "shape"]),
                evasive=known.loc[name, "evasion"],
                accounts=len(members),
                requests=len(own),
                detected=len(found) > 0 and len(found) >= FOUND_SHARE * len(members),
                exposure=exposure,
                exposure_interval=reach.around("exposure", exposure),
                first_alert_requests=None if first is None else int((own["ts"] <= first).sum()),
                first_alert_hours=None if first is None else (first - int(own["ts"].min())) / HOUR_MS,
                accounts_named=len(found),
                accounts_named_interval=_times(reach.around("share_named", len(found) / len(members)), len(members)),
                purity=own_named / all_named if all_named else None,
                purity_interval=reach.around("purity", own_named / all_named) if all_named else None,
            )
        )
    return out


def _times(interval: tuple[float, float], scale: float) -> tuple[float, float]:
    return interval[0] * scale, interval[1] * scale


def purity(namings: pd.DataFrame, labels: pd.DataFrame) -> float | None:
    """Share of a campaign's accounts among all that campaign alerts name; None where they name none."""
    rows = namings[namings["kind"] == "campaign"].drop_duplicates("account")
    if rows.empty:
        return None
    return float(rows["account"].map(labels.set_index("account")["campaign"]).notna().mean())


def account_days(traffic: Traffic) -> pd.Series[int]:
    """Per kind the account-days: pairs of an account and a UTC day on which it sent at least one request."""
    pairs = pd.DataFrame({"account": traffic.requests["account"], "day": traffic.requests["ts"] // DAY_MS})
    kinds = pairs.drop_duplicates()["account"].astype(object).map(traffic.labels.set_index("account")["kind"])
    return kinds.value_counts()


def benign(traffic: Traffic, namings: pd.DataFrame) -> dict[str, Any]:
    """Benign accounts that any alert named, in all and by kind; a dictionary for the report.

    The 95 % intervals take accounts of one group to be named in clumps as large as those seen; where a kind has none
    named, as large as its groups, so a single launch of 700 accounts without an alert says little about launches. The
    interval in all knows of the kinds that had an account named.
    """
    days = account_days(traffic)
    labels = traffic.labels[traffic.labels["kind"] != CAMPAIGN]
    hit = labels["account"].isin(first_named(namings).index)
    unit = labels["group"].where(labels["group"].notna(), labels["account"])
    by_kind, dispersion = {}, 0.0
    for kind, rows in sorted(labels.groupby("kind")):
        hits = hit[rows.index].groupby(unit[rows.index]).agg(["sum", "size"])
        named = int(hits["sum"].sum())
        together = clump([int(size) for size in hits["sum" if named else "size"]])
        by_kind[str(kind)] = _benign_row(len(rows), int(days.get(kind, 0)), named, together)
        dispersion += named * together
    named = int(hit.sum())
    total_days = int(days.drop(CAMPAIGN, errors="ignore").sum())
    return {**_benign_row(len(labels), total_days, named, dispersion / named if named else 1.0), "by_kind": by_kind}


def _benign_row(accounts: int, days: int, named: int, clump: float) -> dict[str, Any]:
    low, high = (min(bound, accounts) for bound in count_interval(named, clump))
    scale = 10_000 / days if days else None
    return {
        "accounts": accounts,
        "account_days": days,
        "accounts_named": named,
        "clump": clump,
        "per_10k_account_days": None if scale is None else named * scale,
        "per_10k_interval": None if scale is None else [low * scale, high * scale],
    }


def alerts_a_day(alerts: Iterable[Alert], days: float) -> dict[str, float]:
    """Alert messages and new alerts a day, by kind; those of shadow detectors are left out."""
    counts = {"messages": 0, "new_campaign": 0, "new_account": 0}
    for alert in alerts:
        if alert.shadow:
            continue
        counts["messages"] += 1
        if alert.status == "new":
            counts[f"new_{alert.kind}"] += 1
    return {name: count / days for name, count in counts.items()}


def findings(signals: Iterable[Signal], alerts: Iterable[Alert], labels: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Per signal the accounts that it says anything about, by campaign or benign kind; only those with any.

    A detector says it of an account by a finding, and every signal by its part in the alert that names the
    account. This tells whether a signal sees anything of a campaign, not whether the campaign is found by it.
    """
    names = labels["campaign"].where(labels["campaign"].notna(), labels["kind"])
    group = dict(zip(labels["account"], names, strict=True))
    seen: dict[str, dict[str, set[str]]] = {}

    def see(signal: str, account: str) -> None:
        if account in group:
            seen.setdefault(signal, {}).setdefault(group[account], set()).add(account)

    for signal in signals:
        if signal.account is not None:
            see(signal.detector, signal.account)
    for alert in alerts:
        for share in alert.signals:
            for account in alert.accounts:
                see(share.name, account)
    return {
        signal: {name: len(accounts) for name, accounts in sorted(by_group.items())}
        for signal, by_group in sorted(seen.items())
    }


def curve(harvest: pd.DataFrame, named: pd.Series[int], points: int = 60) -> dict[str, list[float]]:
    """One campaign over time: `hours` since its start, shares of its requests `sent` and `exposed` until then."""
    start, end = int(harvest["ts"].min()), int(harvest["ts"].max())
    grid = np.linspace(start, end, points)
    times = np.sort(harvest["ts"].to_numpy())
    exposed = np.sort(harvest["ts"].to_numpy()[served_before(harvest, named)])
    return {
        "hours": [round(float(hours), 3) for hours in (grid - start) / HOUR_MS],
        "sent": _shares(times, grid, len(times)),
        "exposed": _shares(exposed, grid, len(times)),
    }


def _shares(times: np.ndarray, grid: np.ndarray, total: int) -> list[float]:
    return [round(float(share), 5) for share in np.searchsorted(times, grid, side="right") / total]


def roc(scores: pd.Series[float], traffic: Traffic, most: float = 1_000) -> list[dict[str, float]]:
    """Operating points over a score per account, from the strictest: who is named at `threshold` and above.

    Args:
        scores: account to its highest score; accounts without one are never named.
        most: points of more benign accounts per 10,000 account-days are left out; nobody would run there.

    Returns:
        Per distinct score that names more campaign accounts, and for the lowest: `threshold`,
        `per_10k_account_days` (benign) and `accounts_named`, the share of a campaign's accounts, each campaign
        counting once.
    """
    labels = traffic.labels.set_index("account")
    days = account_days(traffic).drop(CAMPAIGN, errors="ignore").sum()
    sizes = labels["campaign"].value_counts()
    known = scores[scores.index.isin(labels.index)].sort_values(ascending=False, kind="stable")
    owner = known.index.to_series().map(labels["campaign"])
    is_benign = np.array([value is None or value != value for value in owner])
    weight = np.array([0.0 if bad else 1 / sizes[value] for bad, value in zip(is_benign, owner, strict=True)])
    found = np.cumsum(weight) / max(len(sizes), 1)
    false = np.cumsum(is_benign)
    rate = false * 10_000 / max(int(days), 1)
    steps = np.flatnonzero(np.append(np.diff(known.to_numpy()) != 0, True)) if len(known) else np.empty(0, int)
    steps = steps[rate[steps] <= most]
    points: list[dict[str, float]] = []
    for i in steps:
        if points and i != steps[-1] and found[i] - points[-1]["accounts_named"] < _LEAST_GAIN:
            continue
        points.append(
            {
                "threshold": float(known.iloc[i]),
                "per_10k_account_days": float(rate[i]),
                "accounts_named": float(found[i]),
            }
        )
    return points


def threshold_for(benign_scores: np.ndarray, allowed: int) -> float:
    """The lowest threshold that at most `allowed` of the benign accounts' highest scores exceed.

    It is chosen on the very events that it is then judged on, which favours whoever gets it.

    >>> threshold_for(np.array([0.1, 0.9, 0.5, 0.5]), 1)
    0.5
    >>> threshold_for(np.array([0.1]), 1)
    -inf
    """
    if len(benign_scores) <= allowed:
        return -np.inf
    return float(np.sort(benign_scores)[::-1][allowed])
