"""Peers at our benign budget, and the ablation's switches."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from detectors import coordination
from detectors.reference import Reference
from detectors.registry import REGISTRY
from pipelines.config import load_config
from schemas.events import encode_event
from schemas.evidence import MemberRow
from tests.benchmarks.arena import ablation, budget, tables
from tests.scenarios import campaign, everyday, in_order, strong_elicitation
from tests.unit.benchmarks import arena_tables as case
from tests.unit.detectors.rows import pool, population


class Score(NamedTuple):
    account: str
    ts: int
    value: float


def at(account: str, hour: float, value: float) -> Score:
    return Score(account, case.START + int(hour * case.HOUR), value)


SCORES = [
    at("a1", 1, 0.4),
    at("a1", 2, 0.3),  # no record
    at("a1", 2.5, 0.8),
    at("a2", 2, 0.9),
    at("crowd", 0, 0.5),
    at("crowd2", 30, 0.7),
    at("b1", 20, 0.6),
]


def test_only_records_are_kept() -> None:
    found = budget.records(SCORES)
    assert found["account"].tolist() == ["crowd", "a1", "a2", "a1", "b1", "crowd2"]
    assert budget.highest(found).to_dict() == {"a1": 0.8, "a2": 0.9, "b1": 0.6, "crowd": 0.5, "crowd2": 0.7}


def test_no_benign_account_may_be_named() -> None:
    found = budget.compare(budget.records(SCORES), case.traffic(), 0)
    # Above 0.7: a2 at hour 2, with both requests served; a1 at 2.5, with three of four; a3 never.
    assert (found["threshold"], found["benign_accounts_named"], found["per_10k_account_days"]) == (0.7, 0, 0.0)
    assert found["exposure"] == {"alpha": pytest.approx(7 / 8), "beta": 1.0}
    assert found["mean_exposure"] == pytest.approx(15 / 16)
    assert found["detected"] == 1


def test_one_benign_account_may_be_named() -> None:
    found = budget.compare(budget.records(SCORES), case.traffic(), 1)
    assert (found["threshold"], found["benign_accounts_named"]) == (0.5, 1)
    assert found["detected"] == 2
    assert found["accounts_scored"] == 5


def test_a_peer_without_scores_names_nobody() -> None:
    found = budget.compare(budget.records([]), case.traffic(), 3)
    assert (found["mean_exposure"], found["detected"], found["per_10k_account_days"]) == (1.0, 0, 0.0)
    assert found["threshold"] is None


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="the score of a1 at 5 is NaN"):
        budget.records([Score("a1", 5, float("nan"))])


def test_every_detector_and_coordination_signal_can_be_off() -> None:
    config = load_config(None)
    coordination = ["even_shares", "shared_infrastructure", "young_accounts"]
    on = [name for name in REGISTRY if getattr(config.detectors, name).enabled]
    counting = [name for name in on if not getattr(config.detectors, name).shadow]
    assert ablation.signals(config) == [*counting, *coordination], "what counts for nothing cannot be missed"
    assert ablation.signals(ablation.without(config, counting[0])) == [*counting[1:], *coordination]
    assert ablation.all_but(config, counting[0]) == counting[1:]
    for name in REGISTRY:
        off = ablation.without(config, name).detectors
        assert [other for other in REGISTRY if getattr(off, other).enabled] == [other for other in on if other != name]
    with pytest.raises(ValueError, match="no signal sweep"):
        ablation.without(config, "sweep")


def coordination_test(signal: str, members: list[MemberRow], reference: Reference) -> coordination.Test:
    rows = [member.row for member in members]
    if signal == "even_shares":
        return coordination.even_shares(members, reference, 0)
    if signal == "young_accounts":
        return coordination.young_accounts(members, reference)
    return coordination.shared_infrastructure(rows, reference, 6.0)


@pytest.mark.parametrize("signal", ablation.COORDINATION)
def test_a_silenced_signal_finds_nothing_and_comes_back(signal: str) -> None:
    reference, members = population(), pool(40)
    assert coordination_test(signal, members, reference).bits > 1
    with ablation.silenced(signal):
        assert coordination_test(signal, members, reference) == coordination.Test(0.0, {})
    assert coordination_test(signal, members, reference).bits > 1
    with ablation.silenced("elicitation"):
        assert coordination_test(signal, members, reference).bits > 1


@pytest.mark.slow
def test_a_replay_without_the_signal_that_found_the_campaign(tmp_path: Path) -> None:
    events = in_order([*everyday(6, 120), *campaign(7, "pool", 30, strong_elicitation)])
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"".join(encode_event(event) + b"\n" for event in events))

    def named_by(off: str | None) -> set[str]:
        alerts = tmp_path / f"{off}.jsonl"
        assert ablation.run(source, alerts, None, off).events == len(events)
        return {signal.name for alert in tables.read_alerts(alerts) for signal in alert.signals}

    assert {"elicitation", "shared_infrastructure"} <= named_by(None)
    assert not named_by("elicitation")
    assert "shared_infrastructure" not in named_by("shared_infrastructure")


@pytest.mark.slow
def test_deciding_again_is_a_replay_without_the_signal(tmp_path: Path) -> None:
    signal = "shared_infrastructure"
    events = in_order([*everyday(6, 60, days=2), *campaign(7, "pool", 30, strong_elicitation, hours=12)])
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"".join(encode_event(event) + b"\n" for event in events))
    kept = tmp_path / "evidence.zst"
    ablation.run(source, tmp_path / "all.jsonl", None, None, evidence=kept)
    ablation.run(source, tmp_path / "replayed.jsonl", None, signal)
    ablation.decide_again(kept, tmp_path / "decided.jsonl", None, [signal])
    replayed, decided = (
        set((tmp_path / f"{name}.jsonl").read_bytes().splitlines()) for name in ("replayed", "decided")
    )
    assert decided == replayed
    assert replayed


def test_a_replay_that_rejects_events_measures_nothing(tmp_path: Path) -> None:
    source = tmp_path / "events.jsonl"
    source.write_text('{"type": "request"}\n')
    with pytest.raises(ValueError, match="rejected 1 events"):
        ablation.run(source, tmp_path / "alerts.jsonl", None, None)
