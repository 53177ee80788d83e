"""The fault runs' own judgement: what counts as lost, as growth, as an error; and traffic that never ends."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from pipelines.correlate.journal import COMMIT, Commit
from schemas.activity import ENCODER
from schemas.events import Account, Request, Response
from tests.faults import offsets
from tests.faults.course import CourseReport, Lives, OutageReport, Plan, killers
from tests.faults.events import START, repeated
from tests.faults.offsets import Audit, Books, Place
from tests.faults.outcome import Outcome, Table
from tests.faults.soak import drift
from tests.faults.verdict import judged, recovery
from tests.faults.workers import Worker, counted
from tests.integration.test_clickhouse_store import ALERTS
from tests.unit.simulate.texts import made_up

ONE = Outcome(
    tables={name: Table(2, 40) for name in ("alerts", "members", "signals")},
    requests=7,
    named={"alerts": {"a version 1": 10, "a version 2": 30}, "members": {"c x": 20, "c y": 20}},
)


def course(**changes: object) -> CourseReport:
    done = CourseReport(
        seconds=9.0,
        input_seconds=8.0,
        kills_during_input=3,
        workers={
            "detect-0": Lives(kills=2, recovery_s=[10.0, 14.0], rss_max_mb=1.0, exits=[], problems={}),
            "detect-1": Lives(kills=1, recovery_s=[12.0], rss_max_mb=1.0, exits=[], problems={}),
            "sink": Lives(kills=0, recovery_s=[], rss_max_mb=1.0, exits=[], problems={}),
        },
        outages=[],
        offset_checks=2,
        overruns=[],
        lost_states=0,
        uncommitted=0,
    )
    return msgspec.structs.replace(done, **changes)


def test_a_course_that_left_the_same_is_as_it_has_to_be() -> None:
    assert judged("killed", course(), ONE, ONE, requests=7) == []


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (course(overruns=["sink: a version 2 is committed, not stored"]), "not stored"),
        (course(lost_states=1), "without its state"),
        (course(uncommitted=4), "4 offsets of the input are not committed"),
        (course(outages=[OutageReport("broker", 60.0, 3.0, None, 0, 9)]), "not caught up after broker"),
    ],
)
def test_what_the_course_itself_saw_is_a_failure(report: CourseReport, said: str) -> None:
    (failure,) = judged("killed", report, ONE, ONE, requests=7)
    assert said in failure


def test_rows_that_are_missing_more_or_other_are_told_by_name() -> None:
    other = msgspec.structs.replace(
        ONE,
        tables=ONE.tables | {"alerts": Table(2, 41)},
        named=ONE.named | {"alerts": {"a version 1": 11, "b version 1": 30}},
    )
    (failure,) = judged("killed", course(), ONE, other, requests=7)
    assert "missing ['a version 2'], extra ['b version 1'], other content ['a version 1']" in failure


def test_requests_that_nobody_counted_and_a_run_without_alerts_are_failures() -> None:
    (failure,) = judged("killed", course(), ONE, ONE, requests=8)
    assert "8 requests went in" in failure
    nothing = msgspec.structs.replace(ONE, tables=ONE.tables | {"alerts": Table(0, 0)})
    assert "nothing to lose" in judged("killed", course(), nothing, nothing, requests=7)[0]


def test_recovery_is_told_by_role() -> None:
    found = recovery(course())
    assert found["detect"] == {"kills": 3, "recovered": 3, "p50_s": 12.0, "p99_s": pytest.approx(13.96)}
    assert found["sink"] == {"kills": 0, "recovered": 0}


def samples(slope_mb_h: float, *, noise: float = 0.5, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    seconds = np.arange(0, 1_200, 5.0)
    rng = np.random.default_rng(seed)
    # What a start looks like, which must not count.
    warm = 80 * (1 - np.exp(-seconds / 90))
    return seconds, 300 + warm + slope_mb_h * seconds / 3_600 + rng.normal(0, noise, len(seconds))


@pytest.mark.parametrize("seed", range(5))
def test_memory_that_fills_up_and_then_stays_does_not_grow(seed: int) -> None:
    assert not drift(*samples(0, seed=seed)).grows


def test_memory_that_goes_up_and_down_does_not_grow() -> None:
    seconds, size = samples(0)
    assert not drift(seconds, size + 20 * (seconds % 200) / 200).grows


def test_memory_that_grows_by_more_than_its_noise_does() -> None:
    found = drift(*samples(120))
    assert found.grows
    assert found.low < 120 < found.high or found.slope == pytest.approx(120, rel=0.1)


def test_a_slope_of_too_few_samples_is_none() -> None:
    with pytest.raises(ValueError, match="four half minutes"):
        drift([0, 5, 10], [1, 1, 1])


def test_traffic_goes_on_in_order_with_other_accounts_each_time() -> None:
    events = list(itertools.islice(repeated(made_up(), seed=11, accounts=5, compress=100.0), 45_000))
    assert [event.ts for event in events] == sorted(event.ts for event in events)
    assert events[0].ts >= START
    asked = Counter(event.id for event in events if isinstance(event, Request))
    assert set(asked.values()) == {1}
    runs = {event.account.rpartition("~")[2] for event in events if isinstance(event, Request)}
    assert len(runs) >= 2
    assert {event.request_id for event in events if isinstance(event, Response)} <= set(asked)
    assert all(event.created is None or event.created <= event.ts for event in events if isinstance(event, Account))


def test_kills_are_shared_out_and_drawn_from_the_seed(tmp_path: Path) -> None:
    def drawn(seed: int) -> list[tuple[int, bool, float]]:
        workers = [Worker(name, tmp_path, tmp_path) for name in ("detect-0", "detect-1", "correlate", "sink")]
        return [(one.left, one.early, one.wait) for one in killers(workers, Plan(seed=seed, kills=10))]

    assert [left for left, _, _ in drawn(1)] == [3, 3, 2, 2]
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes


class FewOffsets(Books):
    """Books of which the tests give the content."""

    def __init__(self, **committed: dict[Place, int]) -> None:
        self._given = committed

    def committed(self, worker: str) -> dict[Place, int]:
        return self._given[worker]


def audit(monkeypatch: pytest.MonkeyPatch, books: Books, records: list[Record]) -> Audit:
    class Given:
        def __init__(self, *_: object) -> None:
            self.left = list(records)

        def read(self) -> list[Record]:
            found, self.left = self.left, []
            return found

    monkeypatch.setattr(offsets, "Follower", Given)
    return Audit(books, "", {"alerts": "alerts", "evidence": "evidence"}, "g")


@pytest.mark.parametrize(("committed", "overruns"), [(1, 0), (2, 1)])
def test_a_sink_that_commits_an_alert_before_it_is_stored_is_found(
    committed: int, overruns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = msgspec.structs.replace(ALERTS[0], alert_id="a", version=1)
    second = msgspec.structs.replace(first, version=2)
    records = [Record("alerts", 0, n, b"a", ENCODER.encode(alert)) for n, alert in enumerate((first, second))]
    found = audit(monkeypatch, FewOffsets(sink={("alerts", 0): committed}), records)
    found.sink(lambda: {("a", 1)})
    assert found.checks == 1
    assert len(found.overruns) == overruns


@pytest.mark.parametrize(("committed", "overruns"), [(40, 0), (41, 1)])
def test_an_offset_of_correlate_beyond_its_durable_state_is_found(
    committed: int, overruns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [msgspec.msgpack.encode(Commit(group, 1, taken)) for group, taken in ((1, 20), (2, 40))]
    records = [Record("changelog", 0, n, COMMIT.encode(), value) for n, value in enumerate(said)]
    found = audit(monkeypatch, FewOffsets(correlate={("evidence", 0): committed}), records)
    found.correlate()
    assert len(found.overruns) == overruns


def test_errors_in_logs_are_counted_by_what_they_say(tmp_path: Path) -> None:
    lines = [
        "timestamp=2026-01-01T00:00:01Z level=info event=started",
        "timestamp=2026-01-01T00:00:02Z level=error event='lost offset 17'",
        "timestamp=2026-01-01T00:00:03Z level=error event='lost offset 18'",
        "timestamp=2026-01-01 00:00:04,1 level=ERROR faust.app: gone",
        "timestamp=2026-01-01 00:00:04,1 level=WARNING kafka: slow",
        "Traceback (most recent call last):",
    ]
    random.Random(1).shuffle(lines)
    (tmp_path / "sink.0001.log").write_text("\n".join(lines) + "\n")
    problems = counted(Worker("sink", tmp_path, tmp_path).problems())
    assert sorted(problems.values()) == [1, 1, 2]
    assert problems["level=error event='lost offset N'"] == 2
