"""Replay into a real ClickHouse engine: the same alerts as in the file, and once only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.store import Store, open_store
from tests.conftest import Endpoint
from tests.unit.pipelines.replay_rig import campaign_lines, config_dir, quick_config, run, write_lines

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("alerts_current", "campaigns_current", "campaign_members_current", "signals_current", "activity_current")


def counts(store: Store) -> dict[str, int]:
    return {view: int(store.query(f"SELECT count() AS n FROM {view}")["n"][0]) for view in SHOWN}  # noqa: S608


def test_a_second_replay_changes_no_count(tmp_path: Path, clickhouse_endpoint: Endpoint) -> None:
    config = quick_config(tmp_path / "config")
    path = write_lines(tmp_path / "events.jsonl", campaign_lines())
    with open_store(clickhouse_endpoint.dsn) as store:
        first = run([path], tmp_path / "first", config, store=store)
        once = counts(store)
        activity = store.query("SELECT sum(requests) AS n FROM activity_current")["n"][0]
        # Other batches write other rows of the same things.
        second = run([path], tmp_path / "second", config, store=store, batch_size=500)
        assert counts(store) == once
        assert store.query("SELECT sum(requests) AS n FROM activity_current")["n"][0] == activity
        alerts = sorted(store.read_alerts(), key=lambda alert: (alert.alert_id, alert.version))
        for campaign in {alert.campaign_id for alert in first.found if alert.kind == "campaign"}:
            history = store.query("campaign_history", {"campaign": campaign})
            assert len(history) == sum(alert.campaign_id == campaign for alert in first.found)
    assert first[:2] == second[:2]
    # Messages that the file has are those that the table has; a message written twice may be read twice.
    assert {alert.alert_id for alert in alerts} == {alert.alert_id for alert in first.found}
    assert all(alert in first.found for alert in alerts)
    assert all(alert in alerts for alert in first.found)
    assert once["alerts_current"] == len({alert.alert_id for alert in first.found})
    assert once["campaign_members_current"] == len({a for alert in first.found for a in alert.accounts})
    assert once["signals_current"] == first.summary.signals
    assert activity == sum(b'"type":"request"' in line for line in path.read_bytes().splitlines())


def test_the_embedded_engine_takes_a_replay_and_answers_afterwards(tmp_path: Path) -> None:
    # A process opens one directory of the embedded engine, so each command gets a process of its own, as for users.
    path = write_lines(tmp_path / "events.jsonl", campaign_lines())
    dsn, alerts = f"chdb://{tmp_path / 'store'}", tmp_path / "alerts.jsonl"
    folder = str(config_dir(tmp_path / "config"))

    def command(*arguments: str) -> str:
        line = [sys.executable, "-m", "pipelines.cli", *arguments]
        done = subprocess.run(line, cwd=ROOT, env=os.environ, check=True, capture_output=True, text=True, timeout=120)
        return done.stdout

    for _ in range(2):
        assert command("replay", str(path), "--alerts", str(alerts), "--clickhouse", dsn, "--config", folder) == ""
    from_store = [json.loads(line) for line in command("alerts", "--clickhouse", dsn, "--json").splitlines()]
    from_file = [json.loads(line) for line in command("alerts", "--file", str(alerts), "--json").splitlines()]
    assert from_file
    assert from_store == from_file
