"""The config loader: every problem, at its line, with what would be right."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from detectors.params import CampaignParams, DetectorParams
from pipelines.config import FILES, MAX_FILE_BYTES, Config, load_config, read_files
from pipelines.errors import ConfigError, Problem, UsageError
from pipelines.settings import PipelineSettings

PATTERN = """
[[pattern]]
name = "ask_for_trace"
technique = "verbatim_trace"
strength = "strong"
any = ["reasoning trace"]
cases = { match = ["show your reasoning trace"], leave = ["show your work"] }
"""


def problems_of(directory: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load_config(directory)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return caught.value.problems


def only_problem(directory: Path, file: str, text: str) -> Problem:
    (directory / file).write_text(text)
    [problem] = problems_of(directory)
    assert problem.file == str(directory / file)
    return problem


def test_built_in_files_spell_out_every_default() -> None:
    files = read_files()
    assert load_config().detectors == DetectorParams()
    assert load_config().campaigns == CampaignParams()
    assert load_config().pipeline == PipelineSettings()
    for name in ("detectors.toml", "campaigns.toml", "pipeline.toml"):
        spelt = msgspec.json.decode(msgspec.json.encode(FILES[name]()))
        assert key_paths(files[name].data) == key_paths(spelt), f"{name} lacks a key or has one too many"


def key_paths(data: dict[str, object], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    paths: set[tuple[str, ...]] = set()
    for key, value in data.items():
        paths |= key_paths(value, (*above, key)) if isinstance(value, dict) else {(*above, key)}
    return paths


def test_a_directory_overrides_only_the_keys_it_names(tmp_path: Path) -> None:
    (tmp_path / "detectors.toml").write_text("[elicitation]\naccount_requests = 7\n")
    config = load_config(tmp_path)
    assert config.detectors.elicitation.account_requests == 7
    assert config.detectors.elicitation.report_floor == DetectorParams().elicitation.report_floor
    assert config.campaigns == CampaignParams()


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "detectors.toml").write_text("tick_ms = 1\n[features]\nmax_char = 300\n")
    (tmp_path / "campaigns.toml").write_text('harvest_bits = "3"\n')
    (tmp_path / "pipeline.toml").write_text("[stream]\npartitions = \n")
    (tmp_path / "patterns.toml").write_text(PATTERN.replace('"strong"', '"stong"'))
    found = {(Path(problem.file).name, problem.line, problem.path) for problem in problems_of(tmp_path)}
    assert found == {
        ("detectors.toml", 1, "tick_ms"),
        ("detectors.toml", 3, "features.max_char"),
        ("campaigns.toml", 1, "harvest_bits"),
        ("pipeline.toml", 2, ""),
        ("patterns.toml", 5, "pattern[0].strength"),
    }


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("tick_ms = 99", 1, "tick_ms must be an integer from 100 to 3600000, got 99", "the default is 10000"),
        ("tick_ms = true", 1, "tick_ms must be an integer from 100 to 3600000, got true", "milliseconds"),
        ("tick_ms = 10.0", 1, "must be an integer from 100 to 3600000, got 10.0", ""),
        ("[elicitation]\nenabled = 1", 2, "elicitation.enabled must be true or false, got 1", "default is true"),
        ("[elicitation]\nreport_floor = inf", 2, "must be a finite number from 0 to 1, got inf", "the default is 0.5"),
        ("[elicitation]\nreport_floor = nan", 2, "must be a finite number from 0 to 1, got nan", ""),
        ("[elicitation]\nreport_floor = false", 2, "must be a finite number from 0 to 1, got false", ""),
        (
            "[signature_replay]\n\nfalse_positive_rate = 0.1",
            3,
            "signature_replay.false_positive_rate must be a finite number above 0 and below 0.1, got 0.1",
            "the default is 0.001",
        ),
        ("accounts.idle_days = 0", 1, "must be a finite number above 0 and at most 365, got 0", "the default is 30.0"),
        ("[accounts]\nidle_dayz = 3", 2, "accounts.idle_dayz is not a key of this table", "did you mean `idle_days`?"),
        ("sketch_bits = 20", 1, "sketch_bits is not a key", "`sketch_bits` belongs to [template_family]"),
        ("[accounts]\ntick_ms = 100", 2, "accounts.tick_ms is not a key", "belongs to the top level of the file"),
        ("qqq = 1", 1, "qqq is not a key of this table", "known keys: tick_ms, features"),
        ("accounts = 3", 1, "accounts must be a table, got 3", "write [accounts] and its keys"),
        ("[[accounts]]", 1, "accounts must be a table, got a list of 1", ""),
        ("features = { max_chars = 1 }", 1, "features.max_chars must be an integer", "head and tail"),
        ("tick_ms = 99999999999999999999999", 1, "got a number beyond 64 bits", ""),
        ("tick_ms = 1979-05-27", 1, "must be an integer from 100 to 3600000, got 1979-05-27", ""),
        ("hash_key = 'x'", 1, "hash_key is not a key of this table", "secrets never stand in config files"),
    ],
)
def test_a_wrong_key_is_named_with_its_line_and_remedy(
    tmp_path: Path, text: str, line: int, message: str, remedy: str
) -> None:
    problem = only_problem(tmp_path, "detectors.toml", text)
    assert problem.line == line
    assert message in problem.message
    assert remedy in problem.remedy


def test_an_integer_serves_where_a_number_is_asked(tmp_path: Path) -> None:
    (tmp_path / "campaigns.toml").write_text("harvest_bits = 4\n")
    assert load_config(tmp_path).campaigns.harvest_bits == 4.0


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"a = [1,\n2\n", 3, "is not TOML"),
        (b"tick_ms = 100\ntick_ms = 200\n", 2, "Cannot overwrite a value"),
        (b"\n\ntick_ms = abc\n", 3, "is not TOML: Invalid value (column 11)"),
        (b'x = "\n', 1, "is not TOML"),
        (b"# a comment\n\xff\n", 2, "is not UTF-8 text"),
        (b"tick_ms = " + b"9" * 5000, None, "is not TOML"),
        (b"a = " + b"[" * 100_000, None, "is nested too deep"),
        (b"#" * (MAX_FILE_BYTES + 1), None, "is larger than a config file can be"),
    ],
)
def test_broken_files_are_named_with_the_line_where_there_is_one(
    tmp_path: Path, text: bytes, line: int | None, message: str
) -> None:
    (tmp_path / "detectors.toml").write_bytes(text)
    [problem] = problems_of(tmp_path)
    assert message in problem.message
    assert line is None or problem.line in (line, line - 1)


def test_text_without_quotes_gets_a_hint(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "pipeline.toml", "[kafka]\nbootstrap = localhost:9092\n")
    assert problem.remedy == "text stands in quotes"


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "detectors.toml").write_bytes(b"\xef\xbb\xbftick_ms = 200\r\n[elicitation]\r\nreport_floor = 2\r\n")
    [problem] = problems_of(tmp_path)
    assert (problem.line, problem.path) == (3, "elicitation.report_floor")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("detector.toml", "did you mean `detectors.toml`?"),
        ("detectors.yaml", "did you mean `detectors.toml`?"),
        ("zzz.toml", "config files are detectors.toml, campaigns.toml, pipeline.toml, patterns.toml"),
    ],
)
def test_a_file_that_nothing_reads_is_a_problem(tmp_path: Path, name: str, remedy: str) -> None:
    problem = only_problem(tmp_path, name, "")
    assert problem.line is None
    assert problem.remedy == remedy


def test_notes_backups_and_hidden_files_may_lie_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "detectors.toml").write_text("")
    for name in ("README.md", "detectors.toml~", "detectors.toml.bak", ".detectors.toml.swp"):
        (tmp_path / name).write_text("anything [")
    assert load_config(tmp_path).detectors == DetectorParams()


@pytest.mark.parametrize("name", ["absent", "file.toml", "empty"])
def test_a_directory_that_is_none_or_holds_no_config_is_a_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.toml").write_text("")
    (tmp_path / "empty").mkdir()
    [problem] = problems_of(tmp_path / name)
    assert problem.file == str(tmp_path / name)
    assert "detectors.toml" in problem.remedy


@pytest.mark.parametrize(
    ("file", "text", "line", "path"),
    [
        ("detectors.toml", "[population]\nsample = 64\nmin_accounts = 65", 3, "population.min_accounts"),
        ("campaigns.toml", "min_accounts = 20_000\nmax_members = 100", 2, "max_members"),
        ("pipeline.toml", "[stream]\nmax_skew_ms = 9_999", 2, "stream.max_skew_ms"),
        ("pipeline.toml", "stream = { max_pending_events = 1000 }", 1, "stream.max_pending_events"),
        ("pipeline.toml", '[kafka]\nsecurity_protocol = "SASL_SSL"', 1, "kafka.sasl_username"),
        ("pipeline.toml", '[kafka.topics]\nalerts = "signals"', 1, "kafka.topics.signals"),
        ("pipeline.toml", '[kafka]\nssl_cafile = "ca.pem"', 2, "kafka.ssl_cafile"),
        ("pipeline.toml", '[kafka]\nsecurity_protocol = "SSL"\nssl_keyfile = "client.key"', 1, "kafka.ssl_certfile"),
        ("pipeline.toml", '[kafka]\ngroup_instance_id = ".."', 2, "kafka.group_instance_id"),
        ("pipeline.toml", "[kafka]\nsession_s = 0", 2, "kafka.session_s"),
    ],
)
def test_keys_that_contradict_each_other_are_named(tmp_path: Path, file: str, text: str, line: int, path: str) -> None:
    (tmp_path / file).write_text(text)
    found = {(problem.line, problem.path) for problem in problems_of(tmp_path)}
    assert (line, path) in found


def test_a_pattern_name_is_used_once(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "patterns.toml", PATTERN + PATTERN)
    assert problem.path == "pattern[1].name"
    assert problem.line == PATTERN.count("\n") + 3


def test_a_missing_key_is_named_at_its_table(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "patterns.toml", PATTERN.replace('strength = "strong"\n', ""))
    assert (problem.line, problem.message) == (2, "pattern[0].strength is missing")
    assert '"strong", "weak"' in problem.remedy


def test_a_password_in_a_dsn_is_refused_and_never_shown(tmp_path: Path) -> None:
    problem = only_problem(
        tmp_path, "pipeline.toml", '[clickhouse]\ndsn = "clickhouse://reader:hunter2@db.example:9000/default"'
    )
    assert problem.line == 2
    assert "hunter2" not in str(problem)
    assert "DISTILLWATCH_CLICKHOUSE_PASSWORD" in problem.remedy


@pytest.mark.parametrize("bootstrap", ["localhost", "localhost:", ":9092", "a:1,,b:2", "http://a:1", "a b:1"])
def test_bootstrap_is_a_list_of_hosts_with_ports(tmp_path: Path, bootstrap: str) -> None:
    problem = only_problem(tmp_path, "pipeline.toml", f'[kafka]\nbootstrap = "{bootstrap}"')
    assert problem.path == "kafka.bootstrap"
    assert "host:port" in problem.remedy


@pytest.mark.parametrize("bootstrap", ["localhost:9092", "10.0.0.1:9092,kafka-2.internal:19092", "[::1]:9092"])
def test_bootstrap_takes_names_and_addresses(tmp_path: Path, bootstrap: str) -> None:
    (tmp_path / "pipeline.toml").write_text(f'[kafka]\nbootstrap = "{bootstrap}"')
    assert load_config(tmp_path).pipeline.kafka.bootstrap == bootstrap


def version(directory: Path, file: str, text: str) -> str:
    (directory / file).write_text(text)
    try:
        return load_config(directory).version
    finally:
        (directory / file).unlink()


def test_the_version_changes_with_what_decides_and_with_nothing_else(tmp_path: Path) -> None:
    base = load_config().version
    assert len(base) == 12
    assert version(tmp_path, "detectors.toml", "tick_ms = 10_000 # same") == base
    assert version(tmp_path, "pipeline.toml", '[kafka]\nbootstrap = "elsewhere:9092"') == base
    assert version(tmp_path, "detectors.toml", "tick_ms = 20_000") != base
    assert version(tmp_path, "campaigns.toml", "harvest_bits = 3.5") != base
    assert version(tmp_path, "patterns.toml", PATTERN) != base
    assert version(tmp_path, "pipeline.toml", "[stream]\npartitions = 8") != base


def test_config_errors_are_usage_errors() -> None:
    assert issubclass(ConfigError, UsageError)
    assert Config.__struct_config__.frozen


def test_keys_of_two_files_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    (tmp_path / "detectors.toml").write_text("[cohorts]\nmembers = 8\n")
    (tmp_path / "campaigns.toml").write_text("min_accounts = 9\n")
    (problem,) = problems_of(tmp_path)
    assert (problem.line, problem.path) == (2, "cohorts.members")
    assert problem.remedy == "min_accounts is 9"
