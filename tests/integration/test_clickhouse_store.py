"""The schema, the store and the named queries on the real engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

from infra.clickhouse.migrate import MIGRATIONS, MigrationError, SchemaOptions, migrate
from infra.clickhouse.named import load_query, query_names
from pipelines.errors import Failure, UsageError
from pipelines.store import Store, StoreUnavailable, open_store
from schemas.activity import Activity
from schemas.alerts import Alert, Signal, SignalShare
from schemas.deadletters import DeadLetter
from tests.conftest import Endpoint

pytestmark = pytest.mark.integration

HOUR = 3_600_000
T0 = 1_784_887_200_000  # 2026-07-24 10:00 UTC


def alert(version: int, **changes: Any) -> Alert:
    base = Alert(
        alert_id="campaign-1",
        version=version,
        kind="campaign",
        campaign_id="c1",
        status="new" if version == 1 else "updated",
        ts=T0 + version * HOUR + 123,
        first_seen=T0,
        last_seen=T0 + version * HOUR,
        accounts=[f"a{version}{number}" for number in range(3)],
        accounts_total=3 * version,
        requests_total=100 * version,
        score=0.25 * version,
        severity="high",
        confidence=0.5,
        signals=[
            SignalShare(name="template_family", contribution=0.7, evidence={"skeleton": "a * b", "n": 3, "x": None}),
            SignalShare(name="even_shares", contribution=0.3, evidence={}),
        ],
        blind=["payment"] if version == 1 else ["payment", "tls"],
        atlas=["AML.T0024.002"],
        runbook="docs/runbook.md#campaign",
        config_version="abc",
        shadow=False,
    )
    return replace(base, **changes)


ALERTS = [
    alert(1),
    alert(2),
    alert(3, status="closed", severity="medium", accounts=[]),
    alert(1, alert_id="campaign-2", campaign_id="c2", accounts=["a10", "z1"], severity="critical"),
    alert(2, alert_id="campaign-2", campaign_id="c2", accounts=["p1", "p2"], severity="critical"),
    alert(1, alert_id="part-1", campaign_id="c4", accounts=["p1", "p2"], severity="low"),
    alert(
        2,
        alert_id="part-1",
        campaign_id="c4",
        accounts=[],
        severity="low",
        status="closed",
        signals=[SignalShare(name="joined_campaign", contribution=0.0, evidence={"campaign": "c2"})],
    ),
    alert(1, alert_id="shadow-1", campaign_id="c3", accounts=["s1"], shadow=True),
    alert(1, alert_id="account-1", kind="account", campaign_id=None, accounts=["lone"], blind=[]),
]

SIGNALS = [
    Signal(
        ts=T0 + number, request_id=None if number == 2 else f"r{number}", account="a10" if number < 3 else None,
        cohort=None if number < 3 else "family", detector="elicitation", score=0.9, p_value=0.001,
        evidence={"pattern": f"p{number}", "quote": 'it\'s "so"'},
    )
    for number in range(5)
]  # fmt: skip


def activity(account: str, hour: int, requests: int, as_of: int = 0, tokens: int | None = 10) -> Activity:
    return Activity(
        account=account, hour=T0 + hour * HOUR, as_of=T0 + as_of, requests=requests, responses=requests, refused=0,
        input_tokens=tokens, output_tokens=tokens, reasoning_tokens=None,
    )  # fmt: skip


ACTIVITY = [
    activity("a10", 0, 5),
    activity("a10", 0, 8, as_of=60_000),
    activity("a10", 1, 2, as_of=HOUR),
    activity("a11", 0, 100),
    activity("benign", 0, 3, tokens=None),
]

LETTERS = [
    DeadLetter(reason="not_json", detail="byte 3", source="llm.requests", partition=0, offset=7, ts=T0, raw=b"{{"),
    DeadLetter(reason="not_json", detail="byte 1", source="events.jsonl", partition=None, offset=1, ts=0, raw=b"x" * 9),
]


def fill(store: Store) -> None:
    assert store.insert_alerts(ALERTS) == len(ALERTS)
    assert store.insert_signals(SIGNALS) == 5
    assert store.insert_activity(ACTIVITY) == 5
    assert store.insert_dead_letters(LETTERS) == 2


PARAMETERS: dict[str, dict[str, Any]] = {
    "account_activity": {"account": "a10"},
    "account_alerts": {"account": "a10"},
    "account_signals": {"account": "a10", "limit": 10},
    "campaign_blind": {"campaign": "c1"},
    "campaign_history": {"campaign": "c1"},
    "campaign_members": {"campaign": "c1"},
    "campaign_signals": {"campaign": "c1"},
    "campaign_summary": {"campaign": "c1"},
    "named_against_others": {"since": "2026-07-01 00:00:00"},
}


def everything(store: Store) -> dict[str, list[dict[str, Any]]]:
    """What every named query answers, in plain values."""
    answers = {}
    for name in query_names():
        frame = store.query(name, PARAMETERS.get(name))
        answers[name] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return answers


@pytest.fixture
def database(shared_endpoint: Endpoint, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of the test's own on the shared endpoint."""
    name = "t_" + re.sub(r"\W", "_", request.node.name)
    with shared_endpoint.client() as client:
        client.command(f"CREATE DATABASE {name}")
        yield name
        client.command(f"DROP DATABASE {name}")


@pytest.fixture
def store(shared_endpoint: Endpoint, database: str) -> Iterator[Store]:
    with open_store(f"{shared_endpoint.url}/{database}") as opened:
        yield opened


def test_every_named_query_answers(store: Store) -> None:
    fill(store)
    answers = everything(store)
    for name, rows in answers.items():
        assert rows, f"{name} found nothing in data made for it"
    assert [row["campaign"] for row in answers["campaigns"]] == ["c2", "c1", "c4"]
    c1 = answers["campaigns"][1]
    assert (c1["status"], c1["accounts_total"], c1["score"]) == ("closed", 9, 0.75)
    members = {row["account"]: row for row in answers["campaign_members"]}
    assert sorted(members) == ["a10", "a11", "a12", "a20", "a21", "a22"]
    assert (members["a10"]["requests"], members["a10"]["output_tokens"]) == (10, 20)
    assert (members["a20"]["requests"], members["a20"]["first_hour"]) == (None, None)
    summary = answers["campaign_summary"][0]
    assert (summary["accounts_named"], summary["requests_kept"], summary["output_tokens"]) == (6, 110, 30)
    assert summary["reasoning_tokens"] is None
    assert [(row["version"], row["newly_named"]) for row in answers["campaign_history"]] == [(1, 3), (2, 3), (3, 0)]
    assert [row["name"] for row in answers["campaign_signals"]] == ["template_family", "even_shares"]
    blind = {row["field"]: (row["messages"], row["still_blind"]) for row in answers["campaign_blind"]}
    assert blind == {"payment": (3, True), "tls": (2, True)}
    assert answers["account_signals"][0]["evidence"] == '{"pattern":"p2","quote":"it\'s \\"so\\""}'
    assert [row["requests"] for row in answers["account_activity"]] == [8, 2]
    assert {row["alert_id"] for row in answers["account_alerts"]} == {"campaign-1", "campaign-2"}
    sides = {row["side"]: row for row in answers["named_against_others"]}
    assert (sides["named"]["accounts"], sides["others"]["accounts"]) == (2, 1)
    assert sides["others"]["output_tokens_a_day"] is None
    assert {row["alert_id"] for row in answers["alerts_last_day"]} == {
        "campaign-1",
        "campaign-2",
        "part-1",
        "account-1",
    }
    assert [(row["account"], row["campaigns"]) for row in answers["shared_accounts"]] == [("a10", ["c1", "c2"])]
    assert [(row["campaign"], row["part_of"]) for row in answers["campaigns_joined"]] == [("c4", "c2")]
    assert set(store.query("campaign_members", {"campaign": "c2"})["account"]) == {"a10", "z1", "p1", "p2"}
    assert not len(store.query("campaign_members", {"campaign": "c4"})), "its accounts are the other campaign's now"
    assert sum(row["messages"] for row in answers["dead_letters"]) == 2


def test_writing_again_changes_no_answer(store: Store) -> None:
    # Doubles are there until a merge takes them out; no answer may wait for that.
    store._client.command("SYSTEM STOP MERGES alerts")
    fill(store)
    first = everything(store)
    fill(store)
    fill(store)
    assert everything(store) == first
    assert store.query("SELECT count() AS n FROM alerts")["n"][0] == 3 * len(ALERTS)


def test_alerts_come_back_as_they_were_written(store: Store) -> None:
    store.insert_alerts(ALERTS)
    store.insert_alerts(ALERTS[:2])
    assert store.read_alerts() == sorted(ALERTS, key=lambda each: (each.ts, each.alert_id, each.version))
    assert [each.version for each in store.read_alerts(since=T0 + 3 * HOUR)] == [3]
    assert [each.version for each in store.read_alerts(limit=2)] == [2, 3]


def test_nothing_yet(store: Store) -> None:
    assert store.insert_alerts([]) == 0
    assert store.read_alerts() == []
    frame = store.query("campaigns")
    assert len(frame) == 0
    assert "severity" in frame.columns
    assert list(store.query("campaign_members", {"campaign": "no'ne"}).columns)[:2] == ["account", "named_at"]


def test_wrong_parameters_and_wrong_sql(store: Store) -> None:
    with pytest.raises(UsageError, match=r"campaign_members takes the parameters: campaign \(String\); got: none"):
        store.query("campaign_members")
    with pytest.raises(UsageError, match="got: campaign, x"):
        store.query("campaign_members", {"campaign": "c", "x": 1})
    with pytest.raises(Failure, match="UNKNOWN_TABLE"):
        store.query("SELECT * FROM nowhere")


def test_traffic_of_long_ago_stays(store: Store) -> None:
    store.insert_signals([replace(SIGNALS[0], ts=year * 31_557_600_000) for year in range(30)])
    store.query("SELECT 1")
    store._client.command("OPTIMIZE TABLE signals FINAL")
    assert store.query("SELECT count() AS n FROM signals_current")["n"][0] == 30


def test_migrations_are_applied_once_and_record_themselves(shared_endpoint: Endpoint, database: str) -> None:
    with shared_endpoint.client(database=database) as client:
        assert migrate(client) == sorted(path.name for path in MIGRATIONS.glob("*.sql"))
        assert migrate(client) == []
        rows = client.query("SELECT name, length(checksum) FROM schema_migrations FINAL ORDER BY name").result_rows
        assert rows == [(path.name, 64) for path in sorted(MIGRATIONS.glob("*.sql"))]


def test_an_edited_or_missing_migration_is_refused(shared_endpoint: Endpoint, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    with shared_endpoint.client(database=database) as client:
        migrate(client, folder=folder)
        edited = folder / "0002_signals_activity.sql"
        text = edited.read_text()
        edited.write_text(text.replace("UInt64", "UInt32"))
        with pytest.raises(MigrationError, match=r"0002_signals_activity\.sql: edited after it was applied"):
            migrate(client, folder=folder)
        edited.unlink()
        with pytest.raises(MigrationError, match=r"0002_signals_activity\.sql: applied .* no such file"):
            migrate(client, folder=folder)
        edited.write_text(text)
        (folder / "9001_more.sql").write_text(
            "CREATE TABLE more ${on_cluster} (a Int8) ENGINE = ${replacing} ORDER BY a;"
        )
        assert migrate(client, folder=folder) == ["9001_more.sql"]
        (folder / "9001_other.sql").write_text("SELECT 1;")
        with pytest.raises(MigrationError, match=r"9001_other\.sql: the number is taken by 9001_more\.sql"):
            migrate(client, folder=folder)


def test_a_migration_that_fails_is_tried_again(shared_endpoint: Endpoint, database: str, tmp_path: Path) -> None:
    broken = tmp_path / "0001_two.sql"
    broken.write_text("CREATE TABLE IF NOT EXISTS one (a Int8) ENGINE = ${replacing} ORDER BY a;\nCREATE TABEL two;\n")
    with shared_endpoint.client(database=database) as client:
        with pytest.raises(Exception, match="SYNTAX_ERROR"):
            migrate(client, folder=tmp_path)
        broken.write_text("CREATE TABLE IF NOT EXISTS one (a Int8) ENGINE = ${replacing} ORDER BY a;\n")
        assert migrate(client, folder=tmp_path) == ["0001_two.sql"]


def test_a_changed_retention_reaches_the_tables(shared_endpoint: Endpoint, database: str) -> None:
    with shared_endpoint.client(database=database) as client:
        migrate(client)
        migrate(client, SchemaOptions(signal_days=7))
        ttl = dict(
            client.query(
                "SELECT name, extract(engine_full, 'toIntervalDay\\\\((\\\\d+)\\\\)') FROM system.tables "
                "WHERE database = currentDatabase() AND engine_full LIKE '% TTL %'"
            ).result_rows
        )
    assert ttl == {"alerts": "730", "alert_accounts": "730", "signals": "7", "activity": "90", "dead_letters": "7"}


def test_the_embedded_engine_and_the_endpoint_answer_alike(
    tmp_path: Path, make_endpoint: Callable[..., Endpoint]
) -> None:
    # The engine is global to a process, so the embedded store runs in one of its own.
    script = (
        "import sys; from pipelines.store import open_store\n"
        "from tests.integration.test_clickhouse_store import fill, everything\n"
        "with open_store(sys.argv[1]) as store: fill(store); print(repr(everything(store)))\n"
    )
    dsn = f"chdb://{tmp_path / 'chdb'}"
    done = subprocess.run([sys.executable, "-c", script, dsn], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    endpoint = make_endpoint(path=tmp_path / "chdb")
    with open_store(endpoint.dsn) as store:
        assert repr(everything(store)) == done.stdout.strip()
    refused = subprocess.run(
        [sys.executable, "-c", script, dsn], capture_output=True, text=True, check=False, timeout=120
    )
    assert "one process at a time may open its directory" in refused.stderr


def test_a_password_is_sent_and_a_wrong_one_is_told(make_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = make_endpoint(environment={"DISTILLWATCH_CLICKHOUSE_PASSWORD": "pw"})
    with open_store(endpoint.dsn, environ={"DISTILLWATCH_CLICKHOUSE_PASSWORD": "pw"}) as store:
        assert isinstance(store.query("campaigns"), pd.DataFrame)
    with pytest.raises(Failure, match="Authentication failed") as caught:
        open_store(endpoint.dsn, environ={})
    assert not isinstance(caught.value, StoreUnavailable)


def test_readers_of_a_readonly_endpoint_need_no_rights(make_endpoint: Callable[..., Endpoint], tmp_path: Path) -> None:
    endpoint = make_endpoint(path=tmp_path / "chdb")
    with open_store(endpoint.dsn) as store:
        store.insert_alerts(ALERTS)
    endpoint.stop()
    with open_store(make_endpoint("--readonly", path=tmp_path / "chdb").dsn) as reader:
        assert reader.readonly
        assert len(reader.read_alerts()) == len(ALERTS)
        with pytest.raises(Failure, match="READONLY"):
            reader.insert_signals(SIGNALS)


def test_nobody_there(make_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = make_endpoint()
    with open_store(endpoint.dsn) as store:
        endpoint.stop()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            store.insert_signals(SIGNALS)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            open_store(endpoint.dsn)
        endpoint.start()
        store.insert_signals(SIGNALS)
        assert store.query("SELECT count() AS n FROM signals_current")["n"][0] == len(SIGNALS)


def test_every_query_file_has_a_head_and_a_test() -> None:
    for name in query_names():
        query = load_query(name)
        assert len(query.title) > 10
        assert set(query.parameters) == set(PARAMETERS.get(name, {}))
        for parameter in query.parameters:
            assert re.search(rf"Parameters?:[^.]*\b{parameter}\b", query.about), f"{name} does not explain {parameter}"
