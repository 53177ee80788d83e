"""What a simulation leaves in its directory, and what it sends to a broker."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from pipelines.cli import build_app, main
from pipelines.errors import Failure
from pipelines.line_readers import reader
from pipelines.simulate import Simulation, generate, load_scenario
from pipelines.simulate.kafka import paced
from pipelines.simulate.output import WRITERS, Written, to_file, write
from schemas.events import Release, Request, decode_event, encode_event
from tests.unit.simulate.texts import made_up


def small() -> Simulation:
    scenario = load_scenario("small")
    campaigns = [replace(campaign, accounts=5) for campaign in scenario.campaign]
    return generate(replace(scenario, campaign=campaigns), prompts=made_up(), accounts=10, days=1.5)


def written(out: Path, ending: str) -> tuple[Written, Path]:
    path, deliver = to_file(out, ending)
    return write(small(), out, deliver=deliver, advance=lambda _: None), path


@pytest.mark.parametrize("ending", list(WRITERS))
def test_every_format_holds_the_same_events(tmp_path: Path, ending: str) -> None:
    done, path = written(tmp_path, ending)
    lines = [line.raw for line in reader(path, 1 << 20)()]
    assert done.events == len(lines)
    assert lines == [encode_event(event) for event in small().events()]


@pytest.mark.parametrize("ending", list(WRITERS))
def test_two_runs_write_the_same_bytes(tmp_path: Path, ending: str) -> None:
    digests = []
    for run in ("a", "b"):
        written(tmp_path / run, ending)
        digests.append({f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (tmp_path / run).iterdir()})
    assert len(digests[0]) == 4
    assert digests[0] == digests[1]


def test_labels_and_harvest_belong_to_the_events(tmp_path: Path) -> None:
    done, path = written(tmp_path, "jsonl")
    labels, harvest = pq.read_table(tmp_path / "labels.parquet"), pq.read_table(tmp_path / "harvest.parquet")
    assert labels.column_names == ["account", "kind", "campaign", "shape", "evasion", "group"]
    assert harvest.column_names == ["request_id", "campaign"]
    assert (len(labels), len(harvest)) == (done.accounts, done.harvest)
    events = [decode_event(line) for line in path.read_bytes().splitlines()]
    requests = {event.id: event.account for event in events if isinstance(event, Request)}
    campaign = dict(zip(labels["account"].to_pylist(), labels["campaign"].to_pylist(), strict=True))
    assert len(harvest) > 20
    assert all(campaign[requests[row["request_id"]]] == row["campaign"] for row in harvest.to_pylist())


def test_the_scenario_as_used_gives_the_same_again(tmp_path: Path) -> None:
    simulation = small()
    written(tmp_path, "jsonl")
    used = load_scenario(tmp_path / "scenario.toml")
    assert used == simulation.scenario
    assert "is simulated" in (tmp_path / "scenario.toml").read_text()
    again = generate(used, prompts=made_up())
    assert [encode_event(e) for e in again.events()] == [encode_event(e) for e in simulation.events()]


def test_progress_counts_the_simulated_hours(tmp_path: Path) -> None:
    steps: list[int] = []
    _, deliver = to_file(tmp_path, "jsonl")
    write(small(), tmp_path, deliver=deliver, advance=steps.append)
    assert sum(steps) == 35  # the last hour has begun


def test_an_unwritable_directory_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _, deliver = to_file(tmp_path / "file", "jsonl")
    with pytest.raises(Failure, match="cannot be written"):
        write(small(), tmp_path / "file", deliver=deliver, advance=lambda _: None)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 50.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(("speed", "naps"), [(1.0, [2.0, 4.0]), (4.0, [0.5, 1.0]), (0.0, [])])
def test_events_come_when_they_are_due(speed: float, naps: list[float]) -> None:
    clock = Clock()
    events = [Release(ts=at, model="m") for at in (10_000, 12_000, 12_000, 16_000)]
    found = list(paced(events, speed, clock=lambda: clock.now, sleep=clock.sleep))
    assert found == events
    assert clock.naps == pytest.approx(naps)


def test_a_slow_taker_is_not_slowed_further() -> None:
    clock = Clock()
    for _ in paced(
        [Release(ts=at, model="m") for at in (0, 1_000, 2_000)], 1, clock=lambda: clock.now, sleep=clock.sleep
    ):
        clock.now += 3
    assert clock.naps == []


def test_negative_speed_is_refused() -> None:
    with pytest.raises(ValueError, match="speed must be at least 0"):
        list(paced([Release(ts=0, model="m")], -1, clock=lambda: 0.0, sleep=lambda _: None))


def test_help_says_what_is_simulated() -> None:
    shown = CliRunner().invoke(build_app("simulate"), ["simulate", "--help"]).output
    assert "The assignment of prompts to accounts and times is" in " ".join(shown.split())


def test_an_unknown_scenario_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "nothing", "--out", str(tmp_path)]) == 2
    assert "no scenario 'nothing'" in capsys.readouterr().err


def test_the_command_writes_and_says_what_is_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.simulate.load_prompts", lambda *_, **__: made_up())
    arguments = ["simulate", "small", "--out", str(tmp_path), "--accounts", "5", "--days", "0.5", "--seed", "9"]
    assert main([*arguments, "--format", "zst"]) == 0
    said = capsys.readouterr().err
    assert "Which account sends which of them and when is simulated" in " ".join(said.split())
    assert "(seed 9)" in said
    assert {file.name for file in tmp_path.iterdir()} == {
        "events.jsonl.zst", "labels.parquet", "harvest.parquet", "scenario.toml",
    }  # fmt: skip
    assert "seed = 9\n" in (tmp_path / "scenario.toml").read_text()
