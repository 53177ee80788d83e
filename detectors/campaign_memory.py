"""Everything that the campaign stage remembers, and its entries in a changelog."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from detectors.campaign_state import SHARDS, Campaign, Changes, Cohort, harvests, shard_of
from detectors.evidence_queue import EvidenceQueue
from detectors.newcomers import NewcomerBook
from detectors.params import CampaignParams
from schemas.evidence import AccountRow, MemberRow

_QUEUED: Final = ("source", "waiting")


class Population(msgspec.Struct):
    """What a source says of its accounts: rows of a sample, how many there are, and what responses carried."""

    rows: dict[str, AccountRow] = {}
    accounts: int = 0
    signatures: bool = False
    answers: bool = False


class CampaignMemory:
    """Holders of the state, and the marks of what changed in them.

    Args:
        params: `campaigns.toml`, for the bounds.

    Attributes:
        campaign_of: the campaign of each named account. newest: greatest event time heard of. merged: counts merges.
    """

    def __init__(self, params: CampaignParams) -> None:
        self.changes = Changes()
        self.queue = EvidenceQueue(params.max_waiting, self.changes)
        self.newcomers = NewcomerBook(params.max_newcomers, self.changes)
        self.populations: dict[int, Population] = {}
        self.cohorts: OrderedDict[str, Cohort] = OrderedDict()
        self.campaigns: dict[str, Campaign] = {}
        self.campaign_of: dict[str, str] = {}
        self.newest = 0
        self.merged = 0

    def snapshot(self) -> dict[str, bytes]:
        """The whole state as entries, by key."""
        keys = {"meta", *self.queue.keys(), *self.newcomers.keys(), *(f"population:{n}" for n in self.populations)}
        for name, campaign in self.campaigns.items():
            keys |= {f"campaign:{name}", *(f"named:{name}:{shard_of(account)}" for account in campaign.requests)}
        for name, cohort in self.cohorts.items():
            keys |= {f"cohort:{name}", *(f"members:{name}:{shard_of(account)}" for account in cohort.members)}
        shards = _Shards()
        return {key: self._entry(key, shards) for key in sorted(keys)}

    def changed(self) -> dict[str, bytes | None]:
        """The entries that changed since the last call; None for those that are gone."""
        changed, gone = self.changes.take()
        shards = _Shards()
        out: dict[str, bytes | None] = {key: self._entry(key, shards) for key in changed}
        return out | dict.fromkeys(gone)

    def _entry(self, key: str, shards: _Shards) -> bytes:
        kind, _, rest = key.partition(":")
        if kind == "meta":
            return msgspec.json.encode((self.queue.decided, self.newest, self.merged))
        if kind in _QUEUED:
            return self.queue.entry(kind, rest)
        if kind == "newcomers":
            return self.newcomers.entry(int(rest))
        if kind == "population":
            return msgspec.json.encode(self.populations[int(rest)])
        if kind == "campaign":
            return msgspec.json.encode(msgspec.structs.replace(self.campaigns[rest], requests={}))
        if kind == "cohort":
            return msgspec.json.encode(msgspec.structs.replace(self.cohorts[rest], members={}))
        name, _, shard = rest.rpartition(":")
        if kind == "named":
            requests = self.campaigns[name].requests
            return msgspec.json.encode({a: requests[a] for a in shards.of(kind, name, requests)[int(shard)]})
        members = self.cohorts[name].members
        return msgspec.json.encode([members[a] for a in shards.of(kind, name, members)[int(shard)]])

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Fill an empty memory with entries of :meth:`snapshot`; entries of other kinds are ignored."""
        self.newcomers.restore(data for key, data in sorted(state.items()) if key.startswith("newcomers:"))
        cohorts: dict[str, Cohort] = {}
        members: dict[str, list[MemberRow]] = {}
        # Sorted, so that a campaign and a cohort come before their shards.
        for key in sorted(state):
            kind, _, rest = key.partition(":")
            name = rest.rpartition(":")[0]
            if kind == "meta":
                self.queue.decided, self.newest, self.merged = msgspec.json.decode(
                    state[key], type=tuple[int, int, int]
                )
            elif kind in _QUEUED:
                self.queue.restore(kind, rest, state[key])
            elif kind == "population":
                self.populations[int(rest)] = msgspec.json.decode(state[key], type=Population)
            elif kind == "campaign":
                self.campaigns[rest] = msgspec.json.decode(state[key], type=Campaign)
            elif kind == "named" and name in self.campaigns:
                named = msgspec.json.decode(state[key], type=dict[str, int])
                self.campaigns[name].requests |= named
                self.campaign_of |= dict.fromkeys(named, name)
            elif kind == "cohort":
                cohorts[rest] = msgspec.json.decode(state[key], type=Cohort)
            elif kind == "members":
                members.setdefault(name, []).extend(msgspec.json.decode(state[key], type=list[MemberRow]))
        for name, cohort in cohorts.items():
            cohort.members = {member.row.account: member for member in members.get(name, [])}
            cohort.harvesting = sum(map(harvests, cohort.members.values()))
        self.cohorts = OrderedDict(sorted(cohorts.items(), key=lambda item: item[1].order))


class _Shards:
    """Which accounts go into which entry of a cohort or campaign, found once for all its entries of one writing.

    Keys are sorted, so the entries of one holder come one after the other, and only the last holder's are kept.
    """

    def __init__(self) -> None:
        self._holder = ("", "")
        self._accounts: list[list[str]] = []

    def of(self, kind: str, name: str, accounts: Iterable[str]) -> list[list[str]]:
        """Accounts of each shard, in the order in which they are held."""
        if self._holder != (kind, name):
            self._holder, self._accounts = (kind, name), [[] for _ in range(SHARDS)]
            for account in accounts:
                self._accounts[shard_of(account)].append(account)
        return self._accounts
