"""Gateway records to events, and on to a replay."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from pipelines import convert as runner
from pipelines import replay
from pipelines.cli import main
from pipelines.config import load_config
from pipelines.errors import UsageError
from schemas.adapters import ADAPTERS
from schemas.events import decode_event

EXAMPLES = Path(runner.__file__).parents[1] / "schemas" / "examples" / "adapters"


def records(adapter: str) -> list[bytes]:
    """The examples of an adapter, each as one line."""
    files = sorted((EXAMPLES / adapter).glob("*.in.json"))
    return [json.dumps(json.loads(file.read_bytes())).encode() for file in files]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_examples_become_events_that_a_replay_takes(adapter: str, tmp_path: Path) -> None:
    lines = records(adapter)
    assert lines
    (tmp_path / "gateway.jsonl").write_bytes(b"\n".join(lines))
    done = runner.convert(
        [tmp_path / "gateway.jsonl"], adapter=adapter, out=tmp_path / "events.jsonl", dead_letters=None, max_bytes=10**6
    )
    expected = [event for line in lines for event in ADAPTERS[adapter](line)]
    assert [decode_event(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()] == expected
    assert (done.records, done.events, done.bad) == (len(lines), len(expected), 0)
    summary = replay.run([tmp_path / "events.jsonl"], config=load_config(None), alerts=tmp_path / "alerts.jsonl")
    assert (summary.events, summary.bad) == (len(expected), 0)


def test_a_record_that_cannot_be_read_is_kept_whole(tmp_path: Path) -> None:
    good = records("litellm")[0]
    (tmp_path / "gateway.jsonl").write_bytes(b"\n".join([good, b'{"id": NaN}', b"x" * 2_000_000, good]))
    done = runner.convert(
        [tmp_path / "gateway.jsonl"],
        adapter="litellm",
        out=tmp_path / "events.jsonl",
        dead_letters=tmp_path / "letters.jsonl",
        max_bytes=10**6,
    )
    letters = [json.loads(line) for line in (tmp_path / "letters.jsonl").read_bytes().splitlines()]
    assert [(one["reason"], one["offset"]) for one in letters] == [("not_json", 2), ("too_large", 3)]
    assert [base64.b64decode(one["raw"]) for one in letters] == [b'{"id": NaN}', b"x" * 2_000_000]
    assert (done.records, done.bad) == (4, 2)
    assert done.events == 2 * len(ADAPTERS["litellm"](good))


def test_an_unknown_adapter_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no adapter 'kong'; there are anthropic_messages, litellm"):
        runner.convert([], adapter="kong", out=tmp_path / "x", dead_letters=None, max_bytes=10)


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gateway.jsonl").write_bytes(b"\n".join([*records("openai_chat"), b"[]"]))
    out = tmp_path / "events.jsonl"
    code = main(["convert", str(tmp_path / "gateway.jsonl"), "--from", "openai_chat", "--out", str(out)])
    assert code == 0
    said = capsys.readouterr().err
    assert f"events in {out}" in said
    assert "1 records were refused" in said
    assert (tmp_path / "events.dead-letters.jsonl").exists()
    assert main(["convert", str(tmp_path / "gateway.jsonl"), "--from", "kong", "--out", str(out)]) == 2
