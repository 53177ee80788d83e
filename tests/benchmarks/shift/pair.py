"""One attack set against the benign sets: the same windows for every scorer, over many splits."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.shift_statistic import Axes, Reference, Summary, WordVectors
from detectors.text import normalise
from tests.benchmarks.arena.text_only import SourceModel
from tests.benchmarks.peers.contract import F32, Embedder
from tests.benchmarks.peers.mmd import kernel
from tests.benchmarks.shift.corpora import PromptSet, cut_to_common_lengths
from tests.benchmarks.shift.features import features
from tests.benchmarks.shift.scorers import MeanOdds, MeanShift, Mmd, PairExcess, Scorer, width_of
from tests.benchmarks.shift.windows import (
    Split,
    blocks_of,
    draw_beside,
    draw_mixed,
    free_beside,
    some_blocks,
    take_blocks,
    threshold,
)

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

DETECTORS: Final = ("ours", "ours_hashed", "mmd", "mean_shift", "data_set_classifier")
_FOLDS: Final = 5
_CHARS: Final = 8_192  # of a text, as FeatureParams has it
_CLIP: Final = 8.0  # one prompt says at most e**8 for or against the attack set


class Plan(Struct, frozen=True, kw_only=True):
    """How much is measured. Sizes in prompts, shares in percent.

    Attributes:
        splits: times that the prompts are dealt anew to calibration and test.
        calibration_windows, benign_windows, attack_windows: per split and window size (and share).
        references: reference samples per split, of `reference_share` of the calibration prompts each, in blocks.
        test_share: of the benign prompts.
        attack_prompts: of each set at most; `attack_limit` of them take part in one split.
        block: neighbouring prompts that stay on one side.
        rate: of benign windows that the threshold is set to.
    """

    sizes: tuple[int, ...] = (100, 200, 500, 1_000, 1_500)
    shares: tuple[int, ...] = (5, 10, 25, 50, 100)
    splits: int = 24
    calibration_windows: int = 700
    benign_windows: int = 150
    attack_windows: int = 30
    references: int = 20
    reference_share: float = 0.25
    test_share: float = 0.4
    attack_prompts: int = 2_000
    attack_limit: int = 1_600
    block: int = 20
    rate: float = 0.003


class Texts(NamedTuple):
    """The prompts of one pair in the form in which they are scored.

    Attributes:
        benign, attack: texts.
        alive: benign prompts that are left: the first of those that became equal when they were cut.
        sets, blocks: of the benign prompts, see :func:`tests.benchmarks.shift.windows.blocks_of`.
    """

    benign: list[str]
    attack: list[str]
    alive: NDArray[np.bool_]
    sets: I64
    blocks: I64


class PairResult(NamedTuple):
    """Rates over windows; axis 0 splits, then detectors, window sizes, shares (0 % first); NaN: not measured.

    Attributes:
        found: windows above the threshold of the calibration windows.
        found_exact: windows above the same quantile of the split's own benign test windows.
        auc: of the classifier on single prompts, out of fold.
        pools: prompts of the calibration side, the test side and the attack side, of the first split.
    """

    found: F64
    found_exact: F64
    auc: float
    pools: tuple[int, int, int]


def comparable(benign: Sequence[PromptSet], attack: PromptSet, plan: Plan, seed: int, *, as_found: bool) -> Texts:
    """The texts of a pair: normalised and cut to common lengths, or as they were found."""
    rng = np.random.default_rng([seed, zlib.crc32(attack.name.encode())])
    kept = some_blocks(len(attack.found), plan.attack_prompts, plan.block, rng)
    sets, blocks = blocks_of([len(found.found) for found in benign], plan.block)
    if as_found:
        ours = [text for found in benign for text in found.found]
        theirs = [attack.found[row] for row in kept]
    else:
        ours, theirs = cut_to_common_lengths(
            [text for found in benign for text in found.normal], [attack.normal[row] for row in kept], rng
        )
    seen: set[str] = set()
    alive = np.array([_first(text, seen) for text in ours])
    return Texts(ours, [text for text in theirs if _first(text, seen)], alive, sets, blocks)


def _first(text: str, seen: set[str]) -> bool:
    fresh = text not in seen
    seen.add(text)
    return fresh


def measure(
    texts: Texts,
    embed: Callable[[Sequence[str]], F32],
    vectors: Callable[[Sequence[str]], F32],
    plan: Plan,
    seed: int,
    advance: Callable[[int], object],
) -> PairResult:
    """Score the windows of every split; `advance` is told of each.

    Args:
        embed: sentence embeddings, for MMD.
        vectors: sums of word vectors, for ours.
    """
    everything = [*texts.benign, *texts.attack]
    read = readable(everything)
    summed, hashed = vectors(read), WordVectors()(read)
    points = np.vstack([embed(texts.benign), embed(texts.attack)])
    cheap, odds = features(everything), out_of_fold(texts, plan.block)
    first_attack = len(texts.benign)
    shape = (plan.splits, len(DETECTORS), len(plan.sizes), 1 + len(plan.shares))
    found, found_exact = np.full(shape, np.nan), np.full(shape, np.nan)
    pools = (0, 0, 0)
    for number in range(plan.splits):
        rng = np.random.default_rng([seed, number])
        dealt = deal(texts, plan, rng)
        pools = pools if number else (len(dealt.calibration), len(dealt.test), len(dealt.attack))
        inside = dealt.calibration
        outside = np.concatenate([dealt.test, first_attack + dealt.attack])
        references = np.stack(
            [
                take_blocks(texts.sets[inside], texts.blocks[inside], plan.reference_share, rng)
                for _ in range(plan.references)
            ]
        )
        scorers: dict[str, Scorer] = {
            "ours": PairExcess(summed[inside], summed[outside], references),
            "ours_hashed": PairExcess(hashed[inside], hashed[outside], references),
            "mmd": Mmd(points[inside], points[outside], references),
            "mean_shift": MeanShift(cheap[inside], cheap[outside], references),
            "data_set_classifier": MeanOdds(odds[inside], odds[outside], references),
        }
        for at, size in enumerate(plan.sizes):
            found[number, :, at], found_exact[number, :, at] = _windows(scorers, references, dealt, size, plan, rng)
        advance(1)
    return PairResult(found, found_exact, _auc(odds[first_attack:], odds[:first_attack][texts.alive]), pools)


def deal(texts: Texts, plan: Plan, rng: np.random.Generator) -> Split:
    """One split of a pair's prompts; the benign side is dealt alike for every attack set."""
    test = take_blocks(texts.sets, texts.blocks, plan.test_share, rng)
    return Split(
        np.flatnonzero(~test & texts.alive),
        np.flatnonzero(test & texts.alive),
        some_blocks(len(texts.attack), plan.attack_limit, plan.block, rng),
    )


def _windows(
    scorers: dict[str, Scorer],
    references: NDArray[np.bool_],
    dealt: Split,
    size: int,
    plan: Plan,
    rng: np.random.Generator,
) -> tuple[F64, F64]:
    """Shares of windows found at one size; two arrays of shape (detectors, shares with 0 % first)."""
    found = np.full((len(DETECTORS), 1 + len(plan.shares)), np.nan)
    exact = found.copy()
    if size > min(free_beside(references), len(dealt.test)):
        return found, exact
    which = np.arange(plan.calibration_windows) % plan.references
    windows = draw_beside(references, which, size, rng)
    limits = {name: threshold(scorer.calibration(windows, which), plan.rate) for name, scorer in scorers.items()}
    own: dict[str, float] = {}
    for column, percent in enumerate((0, *plan.shares)):
        if round(size * percent / 100) > len(dealt.attack):
            continue
        count = plan.attack_windows if percent else plan.benign_windows
        which = np.arange(count) % plan.references
        mixed = draw_mixed(len(dealt.test), len(dealt.attack), size, percent, count, rng)
        for row, name in enumerate(DETECTORS):
            scores = scorers[name].test(mixed, which)
            if not percent:
                own[name] = float(np.quantile(scores, 1 - plan.rate, method="higher"))
            found[row, column] = np.mean(scores > limits[name])
            exact[row, column] = np.mean(scores > own[name])
    return found, exact


def out_of_fold(texts: Texts, block: int) -> F64:
    """Log odds that each prompt is of the attack set, from a classifier that saw neither it nor its block.

    Shape (benign + attack prompts,).
    """
    everything = np.array([*texts.benign, *texts.attack], dtype=object)
    labels = np.array(["benign"] * len(texts.benign) + ["attack"] * len(texts.attack))
    rows = np.concatenate([np.arange(len(texts.benign)), np.arange(len(texts.attack))])
    usable = np.concatenate([texts.alive, np.ones(len(texts.attack), np.bool_)])
    fold = rows // block % _FOLDS
    odds = np.zeros(len(everything))
    for number in range(_FOLDS):
        held = fold == number
        model = SourceModel.fit(list(everything[~held & usable]), list(labels[~held & usable]))
        scores = model.scores(list(everything[held]))
        attack = model.sources.index("attack")
        odds[held] = np.clip(scores[:, attack] - scores[:, 1 - attack], -_CLIP, _CLIP)
    return odds


def _auc(positive: F64, negative: F64) -> float:
    """Chance that an attack prompt scores above a benign one, ties counting half."""
    ordered = np.sort(negative)
    below, upto = (np.searchsorted(ordered, positive, side) for side in ("left", "right"))
    return float(np.mean(below + upto) / 2 / len(negative))


def costs(texts: Texts, encode: Embedder, vectors: WordVectors, plan: Plan) -> dict[str, dict[str, float]]:
    """Microseconds of processor time a query, all threads together, for one window of the largest size.

    `text` is what the text costs once, `window` what scoring one window costs, spread over its queries.
    """
    size = min(plan.sizes[-1], len(texts.benign) * 3 // 4)
    compared = min(round(len(texts.benign) * (1 - plan.test_share) * plan.reference_share), len(texts.benign) - size)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(texts.benign))
    some = [texts.benign[row] for row in rows[:size]]
    beside = [texts.benign[row] for row in rows[size : size + compared]]
    features(beside)  # what is slow only the first time is not the detectors' cost
    spent: dict[str, dict[str, float]] = {}

    known = vectors(readable(beside))
    axes = Axes.fit(known)
    base, window = Summary(), Summary()
    base.add(_keys(compared, rng), axes.points(known))
    against = Reference(base)
    started = time.process_time()
    points_of_ours = axes.points(vectors(readable(some)))
    text = time.process_time() - started
    keys = _keys(size, rng)
    started = time.process_time()
    window.add(keys, points_of_ours)
    against.statistic(window)
    spent["ours"] = {"text": text / size * 1e6, "window": (time.process_time() - started) / size * 1e6}

    started = time.process_time()
    points = encode(some)
    text = time.process_time() - started
    reference = encode(beside)
    gamma = width_of(reference)
    kernel(reference, reference, gamma)
    started = time.process_time()
    float(kernel(points, points, gamma).sum() + kernel(points, reference, gamma).sum())
    spent["mmd"] = {"text": text / size * 1e6, "window": (time.process_time() - started) / size * 1e6}

    started = time.process_time()
    cheap = features(some)
    text = time.process_time() - started
    centre = features(beside)
    mean, spread = centre.mean(axis=0), centre.std(axis=0) + 1e-9
    started = time.process_time()
    float((((cheap.mean(axis=0) - mean) / spread) ** 2).sum())
    spent["mean_shift"] = {"text": text / size * 1e6, "window": (time.process_time() - started) / size * 1e6}
    return spent


def readable(texts: Sequence[str]) -> list[str]:
    """As the detectors' own frames read texts."""
    return [normalise(text, _CHARS) for text in texts]


def _keys(count: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    return rng.integers(0, 2**64, count, np.uint64)
