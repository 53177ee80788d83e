"""The campaign stage: what leaves in which order, and that a kill between any two steps changes no alert."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Generator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.correlate.journal import COMMIT, PREFIX, Commit, Journal
from pipelines.correlate.stage import CampaignStage, Message
from pipelines.dead_letters import PROCESSING_FAILED
from schemas.alerts import Alert
from schemas.deadletters import DeadLetter
from schemas.evidence import ENCODER, AccountRow, CohortEvidence, Evidence, MemberRow, Watermark
from tests.unit.pipelines.alert_factory import make_alert

Steps = list[tuple[Any, ...]]


class KilledError(Exception):
    """The process ends here."""


class Done:
    """An acknowledgement that is there at once."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


class Core:
    """Decides once for each watermark; its alert tells how many accounts each cohort had."""

    def __init__(self) -> None:
        self.members: dict[str, dict[str, int]] = {}
        self.decided: list[int] = []
        self.dirty: set[str] = set()

    def ingest(self, evidence: Evidence) -> list[Alert]:
        if isinstance(evidence, CohortEvidence):
            if evidence.kind == "explosive":
                raise ZeroDivisionError
            known = self.members.setdefault(evidence.key, {})
            known.update({member.row.account: member.requests for member in evidence.members})
            self.dirty.add(f"cohort:{evidence.key}")
            return []
        assert isinstance(evidence, Watermark)
        if evidence.ts in self.decided:
            return []
        self.decided.append(evidence.ts)
        self.dirty.add("meta")
        return [self._alert(evidence.ts)]

    def _alert(self, ts: int) -> Alert:
        counted = sum(map(len, self.members.values()))
        return make_alert(alert_id=f"t{ts}", ts=ts, accounts_total=counted, requests_total=0)

    def flush(self) -> list[Alert]:
        self.decided.append(10**9)
        self.dirty.add("meta")
        return [self._alert(10**9)]

    def changed(self) -> dict[str, bytes | None]:
        entries = {name: self._entry(name) for name in sorted(self.dirty)}
        self.dirty = set()
        return entries

    def _entry(self, name: str) -> bytes | None:
        what = self.decided if name == "meta" else self.members[name.removeprefix("cohort:")]
        return json.dumps(what).encode()

    def restore(self, state: Mapping[str, bytes]) -> None:
        assert not any(name.startswith(PREFIX) for name in state)
        for name, value in state.items():
            if name == "meta":
                self.decided = json.loads(value)
            else:
                self.members[name.removeprefix("cohort:")] = json.loads(value)


class Table:
    """The changelog: what was written when the process ended, entry by entry."""

    def __init__(self, world: World) -> None:
        self.world = world

    def load(self) -> dict[str, bytes]:
        return dict(self.world.entries)

    def write(self, name: str, value: bytes | None) -> Awaitable[Any]:
        self.world.tick()
        self.world.journal.append(("write", name))
        if value is None:
            self.world.entries.pop(name, None)
        else:
            self.world.entries[name] = value
        return Done()


class World:
    """Broker and changelog, which outlive the process; `kill_after` counts down its steps."""

    def __init__(self, messages: Sequence[Message], kill_after: int | None = None) -> None:
        self.messages = messages
        self.kill_after = kill_after
        self.journal: Steps = []
        self.entries: dict[str, bytes] = {}
        self.sent: list[Alert] = []
        self.letters: list[DeadLetter] = []
        self.committed = 0

    def tick(self) -> None:
        if self.kill_after is not None:
            if self.kill_after == 0:
                self.kill_after = None
                raise KilledError
            self.kill_after -= 1

    async def alerts(self, alerts: Sequence[Alert]) -> None:
        self.tick()
        self.journal.append(("alerts", [one.alert_id for one in alerts]))
        self.sent += alerts

    async def letter(self, letter: DeadLetter) -> None:
        self.tick()
        self.journal.append(("letter", letter.offset))
        self.letters.append(letter)

    async def start(self) -> int:
        return self.committed

    async def end(self) -> int:
        return len(self.messages)

    def stage(self) -> CampaignStage:
        return CampaignStage(
            new_core=Core,
            table=Table(self),
            publisher=self,
            start=self.start,
            end=self.end,
            wall=lambda: 1_784_887_200.0,
        )

    async def run(self, every: int) -> CampaignStage:
        """A process from the committed offset on; settles and acknowledges every so many messages."""
        stage = self.stage()
        for number, message in enumerate(self.messages[self.committed :], start=1):
            await stage.handle(message)
            if number % every == 0 or message is self.messages[-1]:
                for done in stage.settle():
                    await done
                self.tick()
                self.committed = message.next_offset
        return stage


def message(offset: int, value: bytes | Evidence | None) -> Message:
    raw = value if value is None or isinstance(value, bytes) else ENCODER.encode(value)
    return Message(topic="evidence", partition=0, offset=offset, key=None, value=raw)


def cohort(key: str, account: str, tick: int, kind: str = "template") -> CohortEvidence:
    row = AccountRow(
        account=account,
        requests=1,
        first_seen=tick,
        last_seen=tick,
        elicit_strong=0,
        elicit_weak=0,
        replayed=0,
        hours=1,
        created=None,
        payment=None,
        email_domain=None,
        signup=None,
        ip_prefix=None,
        asn_agent=None,
        tls_agent=None,
    )
    member = MemberRow(row=row, requests=1, elicit_strong=0, elicit_weak=0, first_seen=tick, last_seen=tick)
    return CohortEvidence(source=0, tick=tick, kind=kind, key=key, members=[member])


def story() -> list[Message]:
    """Ten ticks: two accounts in each, junk in some."""
    values: list[bytes | Evidence | None] = []
    for tick in range(10):
        values += [cohort("a", f"x{tick}", tick), cohort("b", f"y{tick}", tick), Watermark(source=0, ts=tick)]
        if tick % 3 == 0:
            values.append(b"junk")
    return [message(offset, value) for offset, value in enumerate(values)]


def test_alerts_leave_before_the_group_and_the_group_commits_before_its_entries() -> None:
    world = World(story()[:3])
    asyncio.run(world.run(every=3))
    assert world.journal == [
        ("alerts", ["t0"]),
        ("write", "stage:part:0"),
        ("write", COMMIT),
        *(("write", name) for name in sorted(("cohort:a", "cohort:b", "meta"))),
    ]
    assert Journal(Table(world)).load().keys() == {"cohort:a", "cohort:b", "meta"}


@settings(max_examples=150, deadline=None)
@given(first=st.integers(0, 120), second=st.integers(0, 120), every=st.integers(1, 8))
def test_killed_at_any_two_steps_the_alerts_are_those_of_a_quiet_run(first: int, second: int, every: int) -> None:
    quiet = World(story())
    asyncio.run(quiet.run(every))
    world = World(story(), kill_after=first)
    for kill_after in (second, None):
        try:
            asyncio.run(world.run(every))
            break
        except KilledError:
            world.kill_after = kill_after
    else:
        asyncio.run(world.run(every))
    assert {(one.alert_id, one.accounts_total) for one in world.sent} == {
        (one.alert_id, one.accounts_total) for one in quiet.sent
    }
    assert {letter.offset for letter in world.letters} == {letter.offset for letter in quiet.letters}
    assert Journal(Table(world)).load() == Journal(Table(quiet)).load()
    assert world.committed == len(world.messages)


def test_messages_whose_effects_are_in_the_table_are_skipped() -> None:
    world = World(story())
    asyncio.run(world.run(every=4))
    alerts = len(world.sent)
    world.committed = 0
    stage = asyncio.run(world.run(every=4))
    assert stage.skipped == len(world.messages)
    assert len(world.sent) == alerts


def test_a_topic_made_anew_is_not_taken_for_the_old_one() -> None:
    world = World(story())
    world.entries[COMMIT] = msgspec.msgpack.encode(Commit(9, 0, 5_000))
    stage = asyncio.run(world.run(every=4))
    assert stage.skipped == 0
    assert stage.alerts == 10


def test_a_group_whose_table_was_lost_goes_on_where_it_was() -> None:
    world = World(story())
    world.committed = 7
    assert asyncio.run(world.stage().expected()) == 7


def test_bad_evidence_becomes_a_letter_with_its_reason() -> None:
    values: list[bytes | Evidence | None] = [b"junk", b'{"type":"cohort"}', None, cohort("k", "a", 1, kind="explosive")]
    world = World([message(offset, value) for offset, value in enumerate(values)])
    stage = asyncio.run(world.run(every=1))
    assert [(letter.offset, letter.reason, letter.source) for letter in world.letters] == [
        (0, "not_json", "evidence"),
        (1, "wrong_type", "evidence"),
        (2, "empty", "evidence"),
        (3, PROCESSING_FAILED, "evidence"),
    ]
    assert world.letters[0].raw == b"junk"
    assert world.letters[3].detail == "ZeroDivisionError in the campaign core"
    assert world.letters[0].ts == 1_784_887_200_000
    assert stage.rejected == 4


def test_a_letter_that_is_not_acknowledged_stops_everything() -> None:
    world = World([message(0, b"junk"), message(1, Watermark(source=0, ts=1))], kill_after=0)
    with pytest.raises(KilledError):
        asyncio.run(world.run(every=1))
    assert (world.committed, world.entries) == (0, {})


def test_another_process_may_have_written_the_table_in_between() -> None:
    world = World(story())

    async def scenario() -> CampaignStage:
        stage = await world.run(every=4)
        world.entries = {COMMIT: msgspec.msgpack.encode(Commit(9, 0, len(world.messages))), "meta": b"[77]"}
        stage.forget()
        assert stage.settle() == []
        await stage.handle(message(len(world.messages), Watermark(source=0, ts=77)))
        return stage

    stage = asyncio.run(scenario())
    assert stage.alerts == 10, "tick 77 was decided by the other process"


def test_a_flush_decides_on_what_is_left() -> None:
    world = World(story()[:2])

    async def scenario() -> None:
        stage = await world.run(every=1)
        await stage.flush()
        for done in stage.settle():
            await done

    asyncio.run(scenario())
    assert [one.alert_id for one in world.sent] == ["t1000000000"]
    assert json.loads(world.entries["meta"]) == [10**9]


class Entries:
    """A table that is cut off after so many writes."""

    def __init__(self, writes: int = 10**9) -> None:
        self.entries: dict[str, bytes] = {}
        self.left = writes

    def load(self) -> dict[str, bytes]:
        return dict(self.entries)

    def write(self, name: str, value: bytes | None) -> Awaitable[Any]:
        if self.left == 0:
            raise KilledError
        self.left -= 1
        if value is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = value
        return Done()


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(
        st.dictionaries(st.sampled_from("abcdef"), st.none() | st.binary(max_size=3), max_size=4), max_size=6
    ),
    cuts=st.lists(st.integers(0, 30), max_size=3),
)
def test_a_group_holds_wholly_or_not_at_all_however_often_the_writer_is_killed(
    groups: list[dict[str, bytes | None]], cuts: list[int]
) -> None:
    states: list[dict[str, bytes]] = [{}]
    for group in groups:
        state = {**states[-1], **{name: value for name, value in group.items() if value is not None}}
        states.append({name: value for name, value in state.items() if group.get(name, b"") is not None})
    table = Entries()
    for cut in [*cuts, 10**9]:
        table.left = cut
        journal = Journal(table)
        assert journal.load() == states[journal.next_offset]
        try:
            for number in range(journal.next_offset, len(groups)):
                journal.write(groups[number], number + 1)
        except KilledError:
            continue
    journal = Journal(table)
    assert journal.load() == states[-1]
    assert journal.next_offset == len(groups)


def test_large_groups_are_cut_into_parts_and_come_back_whole() -> None:
    table = Entries()
    entries: dict[str, bytes | None] = {f"cohort:{number}": bytes(900_000) for number in range(7)}
    Journal(table).write(entries, 5)
    assert max(len(value) for name, value in table.entries.items() if name.startswith(PREFIX)) < 3_000_000
    for name in entries:
        del table.entries[name]
    assert Journal(table).load() == entries
