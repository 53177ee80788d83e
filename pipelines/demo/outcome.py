"""What the demo's replay found, checked against what the simulation knows."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from pipelines.demo.campaign import KIND
from schemas.alerts import Alert

# A campaign of which fewer accounts are named is not found: the rest goes on unseen.
FOUND_SHARE: Final = 0.5
UNKNOWN: Final = "unknown"


class Outcome(Struct, frozen=True, kw_only=True):
    """Alerts against labels; times in epoch ms of the events.

    Attributes:
        campaign_accounts: accounts of the simulated campaign.
        named: how many of them campaign alerts named.
        on_first_request: how many of its accounts an alert named before they sent a second request.
        campaign_requests: requests of all of them.
        served: requests that came no later than the alert that named their account; all of them where none did.
        first_request: of the campaign; None where it has no request.
        first_alert: `ts` of the first campaign alert that names one of its accounts; None where there is none.
        requests_before: campaign requests no later than `first_alert`.
        campaign_ids: campaign ids under which its accounts were named, the largest first.
        benign_accounts: benign accounts by kind.
        benign_named: benign accounts that any alert named, by kind; only kinds with at least one.
        alerts: the newest version of every alert on the campaign, the largest first.
    """

    campaign_accounts: int
    named: int
    on_first_request: int
    campaign_requests: int
    served: int
    first_request: int | None
    first_alert: int | None
    requests_before: int
    campaign_ids: list[str]
    benign_accounts: dict[str, int]
    benign_named: dict[str, list[str]]
    alerts: list[Alert]

    @property
    def exposure(self) -> float:
        """Share of the campaign's requests that were served before their account was named; 1 without requests."""
        return self.served / self.campaign_requests if self.campaign_requests else 1.0

    @property
    def found(self) -> bool:
        """At least :data:`FOUND_SHARE` of the campaign's accounts were named."""
        return self.named > 0 and self.named >= FOUND_SHARE * self.campaign_accounts

    @property
    def problems(self) -> list[str]:
        """Why the demo failed, in sentences; empty where it did not."""
        problems = []
        if not self.found:
            problems.append(f"the campaign was not found: {self.named} of {self.campaign_accounts} accounts named")
        for kind, accounts in self.benign_named.items():
            some = ", ".join(accounts[:5]) + (", …" if len(accounts) > 5 else "")
            problems.append(f"{len(accounts)} benign accounts of kind {kind} were named: {some}")
        return problems


def evaluate(labels: Mapping[str, str], alerts: Iterable[Alert], requests: Mapping[str, Sequence[int]]) -> Outcome:
    """Compare alerts with the simulation's labels.

    Args:
        labels: account to kind; :data:`pipelines.demo.campaign.KIND` is the campaign, every other one benign.
        alerts: in the order in which they were written; alerts of shadow detectors count for nothing.
        requests: account to the `ts` of its requests, ascending.
    """
    named_at: dict[str, int] = {}
    in_campaigns: dict[str, str] = {}
    benign: dict[str, list[str]] = {}
    newest: dict[str, Alert] = {}
    touching: set[str] = set()
    first_alert: int | None = None
    for alert in alerts:
        if alert.shadow:
            continue
        if alert.alert_id not in newest or alert.version >= newest[alert.alert_id].version:
            newest[alert.alert_id] = alert
        for account in alert.accounts:
            kind = labels.get(account, UNKNOWN)
            if kind != KIND:
                if account not in benign.setdefault(kind, []):
                    benign[kind].append(account)
                continue
            named_at[account] = min(alert.ts, named_at.get(account, alert.ts))
            if alert.kind == "campaign":
                in_campaigns.setdefault(account, alert.campaign_id or alert.alert_id)
                touching.add(alert.alert_id)
                first_alert = alert.ts if first_alert is None else min(first_alert, alert.ts)
    members = [account for account, kind in labels.items() if kind == KIND]
    moments = sorted(ts for account in members for ts in requests.get(account, ()))
    served = at_once = 0
    for account in members:
        own = requests.get(account, ())
        before = bisect_right(own, named_at[account]) if account in named_at else len(own)
        served += before
        at_once += account in named_at and before <= 1
    ids = Counter(in_campaigns.values())
    return Outcome(
        campaign_accounts=len(members),
        named=len(in_campaigns),
        on_first_request=at_once,
        campaign_requests=len(moments),
        served=served,
        first_request=moments[0] if moments else None,
        first_alert=first_alert,
        requests_before=0 if first_alert is None else bisect_right(moments, first_alert),
        campaign_ids=[campaign_id for campaign_id, _ in ids.most_common()],
        benign_accounts=dict(Counter(kind for kind in labels.values() if kind != KIND)),
        benign_named=benign,
        alerts=sorted((newest[key] for key in touching), key=lambda alert: (-alert.accounts_total, alert.alert_id)),
    )
