"""`distillwatch alerts`: the highest version holds, accounts add up, odd files are named."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import alert_views
from pipelines.alert_listing import list_alerts
from pipelines.alert_sources import FileAlerts, open_alerts
from pipelines.alert_views import AlertBook
from pipelines.cli import main
from pipelines.errors import UsageError
from schemas.alerts import ALERT_DECODER, Alert
from tests.unit.pipelines.alert_factory import make_alert, write_alerts

VERSIONS = [
    make_alert(version=1, accounts=["a1", "a2"], accounts_total=2, severity="medium"),
    make_alert(version=2, accounts=["a3"], accounts_total=3, status="updated", ts=1_784_887_900_000),
    make_alert(version=3, accounts=["a2", "a4"], accounts_total=4, status="updated", ts=1_784_888_000_000),
]


@given(st.lists(st.sampled_from(VERSIONS), max_size=6).flatmap(lambda more: st.permutations(VERSIONS + more)))
def test_the_highest_version_holds_whatever_the_order_and_however_often(messages: list[Alert]) -> None:
    book = AlertBook()
    book.add(messages)
    [view] = book.views()
    assert view.alert == VERSIONS[2]
    assert view.accounts == ["a1", "a2", "a3", "a4"]


def test_alerts_are_listed_newest_first_with_ties_by_id() -> None:
    book = AlertBook()
    book.add([make_alert(alert_id=name, ts=ts) for name, ts in (("b", 5), ("c", 9), ("a", 5))])
    assert [view.alert.alert_id for view in book.views()] == ["c", "a", "b"]


def test_the_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_views, "MAX_ALERTS", 3)
    monkeypatch.setattr(alert_views, "MAX_ACCOUNTS", 4)
    book = AlertBook()
    book.add(make_alert(alert_id=f"x{number}") for number in range(10))
    assert {view.alert.alert_id for view in book.views()} == {"x7", "x8", "x9"}
    book.add(make_alert(alert_id="x9", version=version, accounts=[f"n{version}"] * 2) for version in range(2, 50))
    assert len(book.find("x9").accounts) <= 5
    assert book.find("x9").alert.version == 49


def test_an_id_may_be_cut_short_while_it_is_clear() -> None:
    book = AlertBook()
    book.add([make_alert(alert_id="camp-12"), make_alert(alert_id="camp-1"), make_alert(alert_id="acct-7")])
    assert book.find("camp-1").alert.alert_id == "camp-1"
    assert book.find("a").alert.alert_id == "acct-7"
    with pytest.raises(UsageError, match="start of 2 alert ids: camp-1, camp-12"):
        book.find("camp")
    with pytest.raises(UsageError, match=r"no alert zz here; there are: .*acct-7"):
        book.find("zz")
    with pytest.raises(UsageError, match="no alerts here at all"):
        AlertBook().find("zz")


def test_the_table_shows_the_current_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_alerts(tmp_path / "alerts.jsonl", *VERSIONS, make_alert(alert_id="other", shadow=True, kind="account"))
    assert main(["alerts", "--file", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["decided", "severity", "kind"]
    assert lines[1].split()[:6] == ["2026-07-24", "10:13:20Z", "high", "campaign", "updated", "4"]
    assert "template_family 75%, shared_infrastructure 25%" in lines[1]
    assert lines[1].split()[-1] == "campaign-1"
    assert "new (shadow)" in lines[2]


def test_json_has_one_line_an_alert_and_all_accounts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_alerts(tmp_path / "alerts.jsonl", *VERSIONS)
    assert main(["alerts", "--file", str(file), "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["accounts"] == ["a1", "a2", "a3", "a4"]
    assert ALERT_DECODER.decode(line).version == 3


def test_severity_and_limit_narrow_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = ("low", "medium", "high", "critical")
    file = write_alerts(
        tmp_path / "alerts.jsonl", *(make_alert(alert_id=f"id-{level}", severity=level) for level in levels)
    )
    assert main(["alerts", "--file", str(file), "--severity", "high", "--limit", "1"]) == 0
    out = capsys.readouterr().out
    assert "id-critical" in out
    assert "id-high" not in out
    assert "1 more; --limit shows them" in out
    assert main(["alerts", "--file", str(file), "--severity", "urgent"]) == 2
    assert "must be one of low, medium, high, critical, got urgent" in capsys.readouterr().err


def test_an_empty_file_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_alerts(tmp_path / "alerts.jsonl")
    assert main(["alerts", "--file", str(file)]) == 0
    assert capsys.readouterr().out == "no alerts\n"
    write_alerts(file, make_alert(severity="low"))
    assert main(["alerts", "--file", str(file), "--severity", "high"]) == 0
    assert capsys.readouterr().out == "no alerts (1 below the wanted severity)\n"


def test_a_missing_or_damaged_file_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "alerts.jsonl"
    assert main(["alerts", "--file", str(file)]) == 2
    assert "no such file; `distillwatch replay" in capsys.readouterr().err
    write_alerts(file, make_alert())
    file.write_bytes(file.read_bytes() + b'{"alert_id": 3}\n')
    assert main(["alerts", "--file", str(file)]) == 2
    assert f"{file}:2: not an alert" in capsys.readouterr().err


def test_two_sources_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="--file and --clickhouse name different sources"):
        open_alerts(file=Path("a"), bootstrap=None, clickhouse="chdb:///x", config=None)


def test_a_terminal_cannot_be_steered_by_an_alert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_alerts(tmp_path / "alerts.jsonl", make_alert(alert_id="x\x1b]0;t\x07[red]y[/red]\u202e"))
    assert main(["alerts", "--file", str(file)]) == 0
    out = capsys.readouterr().out
    assert "x\\x1b]0;t\\x07[red]y[/red]\\u202e" in out
    assert "\x1b" not in out


def test_a_followed_file_gives_each_message_once_and_waits_for_whole_lines(tmp_path: Path) -> None:
    file = write_alerts(tmp_path / "alerts.jsonl", VERSIONS[0])
    source = FileAlerts(file)
    assert [alert.version for alert in source.poll()] == [1]
    line = msgspec.json.encode(VERSIONS[1]) + b"\n"
    with file.open("ab") as stream:
        stream.write(line[:40])
        stream.flush()
        assert source.poll() == []
        stream.write(line[40:])
    assert [alert.version for alert in source.poll()] == [2]
    assert source.poll() == []


def test_a_followed_file_that_is_written_anew_is_read_from_its_start(tmp_path: Path) -> None:
    file = write_alerts(tmp_path / "alerts.jsonl", *VERSIONS)
    source = FileAlerts(file)
    assert len(source.poll()) == 3
    write_alerts(file, VERSIONS[0])
    assert [alert.version for alert in source.poll()] == [1]


class Scripted:
    """A source that hands out prepared polls, then is interrupted as by Ctrl-C."""

    def __init__(self, *polls: list[Alert]) -> None:
        self._polls: Iterator[list[Alert]] = itertools.chain(polls)

    def poll(self) -> list[Alert]:
        try:
            return next(self._polls)
        except StopIteration:
            raise KeyboardInterrupt from None

    def close(self) -> None:
        raise AssertionError("the caller that opened a source closes it")


def test_follow_prints_what_comes_and_respects_the_severity(capsys: pytest.CaptureFixture[str]) -> None:
    low = make_alert(alert_id="small", severity="low")
    source = Scripted([VERSIONS[0]], [], [VERSIONS[1], low], [VERSIONS[2]])
    waits: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        list_alerts(source, severity="medium", limit=9, follow=True, as_json=False, sleep=waits.append)
    followed = [line for line in capsys.readouterr().out.splitlines() if " campaign updated: " in line]
    assert [line.split(": ")[1].split(" accounts")[0] for line in followed] == ["3", "4"]
    assert len(waits) == 4


def test_follow_as_json_accumulates_accounts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        list_alerts(
            Scripted([VERSIONS[0]], [VERSIONS[1]]),
            severity=None,
            limit=9,
            follow=True,
            as_json=True,
            sleep=lambda _: None,
        )
    assert [json.loads(line)["accounts"] for line in capsys.readouterr().out.splitlines()] == [
        ["a1", "a2"],
        ["a1", "a2", "a3"],
    ]
