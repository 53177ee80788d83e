"""One run of the arena: simulate, replay, measure; then everything that is compared on the same events."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import IO, Any, Final, NamedTuple

import msgspec
import pandas as pd
import zstandard
from msgspec import Struct

from pipelines.config import load_config
from pipelines.simulate import Simulation, generate, load_prompts, load_scenario, scenario_names
from schemas.events import Event, encode_event
from tests.benchmarks import shift
from tests.benchmarks.arena import ablation, budget, metrics, tables, text_only
from tests.benchmarks.arena.progress import Tell, silent, told
from tests.benchmarks.peers import PEERS, setting_with
from tests.benchmarks.peers import budget as peer_budget
from tests.benchmarks.peers.columns import Columns, Writer
from tests.benchmarks.peers.queries import benign_reference

SYNTHETIC: Final = (
    "Prompts are real; which account sends them, when, from where and with what enrichment is simulated, and so are "
    "answers, token counts and signatures. No public data has labelled campaigns."
)
# The least compression: the file is read several times, and reading must not be what is measured.
_ZSTD_LEVEL: Final = 1

LARGER_BUDGETS: Final = (1, 10)

Save = Callable[[dict[str, Any]], object]

EVENTS: Final = "events.jsonl.zst"
COLUMNS: Final = "columns.arrow"
EVIDENCE: Final = "evidence.jsonl.zst"


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
        grid: also every shape under every evasion (:func:`grid_scenarios`), without comparisons.
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
    grid: bool = False


def run(options: Options, tell: Tell = silent, save: Save = lambda _: None) -> dict[str, Any]:
    """Run the arena and return what `arena.json` holds.

    Args:
        tell: called with lines on what is done and how far it is, also from other processes, so it must pickle.
        save: called with the report as it grows, so that a long run which breaks off leaves what it had.

    Raises:
        UsageError, ConfigError: a scenario, config or prompt set that cannot be read.
        Failure: the prompts cannot be downloaded.
        ValueError: labels or events that are not sound.
    """
    with ExitStack() as stack:
        return _run(options, tell, save, _shift_begun(options, tell, stack))


def _run(options: Options, tell: Tell, save: Save, shift_bench: Callable[[], dict[str, Any]] | None) -> dict[str, Any]:
    options.work.mkdir(parents=True, exist_ok=True)
    events, alerts = options.work / EVENTS, options.work / "alerts.jsonl"
    signals = options.work / "signals.jsonl"
    scenario = load_scenario(options.scenario)
    tell("loading prompts")
    prompts = load_prompts(options.cache, wheels=options.wheels, data=options.data)
    simulation = generate(scenario, prompts=prompts, seed=options.seed, accounts=options.accounts, days=options.days)
    begun = time.monotonic()
    tell(f"simulating {scenario.name}")
    traffic = simulate(simulation, events, tell)
    simulated = time.monotonic() - begun
    tell(f"{traffic.events:,} events of {len(traffic.labels):,} accounts simulated in {simulated:.0f} s")
    kept = options.work / EVIDENCE if options.compare else None
    summary = ablation.run(events, alerts, options.config, None, findings=signals, evidence=kept, tell=tell)
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
        "alone": {},
        "shift": {"ours": None, "mmd": None},
        "absent": {},
    }
    save(report)
    if options.compare:
        _compare(report, traffic, options, tell, save)
    else:
        report["absent"]["comparison"] = "this run left out the ablation, the peers and the text-only baseline"
    save(report)
    if options.grid:
        add_grid(report, options, tell)
        save(report)
    _shift(report, options, shift_bench)
    save(report)
    return report


def simulate(simulation: Simulation, path: Path, tell: Tell = silent) -> tables.Traffic:
    """Write a simulation's events as compressed JSON lines, and read them as tables.

    Its labels and what the compared methods read of the events go beside them.
    """
    columns = Writer()
    tables.as_labels(simulation.labels)  # labels that are not sound show before the long work, not after it
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(raw) as file:
        traffic = tables.as_traffic(
            told(columns.tap(_written(simulation.events(), file)), "simulating: events", tell),
            lambda: (simulation.labels, simulation.harvest),
        )
    columns.save(path.with_name(COLUMNS))
    traffic.labels.to_parquet(path.with_name("labels.parquet"))
    return traffic


def _written(events: Iterator[Event], file: IO[bytes]) -> Iterator[Event]:
    for event in events:
        file.write(encode_event(event) + b"\n")
        yield event


def figures(traffic: tables.Traffic, namings: pd.DataFrame) -> dict[str, Any]:
    """Everything that follows from who was named when."""
    campaigns = metrics.campaigns(traffic, namings)
    named = metrics.first_named(namings)
    harvest = traffic.requests.dropna(subset="campaign")
    return {
        "scenarios": [_plain(row) for row in campaigns],
        "overall": {
            "campaigns": len(campaigns),
            **metrics.over_campaigns(campaigns),
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


def _compare(report: dict[str, Any], traffic: tables.Traffic, options: Options, tell: Tell, save: Save) -> None:
    """The ablation, the peers and the text-only baseline, several at a time; the longest begin first."""
    allowed = report["benign"]["accounts_named"]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        innocent = set(traffic.labels.loc[traffic.labels["kind"] != tables.CAMPAIGN, "account"])
        peers = pool.submit(_peers, options.work / COLUMNS, innocent, options.embedding, tell)
        baseline = pool.submit(_text_records, options, tell)
        config = load_config(options.config)
        signals = ablation.signals(config)
        without = {name: pool.submit(_decided, options, f"without-{name}", [name], tell) for name in signals}
        others = {name: ablation.all_but(config, name) for name in signals if name not in ablation.COORDINATION}
        alone = {name: pool.submit(_decided, options, f"only-{name}", off, tell) for name, off in others.items()}
        for key, tasks in (("ablation", without), ("alone", alone)):
            report[key] = {name: _ablated(traffic, *task.result()) for name, task in tasks.items()}
            save(report)
        report["peers_embedding"], runs = peers.result()
        for name, peer in runs.items():
            report["peers"][name] = {**beside(peer.found, traffic, allowed), "seconds": peer.seconds}
            if peer.published is not None:
                report["peers"][name]["at_published"] = budget.figures_at(peer.found, traffic, peer.published)
            report["roc"][name] = metrics.roc(budget.highest(peer.found), traffic)
        recognised, found, seconds = baseline.result()
        report["text_only"] = {**recognised, **beside(found, traffic, allowed), "seconds": seconds}
        report["roc"]["text only"] = metrics.roc(budget.highest(found), traffic)


def beside(found: pd.DataFrame, traffic: tables.Traffic, allowed: int) -> dict[str, Any]:
    """A method's figures at our benign budget, and at larger ones, lest a budget of nobody is all that is said."""
    larger = {
        f"at_{rate}_per_10k_account_days": budget.compare(found, traffic, peer_budget.allowed(traffic, rate))
        for rate in LARGER_BUDGETS
    }
    return {**budget.compare(found, traffic, allowed), **larger}


def _decided(options: Options, name: str, off: list[str], tell: Tell) -> tuple[Path, float]:
    """The alerts with some signals off, and the seconds they took."""
    alerts = options.work / f"alerts-{name}.jsonl"
    begun = time.monotonic()
    tell(f"ablation: {name}")
    ablation.decide_again(options.work / EVIDENCE, alerts, options.config, off, tell)
    seconds = time.monotonic() - begun
    tell(f"ablation: {name} done in {seconds:.0f} s")
    return alerts, seconds


def _ablated(traffic: tables.Traffic, alerts: Path, seconds: float) -> dict[str, Any]:
    namings = tables.as_namings(tables.read_alerts(alerts))
    campaigns = metrics.campaigns(traffic, namings)
    return {
        **metrics.over_campaigns(campaigns),
        "benign_accounts_named": metrics.benign(traffic, namings)["accounts_named"],
        "exposure": {row.name: row.exposure for row in campaigns},
        "seconds": seconds,
    }


class PeerRun(NamedTuple):
    """What a peer made of the events: its records, its authors' threshold if any, and how long it took."""

    found: pd.DataFrame
    published: float | None
    seconds: float


def _peers(columns: Path, benign: set[str], embedding: str, tell: Tell) -> tuple[str, dict[str, PeerRun]]:
    """All peers, one after the other, so that they embed each text once; and what the embedding is called."""
    events = Columns(columns)
    setting = setting_with(embedding, benign_reference(events, benign))
    runs = {}
    for name, make in PEERS.items():
        tell(f"peer {name}")
        begun = time.monotonic()
        peer = make(setting)
        found = budget.records(peer.score(told(events, f"peer {name}: events", tell, len(events))))
        runs[name] = PeerRun(found, peer.published, time.monotonic() - begun)
        tell(f"peer {name} done in {runs[name].seconds:.0f} s")
    return setting.embed.name, runs


def _text_records(options: Options, tell: Tell) -> tuple[dict[str, Any], pd.DataFrame, float]:
    tell("text-only baseline")
    begun = time.monotonic()
    prompts = load_prompts(options.cache, wheels=options.wheels, data=options.data)
    learned = text_only.labelled(prompts.fold("tune"))
    scored = text_only.labelled(prompts.fold("score"))
    model = text_only.SourceModel.fit([text for text, _ in learned], [source for _, source in learned])
    recognised = text_only.recognised(model, [text for text, _ in scored], [source for _, source in scored])
    events = Columns(options.work / COLUMNS)
    found = budget.records(text_only.suspicion(model, told(events, "text-only baseline: events", tell, len(events))))
    seconds = time.monotonic() - begun
    tell(f"text-only baseline done in {seconds:.0f} s")
    return recognised, found, seconds


def grid_scenarios() -> list[str]:
    """The shipped scenarios that hold every shape once: plain, and under one evasion each."""
    return [name for name in scenario_names() if name == "shapes" or name.startswith("shapes_")]


def add_grid(report: dict[str, Any], options: Options, tell: Tell = silent) -> None:
    """Add the exposure of every shape under every evasion; what the run itself measured is not measured again."""
    others = [name for name in grid_scenarios() if name != report["scenario"]]
    found: list[Mapping[str, Any]] = [report] if report["scenario"] in grid_scenarios() else []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(_one_of_grid, name, options, tell) for name in others]
        found += [task.result() for task in tasks]
    report["grid"], report["grid_intervals"] = as_grid(row for part in found for row in part["scenarios"])
    report["grid_benign"] = {part["scenario"]: part["benign"] for part in found}
    report["timings"]["grid"] = {part["scenario"]: part["seconds"] for part in found}


def _one_of_grid(name: str, options: Options, tell: Tell) -> dict[str, Any]:
    plain = msgspec.structs.replace(
        options, scenario=name, work=options.work.parent / name, compare=False, shift=None, grid=False
    )
    report = run(plain, partial(_tell_of, name, tell))
    tell(f"grid: {name} done in {report['seconds']:.0f} s")
    return report


def _tell_of(name: str, tell: Tell, text: str) -> None:
    tell(f"grid, {name}: {text}")


Table = dict[str, dict[str, Any]]


def as_grid(rows: Iterable[Mapping[str, Any]]) -> tuple[Table, Table]:
    """Evasion to shape to exposure, and to its interval; means where a shape has several campaigns.

    Args:
        rows: the `scenarios` of reports; without an evasion it is called `none`.
    """
    cells: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        cells.setdefault(row["evasive"] or "none", {}).setdefault(row["shape"], []).append(row)
    exposure: Table = {}
    intervals: Table = {}
    for evasion, by_shape in sorted(cells.items(), key=lambda cell: (cell[0] != "none", cell[0])):
        exposure[evasion] = {shape: fmean(row["exposure"] for row in rows) for shape, rows in sorted(by_shape.items())}
        intervals[evasion] = {
            shape: [fmean(row["exposure_interval"][end] for row in rows) for end in (0, 1)]
            for shape, rows in sorted(by_shape.items())
        }
    return exposure, intervals


def _shift_begun(options: Options, tell: Tell, stack: ExitStack) -> Callable[[], dict[str, Any]] | None:
    """The distribution-shift bench, at work in a process of its own, which ends with the stack; None without one.

    It needs nothing of the scenario, and the first replay leaves the other processors idle.
    """
    if options.shift is None or options.data is None:
        return None
    if options.jobs == 1:
        return partial(_shift_bench, options, tell)
    pool = stack.enter_context(get_context("spawn").Pool(1))
    return pool.apply_async(_shift_bench, (options, tell)).get


def _shift_bench(options: Options, tell: Tell) -> dict[str, Any]:
    tell("distribution-shift bench")
    cache = options.cache.parent / "shift"
    found = shift.run(options.data, quick=options.shift == "quick", cache=cache, progress=options.jobs == 1)
    tell(f"distribution-shift bench done in {found['seconds']:.0f} s")
    return found


def _shift(report: dict[str, Any], options: Options, bench: Callable[[], dict[str, Any]] | None) -> None:
    if options.shift is None:
        report["absent"]["shift"] = "this run left out the distribution-shift bench"
    elif bench is None:
        report["absent"]["shift"] = "the distribution-shift bench needs the prompt sets of a data directory"
    else:
        report["shift"] = bench()
        if report["shift"]["ours"] is None:
            report["absent"]["shift, ours"] = report["shift"]["ours_reason"]
