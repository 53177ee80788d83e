"""Load and validate the config directory; every problem of every file at once, each with its line."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from detectors.params import CampaignParams, DetectorParams
from detectors.patterns import PatternFile
from pipelines import toml_lines
from pipelines.errors import ConfigError, Problem
from pipelines.secrets import is_development_key, load_hash_key
from pipelines.settings import KafkaSettings, PipelineSettings
from pipelines.validation import validate

__all__ = [
    "FILES",
    "Config",
    "ConfigFile",
    "is_development_key",
    "load_config",
    "load_hash_key",
    "parse_toml",
    "read_files",
]

FILES: Final[dict[str, type[Struct]]] = {
    "detectors.toml": DetectorParams,
    "campaigns.toml": CampaignParams,
    "pipeline.toml": PipelineSettings,
    "patterns.toml": PatternFile,
}

BUILT_IN: Final = "infra/config"
# The largest real file holds patterns with their cases, well under 100 kB.
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
_SUFFIX_SLIPS: Final = frozenset({".tml", ".yaml", ".yml", ".json", ".ini", ".conf"})
_AT_LINE: Final = re.compile(r" \(at line (\d+), column (\d+)\)")


class Config(Struct, kw_only=True, frozen=True):
    """All of the config, validated.

    Attributes:
        paraphrase: weights of the paraphrase classifier, which no directory replaces.
        words: word vectors of the shift detector, likewise.
        version: first 12 hex digits of the SHA-256 of what decides about alerts: detectors, campaigns,
            patterns, the classifier's weights, the limits on input and the number of partitions. Where the
            brokers and stores are does not count, so a replay and a stream under the same thresholds carry
            the same version.
    """

    detectors: DetectorParams
    campaigns: CampaignParams
    pipeline: PipelineSettings
    patterns: PatternFile
    paraphrase: bytes
    words: bytes
    version: str


class ConfigFile(Struct, kw_only=True, frozen=True):
    """One file as it was read: `name` as shown to the user, `data` as parsed, `lines` of its keys."""

    name: str
    built_in: bool
    data: dict[str, Any]
    lines: Mapping[toml_lines.Path, int]


def load_config(directory: Path | None = None) -> Config:
    """The config of a directory; files and keys that it leaves out have their built-in values.

    Raises:
        ConfigError: with all problems of all files.
    """
    return build_config(read_files(directory))


def read_files(directory: Path | None = None) -> dict[str, ConfigFile]:
    """The files of :data:`FILES`, from `directory` where it has them, else as built in.

    Raises:
        ConfigError: a missing directory, files that no one would read, unreadable files, broken TOML.
    """
    problems: list[Problem] = []
    own = {} if directory is None else _own_files(directory, problems)
    files: dict[str, ConfigFile] = {}
    for name in FILES:
        shown = str(own[name]) if name in own else f"{BUILT_IN}/{name}"
        try:
            raw = own[name].read_bytes() if name in own else (resources.files("infra") / "config" / name).read_bytes()
        except OSError as error:
            problems.append(Problem(shown, None, "", f"cannot be read: {error.strerror}"))
            continue
        parsed = parse_toml(raw, shown)
        if isinstance(parsed, Problem):
            problems.append(parsed)
        else:
            data, lines = parsed
            files[name] = ConfigFile(name=shown, built_in=name not in own, data=data, lines=lines)
    # A broken file is no reason to keep quiet about the others.
    if problems:
        for name, file in files.items():
            problems += validate(file.data, FILES[name], file=file.name, lines=file.lines)
        raise ConfigError(problems)
    return files


def build_config(files: Mapping[str, ConfigFile]) -> Config:
    """Validate files that were read, each by itself and then all together.

    Raises:
        ConfigError: with all problems.
    """
    problems: list[Problem] = []
    for name, kind in FILES.items():
        problems += validate(files[name].data, kind, file=files[name].name, lines=files[name].lines)
    if problems:
        raise ConfigError(problems)
    detectors = msgspec.convert(files["detectors.toml"].data, DetectorParams)
    campaigns = msgspec.convert(files["campaigns.toml"].data, CampaignParams)
    pipeline = msgspec.convert(files["pipeline.toml"].data, PipelineSettings)
    patterns = msgspec.convert(files["patterns.toml"].data, PatternFile)
    paraphrase = (resources.files("infra") / "elicitation" / "paraphrase.npz").read_bytes()
    words = (resources.files("infra") / "shift" / "words.npz").read_bytes()
    config = Config(
        detectors=detectors,
        campaigns=campaigns,
        pipeline=pipeline,
        patterns=patterns,
        paraphrase=paraphrase,
        words=words,
        version=_version(
            detectors,
            campaigns,
            patterns,
            hashlib.sha256(paraphrase).hexdigest(),
            hashlib.sha256(words).hexdigest(),
            pipeline.input,
            pipeline.stream.partitions,
        ),
    )
    problems += _cross_checks(config, files)
    if problems:
        raise ConfigError(problems)
    return config


def locate(file: ConfigFile, path: toml_lines.Path) -> int:
    """The line of a key, or of the nearest table around it that the file mentions."""
    while path and path not in file.lines:
        path = path[:-1]
    return file.lines.get(path, 1)


def _version(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:12]


def _own_files(directory: Path, problems: list[Problem]) -> dict[str, Path]:
    """The known files of a directory; whatever else looks like config there is a problem."""
    known = ", ".join(FILES)
    try:
        entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        remedy = f"give a directory that holds any of {known}"
        problems.append(Problem(str(directory), None, "", f"cannot be read as a directory: {error.strerror}", remedy))
        return {}
    own = {entry.name: entry for entry in entries if entry.name in FILES}
    stray = [entry for entry in entries if entry.name not in FILES and _looks_like_config(entry)]
    for entry in stray:
        close = difflib.get_close_matches(f"{entry.stem}.toml", list(FILES), n=1, cutoff=0.6)
        remedy = f"did you mean `{close[0]}`?" if close else f"config files are {known}"
        problems.append(Problem(str(entry), None, "", "is not a config file that anything reads", remedy))
    if not own and not stray:
        problems.append(Problem(str(directory), None, "", "holds no config file", f"it may hold any of {known}"))
    return own


def _looks_like_config(entry: Path) -> bool:
    stems = {name.removesuffix(".toml") for name in FILES}
    return entry.suffix == ".toml" or (entry.stem in stems and entry.suffix in _SUFFIX_SLIPS)


def parse_toml(raw: bytes, shown: str) -> tuple[dict[str, Any], dict[toml_lines.Path, int]] | Problem:
    """Values and lines of a TOML file, or why it is none; `shown` is its name as the user knows it."""
    if len(raw) > MAX_FILE_BYTES:
        return Problem(shown, None, "", f"is larger than a config file can be ({MAX_FILE_BYTES} bytes)")
    try:
        # Editors on some systems write a byte order mark, which TOML does not know.
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Problem(shown, line, "", "is not UTF-8 text", "save the file as UTF-8")
    try:
        data = tomllib.loads(text)
    except RecursionError:
        return Problem(shown, None, "", "is nested too deep")
    # Not only TOMLDecodeError: an integer of thousands of digits or an impossible date is a plain ValueError.
    except ValueError as error:
        return _syntax_problem(text, shown, str(error))
    return data, toml_lines.key_lines(text)


def _syntax_problem(text: str, shown: str, message: str) -> Problem:
    found = _AT_LINE.search(message)
    what = _AT_LINE.sub("", message).removesuffix(" (at end of document)")
    if found is None:
        end = message.endswith("(at end of document)")
        return Problem(shown, len(text.splitlines()) or 1 if end else None, "", f"is not TOML: {what}")
    line, column = int(found[1]), int(found[2])
    lines = text.splitlines()
    source = lines[line - 1].strip() if line <= len(lines) else ""
    if re.match(r"[A-Za-z0-9_.-]+\s*=\s*[A-Za-z/][^\"']*$", source) and what == "Invalid value":
        return Problem(shown, line, "", f"is not TOML: {what} (column {column})", "text stands in quotes")
    return Problem(shown, line, "", f"is not TOML: {what} (column {column})")


def _cross_checks(config: Config, files: Mapping[str, ConfigFile]) -> Iterator[Problem]:
    """What no single key shows. A value that stands in a DSN's password is never repeated."""

    def problem(file: str, path: toml_lines.Path, message: str, remedy: str) -> Problem:
        dotted = ".".join(str(part) for part in path)
        return Problem(files[file].name, locate(files[file], path), dotted, f"{dotted} {message}", remedy)

    detectors, campaigns, pipeline = config.detectors, config.campaigns, config.pipeline
    if detectors.population.min_accounts > detectors.population.sample:
        yield problem(
            "detectors.toml",
            ("population", "min_accounts"),
            f"must be at most population.sample, got {detectors.population.min_accounts}",
            f"the sample holds {detectors.population.sample} accounts, so no campaign could ever be called",
        )
    if detectors.cohorts.members < campaigns.min_accounts:
        yield problem(
            "detectors.toml",
            ("cohorts", "members"),
            f"must be at least min_accounts of campaigns.toml, got {detectors.cohorts.members}",
            f"min_accounts is {campaigns.min_accounts}",
        )
    if campaigns.max_members < campaigns.min_accounts:
        yield problem(
            "campaigns.toml",
            ("max_members",),
            f"must be at least min_accounts, got {campaigns.max_members}",
            f"min_accounts is {campaigns.min_accounts}",
        )
    if pipeline.stream.max_skew_ms < detectors.tick_ms:
        yield problem(
            "pipeline.toml",
            ("stream", "max_skew_ms"),
            f"must be at least tick_ms of detectors.toml, got {pipeline.stream.max_skew_ms}",
            f"tick_ms is {detectors.tick_ms}",
        )
    if pipeline.stream.max_pending_events < pipeline.stream.poll_records:
        yield problem(
            "pipeline.toml",
            ("stream", "max_pending_events"),
            f"must be at least stream.poll_records, got {pipeline.stream.max_pending_events}",
            f"stream.poll_records is {pipeline.stream.poll_records}",
        )
    if pipeline.kafka.security_protocol.startswith("SASL") and not pipeline.kafka.sasl_username:
        yield problem(
            "pipeline.toml",
            ("kafka", "sasl_username"),
            f"must be set for {pipeline.kafka.security_protocol}",
            "its password comes from DISTILLWATCH_KAFKA_PASSWORD or DISTILLWATCH_KAFKA_PASSWORD_FILE",
        )
    yield from _tls_checks(pipeline.kafka, problem)
    if re.match(r"^[a-z]+://[^/@]*:[^/]*@", pipeline.clickhouse.dsn):
        yield problem(
            "pipeline.toml",
            ("clickhouse", "dsn"),
            "must not hold a password",
            "it comes from DISTILLWATCH_CLICKHOUSE_PASSWORD or DISTILLWATCH_CLICKHOUSE_PASSWORD_FILE",
        )
    names = msgspec.to_builtins(pipeline.kafka.topics)
    for topic, count in Counter(names.values()).items():
        if count > 1:
            keys = [key for key, name in names.items() if name == topic]
            yield problem(
                "pipeline.toml",
                ("kafka", "topics", keys[-1]),
                f'must be another topic than {keys[0]}, got "{topic}"',
                "each stream has a topic of its own",
            )
    for name, count in Counter(pattern.name for pattern in config.patterns.pattern).items():
        if count > 1:
            index = max(i for i, pattern in enumerate(config.patterns.pattern) if pattern.name == name)
            line = locate(files["patterns.toml"], ("pattern", index, "name"))
            path = f"pattern[{index}].name"
            message = f'{path} must be unique, got "{name}" once more'
            yield Problem(files["patterns.toml"].name, line, path, message, "alerts name patterns by it")


def _tls_checks(
    kafka: KafkaSettings, problem: Callable[[str, toml_lines.Path, str, str], Problem]
) -> Iterator[Problem]:
    """Keys of TLS that would have no effect: whoever sets one believes that the traffic is protected by it."""
    if kafka.security_protocol not in ("SSL", "SASL_SSL"):
        for key in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            if getattr(kafka, key):
                yield problem(
                    "pipeline.toml",
                    ("kafka", key),
                    f"has no effect with kafka.security_protocol {kafka.security_protocol}, which does not encrypt",
                    "set kafka.security_protocol to SSL or SASL_SSL, or leave the key empty",
                )
    if kafka.ssl_keyfile and not kafka.ssl_certfile:
        yield problem(
            "pipeline.toml",
            ("kafka", "ssl_certfile"),
            "must be set with kafka.ssl_keyfile",
            "it is the key's certificate",
        )
