"""The campaign stage: merges evidence, judges cohorts, follows campaigns and names their accounts.

Evidence waits until every source that is not idle has passed its tick, and is then taken in one order, so
decisions depend neither on the order in which sources speak nor on how their messages were batched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from detectors import campaign_alerts, campaign_links, judgement, membership, reference
from detectors.campaign_memory import CampaignMemory, Population
from detectors.campaign_state import SHARDS, Campaign, Cohort, harvests, shard_of
from detectors.coverage import KIND as COVERAGE
from detectors.elicitation import KIND as ELICITATION
from detectors.foreign_turns import KIND as TURNS
from detectors.grading import KIND as GRADING
from detectors.leakage import KIND as LEAK
from detectors.params import CampaignParams, DetectorParams
from detectors.population import ANSWERS, SIGNATURES
from detectors.reference import Reference
from detectors.signature_replay import KIND as REPLAY
from detectors.technique_sweep import KIND as TECHNIQUE
from detectors.trace_cleaning import KIND as CLEANING
from schemas.alerts import Alert
from schemas.evidence import (
    AccountRow,
    CohortEvidence,
    Evidence,
    NewcomerEvidence,
    PopulationEvidence,
    Watermark,
)

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_GROWTH: Final = 1.1  # a cohort is judged again when it grew by a tenth
_TOLD: Final = 1.25  # an alert is updated without new accounts when its requests grew by a quarter
_MIN_LINKS: Final = 3  # accounts that hold a campaign's rare values before a cohort is tied to it
_PRIOR: Final = {
    ELICITATION: 0.0005,
    REPLAY: 0.001,
    TURNS: 0.02,
    LEAK: 0.01,
    COVERAGE: 0.02,
    TECHNIQUE: 0.002,
    GRADING: 0.01,
    CLEANING: 0.005,
}
_SEEN: Final = (SIGNATURES, ANSWERS)
_PRIOR_WEIGHT: Final = 200.0


def _seen_at_work(campaign: Campaign) -> int:
    """Accounts that were named for what they did; those named for their payer tell nothing new of payers."""
    return len(campaign.requests) - campaign.by_payer


class CampaignCore:
    """All campaigns.

    Args:
        params: `campaigns.toml`.
        detect: `detectors.toml`, for the size of the reference.
        config_version: goes into every alert.
    """

    def __init__(self, params: CampaignParams, detect: DetectorParams, *, config_version: str) -> None:
        self._params = params
        self._population_params = detect.population
        self._config_version = config_version
        self._memory = CampaignMemory(params)
        self._touched: dict[str, None] = {}
        self._fresh: dict[str, dict[str, None]] = {}
        self._pool: reference.Pool | None = None

    @property
    def campaigns(self) -> Mapping[str, Campaign]:
        """Campaigns by id."""
        return self._memory.campaigns

    def ingest(self, evidence: Evidence) -> list[Alert]:
        """Take one message in; the alerts of all ticks that it completed."""
        self._memory.queue.put(evidence)
        return self._work_off(self._memory.queue.ready()) if isinstance(evidence, Watermark) else []

    def flush(self) -> list[Alert]:
        """Decide on everything that waits, and bring every alert up to date (end of input)."""
        alerts = self._work_off(self._memory.queue.rest())
        for campaign in self._memory.campaigns.values():
            if campaign.status != "closed" and campaign.requests_total > campaign.told_requests:
                alerts += self._tell(campaign, [])
        return alerts

    def _work_off(self, ticks: Iterable[tuple[int, list[Evidence]]]) -> list[Alert]:
        alerts: list[Alert] = []
        for tick, messages in ticks:
            for evidence in messages:
                self._take(evidence)
            alerts += self._decide(tick)
        return alerts

    def _take(self, evidence: Evidence) -> None:
        if isinstance(evidence, Watermark):
            self._memory.newest = max(self._memory.newest, evidence.newest)
        elif isinstance(evidence, PopulationEvidence):
            population = self._memory.populations.setdefault(evidence.source, Population())
            population.rows |= {row.account: row for row in evidence.rows}
            self._trim(population)
            population.accounts = evidence.accounts
            for field in _SEEN:
                setattr(population, field, evidence.fields.get(field, 0.0) > 0)
            self._pool = None
            self._memory.changes.mark(f"population:{evidence.source}")
        elif isinstance(evidence, NewcomerEvidence):
            for row in evidence.rows:
                if row.account not in self._memory.campaign_of:
                    self._memory.newcomers.put(row)
        else:
            self._merge(evidence)

    def _trim(self, population: Population) -> None:
        """Keep twice the sample at most: what has left it is of no use."""
        if len(population.rows) > 2 * self._population_params.sample:
            kept = reference.build(population.rows.values(), self._population_params.sample, ()).accounts
            population.rows = {account: population.rows[account] for account in kept}

    def _merge(self, evidence: CohortEvidence) -> None:
        name = f"{evidence.kind}:{evidence.key}"
        cohort = self._memory.cohorts.get(name)
        if cohort is None:
            cohort = self._memory.cohorts[name] = Cohort(evidence.kind, evidence.key)
            if len(self._memory.cohorts) > self._params.max_cohorts:
                self._drop(self._dispensable())
        self._memory.cohorts.move_to_end(name)
        self._memory.merged += 1
        cohort.order = self._memory.merged
        for member in evidence.members:
            account = member.row.account
            known = cohort.members.get(account)
            if known is None and len(cohort.members) >= self._params.max_members:
                continue
            # Messages may come twice or out of order after a restart: counts only grow.
            if known is None or (member.requests, member.row.last_seen) >= (known.requests, known.row.last_seen):
                cohort.members[account] = member
                cohort.harvesting += harvests(member) - (known is not None and harvests(known))
                cohort.last_seen = max(cohort.last_seen, member.last_seen)
                self._fresh.setdefault(name, {})[account] = None
                self._memory.changes.mark(f"members:{name}:{shard_of(account)}")
        cohort.variants = judgement.merge_variants(cohort.variants, evidence.slots)
        cohort.skeleton = evidence.skeleton or cohort.skeleton
        cohort.patterns = sorted({*cohort.patterns, *evidence.patterns})
        self._touched[name] = None
        self._memory.changes.mark(f"cohort:{name}")

    def _dispensable(self) -> str:
        """The longest idle cohort: of none or of a closed campaign if there is one."""
        closed = {name for name, campaign in self._memory.campaigns.items() if campaign.status == "closed"}
        *others, _ = self._memory.cohorts.items()
        return next((name for name, c in others if c.campaign is None or c.campaign in closed), others[0][0])

    def _drop(self, name: str) -> None:
        self._memory.cohorts.pop(name, None)
        self._touched.pop(name, None)
        self._memory.changes.drop(f"cohort:{name}")
        for shard in range(SHARDS):
            self._memory.changes.drop(f"members:{name}:{shard}")

    def _decide(self, tick: int) -> list[Alert]:
        self._memory.changes.mark("meta")
        touched, self._touched = [self._memory.cohorts[n] for n in self._touched if n in self._memory.cohorts], {}
        alerts = self._follow([cohort for cohort in touched if cohort.campaign is not None], tick)
        # Known campaigns take their members first: what is left has to make a case of its own.
        for cohort in touched:
            if cohort.campaign is None and self._consider(cohort, tick):
                alerts += self._follow([cohort], tick)
        self._fresh = {}
        alerts += self._meet()
        return alerts + self._close(tick)

    def _meet(self) -> list[Alert]:
        """Name the accounts that a campaign's payers pay for, whatever they did so far."""
        accounts = sum(population.accounts for population in self._memory.populations.values())
        found: dict[str, set[str]] = {}
        for payer in self._memory.newcomers.news():
            campaign = self._memory.campaigns[payer.campaign]
            if campaign.status == "closed" or self._is_customer(payer.payment, campaign):
                continue
            size = len(campaign.requests) + 1
            paid = (
                [one.account for one in payer.rest]
                if payer.is_known
                else payer.alike(campaign.traits, min(size / max(accounts, 1), 0.5))
            )
            found.setdefault(campaign.id, set()).update(paid)
        alerts: list[Alert] = []
        for campaign in sorted((self._memory.campaigns[name] for name in found), key=lambda c: (c.founded, c.id)):
            room = max(self._params.max_members - len(campaign.requests), 0)
            named = sorted(account for account in found[campaign.id] if account not in self._memory.campaign_of)[:room]
            for account in named:
                self._claim(account, campaign)
                self._memory.newcomers.drop(account)
            if named:
                campaign.by_payer += len(named)
                if self._pool is not None:
                    self._pool.exclude(named)
                alerts += self._tell(campaign, named)
        return alerts

    def _is_customer(self, payment: int, campaign: Campaign) -> bool:
        """Is a payer an open customer, whose accounts a judgement left out?"""
        cohorts = (self._memory.cohorts[name] for name in campaign.cohorts if name in self._memory.cohorts)
        return any(("payment", payment) in cohort.owners for cohort in cohorts)

    def _claim(self, account: str, campaign: Campaign) -> None:
        campaign.requests[account] = 0
        self._memory.campaign_of[account] = campaign.id
        self._memory.changes.mark(f"named:{campaign.id}:{shard_of(account)}")

    def _follow(self, cohorts: list[Cohort], tick: int) -> list[Alert]:
        """Take in what cohorts of known campaigns did."""
        grown: dict[str, None] = {}
        for cohort in cohorts:
            if cohort.campaign is not None:
                grown[cohort.campaign] = None
                if len(cohort.members) >= _GROWTH * cohort.judged_members:
                    self._rejudge(cohort, self._memory.campaigns[cohort.campaign], tick)
        alerts = [alert for campaign in grown for alert in self._name(self._memory.campaigns[campaign])]
        for name in grown:
            campaign = self._memory.campaigns[name]
            # One that names nobody yet has nobody who pays.
            if campaign.status != "closed" and len(campaign.requests) >= max(_GROWTH * campaign.compared, 1):
                alerts += self._unite(campaign)
        return alerts

    def _unite(self, campaign: Campaign) -> list[Alert]:
        """Make one of campaigns with the same payers: the older one takes the younger one's accounts and cohorts."""
        campaign.compared = len(campaign.requests)
        benign = self._reference()
        own = [] if benign is None else campaign_links.payers(campaign, self._memory.cohorts, benign)
        if benign is None or not own:
            return []
        alerts: list[Alert] = []
        for other in sorted(self._memory.campaigns.values(), key=lambda c: (c.founded, c.id)):
            if other.id == campaign.id or other.status == "closed":
                continue
            theirs = campaign_links.payers(other, self._memory.cohorts, benign)
            if campaign_links.same_payers(own, _seen_at_work(campaign), theirs) or campaign_links.same_payers(
                theirs, _seen_at_work(other), own
            ):
                older, younger = sorted((campaign, other), key=lambda c: (c.founded, c.id))
                alerts += self._absorb(older, younger, benign)
                campaign, own = older, own + theirs
        return alerts

    def _absorb(self, campaign: Campaign, younger: Campaign, benign: Reference) -> list[Alert]:
        campaign_alerts.say_joined(younger, campaign)
        alerts = campaign_alerts.alerts(younger, [], self._memory.newest, self._config_version, closing=True)
        moved = sorted(younger.requests)
        for account in moved:
            self._memory.campaign_of[account] = campaign.id
            self._memory.newcomers.move(account, campaign.id)
            self._memory.changes.mark(f"named:{campaign.id}:{shard_of(account)}")
            self._memory.changes.mark(f"named:{younger.id}:{shard_of(account)}")
        for name in younger.cohorts:
            if name in self._memory.cohorts:
                self._memory.cohorts[name].campaign = campaign.id
                self._memory.changes.mark(f"cohort:{name}")
        campaign.requests |= younger.requests
        campaign.requests_total += younger.requests_total
        campaign.cohorts = sorted({*campaign.cohorts, *younger.cohorts})
        campaign.first_seen = min(campaign.first_seen, younger.first_seen)
        campaign.last_seen = max(campaign.last_seen, younger.last_seen)
        campaign.by_payer += younger.by_payer
        younger.requests, younger.cohorts, younger.by_payer = {}, [], 0
        self._memory.changes.mark(f"campaign:{younger.id}")
        self._renew(campaign, benign)
        return alerts + self._tell(campaign, moved)

    def _consider(self, cohort: Cohort, tick: int) -> bool:
        """Judge a cohort that belongs to no campaign, if it is worth another look; True if it now does.

        It is judged without the accounts that a campaign already has: a turn of phrase that the campaign's
        tasks share with honest ones must not make the honest ones look like the campaign.
        """
        if not self._may_have_grown(cohort, tick):
            return False
        rest = {account: m for account, m in cohort.members.items() if self._is_free(account)}
        size = len(rest)
        if size < self._params.min_accounts:
            return False
        harvest = sum(map(harvests, rest.values()))
        grown = size >= _GROWTH * cohort.judged_members or harvest >= _GROWTH * max(cohort.judged_harvest, 1)
        if not grown and tick - cohort.judged_at < _HOUR_MS:
            return False
        benign = self._benign(cohort)
        if benign is None:
            return False
        cohort.judged_members, cohort.judged_harvest, cohort.judged_at = size, harvest, tick
        self._memory.changes.mark(f"cohort:{cohort.id}")
        judged = msgspec.structs.replace(cohort, members=rest)
        verdict = judgement.judge(judged, benign, self._rates(benign), self._params)
        if not verdict.alerts(self._params):
            return False
        campaign = self._linked(judged) or self._found(cohort, tick)
        self._record(campaign, cohort, verdict)
        cohort.campaign = campaign.id
        self._remember(cohort, verdict, benign)
        campaign.cohorts = sorted({*campaign.cohorts, cohort.id})
        self._renew(campaign, benign)
        return True

    def _is_free(self, account: str) -> bool:
        """Is an account in no campaign, or in one for its payer alone? What it does there is news."""
        campaign = self._memory.campaign_of.get(account)
        return campaign is None or not self._memory.campaigns[campaign].requests[account]

    def _may_have_grown(self, cohort: Cohort, tick: int) -> bool:
        """Could another look be due? Told from the counts of all members, without going through them."""
        return len(cohort.members) >= self._params.min_accounts and (
            tick - cohort.judged_at >= _HOUR_MS
            or len(cohort.members) >= _GROWTH * cohort.judged_members
            or cohort.harvesting >= _GROWTH * max(cohort.judged_harvest, 1)
        )

    def _rejudge(self, cohort: Cohort, campaign: Campaign, tick: int) -> None:
        """Renew the evidence of a campaign from a cohort that has grown; its membership stays."""
        benign = self._benign(cohort)
        if benign is None:
            return
        cohort.judged_members, cohort.judged_at = len(cohort.members), tick
        verdict = judgement.judge(cohort, benign, self._rates(benign), self._params)
        if verdict.alerts(self._params):
            self._record(campaign, cohort, verdict)
        self._remember(cohort, verdict, benign)
        self._renew(campaign, benign)
        self._memory.changes.mark(f"cohort:{cohort.id}")

    def _remember(self, cohort: Cohort, verdict: judgement.Judgement, benign: Reference) -> None:
        """What the judgement of a cohort says about which of its members to name."""
        cohort.owners = judgement.owners(verdict)
        cohort.acts_as_one = judgement.acts_as_one(verdict, self._params)
        pool = [
            member.row
            for account, member in sorted(cohort.members.items())
            if self._memory.campaign_of.get(account, cohort.campaign) == cohort.campaign
            and not judgement.is_owned(member, cohort.owners)
        ]
        cohort.traits = membership.learn(pool, benign)

    def _record(self, campaign: Campaign, cohort: Cohort, verdict: judgement.Judgement) -> None:
        """The evidence of the widest alerting cohort stands for the campaign."""
        if len(cohort.members) >= campaign.evidence_accounts:
            campaign.evidence_accounts = len(cohort.members)
            populations = self._memory.populations.values()
            unseen = [field for field in _SEEN if not any(getattr(one, field) for one in populations)]
            verdict = verdict._replace(blind=[*verdict.blind, *unseen])
            campaign_alerts.record(campaign, verdict, self._params)

    def _benign(self, cohort: Cohort) -> Reference | None:
        """The reference without the cohort's members; None while the population is too small."""
        benign = self._reference()
        benign = None if benign is None else benign.without(cohort.members)
        return benign if benign is not None and len(benign) >= self._population_params.min_accounts else None

    def _reference(self) -> Reference | None:
        """Accounts that no campaign has; None while they are too few."""
        if self._pool is None:
            rows = (row for p in self._memory.populations.values() for row in p.rows.values())
            self._pool = reference.Pool(rows, self._population_params.sample, self._memory.campaign_of)
        benign = self._pool.reference()
        return benign if len(benign) >= self._population_params.min_accounts else None

    def _rates(self, benign: Reference) -> dict[str, float]:
        """Share of benign accounts with each kind of finding, from the sample."""
        rates = {
            kind: (float(hits.sum()) + _PRIOR[kind] * _PRIOR_WEIGHT) / (len(benign) + _PRIOR_WEIGHT)
            for kind, hits in benign.suspects.items()
        }
        rates["accounts"] = float(sum(p.accounts for p in self._memory.populations.values()))
        return rates

    def _linked(self, cohort: Cohort) -> Campaign | None:
        """The campaign whose accounts share what those of an alerting cohort have."""
        least = max(self._params.link_share * len(cohort.members), _MIN_LINKS)
        for campaign in sorted(self._memory.campaigns.values(), key=lambda c: (c.founded, c.id)):
            if campaign.status == "closed":
                continue
            if sum(judgement.is_alike(member, campaign.traits) for member in cohort.members.values()) >= least:
                return campaign
        return None

    def _found(self, cohort: Cohort, tick: int) -> Campaign:
        # A campaign that was forgotten and is found again is another one: versions of an alert only grow.
        origin = f"{cohort.id}#{cohort.generation}" if cohort.generation else cohort.id
        digest = hashlib.blake2b(origin.encode(), digest_size=6).hexdigest()
        campaign = Campaign(id=f"c-{digest}", founded=tick, cohorts=[cohort.id])
        if len(self._memory.campaigns) >= self._params.max_campaigns:
            self._forget(min(self._memory.campaigns.values(), key=lambda c: (c.status != "closed", c.last_seen, c.id)))
        self._memory.campaigns[campaign.id] = campaign
        return campaign

    def _forget(self, campaign: Campaign) -> None:
        """Drop a campaign; its accounts and cohorts are judged afresh."""
        del self._memory.campaigns[campaign.id]
        self._pool = None
        for account in campaign.requests:
            self._memory.campaign_of.pop(account, None)
            self._memory.newcomers.move(account, None)
        for name in campaign.cohorts:
            if name in self._memory.cohorts:
                self._memory.cohorts[name].campaign = None
                self._memory.cohorts[name].generation += 1
                self._memory.changes.mark(f"cohort:{name}")
        self._memory.changes.drop(f"campaign:{campaign.id}")
        for shard in range(SHARDS):
            self._memory.changes.drop(f"named:{campaign.id}:{shard}")

    def _renew(self, campaign: Campaign, benign: Reference) -> None:
        """Learn afresh what the campaign's accounts share; all members of its cohorts are looked at again."""
        rows: dict[str, AccountRow] = {}
        for name in campaign.cohorts:
            cohort = self._memory.cohorts.get(name)
            if cohort is None:
                continue
            for account, member in cohort.members.items():
                # Who merely touched the cohort, or belongs to an open customer, does not speak for it.
                if judgement.is_alike(member, cohort.traits) and not judgement.is_owned(member, cohort.owners):
                    rows[account] = member.row
            self._fresh.setdefault(name, {}).update(dict.fromkeys(cohort.members))
        campaign.traits = membership.learn([row for _, row in sorted(rows.items())], benign)
        self._memory.newcomers.look_again(campaign.traits.holds.get("payment", ()))

    def _name(self, campaign: Campaign) -> list[Alert]:
        """Name the members that were not named before."""
        named: list[str] = []
        campaign_of = self._memory.campaign_of
        for name in campaign.cohorts:
            cohort = self._memory.cohorts.get(name)
            for account in self._fresh.pop(name, {}):
                member = None if cohort is None else cohort.members.get(account)
                if cohort is None or member is None or campaign_of.get(account, campaign.id) != campaign.id:
                    continue
                if account not in campaign.requests:
                    if len(campaign.requests) >= self._params.max_members:
                        continue
                    if not judgement.is_member(member, cohort, campaign.traits):
                        continue
                    self._claim(account, campaign)
                    self._memory.newcomers.put(member.row, campaign.id)
                    named.append(account)
                more = max(member.requests - campaign.requests[account], 0)
                campaign.requests[account] += more
                campaign.requests_total += more
                if more:
                    self._memory.changes.mark(f"named:{campaign.id}:{shard_of(account)}")
                campaign.last_seen = max(campaign.last_seen, member.last_seen)
                campaign.first_seen = min(campaign.first_seen or member.first_seen, member.first_seen)
        self._memory.changes.mark(f"campaign:{campaign.id}")
        if named:
            # Accounts under alert do not teach the reference.
            if self._pool is not None:
                self._pool.exclude(named)
        elif not campaign.requests or campaign.requests_total < _TOLD * campaign.told_requests:
            return []
        return self._tell(campaign, named)

    def _tell(self, campaign: Campaign, named: list[str]) -> list[Alert]:
        campaign.told_requests = campaign.requests_total
        self._memory.changes.mark(f"campaign:{campaign.id}")
        return campaign_alerts.alerts(campaign, sorted(named), self._memory.newest, self._config_version)

    def _close(self, tick: int) -> list[Alert]:
        """Close campaigns that fell silent, and forget those closed as long again."""
        out: list[Alert] = []
        limit = int(self._params.close_after_days * _DAY_MS)
        for campaign in list(self._memory.campaigns.values()):
            silent = tick - campaign.last_seen
            if campaign.status == "closed" and silent > 2 * limit:
                self._forget(campaign)
            elif campaign.status != "closed" and campaign.requests and silent > limit:
                self._memory.changes.mark(f"campaign:{campaign.id}")
                out += campaign_alerts.alerts(campaign, [], self._memory.newest, self._config_version, closing=True)
        return out

    def snapshot(self) -> dict[str, bytes]:
        """The whole state as entries, by key."""
        return self._memory.snapshot()

    def changed(self) -> dict[str, bytes | None]:
        """The entries that changed since the last call; None for those that are gone."""
        return self._memory.changed()

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Replace everything by entries of :meth:`snapshot`; entries of other kinds are ignored."""
        self._memory = CampaignMemory(self._params)
        self._memory.restore(state)
        self._touched, self._fresh, self._pool = {}, {}, None
