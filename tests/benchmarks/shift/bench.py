"""Run the shift bench and put its figures together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from pipelines.errors import UsageError
from pipelines.progress import Progress
from tests.benchmarks.arena.text_only import told_apart
from tests.benchmarks.peers.contract import F32
from tests.benchmarks.shift import corpora
from tests.benchmarks.shift.corpora import PromptSet
from tests.benchmarks.shift.embedding import Choice, cached, choose
from tests.benchmarks.shift.pair import DETECTORS, PairResult, Plan, Texts, comparable, costs, measure
from tests.benchmarks.shift.published import published
from tests.benchmarks.shift.windows import interval
from tests.benchmarks.shift.word_table import WORDS, word_vectors

SEED: Final = 20_606
CACHE: Final = Path("build/shift")
FULL: Final = Plan()
# A first impression, for those who wait: intervals of so few splits are rough.
QUICK: Final = Plan(splits=4, calibration_windows=400, benign_windows=100, attack_windows=20, references=10)
WHAT_IS_REAL: Final = (
    "Prompts are real; which window they are in is simulated: no public data has prompts with accounts and times. "
    "An attack set is the prompts of a public data set, not recorded traffic of an attacker."
)
Variant = list[tuple[str, Texts, PairResult]]


def run(
    data_dir: Path | None,
    *,
    quick: bool,
    seed: int = SEED,
    embedding: Choice = "auto",
    wheel: Path | None = None,
    cache: Path = CACHE,
    plan: Plan | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure, and return the ``shift`` part of the arena's report.

    Args:
        data_dir: the folder with ``benign/`` and ``attack/``.
        quick: fewer splits and windows, and no run on the texts as found.
        embedding, wheel: see :func:`tests.benchmarks.shift.embedding.choose`.
        cache: keeps the embedding model and the embedded texts.
        plan: other amounts than those of `quick`.
        progress: bars on stderr.

    Returns:
        one entry for each detector, ``ours`` first: ``{window: {share in percent: share of
        windows found}, "fpr": mean over window sizes of the share of benign windows found}``; beside them ``detail``
        (by attack set, intervals), ``cost_us_per_query``, ``text_only``, ``as_found``, ``published`` and what was run.

    Raises:
        UsageError: the folder or a file in it is missing; the message has the remedy.
        Failure: the embedding asked for cannot be had.
    """
    if lacking := corpora.missing(data_dir):
        raise UsageError(
            f"the shift bench DID NOT RUN: {data_dir or 'no data folder'} lacks {', '.join(lacking)}; give the folder "
            "that holds benign/ and attack/ with --data DIR or in DISTILLWATCH_DATA"
        )
    assert data_dir is not None  # for the type checker: nothing is missing
    started = time.perf_counter()
    plan = plan or (QUICK if quick else FULL)
    benign, attacks = corpora.load(data_dir)
    chosen = choose(embedding, cache, wheel)

    with Progress(enabled=progress) as bars:

        def embed(texts: Sequence[str]) -> F32:
            with bars.bar(f"embedding by {chosen.embed.name}", len(texts)) as advance:
                return cached(chosen.embed, texts, cache, advance)

        with bars.bar("word vectors", WORDS) as advance:
            vectors = word_vectors(chosen.embed, cache, advance)

        def over_all(plan: Plan, *, as_found: bool, what: str) -> Variant:
            with bars.bar(what, len(attacks) * plan.splits) as advance:
                return [
                    _pair(benign, attack, embed, vectors, plan, seed, advance, as_found=as_found) for attack in attacks
                ]

        main = over_all(plan, as_found=False, what="normalised texts")
        found_plan = msgspec.structs.replace(plan, splits=max(2, plan.splits // 2))
        found = None if quick else over_all(found_plan, as_found=True, what="texts as found")
    return _curves(main, plan) | {
        "detail": _detail(main, plan, seed),
        "cost_us_per_query": costs(main[0][1], chosen.embed, vectors, plan),
        "text_only": _text_only(benign, attacks, main, found),
        "as_found": None
        if found is None
        else _curves(found, found_plan) | {"detail": _detail(found, found_plan, seed)},
        "published": published(),
        "embedding": {"name": chosen.embed.name, "note": chosen.note},
        "data": {prompts.name: prompts.counts for prompts in (*benign, *attacks)},
        "what_is_real": WHAT_IS_REAL,
        "plan": msgspec.to_builtins(plan),
        "quick": quick,
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _pair(
    benign: Sequence[PromptSet],
    attack: PromptSet,
    embed: Callable[[Sequence[str]], F32],
    vectors: Callable[[Sequence[str]], F32],
    plan: Plan,
    seed: int,
    advance: Callable[[int], object],
    *,
    as_found: bool,
) -> tuple[str, Texts, PairResult]:
    texts = comparable(benign, attack, plan, seed, as_found=as_found)
    return attack.name, texts, measure(texts, embed, vectors, plan, seed, advance)


def _curves(pairs: Variant, plan: Plan) -> dict[str, Any]:
    """Detector to window to share: the mean over attack sets and splits; None where no set could fill the window."""
    found = _mean_over(np.stack([result.found for _, _, result in pairs]), (0, 1))
    curves: dict[str, Any] = {}
    for row, name in enumerate(DETECTORS):
        curves[name] = {
            str(size): {str(share): _number(found[row, at, column]) for column, share in enumerate((0, *plan.shares))}
            for at, size in enumerate(plan.sizes)
        }
        curves[name]["fpr"] = _number(_mean_over(found[row, :, 0], (0,)))
    return curves


def _detail(pairs: Variant, plan: Plan, seed: int) -> dict[str, Any]:
    """Per detector, window and share: the interval, the rate at an exact threshold, and each attack set."""
    found = np.stack([result.found for _, _, result in pairs])
    exact = _mean_over(np.stack([result.found_exact for _, _, result in pairs]), (0, 1))
    by_split = _mean_over(found, (0,))
    calibration, test, _ = pairs[0][2].pools
    independent = (calibration + test) // max(1, test)
    rng = np.random.default_rng([seed, 1])
    detail: dict[str, Any] = {}
    for row, name in enumerate(DETECTORS):
        for at, size in enumerate(plan.sizes):
            for column, share in enumerate((0, *plan.shares)):
                splits = by_split[:, row, at, column]
                measured = not np.isnan(splits).any()
                detail.setdefault(name, {}).setdefault(str(size), {})[str(share)] = {
                    "tpr": _number(splits.mean()),
                    "interval": list(interval(splits, independent, rng)) if measured else None,
                    "tpr_exact_threshold": _number(exact[row, at, column]),
                    "by_set": {
                        pairs[which][0]: _number(found[which, :, row, at, column].mean()) for which in range(len(pairs))
                    },
                }
    return detail | {
        "pools": {name: dict(zip(("calibration", "test", "attack"), r.pools, strict=True)) for name, _, r in pairs},
        "disjoint_windows": {str(size): test // size for size in plan.sizes},
        "independent_blocks": independent,
    }


def _text_only(
    benign: Sequence[PromptSet], attacks: Sequence[PromptSet], main: Variant, found: Variant | None
) -> dict[str, Any]:
    """Which data set is a prompt from? Among all sets, and attack against benign prompt by prompt."""

    def all_sets(form: Callable[[PromptSet], Sequence[str]]) -> dict[str, Any]:
        return told_apart([(text, prompts.name) for prompts in (*benign, *attacks) for text in form(prompts)])

    return {
        "normalised": all_sets(lambda prompts: prompts.normal),
        "as_found": all_sets(lambda prompts: prompts.found),
        "auc_cut_to_common_lengths": {name: result.auc for name, _, result in main},
        "auc_as_found": None if found is None else {name: result.auc for name, _, result in found},
    }


def _mean_over(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Mean over what was measured; NaN where nothing was."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=axes), known.sum(axis=axes)
    out: np.ndarray = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return out


def _number(value: Any) -> float | None:
    """A rate as JSON has it; None for NaN."""
    return None if np.isnan(value) else round(float(value), 5)
