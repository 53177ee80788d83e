"""`distillwatch replay` as a user meets it: exit codes, what it prints, what it leaves."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cli import main
from pipelines.progress import Progress
from tests.unit.pipelines.replay_rig import config_dir, write_lines

GOOD = b'{"type":"release","ts":1784887200000,"model":"m"}'
EARLIER = b'{"type":"release","ts":1784887100000,"model":"m"}'


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    """The arguments that make a replay quick."""
    return ["--config", str(config_dir(tmp_path / "config"))]


def test_a_replay_says_on_stderr_what_it_did_and_nothing_on_stdout(
    tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    call = b'{"type":"request","id":"r","ts":1784887200000,"account":"a","model":"m"}'
    path = write_lines(tmp_path / "events.jsonl", [call, GOOD])
    alerts = tmp_path / "alerts.jsonl"
    assert main(["replay", str(path), "--alerts", str(alerts), *config]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"^2 events of 1 accounts in \d+\.\d s \([\d,]+/s\): 0 alert messages in ", err, re.MULTILINE)
    assert str(alerts) in err
    assert "0 signals" in err
    assert "rejected" not in err
    assert "in order" not in err
    assert alerts.read_bytes() == b""
    # The dead letters are there from the start, also without any.
    assert (tmp_path / "alerts.dead-letters.jsonl").read_bytes() == b""
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "alerts.dead-letters.jsonl",
        "alerts.jsonl",
        "config",
        "events.jsonl",
    ]


def test_rejected_lines_and_disorder_are_told_with_the_command_that_shows_them(
    tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path / "events.jsonl", [GOOD, b"nonsense", b'{"type":"ping"}', b"", EARLIER])
    alerts = tmp_path / "out" / "alerts.jsonl"
    assert main(["replay", str(path), "--alerts", str(alerts), *config]) == 0
    letters = tmp_path / "out" / "alerts.dead-letters.jsonl"
    err = capsys.readouterr().err
    assert f"{path} was not in order of `ts`; it was sorted on the way\n" in err
    assert f"3 lines were rejected; see: distillwatch dead-letters list --file {letters}\n" in err

    assert main(["dead-letters", "list", "--file", str(letters)]) == 0
    shown = capsys.readouterr().out
    for reason in ("not_json", "unknown_type", "empty"):
        assert reason in shown
    assert main(["dead-letters", "list", "--file", str(letters), "--reason", "empty"]) == 0
    assert "not_json" not in capsys.readouterr().out
    assert main(["dead-letters", "show", "1", "--file", str(letters)]) == 0
    shown = capsys.readouterr().out
    assert "not_json" in shown
    assert "nonsense" in shown
    assert "in a replay" in shown


def test_dead_letters_go_where_they_are_sent_and_come_back_for_another_replay(
    tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    limits = tmp_path / "config" / "pipeline.toml"
    limits.write_text("input.max_event_bytes = 1024\n")
    large = GOOD[:-1] + b',"note":"' + b"x" * 2_000 + b'"}'
    path = write_lines(tmp_path / "events.jsonl", [large, GOOD])
    letters = tmp_path / "rejected.jsonl"
    arguments = ["--dead-letters", str(letters), "--signals", str(tmp_path / "signals.jsonl"), *config]
    assert main(["replay", str(path), "--alerts", str(tmp_path / "alerts.jsonl"), *arguments]) == 0
    assert not (tmp_path / "alerts.dead-letters.jsonl").exists()
    (letter,) = map(json.loads, letters.read_text().splitlines())
    assert (letter["reason"], letter["source"], letter["offset"]) == ("too_large", str(path), 1)

    again = tmp_path / "again.jsonl"
    assert main(["dead-letters", "send-back", "--file", str(letters), "--output", str(again), "--yes"]) == 0
    limits.unlink()
    capsys.readouterr()
    assert main(["replay", str(again), "--alerts", str(tmp_path / "alerts.jsonl"), *config]) == 0
    assert "1 events of" in capsys.readouterr().err


def test_the_help_shows_an_example_and_every_documented_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Example: distillwatch replay events.jsonl --alerts alerts.jsonl" in text
    options = ("--alerts", "--signals", "--dead-letters", "--clickhouse", "--config", "--batch-size", "--no-progress")
    for option in options:
        assert option in text
    assert "[default: beside --alerts]" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument"),
        (["events.jsonl"], "Missing option '--alerts'"),
        (["events.jsonl", "--alerts", "a.jsonl", "--batch-size", "0"], "--batch-size"),
        (["absent.jsonl", "--alerts", "a.jsonl"], "absent.jsonl: no such file or directory"),
        (["table.csv", "--alerts", "a.jsonl"], "table.csv: not an event file by its name"),
        (["events.jsonl", "--alerts", "events.jsonl"], "events.jsonl: is an input"),
        (["events.jsonl", "--alerts", "a.jsonl", "--signals", "a.jsonl"], "need a file each"),
        (["events.jsonl", "--alerts", "events.jsonl/a.jsonl"], "cannot be written"),
        (["events.jsonl", "events.jsonl", "--alerts", "a.jsonl"], "name it once"),
        (["events.jsonl", "--alerts", "a.jsonl", "--config", "nowhere"], "nowhere"),
        (["events.jsonl", "--alerts", "a.jsonl", "--clickhouse", "sqlite://x"], "a ClickHouse DSN is"),
        (["events.jsonl", "--alerts", "a.jsonl", "--clickhouse", "http://u:p@127.0.0.1:9/x"], "holds a password"),
    ],
)
def test_bad_usage_is_exit_code_2_with_a_reason_and_no_traceback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "events.jsonl", [GOOD])
    (tmp_path / "table.csv").touch()
    assert main(["replay", *arguments]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert (tmp_path / "events.jsonl").read_bytes() == GOOD + b"\n"


def test_work_that_fails_is_exit_code_1(tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(tmp_path / "events.jsonl", [b"x" * 9_000])
    # /dev/full takes the opening and refuses every write.
    outputs = ["--alerts", str(tmp_path / "alerts.jsonl"), "--dead-letters", "/dev/full"]
    assert main(["replay", str(path), *outputs, *config]) == 1
    assert "No space left on device" in capsys.readouterr().err
    gone = ["--alerts", str(tmp_path / "alerts.jsonl"), "--clickhouse", "http://127.0.0.1:9/default"]
    assert main(["replay", str(path), *gone, *config]) == 1
    assert "ClickHouse does not answer" in capsys.readouterr().err


# Progress: for eyes only.


def bars(*, enabled: bool, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with Progress(enabled=enabled, console=console) as progress, progress.bar("replaying", 10) as advance:
        advance(4)
        advance(6)
    return stream.getvalue()


def test_a_terminal_shows_how_far_it_is() -> None:
    shown = bars(enabled=True, terminal=True)
    assert "replaying" in shown
    assert "10/10" in shown


@pytest.mark.parametrize(("enabled", "terminal"), [(False, True), (False, False), (True, False)])
def test_files_and_those_who_do_not_want_bars_get_none(enabled: bool, terminal: bool) -> None:
    assert "replaying" not in bars(enabled=enabled, terminal=terminal)
