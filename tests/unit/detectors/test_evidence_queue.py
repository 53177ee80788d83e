"""Evidence that waits for the slowest source."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.campaign_state import Changes
from detectors.evidence_queue import EvidenceQueue
from schemas.evidence import CohortEvidence, Evidence, Watermark

Handed = list[tuple[int, list[str]]]


def say(source: int, tick: int, key: str = "") -> CohortEvidence:
    return CohortEvidence(source=source, tick=tick, kind="template", key=key or f"{source}-{tick}", members=[])


def make(capacity: int = 10_000) -> EvidenceQueue:
    return EvidenceQueue(capacity, Changes())


def shown(handed: Iterable[tuple[int, list[Evidence]]]) -> Handed:
    """Ticks with the cohorts that were handed out in them; watermarks left out."""
    return [(tick, [m.key for m in messages if isinstance(m, CohortEvidence)]) for tick, messages in handed]


def feed(queue: EvidenceQueue, messages: Iterable[Evidence]) -> Handed:
    out: Handed = []
    for message in messages:
        queue.put(message)
        if isinstance(message, Watermark):
            out += shown(queue.ready())
    return out


def talk(source: int, ticks: Iterable[int]) -> list[Evidence]:
    """A source that says two things at each tick."""
    out: list[Evidence] = []
    for tick in ticks:
        out += [say(source, tick, f"{source}-{tick}-{part}") for part in "ab"]
        out.append(mark(source, tick))
    return out


def mark(source: int, ts: int, idle: bool = False) -> Watermark:
    return Watermark(source=source, ts=ts, idle=idle)


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_ticks_come_in_order_and_sources_within_a_tick_whatever_came_first(rng: random.Random, sources: int) -> None:
    rest = {source: talk(source, range(1, 6)) for source in range(sources)}
    messages: list[Evidence] = [mark(source, 0) for source in rest]
    while rest:
        source = rng.choice(sorted(rest))
        messages.append(rest[source].pop(0))
        if not rest[source]:
            del rest[source]
    handed = [(tick, keys) for tick, keys in feed(make(), messages) if keys]
    assert handed == [(t, [f"{s}-{t}-{x}" for s in range(sources) for x in "ab"]) for t in range(1, 6)]


def test_the_slowest_source_decides() -> None:
    queue = make()
    feed(queue, [mark(0, 0), mark(1, 0)])
    assert feed(queue, talk(0, [1, 2, 3])) == []
    assert [tick for tick, _ in feed(queue, [mark(1, 2)])] == [1, 2]
    assert queue.decided == 2


def test_an_idle_source_is_not_waited_for_until_it_speaks_again() -> None:
    queue = make()
    feed(queue, [mark(0, 0), mark(1, 0, idle=True)])
    assert [tick for tick, _ in feed(queue, talk(0, [1, 2]))] == [1, 2]
    feed(queue, [mark(1, 2)])
    assert feed(queue, talk(0, [3])) == []


def test_what_comes_after_its_tick_was_decided_is_handed_out_next() -> None:
    queue = make()
    feed(queue, talk(0, [1, 2, 3]))
    assert feed(queue, [say(0, 1, "late"), mark(0, 3)]) == [(3, ["late"])]
    assert queue.decided == 3


def test_each_message_is_handed_out_once() -> None:
    queue = make()
    handed = feed(queue, talk(0, [1, 2, 3])) + shown(queue.rest()) + shown(queue.rest())
    keys = [key for _, keys in handed for key in keys]
    assert sorted(keys) == sorted(f"0-{t}-{x}" for t in (1, 2, 3) for x in "ab")


def test_the_end_of_input_hands_out_all_that_waits() -> None:
    queue = make()
    feed(queue, [mark(0, 0), mark(1, 0)])
    feed(queue, talk(0, [1, 2]))
    assert [tick for tick, keys in shown(queue.rest()) if keys] == [1, 2]


def test_a_lagging_source_does_not_let_the_queue_grow_without_bound() -> None:
    queue = make(capacity=30)
    feed(queue, [mark(0, 0), mark(1, 0)])
    handed: Handed = []
    for tick in range(1, 101):
        handed += feed(queue, talk(0, [tick]))
        assert len(queue.keys()) <= 30 + 2
    assert queue.forced > 0
    assert [tick for tick, keys in handed if keys] == list(range(1, queue.decided + 1)), "oldest first, none left out"
    # The lagging source is late then, and not lost.
    late = feed(queue, [say(1, 5, "late"), mark(1, 100)])
    assert "late" in [key for _, keys in late for key in keys]
    assert [tick for tick, _ in late] == sorted(tick for tick, _ in late)


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_accumulated_entries_restore_it(rng: random.Random, cut: int) -> None:
    messages = [m for pair in zip(talk(0, range(1, 9)), talk(1, range(1, 9)), strict=True) for m in pair]
    # Source 2 lags behind by a random number of messages.
    slow = talk(2, range(1, 9))
    for message in slow:
        messages.insert(rng.randrange(len(messages) // 2, len(messages) + 1), message)
    changes = Changes()
    queue, table = EvidenceQueue(10_000, changes), dict[str, bytes]()
    feed(queue, messages[:cut])
    changed, gone = changes.take()
    for key in changed:
        kind, _, rest = key.partition(":")
        table[key] = queue.entry(kind, rest)
    assert not set(gone) & set(table)
    assert set(table) == queue.keys()
    successor = make()
    successor.decided = queue.decided
    for key in sorted(table):
        kind, _, rest = key.partition(":")
        successor.restore(kind, rest, table[key])
    assert feed(successor, messages[cut:]) == feed(queue, messages[cut:])
    assert shown(successor.rest()) == shown(queue.rest())
