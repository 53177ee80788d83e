"""A simulation sent to a broker."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from pipelines.kafka_io import partition_of, route_event
from pipelines.settings import KafkaSettings, TopicNames
from pipelines.simulate import generate, load_scenario
from pipelines.simulate.kafka import to_kafka
from pipelines.simulate.output import write
from schemas.events import decode_event, encode_event
from tests.conftest import Topics
from tests.integration.test_kafka_broker import read_all
from tests.unit.simulate.texts import made_up

pytestmark = pytest.mark.integration

ROLES = ("requests", "responses", "accounts", "control")


def test_a_simulation_reaches_the_topics_of_its_events(topics: Topics, tmp_path: Path) -> None:
    names = TopicNames(**{role: topics[role] for role in ROLES})
    settings = KafkaSettings(bootstrap=topics.bootstrap, topics=names)
    scenario = load_scenario("small")
    scenario = replace(scenario, campaign=[replace(campaign, accounts=3) for campaign in scenario.campaign])
    simulation = generate(scenario, prompts=made_up(), accounts=5, days=1.5)
    slept: list[float] = []
    # A day and a half in no time: the sleeps are asked for, not taken.
    deliver = to_kafka(settings, 1.0, clock=lambda: 0.0, sleep=slept.append)
    done = write(simulation, tmp_path, deliver=deliver, advance=lambda _: None)
    expected = Counter((route_event(event)[0], encode_event(event)) for event in simulation.events())
    found = Counter((role, value) for role in ROLES for _, value in read_all(topics.bootstrap, topics[role]))
    assert found == expected
    assert done.events == expected.total()
    assert max(slept) > 86_400
    keys = {key for key, value in read_all(topics.bootstrap, topics["requests"])}
    assert len({partition_of(key, 4) for key in keys if key is not None}) == 4
    for key, value in read_all(topics.bootstrap, topics["responses"]):
        assert key == route_event(decode_event(value))[1]
    assert {file.name for file in tmp_path.iterdir()} == {"labels.parquet", "harvest.parquet", "scenario.toml"}
