"""A campaign at work: its task list, its wording, its pace, and the calls of each of its accounts."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from random import Random
from typing import Final

from pipelines.demo.people import DAY, HOUR, Person
from pipelines.demo.prompts import Prompt
from pipelines.simulate.ordinary import genuine, in_time, introduction, texts_of
from pipelines.simulate.roster import Pool, Recruit, enlist, recruits
from pipelines.simulate.scenario import Campaign, Template
from pipelines.simulate.shapes import SHAPES, Member
from pipelines.simulate.stream import Actor, Call
from pipelines.simulate.world import World
from schemas.events import Enforcement, Response

KIND: Final = "campaign"
# Signatures that an operator keeps at hand for replay.
_SIGNATURES: Final = 2_000
_SLOT: Final = re.compile(r"\{([a-z_]+)\}")
_MIXTURES: Final[dict[str, float]] = {"mixture_5": 0.05, "mixture_25": 0.25}


class Wording:
    """Turns tasks into messages by a campaign's templates.

    Slots are enumerated one after the other, as a sweep does; the evasion ``shuffled`` draws them at random and
    changes the order of the paragraphs, and ``paraphrased`` takes one of the other wordings each time, in place of
    system prompt and message: a fixed system prompt would give away what the message hides.
    """

    def __init__(self, campaign: Campaign, templates: Mapping[str, Template]) -> None:
        self._templates = [templates[name] for name in campaign.templates]
        self._shuffled = "shuffled" in campaign.evasion
        self._paraphrased = "paraphrased" in campaign.evasion
        self._count = 0

    @property
    def templates(self) -> int:
        """How many templates there are."""
        return len(self._templates)

    def next(self, rng: Random, task: str, own: str = "", *, which: int | None = None) -> tuple[str | None, str]:
        """System prompt and message for one task.

        Args:
            own: what the shape adds, for the placeholder of that name.
            which: the template to use, by number; else one after the other.
        """
        number = self._count
        self._count += 1
        template = self._templates[(number if which is None else which) % len(self._templates)]
        system, text = template.system, template.text
        if self._paraphrased and template.paraphrases:
            system, text = "", rng.choice(template.paraphrases)
        if self._shuffled:
            paragraphs = text.split("\n\n")
            rng.shuffle(paragraphs)
            text = "\n\n".join(paragraphs)
        values = {"task": task, "own": own}
        stride = number // len(self._templates)
        for name, choices in template.slots.items():
            values[name] = rng.choice(choices) if self._shuffled else choices[stride % len(choices)]
            stride //= len(choices)

        def fill(match: re.Match[str]) -> str:
            return values[match[1]]

        return _SLOT.sub(fill, system) or None, _SLOT.sub(fill, text)


class Work:
    """A task list that the accounts of a campaign share: each task goes out once before any goes out again."""

    def __init__(self, tasks: list[Prompt], rng: Random) -> None:
        self._tasks = tasks
        self._rng = rng
        self._next = 0
        rng.shuffle(tasks)

    def peek(self, rng: Random) -> Prompt:
        """Any task, without taking it off the list."""
        return rng.choice(self._tasks)

    def take(self) -> Prompt:
        """The next task."""
        if self._next == len(self._tasks):
            self._rng.shuffle(self._tasks)
            self._next = 0
        self._next += 1
        return self._tasks[self._next - 1]


class Operation:
    """Shared state of one campaign in one run; made anew for each run, so that runs are alike.

    Attributes:
        signatures: (epoch ms of issue, account, signature) of reasoning that its accounts were given; bounded.
    """

    def __init__(self, world: World, campaign: Campaign, templates: Mapping[str, Template]) -> None:
        self.world = world
        self.campaign = campaign
        self.wording = Wording(campaign, templates)
        self.work = Work(_tasks(world, campaign), world.rng(KIND, campaign.name, "tasks"))
        self.signatures: deque[tuple[int, str, str]] = deque(maxlen=_SIGNATURES)
        self.begin = world.at(campaign.begin_hours)
        self.end = self.begin + int(campaign.hours * HOUR)
        self.harvest = next((_MIXTURES[name] for name in campaign.evasion if name in _MIXTURES), campaign.harvest)
        self._serial = 0
        self.shape = SHAPES[campaign.shape]

    def recent(self, rng: Random, count: int) -> list[tuple[int, str, str]]:
        """Some of the latest signatures; fewer where there are fewer."""
        known = len(self.signatures)
        return [self.signatures[rng.randrange(known)] for _ in range(min(count, known))]

    def serial(self) -> int:
        """0, 1, 2 and so on, over all accounts."""
        self._serial += 1
        return self._serial - 1

    def actors(self) -> Iterator[Actor]:
        """Its accounts, and the provider's bans."""
        roster = recruits(self.world, self.campaign)
        pools = [Pool(self.world, self.campaign, number, self.campaign.accounts) for number in range(2)]
        evasion = "+".join(self.campaign.evasion) or None
        for recruit in roster:
            rng = self.world.rng(KIND, self.campaign.name, recruit.number)
            person = enlist(self.world, self.campaign, recruit, pools[recruit.pool], rng)
            first = person.enrichment.ts if person.enrichment is not None else recruit.entry
            yield Actor(
                person.account,
                KIND,
                min(first, recruit.entry),
                partial(self._calls, recruit, person),
                self.campaign.name,
                self.campaign.shape,
                evasion,
            )
            if recruit.banned:
                ban = Enforcement(ts=recruit.leave, account=person.account, action="ban")
                yield Actor(person.account, "", ban.ts, partial(_once, ban))

    def _calls(self, recruit: Recruit, person: Person) -> Iterator[Call]:
        return in_time(chain(introduction(person), self._requests(recruit, person)))

    def _requests(self, recruit: Recruit, person: Person) -> Iterator[Call]:
        rng = self.world.rng(KIND, self.campaign.name, recruit.number, "calls")
        member = Member(person=person, recruit=recruit)
        moments = self._moments(rng, recruit, person)
        side = texts_of(self.world, len(moments)) if self.harvest < 1 else []
        for at in moments:
            if side and rng.random() >= self.harvest:
                yield Call(list(genuine(rng, person, at, rng.choice(side))))
                continue
            events = self.shape(self, member, rng, at)
            for event in events:
                if isinstance(event, Response):
                    self.signatures.extend((event.ts, event.account, mark) for mark in event.signatures or ())
            yield Call(events, harvest=True)

    def _moments(self, rng: Random, recruit: Recruit, person: Person) -> list[int]:
        """When one account sends.

        An account that comes into use late sends as much as the others in less time, one that replaces another
        only as much as is left of the campaign, and a banned one stops short.
        """
        pacing = self.campaign.pacing
        used = (pacing.account_hours or self.campaign.hours) * HOUR
        last = self._last(recruit)
        nominal = pacing.requests_per_account_day * used / DAY
        if recruit.number >= self.campaign.accounts:
            nominal *= (last - recruit.entry) / used
        if "jittered" in self.campaign.evasion or pacing.style == "human":
            # Uneven shares: a spread of one half in the log gives a coefficient of variation of 0.53.
            served = (recruit.leave - recruit.entry) / max(1, last - recruit.entry)
            number = max(1, round(nominal * served * rng.lognormvariate(-0.125, 0.5)))
            return self.world.clock.times(
                rng, number, offset=person.offset, start=recruit.entry, end=max(recruit.leave, recruit.entry + 1)
            )
        number = max(1, int(nominal + rng.random()))
        gap = max(1.0, (last - recruit.entry) / number)
        if pacing.style == "synchronised":
            step = max(1, int(DAY / pacing.requests_per_account_day))
            first = -(-(recruit.entry - self.begin) // step)
            ticks = range(self.begin + first * step, recruit.leave, step)
            return [tick + rng.randrange(min(20_000, step)) for tick in ticks]
        moments = (recruit.entry + int(gap * (place + rng.uniform(0.1, 0.9))) for place in range(number))
        return [at for at in moments if at < recruit.leave]

    def _last(self, recruit: Recruit) -> int:
        """When this account would stop if nobody banned it."""
        used = self.campaign.pacing.account_hours * HOUR
        return min(self.end, recruit.entry + int(used)) if used else self.end


def _tasks(world: World, campaign: Campaign) -> list[Prompt]:
    """The campaign's part of its prompt sets: campaigns on one set share no task."""
    found: dict[str, Prompt] = {}
    for name in campaign.prompts:
        users = [other.name for other in world.scenario.campaign if name in other.prompts]
        prompts = world.prompts.attack[name]
        part = prompts[users.index(campaign.name) :: len(users)]
        found.update((prompt.text, prompt) for prompt in part or prompts)
    return list(found.values())


def _once(event: Enforcement) -> Iterator[Call]:
    yield Call([event])
