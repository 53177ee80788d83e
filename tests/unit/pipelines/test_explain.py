"""`distillwatch explain`: everything an alert says, in words, and nothing that steers a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.alert_views import AlertView
from pipelines.cli import main
from pipelines.explain import explain
from pipelines.explanations import ATLAS, BLIND, NEXT_STEPS, SIGNALS
from schemas.alerts import SignalShare
from tests.unit.pipelines.alert_factory import make_alert, write_alerts

ROOT = Path(__file__).resolve().parents[3]


def explained(**changes: object) -> str:
    alert = make_alert(**changes)
    return explain(AlertView(alert=alert, accounts=alert.accounts))


def section(text: str, title: str) -> list[str]:
    lines = text.splitlines()
    start = lines.index(title) + 1
    return [line.strip() for line in lines[start : lines.index("", start) if "" in lines[start:] else None]]


def test_the_head_says_what_who_and_when() -> None:
    text = explained()
    assert text.startswith("Campaign alert campaign-1\n")
    assert "high (score 0.93, confidence 0.88)" in text
    assert "2026-07-24 10:00:00Z to 2026-07-24 10:10:00Z" in text
    assert "config 0c1d2e3f4a5b" in text
    assert "1,234" in text


def test_signals_come_strongest_first_with_evidence_and_what_to_check() -> None:
    why = section(explained(), "Why")
    assert why[0].split()[:2] == ["template_family", "75%"]
    assert why[1] == SIGNALS["template_family"].meaning
    assert why[2] == "skeleton  you are an expert … <1>"
    assert why[3] == f"check: {SIGNALS['template_family'].check}"
    assert why[4].split()[:2] == ["shared_infrastructure", "25%"]


def test_evidence_of_every_kind_is_readable() -> None:
    evidence = {
        "first_seen": 1_784_887_200_000,
        "requests": 12_345,
        "share": 0.123456,
        "own": True,
        "domain": None,
        "names": [f"n{number}" for number in range(20)],
        "kinds": {"ip_prefix": {"accounts": 7}},
        "long": "x" * 1000,
    }
    why = "\n".join(
        section(explained(signals=[SignalShare(name="new_thing", contribution=1.0, evidence=evidence)]), "Why")
    )
    for words in (
        "2026-07-24 10:00:00Z",
        "12,345",
        "0.1235",
        "own              yes",
        "domain           unknown",
        "n11 and 8 more",
        "kinds.ip_prefix  accounts 7",
        "… (1,000 characters)",
    ):
        assert words in why
    assert "check:" not in why


def test_blind_fields_and_atlas_ids_are_put_into_words() -> None:
    text = explained(blind=["payment", "odd_field"], atlas=["AML.T0021", "AML.T9999"])
    assert section(text, "Not seen") == [f"payment: {BLIND['payment']}", "odd_field: this field was absent"]
    assert section(text, "MITRE ATLAS") == ["AML.T0021      Establish Accounts", "AML.T9999"]
    assert section(explained(blind=[], atlas=[]), "Not seen") == [
        "nothing: every field that the detectors use was there"
    ]


def test_long_account_lists_are_cut_and_counted() -> None:
    text = explained(accounts=[f"acct-{number}" for number in range(30)], accounts_total=45)
    accounts = section(text, "Accounts")
    assert accounts[:2] == ["acct-0", "acct-1"]
    assert accounts[-2:] == [
        "and 10 more; --accounts lists all of them",
        "15 more were named in messages that this source does not hold",
    ]


@pytest.mark.parametrize("kind", ["campaign", "account"])
def test_next_steps_begin_with_the_runbook(kind: str) -> None:
    steps = section(explained(kind=kind, runbook=f"docs/runbook.md#{kind}"), "Next")
    assert steps[0] == f"1. Follow docs/runbook.md#{kind}."
    assert [step.split(". ", 1)[1] for step in steps[1:]] == list(NEXT_STEPS[kind])


def test_a_shadow_alert_warns() -> None:
    assert "Do not act on it" in explained(shadow=True)
    assert "Do not act on it" not in explained()


def test_foreign_text_cannot_steer_a_terminal() -> None:
    text = explained(
        alert_id="i\x1b[2J",
        accounts=["a\x07"],
        signals=[SignalShare(name="n\x1b", contribution=1.0, evidence={"k\x1b": {"v\x1b": ["w\x1b\n"]}})],
        blind=["b\x1b"],
        atlas=["t\x1b"],
        campaign_id="c\x1b",
    )
    assert not any(char in text for char in "\x1b\x07")


def test_the_command_finds_by_prefix_and_adds_up_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_alerts(
        tmp_path / "alerts.jsonl",
        make_alert(version=2, accounts=["a3"], accounts_total=3, status="updated"),
        make_alert(version=1),
    )
    assert main(["explain", "camp", "--file", str(file)]) == 0
    out = capsys.readouterr().out
    assert "updated, version 2" in out
    assert section(out.removesuffix("\n"), "Accounts") == ["a1", "a2", "a3"]
    assert main(["explain", "camp", "--file", str(file), "--accounts"]) == 0
    assert capsys.readouterr().out == "a1\na2\na3\n"


def test_an_unknown_id_is_bad_usage_and_names_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_alerts(tmp_path / "alerts.jsonl", make_alert())
    assert main(["explain", "nope", "--file", str(file)]) == 2
    assert capsys.readouterr().err == "distillwatch: no alert nope here; there are: campaign-1\n"


def test_the_runbook_has_a_section_for_every_signal_and_kind() -> None:
    headings = {
        line.lstrip("# ").strip() for line in (ROOT / "docs" / "runbook.md").read_text().splitlines() if line[:1] == "#"
    }
    assert {"campaign", "account", *SIGNALS} <= headings


def test_atlas_ids_have_the_shape_of_the_standard() -> None:
    assert all(name.startswith("AML.T") for name in ATLAS)
