"""Scenarios as data: who sends what, when and from where in a simulated population.

The TOML files under ``infra/scenarios`` are validated against these structs. A scenario says nothing about
detection; it is the ground truth that detection is measured by.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

MIN_DAYS: Final = 0.25
"""A shorter scenario has no room for what takes hours: jobs, sign-ups, a class."""

Share = Annotated[float, Meta(ge=0, le=1, description="a share, 0 to 1")]
Hours = Annotated[float, Meta(ge=0, le=24 * 366, description="hours after the start of the scenario")]
Accounts = Annotated[int, Meta(ge=1, le=5_000_000, description="number of accounts")]
Rate = Annotated[float, Meta(gt=0, le=1_000_000, description="requests per account and day, on average")]
Text = Annotated[str, Meta(min_length=1, max_length=20_000)]
Name = Annotated[str, Meta(min_length=1, max_length=80, pattern="^[a-z0-9][a-z0-9_-]*$")]

Shape = Literal[
    "load_balanced",
    "multi_path",
    "pivot",
    "hydra",
    "template",
    "trace_coercion",
    "two_pools",
    "relay",
    "cleaner",
    "user_replay",
    "technique_sweep",
    "burst",
]
Evasion = Literal["paraphrased", "shuffled", "jittered", "mixture_5", "mixture_25", "no_enrichment", "fresh_addresses"]
LookAlikeKind = Literal[
    "earnest_reasoning",
    "evaluation_harness",
    "synthetic_data",
    "batch_template",
    "rag_backfill",
    "ci_agent",
    "fallback_router",
    "shared_team_key",
    "gateway_reseller",
    "framework_prompt",
    "company_rollout",
    "school_class",
    "judge",
    "launch_signups",
    "release_movers",
]
PromptSet = Literal["tasks", "code", "maths", "sentences", "agentic"]


class Arrivals(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """When honest accounts send: shares and spreads fitted to real per-client traces.

    Attributes:
        hourly: relative activity in each hour of the local day.
        spread: standard deviation over accounts of the log of an account's mean rate.
        session_share: median share of an account's requests that fall into one session, the run of ten-minute
            windows in which it is active.
        session_spread: standard deviation of the log of that.
        gap_shapes: Weibull shapes of the gaps inside a session at evenly spaced quantiles; below 1 is bursty.
    """

    source: Annotated[str, Meta(min_length=1, description="where the numbers come from")]
    hourly: Annotated[list[Annotated[float, Meta(ge=0, le=1e6)]], Meta(min_length=24, max_length=24)]
    spread: Annotated[float, Meta(ge=0, le=4, description="spread of the log of the mean rate over accounts")]
    session_share: Annotated[float, Meta(gt=0, le=1, description="median share of an account's requests in a session")]
    session_spread: Annotated[float, Meta(ge=0, le=4, description="spread of the log of a session's share")]
    gap_shapes: Annotated[
        list[Annotated[float, Meta(ge=0.1, le=20)]],
        Meta(min_length=1, max_length=99, description="Weibull shapes of gaps, at evenly spaced quantiles"),
    ]


class Population(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The ordinary customers."""

    accounts: Accounts
    requests_per_account_day: Rate = 3.0
    max_requests_per_day: Rate = 400.0
    earnest: Annotated[Share, Meta(description="share of requests that ask for shown steps, in earnest")] = 0.02
    conversations: Annotated[Share, Meta(description="share of accounts that hold conversations")] = 0.15


class LookAlike(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Honest accounts that look like a campaign in one respect; every kind is labelled by its name.

    Attributes:
        accounts: accounts of each group.
        groups: how many unrelated groups (companies, classes, frameworks, batch jobs).
        requests: requests of each account in a day; for a job that runs once, in all.
    """

    kind: LookAlikeKind
    accounts: Accounts
    groups: Annotated[int, Meta(ge=1, le=100_000, description="unrelated groups of so many accounts each")] = 1
    requests: Annotated[Rate, Meta(description="requests of an account a day, or of a job that runs once in all")] = 3.0
    begin_hours: Hours = 0.0


class Pacing(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """When the accounts of a campaign send.

    Attributes:
        requests_per_account_day: while an account is in use.
        style: ``even`` is a queue that gives every account its next task after about the same time, day and
            night; ``synchronised`` lets all accounts send in the same seconds; ``human`` follows the arrivals
            of honest accounts.
        entry: share of the campaign over which accounts come into use one after the other.
        account_hours: how long an account is in use; 0 is to the end of the campaign.
    """

    requests_per_account_day: Rate
    style: Literal["even", "synchronised", "human"] = "even"
    entry: Share = 0.3
    account_hours: Annotated[float, Meta(ge=0, le=24 * 366, description="hours that an account is in use; 0: all")] = (
        0.0
    )


class Infrastructure(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where a campaign's accounts come from."""

    accounts_per_payment: Annotated[int, Meta(ge=0, le=100_000, description="0: no payment is known")] = 15
    mail: Literal["disposable", "public", "own"] = "disposable"
    networks: Annotated[
        Literal["residential", "hosting", "proxies"],
        Meta(description="one home each, few shared blocks, or a proxy network with another address a request"),
    ] = "residential"
    blocks: Annotated[int, Meta(ge=1, le=30_000, description="address blocks that hosting or proxies use")] = 8
    stacks: Annotated[int, Meta(ge=1, le=17, description="different client programs")] = 2
    channels: Annotated[
        list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, description="sign-up channels, used in turn")
    ] = field(default_factory=lambda: ["direct"])
    max_age_days: Annotated[float, Meta(gt=0, le=3650, description="age of the oldest account at its entry")] = 14.0
    enriched: Annotated[Share, Meta(description="share of accounts that enrichment tells about")] = 0.85


class Bans(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the provider does in the middle of a campaign, and how the operator answers.

    Attributes:
        after_hours: hours into the campaign; 0 bans nobody.
        share: of the accounts in use then.
        reaction: ``stop`` loses them, ``replace`` signs up another account for each at once, and
            ``second_pool`` moves the traffic to accounts held ready on other infrastructure.
    """

    after_hours: Hours = 0.0
    share: Share = 0.0
    reaction: Literal["stop", "replace", "second_pool"] = "stop"


class Campaign(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One distillation campaign."""

    name: Name
    shape: Shape
    accounts: Accounts
    pacing: Pacing
    hours: Annotated[float, Meta(gt=0, le=24 * 366, description="how long the campaign lasts")]
    begin_hours: Hours = 24.0
    templates: Annotated[
        list[Name], Meta(min_length=1, description="names in templates.toml; an account uses one after the other")
    ]
    prompts: Annotated[list[PromptSet], Meta(min_length=1, description="sets that the tasks come from")]
    harvest: Annotated[Share, Meta(description="share of its requests that harvest; the rest is genuine traffic")] = 1.0
    evasion: list[Evasion] = []
    infrastructure: Infrastructure = field(default_factory=Infrastructure)
    bans: Bans = Bans()
    model: Annotated[str, Meta(min_length=1, description="the model it is after")] = "m-large"


class ModelRelease(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A model that becomes available, to honest and dishonest accounts at once."""

    model: Annotated[str, Meta(min_length=1)]
    at_hours: Hours


class Scenario(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A simulated population over some days.

    Attributes:
        seed: of this scenario alone: no other scenario, demo or test uses it.
        fold: ``score`` uses four fifths of all prompts, ``tune`` the others: what is fitted on ``tune`` is
            never measured on its own prompts.
    """

    name: Name
    description: Annotated[str, Meta(min_length=1)]
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    days: Annotated[float, Meta(ge=MIN_DAYS, le=366, description="length in days")]
    start: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", description="first day, midnight UTC, YYYY-MM-DD")]
    fold: Literal["score", "tune"] = "score"
    arrivals: Arrivals
    population: Population
    lookalike: list[LookAlike] = []
    campaign: list[Campaign] = []
    release: list[ModelRelease] = []


class Variant(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Another scenario in which every campaign evades in the same ways."""

    name: Name
    description: Annotated[str, Meta(min_length=1)]
    base: Annotated[str, Meta(min_length=1, description="a shipped scenario")]
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    evasion: Annotated[list[Evasion], Meta(min_length=1)]


class Template(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a campaign wraps around its tasks.

    Attributes:
        system: system prompt, if any.
        text: the message; ``{task}`` is the task, ``{own}`` text of the shape's own, other braces are slots.
        paraphrases: other wordings of `system` and `text` together, for the evasion of that name.
        slots: values that the slots take, enumerated in turn.
    """

    name: Name
    system: str = ""
    text: Text
    paraphrases: list[Text] = []
    slots: dict[str, Annotated[list[Text], Meta(min_length=1)]] = {}


class TemplateFile(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``templates.toml``."""

    template: Annotated[list[Template], Meta(min_length=1)]
