"""One run of the arena: simulate, replay, measure; then everything that is compared on the same events."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
import pandas as pd
import zstandard
from msgspec import Struct

from pipelines.config import load_config
from pipelines.simulate import Simulation, generate, load_prompts, load_scenario
from schemas.events import Event, decode_event, encode_event
from tests.benchmarks import shift
from tests.benchmarks.arena import ablation, budget, metrics, tables, text_only
from tests.benchmarks.peers import PEERS, setting_with
from tests.benchmarks.peers import budget as peer_budget
from tests.benchmarks.peers.queries import benign_reference

SYNTHETIC: Final = (
    "Prompts are real; which account sends them, when, from where and with what enrichment is simulated, and so are "
    "answers, token counts and signatures. No public data has labelled campaigns."
)
# The least compression: the file is read several times, and reading must not be what is measured.
_ZSTD_LEVEL: Final = 1

LARGER_BUDGETS: Final = (1, 10)

Tell = Callable[[str], object]


class Options(Struct, frozen=True, kw_only=True):
    """What to run.

    Attributes:
        scenario: name of a shipped one, or path of a TOML file.
        work: directory for events, labels, alerts and signals.
        wheels: where the two prompt wheels are; downloaded to `cache` without it.
        cache: where downloads are kept.
        data: directory of the richer prompt sets; None does without.
        config: directory; None for the built-in one.
        seed, accounts, days: instead of the scenario's.
        jobs: processes for what comes after the first replay.
        compare: also the ablation, the peers and the text-only baseline.
        embedding: of the peers that compare texts, `hashed` or `minilm`.
        shift: also the distribution-shift bench, `quick` or `full`; it needs `data`.
    """

    scenario: str
    work: Path
    cache: Path
    wheels: Path | None = None
    data: Path | None = None
    config: Path | None = None
    seed: int | None = None
    accounts: int | None = None
    days: float | None = None
    jobs: int = 2
    compare: bool = True
    embedding: str = "hashed"
    shift: str | None = None


def run(
    options: Options, tell: Tell = lambda _: None, save: Callable[[dict[str, Any]], object] = lambda _: None
) -> dict[str, Any]:
    """Run the arena and return what `arena.json` holds.

    Args:
        tell: called with a line on each finished step.
        save: called with the report as it grows, so that a long run which breaks off leaves what it had.

    Raises:
        UsageError, ConfigError: a scenario, config or prompt set that cannot be read.
        Failure: the prompts cannot be downloaded.
        ValueError: labels or events that are not sound.
    """
    options.work.mkdir(parents=True, exist_ok=True)
    events, alerts = options.work / "events.jsonl.zst", options.work / "alerts.jsonl"
    signals = options.work / "signals.jsonl"
    scenario = load_scenario(options.scenario)
    prompts = load_prompts(options.cache, wheels=options.wheels, data=options.data)
    simulation = generate(scenario, prompts=prompts, seed=options.seed, accounts=options.accounts, days=options.days)
    begun = time.monotonic()
    traffic = simulate(simulation, events)
    simulated = time.monotonic() - begun
    tell(f"{traffic.events:,} events of {len(traffic.labels):,} accounts simulated in {simulated:.0f} s")
    summary = ablation.run(events, alerts, options.config, None, findings=signals)
    tell(f"replayed in {summary.seconds:.0f} s: {summary.alerts:,} alert messages")
    found = list(tables.read_alerts(alerts))
    report: dict[str, Any] = {
        "scenario": scenario.name,
        "seed": simulation.seed,
        "config_version": load_config(options.config).version,
        "prompts": list(prompts.sources),
        "synthetic": SYNTHETIC,
        "events": traffic.events,
        "requests": len(traffic.requests),
        "accounts": len(traffic.labels),
        "days": traffic.days,
        "seconds": simulated + summary.seconds,
        "timings": {"simulate": simulated, "replay": summary.seconds},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **figures(traffic, tables.as_namings(found)),
        "alerts": metrics.alerts_a_day(found, traffic.days),
        "findings": metrics.findings(tables.read_signals(signals), found, traffic.labels),
        "peers": {},
        "ablation": {},
        "shift": {"ours": None, "mmd": None},
        "absent": {},
    }
    save(report)
    if options.compare:
        _compare(report, traffic, events, options, tell)
    else:
        report["absent"]["comparison"] = "this run left out the ablation, the peers and the text-only baseline"
    save(report)
    _shift(report, options, tell)
    save(report)
    return report


def simulate(simulation: Simulation, path: Path) -> tables.Traffic:
    """Write a simulation's events as compressed JSON lines, and its labels beside them, and read them as tables."""
    tables.as_labels(simulation.labels)  # labels that are not sound show before the long work, not after it
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(raw) as file:
        traffic = tables.as_traffic(
            _written(simulation.events(), file), lambda: (simulation.labels, simulation.harvest)
        )
    traffic.labels.to_parquet(path.with_name("labels.parquet"))
    return traffic


def _written(events: Iterator[Event], file: IO[bytes]) -> Iterator[Event]:
    for event in events:
        file.write(encode_event(event) + b"\n")
        yield event


def read(path: Path) -> Iterator[Event]:
    """The events of a file that :func:`simulate` wrote."""
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as file:
        rest = b""
        while chunk := file.read(1 << 20):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(decode_event, lines)


def figures(traffic: tables.Traffic, namings: pd.DataFrame) -> dict[str, Any]:
    """Everything that follows from who was named when."""
    campaigns = metrics.campaigns(traffic, namings)
    named = metrics.first_named(namings)
    harvest = traffic.requests.dropna(subset="campaign")
    return {
        "scenarios": [_plain(row) for row in campaigns],
        "overall": {
            "campaigns": len(campaigns),
            "detected": sum(row.detected for row in campaigns),
            "mean_exposure": float(np.mean([row.exposure for row in campaigns])) if campaigns else None,
            "pooled_exposure": float(metrics.served_before(harvest, named).mean()) if len(harvest) else None,
            "accounts_named": sum(row.accounts_named for row in campaigns),
            "purity": metrics.purity(namings, traffic.labels),
        },
        "benign": metrics.benign(traffic, namings),
        "curves": {row.name: metrics.curve(harvest[harvest["campaign"] == row.name], named) for row in campaigns},
        "roc": {"distillwatch": metrics.roc(namings.groupby("account")["score"].max(), traffic)},
    }


def _plain(row: metrics.CampaignFigures) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


def _compare(report: dict[str, Any], traffic: tables.Traffic, events: Path, options: Options, tell: Tell) -> None:
    """The ablation, the peers and the text-only baseline, several at a time."""
    allowed = report["benign"]["accounts_named"]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        innocent = set(traffic.labels.loc[traffic.labels["kind"] != tables.CAMPAIGN, "account"])
        peers = pool.submit(_peers, events, innocent, options.embedding)
        baseline = pool.submit(_text_records, events, options)
        off = {
            signal: pool.submit(
                _without, events, options.work / f"alerts-without-{signal}.jsonl", options.config, signal
            )
            for signal in ablation.signals()
        }
        for signal, task in off.items():
            report["ablation"][signal] = _ablated(traffic, task.result())
            tell(f"without {signal}: mean exposure {report['ablation'][signal]['mean_exposure']:.3f}")
        report["peers_embedding"], runs = peers.result()
        for name, peer in runs.items():
            report["peers"][name] = {**beside(peer.found, traffic, allowed), "seconds": peer.seconds}
            if peer.published is not None:
                report["peers"][name]["at_published"] = budget.figures_at(peer.found, traffic, peer.published)
            report["roc"][name] = metrics.roc(budget.highest(peer.found), traffic)
            tell(f"{name}: mean exposure {report['peers'][name]['mean_exposure']:.3f} in {peer.seconds:.0f} s")
        told, found = baseline.result()
        report["text_only"] = {**told, **beside(found, traffic, allowed)}
        report["roc"]["text only"] = metrics.roc(budget.highest(found), traffic)
        tell(f"text only: mean exposure {report['text_only']['mean_exposure']:.3f}")


def beside(found: pd.DataFrame, traffic: tables.Traffic, allowed: int) -> dict[str, Any]:
    """A method's figures at our benign budget, and at larger ones, lest a budget of nobody is all that is said."""
    larger = {
        f"at_{rate}_per_10k_account_days": budget.compare(found, traffic, peer_budget.allowed(traffic, rate))
        for rate in LARGER_BUDGETS
    }
    return {**budget.compare(found, traffic, allowed), **larger}


def _without(events: Path, alerts: Path, config: Path | None, signal: str) -> Path:
    ablation.run(events, alerts, config, signal)
    return alerts


def _ablated(traffic: tables.Traffic, alerts: Path) -> dict[str, Any]:
    namings = tables.as_namings(tables.read_alerts(alerts))
    campaigns = metrics.campaigns(traffic, namings)
    return {
        "mean_exposure": float(np.mean([row.exposure for row in campaigns])) if campaigns else None,
        "detected": sum(row.detected for row in campaigns),
        "benign_accounts_named": metrics.benign(traffic, namings)["accounts_named"],
        "exposure": {row.name: row.exposure for row in campaigns},
    }


class PeerRun(NamedTuple):
    """What a peer made of the events: its records, its authors' threshold if any, and how long it took."""

    found: pd.DataFrame
    published: float | None
    seconds: float


def _peers(events: Path, benign: set[str], embedding: str) -> tuple[str, dict[str, PeerRun]]:
    """All peers, one after the other, so that they embed each text once; and what the embedding is called."""
    setting = setting_with(embedding, benign_reference(read(events), benign))
    runs = {}
    for name, make in PEERS.items():
        peer = make(setting)
        begun = time.monotonic()
        runs[name] = PeerRun(budget.records(peer.score(read(events))), peer.published, time.monotonic() - begun)
    return setting.embed.name, runs


def _text_records(events: Path, options: Options) -> tuple[dict[str, Any], pd.DataFrame]:
    prompts = load_prompts(options.cache, wheels=options.wheels, data=options.data)
    learned = text_only.labelled(prompts.fold("tune"))
    scored = text_only.labelled(prompts.fold("score"))
    model = text_only.SourceModel.fit([text for text, _ in learned], [source for _, source in learned])
    told = text_only.recognised(model, [text for text, _ in scored], [source for _, source in scored])
    return told, budget.records(text_only.suspicion(model, read(events)))


def _shift(report: dict[str, Any], options: Options, tell: Tell) -> None:
    if options.shift is None:
        report["absent"]["shift"] = "this run left out the distribution-shift bench"
    elif options.data is None:
        report["absent"]["shift"] = "the distribution-shift bench needs the prompt sets of a data directory"
    else:
        cache = options.cache.parent / "shift"
        report["shift"] = shift.run(options.data, quick=options.shift == "quick", cache=cache)
        if report["shift"]["ours"] is None:
            report["absent"]["shift, ours"] = report["shift"]["ours_reason"]
        tell("distribution-shift bench done")
