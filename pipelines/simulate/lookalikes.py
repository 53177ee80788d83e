"""Honest customers who look like a campaign in one respect or another: one function a kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from pipelines.simulate import lookalike_groups as groups
from pipelines.simulate import lookalike_programs as programs
from pipelines.simulate.scenario import LookAlike, LookAlikeKind
from pipelines.simulate.stream import Actor
from pipelines.simulate.world import World

Cast = Callable[[World, LookAlike, int], Iterator[Actor]]
"""From a run, a part of its scenario and the number of the part's first group to accounts."""

LOOKALIKES: Final[dict[LookAlikeKind, Cast]] = {
    "earnest_reasoning": groups.earnest_reasoning,
    "evaluation_harness": programs.evaluation_harness,
    "synthetic_data": programs.synthetic_data,
    "batch_template": programs.batch_template,
    "rag_backfill": programs.rag_backfill,
    "ci_agent": programs.ci_agent,
    "fallback_router": programs.fallback_router,
    "shared_team_key": programs.shared_team_key,
    "gateway_reseller": programs.gateway_reseller,
    "framework_prompt": groups.framework_prompt,
    "company_rollout": groups.company_rollout,
    "school_class": groups.school_class,
    "judge": programs.judge,
    "launch_signups": groups.launch_signups,
    "release_movers": groups.release_movers,
}


def lookalikes(world: World) -> Iterator[Actor]:
    """All look-alikes of the scenario; the groups of a kind are numbered through, whichever part they are of."""
    groups_so_far: Counter[str] = Counter()
    for look in world.scenario.lookalike:
        yield from LOOKALIKES[look.kind](world, look, groups_so_far[look.kind])
        groups_so_far[look.kind] += look.groups
