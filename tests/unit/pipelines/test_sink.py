"""The sink's order of work, its patience and its rebalances, against a broker and a store made of lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from pipelines.detect.ports import Change, Envelope, TopicPartition
from pipelines.errors import Failure
from pipelines.sink import MAX_BATCH_BYTES, SinkLimits, SinkLoop
from pipelines.sink_ports import Record
from pipelines.store import StoreUnavailable
from schemas.activity import ENCODER, Activity
from schemas.deadletters import DeadLetter

P0: TopicPartition = ("activity", 0)
P1: TopicPartition = ("activity", 1)


def row(account: str, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "account": account, "hour": 0, "as_of": 0, "requests": 1, "responses": 1, "refused": 0,
        "input_tokens": None, "output_tokens": None, "reasoning_tokens": None,
    }  # fmt: skip
    return ENCODER.encode(Activity(**{**values, **changes}))


class Broker:
    """One group member's view: logs by partition, positions, commits, rebalances on demand."""

    def __init__(self, logs: dict[TopicPartition, list[bytes]]) -> None:
        self.logs = logs
        self.positions = dict.fromkeys(logs, 0)
        self.commits: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.accept = True
        self.events: list[str] = []
        self.stale: list[Record] = []
        self._changes = [Change("assigned", frozenset(logs))]
        self.owned = set(logs)

    def rebalance(self, *changes: Change) -> None:
        self._changes.extend(changes)
        self.paused.clear()
        for change in changes:
            for partition in change.partitions:
                self.owned.discard(partition)
                if change.kind == "assigned":
                    self.owned.add(partition)
                    self.positions[partition] = self.commits.get(partition, 0)

    def poll_records(self, timeout_ms: int, max_records: int) -> list[Record]:
        records, self.stale = self.stale, []
        if self._changes:
            # The client takes part in the rebalance first.
            return records
        for partition in sorted(self.owned - self.paused):
            for offset in range(self.positions[partition], len(self.logs[partition])):
                if len(records) == max_records:
                    break
                records.append(self.record(partition, offset))
                self.positions[partition] = offset + 1
        return records

    def record(self, partition: TopicPartition, offset: int) -> Record:
        topic, number = partition
        return Record(
            Envelope(topic=topic, partition=number, offset=offset, key=b"k", value=self.logs[partition][offset])
        )

    def changes(self) -> list[Change]:
        changes, self._changes = self._changes, []
        return changes

    def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    def end(self, partition: TopicPartition) -> int:
        return len(self.logs[partition])

    def refresh_ends(self, partitions: Iterable[TopicPartition]) -> bool:
        assert set(partitions) <= self.owned
        return True

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        return {partition: self.commits.get(partition) for partition in partitions}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused -= set(partitions)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        if self.accept:
            self.events.append("commit")
            self.commits.update(offsets)
        return self.accept


class Database:
    """A store that can be away, refuse, or be slow to come up."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.accounts: list[str] = []
        self.alerts: list[Any] = []
        self.letters: list[DeadLetter] = []
        self.away = 0
        self.error: Exception | None = None

    def insert_activity(self, rows: Sequence[Activity]) -> int:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("gone fishing")
        if self.error:
            raise self.error
        from pipelines.store_rows import activity_rows

        activity_rows(rows)
        self.events.append("insert")
        self.accounts += [one.account for one in rows]
        return len(rows)

    def insert_alerts(self, alerts: Sequence[Any]) -> int:
        self.alerts += alerts
        return len(alerts)

    def insert_signals(self, signals: Sequence[Any]) -> int:
        return len(signals)

    def insert_dead_letters(self, letters: Sequence[DeadLetter]) -> int:
        self.letters += letters
        return len(letters)


class Letters:
    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.queued: list[DeadLetter] = []
        self.sent: list[DeadLetter] = []

    def put(self, letter: DeadLetter) -> None:
        self.queued.append(letter)

    def flush(self) -> None:
        if self.queued:
            self.events.append("letters")
        self.sent += self.queued
        self.queued = []


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = warning


class Bench:
    """A sink with everything around it; `now` is the steady clock."""

    def __init__(self, logs: dict[TopicPartition, list[bytes]], **limits: Any) -> None:
        self.broker = Broker(logs)
        self.database = Database(self.broker.events)
        self.letters = Letters(self.broker.events)
        self.log = Log()
        self.now = 100.0
        self.refuse_to_open = 0
        self.loop = SinkLoop(
            source=self.broker,
            open_store=self.open,
            letters=self.letters,
            roles={name: name for name in ("alerts", "signals", "activity", "dead_letters")},
            limits=SinkLimits(**{"rows": 3, "wait_s": 1.0, **limits}),
            steady=lambda: self.now,
            wall=lambda: 1_000.0,
            log=self.log,
        )
        self.loop.step()

    def open(self) -> Database:
        if self.refuse_to_open:
            self.refuse_to_open -= 1
            raise StoreUnavailable("connection refused")
        return self.database

    def run(self, steps: int, seconds: float = 0.3) -> None:
        for _ in range(steps):
            self.loop.step()
            self.now += seconds


def test_a_batch_is_written_when_full_and_when_old() -> None:
    bench = Bench({P0: [row(f"a{number}") for number in range(4)]})
    bench.run(1)
    assert (bench.database.accounts, bench.broker.commits) == (["a0", "a1", "a2"], {P0: 3})
    bench.run(1)
    assert bench.broker.commits == {P0: 3}
    assert not bench.loop.done
    bench.run(4)
    assert (bench.database.accounts, bench.broker.commits) == (["a0", "a1", "a2", "a3"], {P0: 4})
    assert bench.loop.done
    assert bench.broker.events == ["insert", "commit", "insert", "commit"]


def test_bad_records_are_letters_before_the_commit() -> None:
    # Broken JSON, a wrong type, no value at all, and a number that fits no column.
    records = [b"{", b'{"account": 3}', b"", row("huge", hour=2**70), row("good")]
    bench = Bench({P0: records}, rows=10)
    bench.run(5)
    assert bench.database.accounts == ["good"]
    assert [(one.reason, one.offset, one.raw) for one in bench.letters.sent] == [
        ("not_json", 0, records[0]), ("wrong_type", 1, records[1]), ("not_json", 2, b""),
        ("out_of_range", 3, records[3]),
    ]  # fmt: skip
    assert {(one.source, one.partition, one.ts, one.key) for one in bench.letters.sent} == {
        ("activity", 0, 1_000_000, b"k")
    }
    assert bench.broker.events[0] == "letters"
    assert bench.broker.events[-1] == "commit"
    assert bench.broker.commits == {P0: 5}
    assert bench.loop.counters.rejected == 4


def test_only_bad_records_still_move_the_offset() -> None:
    bench = Bench({P0: [b"{"]})
    bench.run(1)
    assert not bench.loop.done
    bench.run(5)
    assert bench.broker.commits == {P0: 1}
    assert bench.loop.done


def test_while_clickhouse_is_away_nothing_is_read_on_and_nothing_is_lost() -> None:
    bench = Bench({P0: [row(f"a{number}") for number in range(9)], P1: [row("b")]})
    bench.database.away = 4
    bench.run(1)
    assert bench.broker.paused == {P0, P1}
    read = dict(bench.broker.positions)
    bench.run(2, seconds=0.1)
    assert (bench.broker.positions, bench.broker.commits) == (read, {})
    waits = []
    for _ in range(200):
        before = bench.loop.counters.retries
        bench.run(1, seconds=0.1)
        if bench.loop.counters.retries > before:
            waits.append(bench.log.lines[-1][1]["retry_in_s"])
    assert waits == [1.0, 2.0, 4.0]
    assert sorted(bench.database.accounts) == sorted([*(f"a{number}" for number in range(9)), "b"])
    assert bench.broker.commits == {P0: 9, P1: 1}
    assert bench.loop.done
    assert bench.broker.paused == set()


def test_a_store_that_comes_up_late() -> None:
    bench = Bench({P0: [row("a")]})
    bench.refuse_to_open = 3
    bench.run(40)
    assert bench.database.accounts == ["a"]
    assert bench.loop.counters.retries == 3


def test_a_job_gives_up_and_commits_nothing() -> None:
    bench = Bench({P0: [row("a")]}, patience_s=10.0)
    bench.database.away = 1_000
    with pytest.raises(Failure, match="gone fishing; gave up after"):
        bench.run(1_000)
    assert bench.broker.commits == {}


def test_a_refusal_stops_the_worker_and_commits_nothing() -> None:
    bench = Bench({P0: [row("a")]})
    bench.database.error = Failure("ClickHouse refuses: no such table")
    with pytest.raises(Failure, match="no such table"):
        bench.run(10)
    assert bench.broker.commits == {}


def test_a_refused_commit_leaves_the_rows_to_the_next_owner() -> None:
    bench = Bench({P0: [row("a")]})
    bench.broker.accept = False
    bench.run(6)
    assert bench.loop.counters.refused_commits == 1
    assert bench.broker.commits == {}
    bench.broker.accept = True
    bench.broker.rebalance(Change("lost", frozenset({P0})), Change("assigned", frozenset({P0})))
    bench.run(8)
    assert bench.database.accounts == ["a", "a"]
    assert bench.broker.commits == {P0: 1}


def test_a_revoked_partition_is_neither_written_nor_committed() -> None:
    bench = Bench({P0: [row("a")], P1: [row("b")]}, rows=10)
    bench.run(1)
    bench.broker.rebalance(Change("revoked", frozenset({P0, P1})), Change("assigned", frozenset({P1})))
    bench.run(8)
    assert bench.database.accounts == ["b"]
    assert bench.broker.commits == {P1: 1}
    assert bench.loop.partitions == [P1]


def test_records_from_before_a_rebalance_do_not_commit_past_those_after_it() -> None:
    bench = Bench({P0: [row(f"a{number}") for number in range(6)]}, rows=100)
    bench.run(1)
    # Everything was read and nothing committed; the partition goes and comes back while a poll returns.
    bench.broker.rebalance(Change("revoked", frozenset({P0})), Change("assigned", frozenset({P0})))
    bench.broker.stale = [bench.broker.record(P0, 5)]
    bench.broker.positions[P0] = 6
    bench.run(10)
    assert bench.database.accounts == [f"a{number}" for number in range(6)]
    assert bench.broker.commits == {P0: 6}


def test_letters_are_counted_where_they_came_from() -> None:
    topic: TopicPartition = ("dead_letters", 0)
    bench = Bench({topic: [b"raw bytes", b"other"]})
    records = [
        Record(bench.broker.record(topic, 0).envelope, [("dw-source", b"llm.requests"), ("dw-offset", b"77")]),
        Record(bench.broker.record(topic, 1).envelope),
    ]
    bench.broker.poll_records = lambda *_: [records.pop(0)] if records else []  # type: ignore[method-assign]
    bench.run(8)
    found = [(one.source, one.offset, one.reason, len(one.raw)) for one in bench.database.letters]
    assert found == [("llm.requests", 77, "unknown", 9), ("dead_letters", 1, "unknown", 5)]


def test_large_records_make_a_batch_by_size() -> None:
    bench = Bench({P0: [b" " * (MAX_BATCH_BYTES // 2) + row("a"), b" " * (MAX_BATCH_BYTES // 2) + row("b")]}, rows=100)
    bench.run(1)
    assert bench.database.accounts == ["a", "b"]
