"""Cohorts of a lane, and when their evidence is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from detectors.cohorts import CohortBook, Touch
from detectors.params import CohortParams
from schemas.evidence import CohortEvidence
from tests.unit.detectors.rows import row
from tests.unit.detectors.traffic import HOUR, TICK

KEY = ("template", 7)


def book(floors: dict[str, int] | None = None, **params: Any) -> CohortBook:
    return CohortBook(CohortParams(**params), floors=floors or {}, row_of=row, show=lambda kind, key: f"{kind}-{key}")


def touch(account: str, requests: int = 1, *, strong: int = 0, weak: int = 0, at: int = 5) -> Touch:
    return Touch(account, requests, strong, weak, at, at)


def add(one: CohortBook, *touches: Touch, key: tuple[str, int] = KEY, variants: tuple[int, ...] = ()) -> None:
    one.touch(key, touches, variants, [])


def sent(one: CohortBook, tick: int = TICK, **how: bool) -> dict[str, list[str]]:
    """Cohort to the accounts whose rows were sent."""
    out: dict[str, list[str]] = {}
    for evidence in one.due(0, tick, **how):
        out.setdefault(evidence.key, []).extend(member.row.account for member in evidence.members)
    return out


def test_a_member_is_the_sum_of_what_it_did() -> None:
    one = book()
    add(one, touch("a", 2, strong=1, at=50), variants=(3, 9))
    add(one, touch("a", 3, weak=2, at=20), touch("b", at=30), variants=(9, 1))
    one.touch(KEY, [touch("a", at=90)], [], ["second", "first"])
    (evidence,) = one.due(4, TICK)
    assert (evidence.source, evidence.tick, evidence.kind, evidence.key) == (4, TICK, "template", "template-7")
    a, b = evidence.members
    assert (a.row, a.requests, a.elicit_strong, a.elicit_weak, a.first_seen, a.last_seen) == (row("a"), 6, 1, 2, 20, 90)
    assert (b.requests, b.first_seen, b.last_seen) == (1, 30, 30)
    assert evidence.slots == [1, 3, 9]
    assert evidence.patterns == ["first", "second"]


def test_only_changes_are_sent() -> None:
    one = book()
    add(one, touch("a"), touch("b"))
    assert sent(one) == {"template-7": ["a", "b"]}
    assert sent(one) == {}
    add(one, touch("c"))
    assert sent(one) == {"template-7": ["c"]}


def test_news_is_sent_at_once_and_small_change_within_the_hour() -> None:
    one = book()
    add(one, touch("a", 10))
    assert sent(one, TICK)
    add(one, touch("a", 5))
    assert sent(one, 2 * TICK) == {}, "half as many again is small change"
    assert sent(one, TICK + HOUR) == {"template-7": ["a"]}
    add(one, touch("a", 15))
    assert sent(one, TICK + HOUR + 1) == {"template-7": ["a"]}, "twice what was sent is news"
    add(one, touch("a", 1, weak=1))
    assert sent(one, TICK + HOUR + 2) == {"template-7": ["a"]}, "and so is the first harvest evidence"
    add(one, touch("a", 1, weak=1))
    assert sent(one, TICK + HOUR + 3) == {}


def test_everything_is_sent_at_the_end() -> None:
    one = book(rows_per_tick=16)
    add(one, *(touch(f"a{n}", 10) for n in range(40)))
    sent(one)
    add(one, *(touch(f"a{n}") for n in range(40)))
    assert len(sent(one, 2 * TICK, everything=True)["template-7"]) == 40
    assert sent(one, 2 * TICK, everything=True) == {}


def test_rows_beyond_the_limit_wait_for_later_ticks_and_none_is_lost() -> None:
    one = book(rows_per_tick=16)
    for key in range(5):
        add(one, *(touch(f"k{key}a{n}") for n in range(13)), key=("template", key))
    got: list[str] = []
    waiting: list[int] = []
    for tick in range(1, 6):
        rows = [account for accounts in sent(one, tick * TICK).values() for account in accounts]
        assert len(rows) <= 16
        got += rows
        waiting.append(one.waiting)
    assert waiting == [4, 3, 2, 1, 0], "cohorts with something left to say"
    assert sorted(got) == sorted(f"k{key}a{n}" for key in range(5) for n in range(13))
    assert sent(one, 6 * TICK) == {}


def test_a_message_stays_small() -> None:
    one = book(rows_per_tick=5000)
    add(one, *(touch(f"a{n}") for n in range(1300)))
    assert [len(evidence.members) for evidence in one.due(0, TICK)] == [500, 500, 300]


def test_a_cohort_under_its_floor_is_not_spoken_of() -> None:
    one = book(floors={"template": 3})
    add(one, touch("a"), touch("b"))
    add(one, touch("a"), key=("replay", 1))
    assert sent(one) == {"replay-1": ["a"]}
    add(one, touch("c"))
    assert sent(one) == {"template-7": ["a", "b", "c"]}


def test_a_skeleton_is_wanted_at_the_floor_and_at_each_doubling() -> None:
    one = book(floors={"template": 3})
    wanted = []
    for n in range(13):
        add(one, touch(f"a{n}"))
        if one.wants_skeleton(KEY):
            one.set_skeleton(KEY, f"skeleton of {n + 1}")
            wanted.append(n + 1)
    assert wanted == [3, 6, 12]
    (evidence,) = one.due(0, TICK)
    assert evidence.skeleton == "skeleton of 12"


def test_members_are_bounded_and_known_ones_go_on() -> None:
    one = book(members=8)
    add(one, *(touch(f"a{n}") for n in range(20)))
    assert one.members(KEY) == 8
    sent(one)
    add(one, touch("a0", 5), touch("a19", 5))
    (evidence,) = one.due(0, TICK)
    assert [(member.row.account, member.requests) for member in evidence.members] == [("a0", 6)]


def test_cohorts_are_bounded_and_the_longest_idle_goes() -> None:
    one = book(capacity=64)
    for key in range(64):
        add(one, touch("a"), touch(f"b{key}"), key=("template", key))
    add(one, touch("a"), key=("template", 0))
    add(one, touch("a"), key=("template", 64))
    assert len(one) == 64
    assert one.evicted == 1
    assert (("template", 0) in one, ("template", 1) in one, ("template", 64) in one) == (True, False, True)
    assert one.members(("template", 1)) == 0
    assert "template-1" not in sent(one)


def test_the_number_of_variants_held_is_bounded() -> None:
    one = book()
    for start in range(0, 1000, 10):
        add(one, touch("a"), variants=tuple(range(1000 - start, 990 - start, -1)))
    (evidence,) = one.due(0, TICK)
    assert evidence.slots == list(range(1, 65))


def test_rows_are_due_again_when_their_account_changed() -> None:
    one = book()
    add(one, touch("a"), touch("b"))
    add(one, touch("a"), key=("replay", 1))
    sent(one)
    one.changed("a")
    one.changed("nobody")
    assert sent(one) == {"template-7": ["a"], "replay-1": ["a"]}


def test_a_forgotten_account_is_no_member_any_more() -> None:
    one = book()
    add(one, touch("a"), touch("b"))
    add(one, touch("a"), key=("replay", 1))
    one.forget("a")
    one.forget("nobody")
    assert one.members(KEY) == 1
    assert ("replay", 1) not in one, "a cohort without members is none"
    assert sent(one) == {"template-7": ["b"]}
    one.changed("a")
    assert sent(one) == {}


def test_as_wide_counts_cohorts_of_the_kind_by_powers_of_two() -> None:
    one = book(capacity=64)
    for key in range(1, 9):
        add(one, *(touch(f"a{n}") for n in range(key)), key=("template", key))
    add(one, *(touch(f"a{n}") for n in range(9)), key=("replay", 1))
    # 1 | 2 3 | 4 5 6 7 | 8
    assert [one.as_wide("template", members)[0] for members in (1, 2, 3, 4, 7, 8, 15, 16)] == [8, 7, 7, 5, 5, 1, 1, 0]
    assert one.as_wide("template", 1)[1] == 8
    assert one.as_wide("elicitation", 1) == (0, 0)
    one.forget("a7")
    assert one.as_wide("template", 8) == (0, 8)
    for key in range(100, 164):
        add(one, touch("z"), key=("template", key))
    assert one.as_wide("template", 1) == (64, 64), "what was dropped is not counted"
    other = book(capacity=64)
    other.restore(one.snapshot())
    assert other.as_wide("template", 1) == (64, 64)


def test_snapshot() -> None:
    def use(one: CohortBook, start: int) -> list[CohortEvidence]:
        out: list[CohortEvidence] = []
        for n in range(start, start + 40):
            add(one, touch(f"a{n % 17}", 1 + n % 3), touch(f"b{n}"), key=("template", n % 70), variants=(n,))
            if n % 5 == 0:
                one.forget(f"a{n % 7}")
            out += one.due(0, n * TICK)
        return out

    one, other = book(capacity=64, rows_per_tick=16), book(capacity=64, rows_per_tick=16)
    use(one, 0)
    add(other, touch("to be replaced"))
    other.restore(one.snapshot())
    assert use(other, 40) == use(one, 40)
    assert other.snapshot() == one.snapshot()


def test_what_is_sent_twice_says_the_same() -> None:
    """Rows are totals, not increments: a message that arrives again changes nothing."""
    one = book()
    add(one, touch("a", 2))
    first = one.due(0, TICK)
    one.changed("a")
    again = one.due(0, 2 * TICK)
    assert [member for evidence in first for member in evidence.members] == [
        member for evidence in again for member in evidence.members
    ]


_IN_A_PROCESS = """
from detectors.cohorts import CohortBook, Touch
from detectors.params import CohortParams
from schemas.evidence import AccountRow

row = AccountRow("a", 1, 5, 5, 0, 0, 0, 1, *[None] * 7)
book = CohortBook(CohortParams(), floors={}, row_of=lambda _: row, show=lambda kind, key: f"{kind}-{key}")
for key in range(20):
    book.touch(("template", key), [Touch("a", 1, 0, 0, 5, 5)], [], [])
book.due(0, 10_000)
book.changed("a")
print([evidence.key for evidence in book.due(0, 20_000)])
"""


def test_the_order_is_the_same_in_every_process() -> None:
    """Hashes of strings differ between processes: no order may come from a set."""
    outcomes = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _IN_A_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        )
        outcomes.add(done.stdout)
    assert len(outcomes) == 1
    assert outcomes.pop().count("template-") == 20
