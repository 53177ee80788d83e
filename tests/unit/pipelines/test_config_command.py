"""`distillwatch config`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.config import load_config
from pipelines.errors import UsageError
from pipelines.secrets import (
    DEVELOPMENT_HASH_KEY,
    HASH_KEY,
    is_development_key,
    load_hash_key,
    load_secret,
)
from pipelines.settings import PipelineSettings, PrivacySettings


def test_the_built_in_config_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"config version {load_config().version}: all good\n")
    for name in ("detectors.toml", "campaigns.toml", "pipeline.toml", "patterns.toml"):
        assert f"{name:16} built in" in out


def test_detectors_that_are_off_or_in_shadow_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "detectors.toml"
    file.write_text("elicitation.enabled = false\ntemplate_family.shadow = true\n")
    assert main(["config", "check", "--config", str(tmp_path)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.strip()]
    found = {line[0]: line[1] for line in lines}
    assert found["elicitation"] == "off: it sees nothing"
    assert found["template_family"].startswith("in shadow")
    assert found["signature_replay"] == "at work"
    assert found["detectors.toml"] == str(file)


def test_problems_go_to_stderr_and_the_exit_code_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "campaigns.toml").write_text("min_accounts = 1\nharvest_bit = 2\n")
    assert main(["config", "check", "--config", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith(f"{tmp_path}/campaigns.toml:1: min_accounts must be an integer from 3 to 100000, got 1")
    assert lines[1].endswith("did you mean `harvest_bits`?")
    assert lines[2] == "distillwatch: 2 problem(s) in the config"


def test_a_pattern_whose_cases_fail_is_named_at_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "patterns.toml").write_text(
        '[[pattern]]\nname = "first_one"\ntechnique = "denial"\nstrength = "strong"\nany = ["do not flag"]\n'
        'cases = { match = ["please do not flag this"], leave = ["flag it"] }\n'
        '[[pattern]]\nname = "second_one"\ntechnique = "denial"\nstrength = "strong"\nany = ["do not report"]\n'
        'cases = { match = ["nothing of the kind"], leave = ["please do not report this"] }\n'
    )
    assert main(["config", "check", "--config", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{tmp_path}/patterns.toml:8: ") for line in lines[:2])
    assert all("second_one" in line for line in lines[:2])


def test_show_prints_what_is_in_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "detectors.toml").write_text("tick_ms = 500\n")
    assert main(["config", "show", "--config", str(tmp_path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["detectors"]["tick_ms"] == 500
    assert shown["version"] == load_config(tmp_path).version


def test_a_secret_comes_from_the_environment_or_from_a_file_it_names(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"from the file, longer than 16\r\n")
    assert load_secret("KEY", {}) is None
    assert load_secret("KEY", {"KEY": "", "KEY_FILE": ""}) is None
    assert load_secret("KEY", {"KEY": "direct", "KEY_FILE": str(file)}) == "direct"
    assert load_secret("KEY", {"KEY_FILE": str(file)}) == "from the file, longer than 16"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "not UTF-8"),
        (b"x" * 70_000, "larger"),
    ],
)
def test_a_secret_file_that_cannot_be_one_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        load_secret("KEY", {"KEY_FILE": str(file)})


def test_the_hash_key_is_long_enough_or_the_development_key_or_required() -> None:
    lenient, strict = PipelineSettings(), PipelineSettings(privacy=PrivacySettings(require_hash_key=True))
    assert load_hash_key(strict, {HASH_KEY: "0123456789abcdef"}) == b"0123456789abcdef"
    assert not is_development_key(b"0123456789abcdef")
    assert load_hash_key(lenient, {}) == DEVELOPMENT_HASH_KEY
    for key in ("short", "x" * 65):
        with pytest.raises(UsageError, match=f"16 to 64 bytes, got {len(key)}"):
            load_hash_key(lenient, {HASH_KEY: key})
    with pytest.raises(UsageError, match="require_hash_key is true and there is no key"):
        load_hash_key(strict, {})
