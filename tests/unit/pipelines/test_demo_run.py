"""The demo's directory and files, and the demo as a whole at a small scale."""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random

import msgspec
import pytest

from infra.clickhouse.named import load_query
from pipelines.config import load_config
from pipelines.demo import run, story
from pipelines.demo.outcome import evaluate
from pipelines.demo.prompts import Prompt, PromptSets
from pipelines.demo.run import MARKER, Files, prepare, read_alerts, shown_queries, write_traffic
from pipelines.demo.scenario import build_demo_events
from pipelines.errors import UsageError
from pipelines.store import open_store
from schemas.events import Request, decode_event


def made_up(count: int = 300) -> PromptSets:
    """Prompts that share no phrase, as those of different people hardly do."""
    rng = Random(4)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(2, 9))) for _ in range(3000)]
    live = tuple(Prompt(text=" ".join(rng.choices(words, k=rng.randint(4, 30))), app=str(n // 4)) for n in range(count))
    return PromptSets(live=live, curated=(), dialogues=(), code=tuple(f"def f{n}(x): ..." for n in range(6)))


def test_a_new_directory_is_made_and_marked(tmp_path: Path) -> None:
    files = prepare(tmp_path / "a" / "demo")
    assert (tmp_path / "a" / "demo" / MARKER).is_file()
    assert files == Files.under(tmp_path / "a" / "demo")


def test_an_earlier_demo_is_replaced_but_its_downloads_stay(tmp_path: Path) -> None:
    files = prepare(tmp_path / "demo")
    files.clickhouse.mkdir()
    (files.clickhouse / "data").write_text("x")
    files.alerts.write_text("old\n")
    files.cache.mkdir()
    (files.cache / "some.whl").write_text("wheel")
    mine = tmp_path / "demo" / "notes.txt"
    mine.write_text("keep")
    prepare(tmp_path / "demo")
    assert not files.clickhouse.exists()
    assert not files.alerts.exists()
    assert (files.cache / "some.whl").exists()
    assert mine.read_text() == "keep"


def test_a_directory_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "clickhouse" / "data"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(UsageError, match="holds files that no demo made"):
        prepare(tmp_path)
    assert precious.read_text() == "years of work"
    with pytest.raises(UsageError, match="is not a directory"):
        prepare(precious)


def test_written_events_are_those_simulated(tmp_path: Path) -> None:
    files = prepare(tmp_path / "demo")
    traffic = build_demo_events(made_up(), seed=3, scale=0.02)
    requests = write_traffic(traffic, files)
    events = [decode_event(line) for line in files.events.read_bytes().splitlines()]
    assert events == list(traffic)
    assert json.loads(files.labels.read_text()) == traffic.labels
    sent = sorted((event.account, event.ts) for event in events if isinstance(event, Request))
    assert sent == sorted((account, ts) for account, own in requests.items() for ts in own)
    assert all(own == sorted(own) for own in requests.values())


def test_every_shown_query_is_there_and_takes_these_parameters() -> None:
    nothing = evaluate({}, [], {})
    found = msgspec.structs.replace(nothing, campaign_ids=["camp-1", "camp-2"])
    assert {name for name, _ in shown_queries(nothing)} < {name for name, _ in shown_queries(found)}
    for name, params in shown_queries(found):
        assert set(load_query(name).parameters) == set(params)


def test_alerts_of_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "alerts.jsonl").touch()
    assert list(read_alerts(tmp_path / "alerts.jsonl")) == []


@pytest.mark.slow
def test_the_whole_demo_with_made_up_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the download: simulate, replay, store, evaluate, query, tell."""
    monkeypatch.setattr(run, "_prompts", lambda *_: made_up(900))
    stream = io.StringIO()
    outcome = run.run_demo(
        tmp_path / "demo", config=load_config(), console=story.console(stream), scale=0.25, program="bin/distillwatch"
    )
    text = stream.getvalue()
    assert outcome.problems == []
    assert outcome.campaign_accounts == 60
    assert outcome.first_alert is not None
    assert 0 < outcome.exposure < 1
    assert outcome.campaign_ids[0] in text
    assert "combining statistical rigor" in text
    assert "FROM campaigns_current" in text
    assert "no benign account among" in text
    (alert,) = outcome.alerts
    assert f"bin/distillwatch explain {alert.alert_id} --file {tmp_path / 'demo' / 'alerts.jsonl'}" in text
    files = Files.under(tmp_path / "demo")
    assert files.signals.stat().st_size > 0
    # The demo let go of the embedded ClickHouse: another process, or this one again, can read it.
    with open_store(f"chdb://{files.clickhouse}") as store:
        assert list(store.query("campaigns")["campaign"]) == outcome.campaign_ids
