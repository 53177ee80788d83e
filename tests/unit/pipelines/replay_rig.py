"""What tests of replay share: traffic that holds one campaign, a quick config, and one call that runs it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from pipelines import replay
from pipelines.config import Config, load_config
from pipelines.dead_letters import read_file
from pipelines.replay import ReplaySummary
from pipelines.store import Store
from schemas.activity import Activity
from schemas.alerts import ALERT_DECODER, Alert, Signal
from schemas.deadletters import DeadLetter
from schemas.events import encode_event
from tests.scenarios import HOUR, START, campaign, everyday, in_order, template

CAMPAIGN = "pool"
SKELETON = (
    "You are an expert data analyst combining statistical rigor with deep domain knowledge. Your goal is to deliver "
    "data-driven insights grounded in real data and supported by complete and transparent reasoning."
)
BEGIN = START + 10 * HOUR  # working hours

# Ticks of a minute and small sketches: the decisions are those of the shipped config, in a tenth of its time. Where
# traffic is thin, ticks are most of what it takes.
DETECTORS = """
tick_ms = {tick_ms}
template_family.sketch_bits = {sketch_bits}
signature_replay.capacity = 4_096
foreign_turns.capacity = 4_096
sampling_sweep.capacity = 4_096
coverage.word_bits = 18
accounts.capacity = 4_096
"""


def config_dir(folder: Path, sketch_bits: int = 18, tick_ms: int = 60_000) -> Path:
    folder.mkdir()
    (folder / "detectors.toml").write_text(DETECTORS.format(sketch_bits=sketch_bits, tick_ms=tick_ms))
    if tick_ms > 60_000:
        (folder / "pipeline.toml").write_text(f"stream.max_skew_ms = {tick_ms}\n")
    return folder


def quick_config(folder: Path, sketch_bits: int = 18, tick_ms: int = 60_000) -> Config:
    return load_config(config_dir(folder, sketch_bits, tick_ms))


def campaign_lines() -> list[bytes]:
    """Three hours of 110 everyday accounts and a campaign of 40, in order of time."""
    crowd = everyday(7, 110, days=3 / 24, begin=BEGIN)
    pool = campaign(7, CAMPAIGN, 40, template(SKELETON), begin=BEGIN + HOUR, hours=1.2, requests=(3, 5))
    return [encode_event(event) for event in in_order([*crowd, *pool])]


def write_lines(path: Path, lines: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


class Outcome(NamedTuple):
    """The bytes that a replay left, and what it said."""

    alerts: bytes
    signals: bytes
    summary: ReplaySummary
    letters: list[DeadLetter]

    @property
    def found(self) -> list[Alert]:
        return [ALERT_DECODER.decode(line) for line in self.alerts.splitlines()]


def run(paths: Sequence[Path], folder: Path, config: Config, **options: Any) -> Outcome:
    """Replay into files of a new folder."""
    folder.mkdir()
    alerts, signals, letters = (folder / name for name in ("alerts.jsonl", "signals.jsonl", "dead.jsonl"))
    summary = replay.run(paths, config=config, alerts=alerts, signals=signals, dead_letters=letters, **options)
    kept = [stored.letter for stored in read_file(letters)]
    return Outcome(alerts.read_bytes(), signals.read_bytes(), summary, kept)


class MemoryStore:
    """Takes what a replay would write to ClickHouse; keeps activity as ClickHouse does, the latest row of each."""

    def __init__(self) -> None:
        self.migrated = 0
        self.alerts: list[Alert] = []
        self.signals: list[Signal] = []
        self.activity: dict[tuple[str, int], Activity] = {}

    def migrate(self) -> list[str]:
        self.migrated += 1
        return []

    def insert_alerts(self, alerts: Sequence[Alert]) -> int:
        self.alerts += alerts
        return len(alerts)

    def insert_signals(self, signals: Sequence[Signal]) -> int:
        self.signals += signals
        return len(signals)

    def insert_activity(self, rows: Sequence[Activity]) -> int:
        for row in rows:
            known = self.activity.get((row.account, row.hour))
            if known is None or row.as_of >= known.as_of:
                self.activity[row.account, row.hour] = row
        return len(rows)

    def as_store(self) -> Store:
        return cast("Store", self)
