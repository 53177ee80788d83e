"""Replay: the same events give the same bytes, however they come, and bad input changes nothing."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pipelines import replay
from pipelines.config import Config
from pipelines.errors import Failure, UsageError
from schemas.events import Request, Response, decode_event, encode_event
from tests.bad_inputs import generate, good_events
from tests.unit.pipelines.replay_rig import (
    CAMPAIGN,
    MemoryStore,
    Outcome,
    campaign_lines,
    config_dir,
    quick_config,
    run,
    write_lines,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return quick_config(tmp_path_factory.mktemp("config") / "quick")


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return campaign_lines()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], config: Config) -> Outcome:
    """What a plain replay of the lines finds: there must be something, or the comparisons say nothing."""
    folder = tmp_path_factory.mktemp("known")
    outcome = run([write_lines(folder / "events.jsonl", lines)], folder / "out", config)
    named = [account for alert in outcome.found for account in alert.accounts]
    assert any(alert.kind == "campaign" for alert in outcome.found)
    assert len(named) >= 12
    assert all(account.startswith(CAMPAIGN) for account in named)
    assert outcome.signals
    return outcome


def test_the_summary_counts_what_was_done(known: Outcome, lines: list[bytes]) -> None:
    events = [decode_event(line) for line in lines]
    summary = known.summary
    assert (summary.events, summary.bad, summary.late, summary.unordered) == (len(lines), 0, 0, [])
    assert (summary.alerts, summary.signals) == (len(known.found), len(known.signals.splitlines()))
    assert (summary.first_ts, summary.last_ts) == (events[0].ts, events[-1].ts)
    assert summary.accounts == 150
    assert summary.seconds > 0


@pytest.mark.parametrize("batch_size", [1, 7, 4_096])
def test_the_size_of_batches_changes_no_byte(
    tmp_path: Path, lines: list[bytes], known: Outcome, config: Config, batch_size: int
) -> None:
    path = write_lines(tmp_path / "events.jsonl", lines)
    outcome = run([path], tmp_path / "out", config, batch_size=batch_size)
    assert outcome[:2] == known[:2]


def test_the_order_of_the_lines_changes_no_byte(
    tmp_path: Path, lines: list[bytes], known: Outcome, config: Config
) -> None:
    shuffled = random.Random(5).sample(lines, len(lines))
    path = write_lines(tmp_path / "events.jsonl", shuffled)
    outcome = run([path], tmp_path / "out", config)
    assert outcome[:2] == known[:2]
    assert outcome.summary.unordered == [str(path)]
    assert outcome.summary.late == 0


def test_the_number_of_files_changes_no_byte(
    tmp_path: Path, lines: list[bytes], known: Outcome, config: Config
) -> None:
    rng = random.Random(6)
    homes = [rng.randrange(3) for _ in lines]
    for number in range(3):
        mine = [line for line, home in zip(lines, homes, strict=True) if home == number]
        write_lines(tmp_path / f"{number}.jsonl", rng.sample(mine, len(mine)) if number == 1 else mine)
    outcome = run([tmp_path], tmp_path / "out", config, batch_size=100)
    assert outcome[:2] == known[:2]
    assert outcome.summary.late == 0
    assert outcome.summary.unordered == [str(tmp_path / "1.jsonl")]


def test_other_processes_and_hash_seeds_change_no_byte(tmp_path: Path, lines: list[bytes], known: Outcome) -> None:
    path = write_lines(tmp_path / "events.jsonl", lines)
    folder = config_dir(tmp_path / "config")
    for seed in ("1", "2"):
        alerts, signals = tmp_path / f"alerts{seed}.jsonl", tmp_path / f"signals{seed}.jsonl"
        command = [sys.executable, "-m", "pipelines.cli", "replay", str(path), "--config", str(folder)]
        command += ["--alerts", str(alerts), "--signals", str(signals)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
        assert (alerts.read_bytes(), signals.read_bytes()) == known[:2]


def test_nothing_found_leaves_empty_files(tmp_path: Path, config: Config) -> None:
    for number, content in enumerate(([], [b'{"type":"release","ts":1784887200000,"model":"m-next"}'])):
        path = write_lines(tmp_path / f"{number}.jsonl", content)
        outcome = run([path], tmp_path / f"out{number}", config)
        assert (outcome.alerts, outcome.signals, outcome.letters) == (b"", b"", [])
        assert outcome.summary.events == len(content)
    assert run([tmp_path / "0.jsonl"], tmp_path / "none", config).summary.first_ts is None


def test_only_bad_lines_are_no_crash(tmp_path: Path, config: Config) -> None:
    path = write_lines(tmp_path / "bad.jsonl", [b"nonsense", b"", b"[]"])
    outcome = run([path], tmp_path / "out", config, batch_size=2)
    assert [(letter.offset, letter.reason) for letter in outcome.letters] == [
        (1, "not_json"),
        (2, "empty"),
        (3, "not_an_object"),
    ]
    assert (outcome.summary.events, outcome.summary.bad, outcome.alerts) == (0, 3, b"")


def test_ten_thousand_bad_lines_go_to_the_dead_letters_and_change_nothing(
    tmp_path: Path, lines: list[bytes], known: Outcome, config: Config
) -> None:
    bad = list(generate(10_000, seed=11))
    rng = random.Random(12)
    places = sorted(rng.choices(range(len(lines) + 1), k=len(bad)))
    path, expected, number, taken = tmp_path / "events.jsonl", {}, 0, 0
    with path.open("wb") as file:
        for place, line in enumerate([*lines, None]):
            while taken < len(bad) and places[taken] == place:
                number += 1
                raw, reason = bad[taken]
                expected[number] = (raw, reason)
                file.write(raw + b"\n")
                taken += 1
            if line is not None:
                number += 1
                file.write(line + b"\n")
    store = MemoryStore()
    outcome = run([path], tmp_path / "out", config, store=store.as_store())
    # Whole bytes are compared through their hash, so that a failure does not print 10 MB.
    found = {letter.offset: (hash(letter.raw), letter.reason) for letter in outcome.letters}
    assert len(outcome.letters) == len(found) == outcome.summary.bad == 10_000
    assert found == {place: (hash(raw), reason) for place, (raw, reason) in expected.items()}
    assert {letter.source for letter in outcome.letters} == {str(path)}
    assert outcome.summary.events == len(lines)
    assert outcome[:2] == known[:2]
    assert activity(store) == sent(lines)


def test_good_events_of_every_kind_are_all_processed_among_bad_ones(tmp_path: Path, config: Config) -> None:
    good = [encode_event(event) for event in good_events(2_000, seed=3)]
    bad = [raw for raw, _ in generate(500, seed=4)]
    mixed = good + bad
    random.Random(9).shuffle(mixed)
    store = MemoryStore()
    outcome = run([write_lines(tmp_path / "e.jsonl", mixed)], tmp_path / "out", config, store=store.as_store())
    assert (outcome.summary.events, outcome.summary.bad, outcome.summary.late) == (2_000, 500, 0)
    assert Counter(letter.raw for letter in outcome.letters) == Counter(bad)
    assert activity(store) == sent(good)


def activity(store: MemoryStore) -> Counter[tuple[str, str]]:
    """Requests and responses of each account, as the activity rows have them."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in store.activity.values():
        counts["request", row.account] += row.requests
        counts["response", row.account] += row.responses
    return +counts


def sent(lines: list[bytes]) -> Counter[tuple[str, str]]:
    events = [decode_event(line) for line in lines]
    counts: Counter[tuple[str, str]] = Counter()
    for event in events:
        if isinstance(event, Request):
            counts["request", event.account] += 1
        elif isinstance(event, Response):
            counts["response", event.account] += 1
    return counts


def test_a_store_gets_what_the_files_get(tmp_path: Path, lines: list[bytes], known: Outcome, config: Config) -> None:
    store = MemoryStore()
    outcome = run([write_lines(tmp_path / "e.jsonl", lines)], tmp_path / "out", config, store=store.as_store())
    assert store.migrated == 1
    encode = msgspec.json.Encoder().encode
    assert b"".join(encode(alert) + b"\n" for alert in store.alerts) == outcome.alerts == known.alerts
    assert b"".join(encode(signal) + b"\n" for signal in store.signals) == outcome.signals


def test_a_large_event_is_refused_by_the_limit_of_the_config(tmp_path: Path, config: Config) -> None:
    limit = 2_000
    limits = msgspec.structs.replace(config.pipeline.input, max_event_bytes=limit)
    small = msgspec.structs.replace(config, pipeline=msgspec.structs.replace(config.pipeline, input=limits))
    start = b'{"type":"release","ts":1784887200000,"model":"m","note":"'
    fitting, large, huge = (start + b"x" * (size - len(start) - 2) + b'"}' for size in (limit, limit + 1, 5 * limit))
    path = write_lines(tmp_path / "e.jsonl", [large, huge, fitting])
    outcome = run([path], tmp_path / "out", small)
    assert outcome.summary.events == 1
    first, second = outcome.letters
    assert (first.reason, first.raw) == ("too_large", large)
    assert (second.reason, second.raw) == ("too_large", huge[: 4 * limit])
    assert second.detail == "10000 bytes, of which the first 8000 are kept here"


def test_a_damaged_file_gives_one_dead_letter_and_the_rest_is_processed(
    tmp_path: Path, lines: list[bytes], config: Config
) -> None:
    import gzip

    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines))[:-20])
    other = write_lines(tmp_path / "other.jsonl", [b'{"type":"release","ts":1784887200000,"model":"m"}'])
    outcome = run([path, other], tmp_path / "out", config)
    (letter,) = outcome.letters
    assert (letter.reason, letter.source) == ("bad_compression", str(path))
    assert outcome.summary.events == letter.offset
    assert outcome.summary.events > len(lines) - 50


# What is refused before any work, and what stops it.


def test_an_output_that_is_an_input_is_refused_and_left_alone(tmp_path: Path, config: Config) -> None:
    path = write_lines(tmp_path / "events.jsonl", [b'{"type":"release","ts":1,"model":"m"}'])
    hard, soft = tmp_path / "hard.jsonl", tmp_path / "soft.jsonl"
    hard.hardlink_to(path)
    soft.symlink_to(path)
    before = path.read_bytes()
    free = tmp_path / "free.jsonl"
    for same in (path, hard, soft, tmp_path / "x" / ".." / "events.jsonl"):
        (tmp_path / "x").mkdir(exist_ok=True)
        for outputs in (
            {"alerts": same},
            {"alerts": free, "signals": same},
            {"alerts": free, "dead_letters": same},
        ):
            with pytest.raises(UsageError, match="is an input; write the output elsewhere"):
                replay.run([path], config=config, **outputs)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match="need a file each"):
        replay.run([path], config=config, alerts=free, signals=free)


def test_an_output_that_cannot_be_written_is_refused_before_the_input_is_read(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines(tmp_path / "events.jsonl", [b"{}"])
    (tmp_path / "file").touch()

    def scan(*_: object) -> None:
        pytest.fail("read before the outputs were checked")

    monkeypatch.setattr("pipelines.sources.Source.scan", scan)
    good, bad = tmp_path / "good.jsonl", tmp_path / "file" / "alerts.jsonl"
    cases: list[dict[str, Path]] = [
        {"alerts": tmp_path},
        {"alerts": bad},
        {"alerts": good, "signals": bad},
        {"alerts": good, "dead_letters": bad},
    ]
    for outputs in cases:
        with pytest.raises(UsageError, match="cannot be written"):
            replay.run([path], config=config, **outputs)  # type: ignore[arg-type]


def test_folders_of_outputs_are_made(tmp_path: Path, config: Config) -> None:
    path = write_lines(tmp_path / "events.jsonl", [])
    alerts = tmp_path / "new" / "folder" / "alerts.jsonl"
    replay.run([path], config=config, alerts=alerts)
    assert alerts.read_bytes() == b""


def test_an_earlier_output_is_replaced(tmp_path: Path, config: Config) -> None:
    path, alerts = write_lines(tmp_path / "events.jsonl", []), tmp_path / "alerts.jsonl"
    alerts.write_text("old\n")
    replay.run([path], config=config, alerts=alerts)
    assert alerts.read_bytes() == b""


def test_a_full_disk_is_a_failure_that_names_what_is_incomplete(
    tmp_path: Path, lines: list[bytes], config: Config
) -> None:
    # /dev/full takes the opening and refuses every write.
    path = write_lines(tmp_path / "events.jsonl", lines)
    with pytest.raises(Failure, match=r"No space left on device\); incomplete: .*alerts.jsonl, /dev/full"):
        replay.run([path], config=config, alerts=tmp_path / "alerts.jsonl", signals=Path("/dev/full"))


def test_other_errors_of_the_system_are_not_taken_for_a_full_disk(tmp_path: Path, config: Config) -> None:
    def broken() -> None:
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    path = write_lines(tmp_path / "events.jsonl", [])
    store: Any = SimpleNamespace(migrate=broken)
    with pytest.raises(ConnectionResetError):
        replay.run([path], config=config, alerts=tmp_path / "alerts.jsonl", store=store)


def test_a_batch_needs_a_line(tmp_path: Path, config: Config) -> None:
    path = write_lines(tmp_path / "events.jsonl", [b"{}"])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        replay.run([path], config=config, alerts=tmp_path / "alerts.jsonl", batch_size=0)
