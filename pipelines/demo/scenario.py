"""The whole demonstration as one stream of events with its ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import merge
from itertools import chain
from random import Random
from typing import Final

from msgspec import Struct

from pipelines.demo import lookalikes
from pipelines.demo.campaign import KIND, campaign, sizes
from pipelines.demo.crowd import crowd
from pipelines.demo.people import DAY
from pipelines.demo.prompts import Prompt, PromptSets
from pipelines.demo.traffic import Deck
from schemas.events import Event

START: Final = 1_791_158_400_000  # 2026-10-05T00:00:00Z, a Monday
DAYS: Final = 3
SEED: Final = 20261005


class Plan(Struct, frozen=True):
    """How many accounts (or passes, or rows) of each kind the demo has at full scale."""

    ordinary: int = 900
    earnest_reasoning: int = 30
    framework_prompt: int = 150
    company_rollout: int = 40
    school_class: int = 28
    evaluation_passes: int = 2
    batch_rows: int = 1_500
    campaign: int = 240

    def scaled(self, scale: float) -> Plan:
        """The same mixture with `scale` times the accounts, at least three of each kind.

        Raises:
            ValueError: `scale` is not above 0.
        """
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}")

        def some(count: int) -> int:
            return max(3, round(count * scale))

        return Plan(
            ordinary=some(self.ordinary),
            earnest_reasoning=some(self.earnest_reasoning),
            framework_prompt=some(self.framework_prompt),
            company_rollout=some(self.company_rollout),
            school_class=some(self.school_class),
            evaluation_passes=self.evaluation_passes,
            batch_rows=some(self.batch_rows),
            campaign=some(self.campaign),
        )

    @property
    def accounts(self) -> int:
        """Accounts in all; harness and batch job are one each."""
        crowds = self.ordinary + self.earnest_reasoning + self.framework_prompt
        return crowds + self.company_rollout + self.school_class + 2 + self.campaign


class DemoTraffic(Struct, frozen=True):
    """Events in order of their time, and what each account really is.

    Attributes:
        accounts: per account its events, ascending by `ts`.
        labels: account to kind; :data:`pipelines.demo.campaign.KIND` is the campaign, all others are benign.
    """

    accounts: dict[str, list[Event]]
    labels: dict[str, str]

    def __iter__(self) -> Iterator[Event]:
        """All events, ascending by `ts`."""
        return merge(*self.accounts.values(), key=lambda event: event.ts)

    def __len__(self) -> int:
        return sum(len(events) for events in self.accounts.values())


def split_tasks(prompts: PromptSets, wanted: int, rng: Random) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts for the campaign (`wanted`, shuffled) and for everybody else: no app is on both sides.

    Raises:
        ValueError: there are not enough prompts for both.
    """
    apps: dict[str, list[Prompt]] = {}
    for prompt in (*prompts.live, *prompts.curated):
        apps.setdefault(prompt.app, []).append(prompt)
    names = list(apps)
    rng.shuffle(names)
    tasks: list[Prompt] = []
    others: list[Prompt] = []
    for name in names:
        (tasks if len(tasks) < wanted else others).extend(apps[name])
    if len(tasks) < wanted or not others:
        total = len(tasks) + len(others)
        raise ValueError(f"the campaign needs {wanted} prompts and the others some too, but there are {total}")
    rng.shuffle(tasks)
    return tasks[:wanted], others


def build_demo_events(
    prompts: PromptSets,
    *,
    seed: int = SEED,
    scale: float = 1.0,
    start: int = START,
    on_account: Callable[[str], None] | None = None,
) -> DemoTraffic:
    """Assign the prompts to simulated accounts and times.

    The same arguments give the same events. Texts are real where `prompts` are; accounts, times, token
    counts, answers and enrichment are simulated.

    Args:
        scale: 1 is the demo's size; smaller for tests.
        start: epoch ms, midnight UTC of the first of :data:`DAYS` days.
        on_account: called with the kind of every finished account, for a progress bar.

    Raises:
        ValueError: too few prompts, or a `scale` that is not above 0.
    """
    plan = Plan().scaled(scale)
    end = start + DAYS * DAY
    counts = sizes(seed, plan.campaign)
    tasks, others = split_tasks(prompts, sum(counts), Random(f"{seed}:split"))
    deck = Deck(others, Random(f"{seed}:deck"))
    talks = prompts.dialogues
    casts: dict[str, lookalikes.Cast] = {
        "ordinary": crowd(seed, "ordinary", plan.ordinary, deck, talks, start=start, end=end, earnest=0.02),
        "earnest_reasoning": crowd(
            seed, "earnest_reasoning", plan.earnest_reasoning, deck, (), start=start, end=end, earnest=0.8
        ),
        "evaluation_harness": lookalikes.evaluation_harness(
            seed, prompts.code, start=start, passes=plan.evaluation_passes
        ),
        "batch_template": lookalikes.batch_template(seed, deck, plan.batch_rows, start=start),
        "framework_prompt": lookalikes.framework_prompt(seed, plan.framework_prompt, deck, start=start, end=end),
        "company_rollout": lookalikes.company_rollout(seed, plan.company_rollout, deck, start=start, days=DAYS),
        "school_class": lookalikes.school_class(seed, plan.school_class, prompts.code, start=start),
        KIND: campaign(seed, counts, tasks, start=start),
    }
    accounts: dict[str, list[Event]] = {}
    labels: dict[str, str] = {}
    for kind, (account, events) in chain.from_iterable(
        ((kind, member) for member in cast) for kind, cast in casts.items()
    ):
        accounts[account] = events
        labels[account] = kind
        if on_account is not None:
            on_account(kind)
    return DemoTraffic(accounts=accounts, labels=labels)
