"""The demo from prompts to verdict: download, simulate, replay, evaluate, query, tell."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.clickhouse.named import load_query
from pipelines import replay
from pipelines.config import Config
from pipelines.demo import story
from pipelines.demo.outcome import Outcome, evaluate
from pipelines.demo.prompts import WHEELS, PromptSets, fetch, read_prompts
from pipelines.demo.scenario import SEED, START, DemoTraffic, Plan, build_demo_events
from pipelines.errors import Failure, UsageError
from pipelines.store import open_store
from schemas.alerts import ALERT_DECODER, Alert
from schemas.events import Request, encode_event

MARKER: Final = ".distillwatch-demo"
# One poll of a detect worker; any other number gives the same alerts.
BATCH: Final = 4_000


class Files(Struct, frozen=True):
    """What the demo leaves in its directory."""

    events: Path
    labels: Path
    alerts: Path
    signals: Path
    dead_letters: Path
    clickhouse: Path
    cache: Path

    @classmethod
    def under(cls, out: Path) -> Files:
        """The files of a demo in directory `out`."""
        return cls(
            events=out / "events.jsonl",
            labels=out / "labels.json",
            alerts=out / "alerts.jsonl",
            signals=out / "signals.jsonl",
            dead_letters=out / "dead-letters.jsonl",
            clickhouse=out / "clickhouse",
            cache=out / "prompts",
        )


def run_demo(
    out: Path,
    *,
    config: Config,
    console: Console,
    prompts_dir: Path | None = None,
    seed: int = SEED,
    scale: float = 1.0,
    program: str = "distillwatch",
) -> Outcome:
    """Run the whole demo and tell it on `console`.

    Args:
        out: directory for all files; an earlier demo in it is replaced.
        prompts_dir: where the two wheels already are; downloaded into `out` without it.
        scale: 1 is the demo's size.
        program: how the commands that the story suggests begin.

    Raises:
        UsageError: `out` holds something else, or `prompts_dir` is no directory.
        Failure: no prompts, or the replay rejected an event of the demo.
    """
    files = prepare(out)
    story.heading(console, "1  Real prompts")
    prompts = _prompts(console, files, prompts_dir)
    story.sources(console, prompts)

    story.heading(console, "2  Simulated accounts")
    traffic = _simulate(console, prompts, seed, scale)
    requests = write_traffic(traffic, files)
    labels = traffic.labels
    story.traffic(console, labels, sum(map(len, requests.values())), len(traffic))
    del traffic  # the replay reads the file, as a user's would

    story.heading(console, "3  The replay, as users run it")
    with closing(open_store(f"chdb://{files.clickhouse.resolve()}")) as store:
        summary = replay.run(
            [files.events],
            config=config,
            alerts=files.alerts,
            signals=files.signals,
            dead_letters=files.dead_letters,
            store=store,
            batch_size=BATCH,
            progress=True,
        )
        if summary.bad:
            raise Failure(f"the replay rejected {summary.bad} events of the demo; see {files.dead_letters}")
        story.replayed(console, summary.events, summary.alerts, summary.signals, summary.seconds)
        outcome = evaluate(labels, read_alerts(files.alerts), requests)
        story.heading(console, "4  The campaign")
        story.finding(console, outcome)
        story.heading(console, "5  Who must not be named")
        story.benign(console, outcome)
        story.heading(console, "6  What an analyst asks ClickHouse")
        for name, params in shown_queries(outcome):
            story.query(console, load_query(name), params, store.query(name, params))

    story.heading(console, "7  Where to go from here")
    listed = {"events": files.events, "labels": files.labels, "alerts": files.alerts, "signals": files.signals}
    first = outcome.alerts[0].alert_id if outcome.alerts else None
    story.onward(console, {**listed, "ClickHouse": files.clickhouse}, first, program)
    console.print()
    story.verdict(console, outcome)
    return outcome


def prepare(out: Path) -> Files:
    """Make `out` ready: an earlier demo's results go, its downloaded prompts stay.

    Raises:
        UsageError: `out` is not empty and no earlier demo made it, so nothing in it is touched.
    """
    files = Files.under(out)
    marker = out / MARKER
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is not a directory; name another one")
    if out.is_dir() and any(out.iterdir()) and not marker.exists():
        raise UsageError(f"--out {out} holds files that no demo made; name an empty or a new directory")
    try:
        out.mkdir(parents=True, exist_ok=True)
        marker.touch()
        for path in (files.events, files.labels, files.alerts, files.signals, files.dead_letters):
            path.unlink(missing_ok=True)
        if files.clickhouse.exists():
            shutil.rmtree(files.clickhouse)
    except OSError as error:
        raise Failure(f"{error.filename or out}: {error.strerror}") from error
    return files


def write_traffic(traffic: DemoTraffic, files: Files) -> dict[str, list[int]]:
    """Write events and labels; returns the `ts` of every account's requests, ascending."""
    requests: dict[str, list[int]] = {}
    with files.events.open("wb") as stream:
        for event in traffic:
            stream.write(encode_event(event) + b"\n")
            if isinstance(event, Request):
                requests.setdefault(event.account, []).append(event.ts)
    files.labels.write_bytes(msgspec.json.format(msgspec.json.encode(traffic.labels, order="sorted"), indent=1) + b"\n")
    return requests


def read_alerts(path: Path) -> Iterator[Alert]:
    """The alerts of a file, in its order."""
    with path.open("rb") as stream:
        for line in stream:
            yield ALERT_DECODER.decode(line)


def shown_queries(outcome: Outcome) -> Iterator[tuple[str, dict[str, str]]]:
    """(name, parameters) of the analysts' queries that the demo shows, in order."""
    yield "campaigns", {}
    for campaign in outcome.campaign_ids[:1]:
        yield "campaign_members", {"campaign": campaign}
    yield "named_against_others", {"since": datetime.fromtimestamp(START / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")}


def _prompts(console: Console, files: Files, given: Path | None) -> PromptSets:
    with _bar(console, "prompts", len(WHEELS)) as progress:
        task = progress.task_ids[0]
        paths = fetch(files.cache, given, lambda _: progress.advance(task))
    return read_prompts(paths)


def _simulate(console: Console, prompts: PromptSets, seed: int, scale: float) -> DemoTraffic:
    with _bar(console, "accounts", Plan().scaled(scale).accounts) as progress:
        task = progress.task_ids[0]
        return build_demo_events(prompts, seed=seed, scale=scale, on_account=lambda _: progress.advance(task))


@contextmanager
def _bar(console: Console, what: str, total: int) -> Iterator[Progress]:
    columns = (TextColumn(f"  {what:<9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        progress.add_task(what, total=total)
        yield progress
