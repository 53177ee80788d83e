"""Every number that an on-call may tune, with its range, unit and meaning.

The config loader validates TOML files against these structs, so a constraint written here is the one
that is enforced, and the description is the one that `config check` and the docs show.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Bits = Annotated[float, Meta(ge=0, le=60)]
"""Evidence in decimal digits of a p-value: 2 means one in a hundred benign cohorts looks like this."""


class FeatureParams(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Text features, computed once for all detectors."""

    max_chars: Annotated[
        int, Meta(ge=256, le=1_000_000, description="characters of a text that are read: head and tail")
    ] = 8192
    shingle_words: Annotated[int, Meta(ge=2, le=12, description="words in a shingle")] = 5
    max_shingles: Annotated[
        int, Meta(ge=16, le=4096, description="shingles kept of one text: half from its head, half from its tail")
    ] = 256
    max_turns: Annotated[
        int, Meta(ge=1, le=1000, description="assistant turns of a request's history that are read: its last")
    ] = 8
    min_turn_chars: Annotated[
        int, Meta(ge=1, le=10_000, description="a shorter assistant turn says nothing of where it comes from")
    ] = 40


class AccountParams(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The bounded table of accounts, per partition."""

    capacity: Annotated[int, Meta(ge=16, le=50_000_000, description="accounts held; the longest idle go first")] = (
        250_000
    )
    idle_days: Annotated[float, Meta(gt=0, le=365, description="an account idle for longer is forgotten")] = 30.0


class SwitchParams(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What can be turned off, or be looked at before it counts."""

    enabled: bool = True
    shadow: Annotated[bool, Meta(description="report signals, but count for nothing")] = False


class FindingParams(SwitchParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A detector whose findings have a score each."""

    report_floor: Annotated[float, Meta(ge=0, le=1, description="signals below this score are not written")] = 0.5


class ParaphraseParams(SwitchParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The classifier of wishes for hidden reasoning that no pattern knows."""

    shadow: Annotated[bool, Meta(description="report signals, but count for nothing")] = True
    threshold: Annotated[float, Meta(gt=0, lt=1, description="probability from which a text counts as such a wish")] = (
        0.72
    )


class ElicitationParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Requests that ask for hidden reasoning."""

    account_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="strong requests of one account that alert on that account alone")
    ] = 25
    paraphrase: ParaphraseParams = ParaphraseParams()


class TemplateParams(SwitchParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Template families: one skeleton, many accounts, varying slots."""

    min_accounts: Annotated[
        int, Meta(ge=2, le=10_000, description="accounts of one partition that carry a shingle before it counts")
    ] = 3
    sketch_bits: Annotated[
        int,
        Meta(
            ge=12,
            le=34,
            description="log2 of the bits of a filter; a partition has four, and a pane of 2**bits / 10 shingles",
        ),
    ] = 26
    pane_hours: Annotated[
        float, Meta(gt=0, le=8760, description="a shingle is forgotten after one to two panes without its accounts")
    ] = 96.0


class ReplayParams(SwitchParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Reasoning signatures that were never issued to the account that presents them."""

    capacity: Annotated[
        int, Meta(ge=1024, le=500_000_000, description="issued signatures remembered, per partition and pane")
    ] = 500_000
    false_positive_rate: Annotated[
        float, Meta(gt=0, lt=0.1, description="chance that a foreign signature passes for an issued one")
    ] = 0.001
    warmup_hours: Annotated[
        float,
        Meta(ge=0, le=8760, description="after start or loss of state nothing is called foreign for this long"),
    ] = 24.0
    pane_hours: Annotated[
        float, Meta(gt=0, le=8760, description="an issued signature is remembered for one to two panes")
    ] = 168.0
    account_signatures: Annotated[
        int, Meta(ge=1, le=1_000_000, description="foreign signatures of one account that alert on it alone")
    ] = 10


class ForeignTurnParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Assistant turns in a request's history that were never answers to the account that sends them."""

    capacity: Annotated[
        int, Meta(ge=1024, le=500_000_000, description="answers remembered, per partition and pane")
    ] = 500_000
    false_positive_rate: Annotated[
        float, Meta(gt=0, lt=0.1, description="chance that a foreign turn passes for an answer of this provider")
    ] = 0.001
    warmup_hours: Annotated[
        float,
        Meta(ge=0, le=8760, description="after start or loss of state nothing is called foreign for this long"),
    ] = 24.0
    pane_hours: Annotated[float, Meta(gt=0, le=8760, description="an answer is remembered for one to two panes")] = (
        168.0
    )
    common_accounts: Annotated[
        int, Meta(ge=2, le=10_000, description="accounts of one partition with a foreign turn that make it an example")
    ] = 3
    min_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="requests of an account with new foreign turns before it counts")
    ] = 3


class LeakageParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Answers that show reasoning which their request forced out, and refusals of such requests."""

    min_chars: Annotated[
        int, Meta(ge=1, le=100_000, description="a shorter block of reasoning in an answer says nothing")
    ] = 200
    wait_minutes: Annotated[
        float, Meta(gt=0, le=1440, description="a response later than this is not joined to its request")
    ] = 15.0
    capacity: Annotated[
        int, Meta(ge=64, le=10_000_000, description="requests per partition that wait for their responses")
    ] = 16_384


class SamplingParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Sampling parameters that an account varies systematically."""

    min_combinations: Annotated[
        int, Meta(ge=2, le=1_000_000, description="combinations of parameters that an account may try unnoticed")
    ] = 20
    account_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="requests of a sweep by one account that alert on that account alone")
    ] = 200
    capacity: Annotated[
        int, Meta(ge=1024, le=500_000_000, description="accounts' combinations remembered, per partition and pane")
    ] = 200_000
    false_positive_rate: Annotated[
        float, Meta(gt=0, lt=0.1, description="chance that a new combination passes for one tried before")
    ] = 0.01
    pane_hours: Annotated[
        float, Meta(gt=0, le=8760, description="a combination is remembered for one to two panes")
    ] = 168.0


class CoverageParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Accounts whose requests go on bringing what is new to them."""

    enabled: bool = False
    shadow: Annotated[bool, Meta(description="report signals, but count for nothing")] = True
    min_requests: Annotated[
        int, Meta(ge=2, le=1_000_000, description="requests before an account is judged; a power of two counts")
    ] = 64
    tail: Annotated[
        float, Meta(gt=0, le=1, description="share of benign accounts, the widest, that the widest count among")
    ] = 0.05
    common_accounts: Annotated[
        int, Meta(ge=0, le=10_000, description="other accounts of one partition that use a word before it counts")
    ] = 3
    word_bits: Annotated[
        int, Meta(ge=12, le=34, description="log2 of the bits of a filter; a pane holds 2**bits / 10 accounts' words")
    ] = 24
    pane_hours: Annotated[
        float, Meta(gt=0, le=8760, description="a word is remembered for one to two panes after its last use")
    ] = 168.0


class TechniqueParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One account that tries ways of asking for hidden reasoning, and is refused often."""

    min_ways: Annotated[
        int, Meta(ge=1, le=128, description="wordings by which an account may ask for reasoning unnoticed")
    ] = 6
    min_patterns: Annotated[
        int, Meta(ge=1, le=63, description="patterns that the wordings of a sweep match between them, at least")
    ] = 2
    min_refused: Annotated[
        int, Meta(ge=1, le=1_000_000, description="refused requests of an account before they say something")
    ] = 3
    account_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="requests of a sweep by one account that alert on that account alone")
    ] = 20
    wait_minutes: Annotated[
        float, Meta(gt=0, le=1440, description="a response later than this is not joined to its request")
    ] = 15.0
    waiting: Annotated[
        int, Meta(ge=64, le=10_000_000, description="requests per partition that wait for their responses")
    ] = 16_384
    capacity: Annotated[
        int, Meta(ge=256, le=100_000_000, description="accounts' wordings remembered, per partition")
    ] = 50_000
    idle_hours: Annotated[
        float, Meta(gt=0, le=8760, description="an account that asks for nothing for longer is forgotten")
    ] = 168.0


class GradingParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Accounts that have answers graded or compared, as reward data is made."""

    shadow: Annotated[bool, Meta(description="report signals, but count for nothing")] = True
    min_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="gradings, a quarter of its requests, before an account counts")
    ] = 10
    min_hours: Annotated[
        int, Meta(ge=0, le=24, description="hours of the day in which the account sends before it counts")
    ] = 8


class TraceCleaningParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Accounts that have reasoning, pasted in, cleaned, rewritten or judged."""

    min_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="cleanings, a quarter of its requests, before an account counts")
    ] = 5
    account_requests: Annotated[
        int, Meta(ge=1, le=1_000_000, description="cleanings that count, of one account, that alert on it alone")
    ] = 50
    min_chars: Annotated[
        int, Meta(ge=1, le=100_000, description="a shorter text, or block in tags, holds no trace")
    ] = 300


class CadenceParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Accounts whose timing, rate and places are unusual together."""

    enabled: bool = False
    shadow: Annotated[bool, Meta(description="report signals, but count for nothing")] = True
    kinds: Annotated[
        int, Meta(ge=2, le=4, description="kinds (clock, onset, volume, places) that have to be unusual at once")
    ] = 2
    tail: Annotated[
        float, Meta(gt=0, le=1, description="share of benign accounts, the most unusual, that it must be among")
    ] = 0.05
    period_hours: Annotated[
        float,
        Meta(gt=0, le=168, description="an account is judged after 1, 2, 4, ... of these since its first request"),
    ] = 24.0
    min_requests: Annotated[
        int, Meta(ge=2, le=1_000_000, description="requests of an account since it was judged last to judge it again")
    ] = 8
    min_gaps: Annotated[
        int, Meta(ge=2, le=1000, description="gaps between requests before their regularity is judged")
    ] = 20
    young_days: Annotated[
        float, Meta(gt=0, le=365, description="an account made longer before its first request did not start at once")
    ] = 7.0
    min_places: Annotated[
        float, Meta(ge=1, le=64, description="address prefixes of an account in one hour; fewer are none too many")
    ] = 4.0
    min_accounts: Annotated[
        int,
        Meta(ge=1, le=100_000, description="accounts of a plan to compare with; with fewer, all accounts are taken"),
    ] = 50


class ShiftParams(FindingParams, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Accounts that share something, and whose texts crowd where those of others do not."""

    enabled: bool = False
    shadow: Annotated[bool, Meta(description="report signals, but count for nothing")] = True
    min_accounts: Annotated[
        int, Meta(ge=2, le=64, description="accounts of a cohort that sent within a day before it is judged")
    ] = 8
    deviations: Annotated[
        float, Meta(ge=0, le=100, description="deviations of random groups by which a cohort must be above them")
    ] = 4.0
    window_tail: Annotated[
        float, Meta(gt=0, le=1, description="share of random groups, the most crowded, that a cohort must be among")
    ] = 0.005
    tail: Annotated[
        float, Meta(gt=0, le=1, description="share of accounts of such groups that add as much as one that is reported")
    ] = 0.01
    sample: Annotated[
        int, Meta(ge=16, le=4096, description="accounts that cohorts are compared with, and as many for the groups")
    ] = 512
    pane_hours: Annotated[
        float, Meta(gt=0, le=168, description="what is usual is renewed this often, and is as old at least")
    ] = 12.0
    period_hours: Annotated[float, Meta(gt=0, le=168, description="cohorts are looked at this often")] = 1.0
    refresh_hours: Annotated[
        float, Meta(ge=0, le=24, description="a text of an account is embedded this often at most")
    ] = 12.0
    capacity: Annotated[
        int, Meta(ge=16, le=5_000_000, description="accounts of whom a text's point is held, per partition")
    ] = 16_384


class PopulationParams(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The live reference: a uniform sample of accounts, each counting once."""

    sample: Annotated[int, Meta(ge=64, le=65_536, description="accounts in the reference sample")] = 2048
    min_accounts: Annotated[
        int, Meta(ge=8, le=65_536, description="no campaign is called against a smaller population")
    ] = 50


class NewcomerParams(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Accounts that the campaign stage is told of before they do anything, per partition."""

    enabled: Annotated[bool, Meta(description="false: accounts are told of for what they do alone")] = True
    max_age_days: Annotated[
        float, Meta(gt=0, le=3650, description="an account that is older when its payer becomes known is none")
    ] = 60.0
    rows_per_tick: Annotated[
        int, Meta(ge=1, le=1_000_000, description="rows sent per tick; the rest waits for later ticks")
    ] = 500
    waiting: Annotated[int, Meta(ge=1, le=10_000_000, description="accounts that wait; the oldest go first")] = 50_000


class CohortParams(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Cohorts as detect workers follow them, per partition."""

    capacity: Annotated[int, Meta(ge=64, le=5_000_000, description="cohorts followed; the longest idle go first")] = (
        50_000
    )
    members: Annotated[int, Meta(ge=8, le=1_000_000, description="members followed of one cohort")] = 20_000
    rows_per_tick: Annotated[
        int, Meta(ge=16, le=1_000_000, description="member rows sent per tick; the rest waits for later ticks")
    ] = 2_000


class DetectorParams(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`detectors.toml`: everything the detect worker's core needs."""

    tick_ms: Annotated[
        int, Meta(ge=100, le=3_600_000, description="decisions fall at multiples of this event time, milliseconds")
    ] = 10_000
    features: FeatureParams = FeatureParams()
    accounts: AccountParams = AccountParams()
    elicitation: ElicitationParams = ElicitationParams()
    template_family: TemplateParams = TemplateParams()
    signature_replay: ReplayParams = ReplayParams()
    foreign_turns: ForeignTurnParams = ForeignTurnParams()
    leakage: LeakageParams = LeakageParams()
    sampling_sweep: SamplingParams = SamplingParams()
    coverage: CoverageParams = CoverageParams()
    technique_sweep: TechniqueParams = TechniqueParams()
    grading: GradingParams = GradingParams()
    trace_cleaning: TraceCleaningParams = TraceCleaningParams()
    cadence: CadenceParams = CadenceParams()
    shift: ShiftParams = ShiftParams()
    population: PopulationParams = PopulationParams()
    cohorts: CohortParams = CohortParams()
    newcomers: NewcomerParams = NewcomerParams()


class CampaignParams(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`campaigns.toml`: when cohorts become a campaign, and who is named."""

    min_accounts: Annotated[int, Meta(ge=3, le=100_000, description="accounts in a cohort before it is judged")] = 5
    harvest_bits: Annotated[Bits, Meta(description="harvest evidence that a campaign needs")] = 0.4
    coordination_bits: Annotated[Bits, Meta(description="coordination evidence that a campaign needs")] = 3.0
    total_bits: Annotated[
        Bits, Meta(description="harvest and coordination evidence together that a campaign needs")
    ] = 8.0
    signal_cap_bits: Annotated[Bits, Meta(description="one signal never counts for more than this")] = 6.0
    declared_share: Annotated[
        float,
        Meta(ge=0.1, le=1, description="one payment or own mail domain over this share of a cohort declares its owner"),
    ] = 0.6
    link_share: Annotated[
        float,
        Meta(gt=0, le=1, description="an alerting cohort with this share on a campaign's infrastructure joins it"),
    ] = 0.3
    max_cohorts: Annotated[int, Meta(ge=16, le=1_000_000, description="cohorts held; the longest idle go first")] = (
        20_000
    )
    max_members: Annotated[
        int, Meta(ge=100, le=5_000_000, description="members held of one cohort, and accounts named of one campaign")
    ] = 50_000
    max_campaigns: Annotated[
        int, Meta(ge=8, le=100_000, description="campaigns held; closed ones go first, then the longest silent")
    ] = 1_000
    max_newcomers: Annotated[
        int,
        Meta(ge=16, le=10_000_000, description="accounts with a payer remembered, in case it turns out a campaign's"),
    ] = 200_000
    max_waiting: Annotated[
        int,
        Meta(ge=100, le=10_000_000, description="messages that wait for a slow source before it is waited for no more"),
    ] = 100_000
    close_after_days: Annotated[
        float, Meta(gt=0, le=365, description="a campaign without a request for this long is closed")
    ] = 14.0
