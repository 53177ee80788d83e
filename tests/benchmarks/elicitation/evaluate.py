"""Recall and false positives of the elicitation patterns, of the paraphrase classifier, and of both.

`python -m tests.benchmarks.elicitation.evaluate --benign DIR --out build/elicitation.json`. Wishes and
look-alikes come from the held-out set of `tests.benchmarks.elicitation.loading`; ordinary prompts from the
public sets in DIR, without those that the classifier was fitted on. Intervals are exact, at 95 %.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from detectors.config import DetectConfig
from detectors.pattern_scan import PARAPHRASE_BIT
from detectors.text import normalise
from pipelines.config import load_config
from pipelines.demo.prompts import normal
from tests.benchmarks.arena.intervals import share_interval

BY: Final = ("patterns", "classifier", "both")
Verdicts = Mapping[str, NDArray[np.bool_]]


class Text(NamedTuple):
    """One request: its user text and system text, and the groups that its verdict counts in."""

    text: str
    system: str
    groups: tuple[str, ...]
    id: str = ""


def verdicts(texts: Sequence[Text], config: DetectConfig) -> Verdicts:
    """Whether each text is a strong finding, by what; shape (len(texts),) each."""
    limit = config.params.features.max_chars
    flat = [normalise(part, limit) for text in texts for part in (text.text, text.system)]
    strong = config.scanner.scan(flat).strong.reshape(-1, 2)
    both = strong[:, 0] | strong[:, 1]
    by_classifier = both >> np.uint64(PARAPHRASE_BIT) != 0
    by_pattern = both & np.uint64(2**PARAPHRASE_BIT - 1) != 0
    return {"patterns": by_pattern, "classifier": by_classifier, "both": by_pattern | by_classifier}


def shares(texts: Sequence[Text], found: Verdicts) -> dict[str, dict[str, Any]]:
    """Hits, share and exact interval of each group, by each verdict; `all` is a group too."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        for group in ("all", *text.groups):
            rows[group].append(i)
    out: dict[str, dict[str, Any]] = {}
    for group, places in sorted(rows.items()):
        out[group] = {"n": len(places)}
        for by in BY:
            hits = int(found[by][places].sum())
            low, high = share_interval(hits, len(places))
            out[group][by] = {"hits": hits, "share": round(hits / len(places), 4), "low": low, "high": high}
    return out


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _csv(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield row[column] or ""


def _sharegpt(path: Path) -> Iterator[str]:
    for talk in json.loads(path.read_text(encoding="utf-8")):
        yield next((turn["value"] for turn in talk["conversations"] if turn["from"] == "human"), "")


READERS: Final[dict[str, Callable[[Path], Iterator[str]]]] = {
    "alpaca_eval_instructions.jsonl": lambda path: (row["instruction"] for row in _rows(path)),
    "arena_hard_v0.1_question.jsonl": lambda path: (row["turns"][0]["content"] for row in _rows(path)),
    "awesome_prompts.csv": lambda path: _csv(path, "prompt"),
    "banking77.csv": lambda path: _csv(path, "text"),
    "donotanswer.jsonl": lambda path: (row["prompt"] for row in _rows(path)),
    "mt_bench_question.jsonl": lambda path: (row["turns"][0] for row in _rows(path)),
    "sharegpt_first_turns_2978.json": _sharegpt,
    "user_oriented_instructions.jsonl": lambda path: (row["instruction"] for row in _rows(path)),
}
"""The sets that the classifier was not fitted on: bfcl and human-eval are left out."""


def load_benign(directory: Path, fitted: Sequence[str] = ()) -> list[Text]:
    """Ordinary prompts, one of each, by the set they come from; none of `fitted`."""
    csv.field_size_limit(10_000_000)
    seen = {normal(text) for text in fitted}
    out: list[Text] = []
    for name, read in READERS.items():
        if not (directory / name).is_file():
            continue
        for text in read(directory / name):
            key = normal(text)
            if key and key not in seen:
                seen.add(key)
                out.append(Text(text, "", (name.partition(".")[0],)))
    return out


def load_held_out() -> dict[str, list[Text]]:
    """The held-out wishes and look-alikes; nothing if the module is not there."""
    try:
        from tests.benchmarks.elicitation import loading
    except ImportError:
        return {}
    wishes = [
        Text(item.text or "", item.system or "", (f"language {item.language}", f"technique {item.technique}"), item.id)
        for item in loading.load_positives()
    ]
    earnest = [
        Text(item.text or "", item.system or "", (f"language {item.language}", f"kind {item.kind}"), item.id)
        for item in loading.load_earnest()
    ]
    return {"wishes": wishes, "earnest": earnest}


def table(title: str, groups: Mapping[str, Mapping[str, Any]]) -> str:
    """The shares as lines of text."""
    lines = [f"{title:44} {'n':>6}" + "".join(f"{by:>28}" for by in BY)]
    for group, row in groups.items():
        cells = [f"{row[by]['share']:8.4f} [{row[by]['low']:.4f}, {row[by]['high']:.4f}]" for by in BY]
        lines.append(f"  {group:42} {row['n']:6}" + "".join(f"{cell:>28}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Print the tables, and write them with the ids of what was missed and what was flagged in error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benign", type=Path, help="directory of public prompt sets")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    loaded = load_config()
    speaking = structs.replace(loaded.detectors.elicitation.paraphrase, enabled=True, shadow=False)
    config = DetectConfig(
        structs.replace(
            loaded.detectors, elicitation=structs.replace(loaded.detectors.elicitation, paraphrase=speaking)
        ),
        loaded.patterns,
        hash_key=b"0123456789abcdef",
        config_version=loaded.version,
        paraphrase=loaded.paraphrase,
    )
    sets = load_held_out()
    if args.benign is not None:
        sets["ordinary"] = load_benign(args.benign)
    result: dict[str, Any] = {}
    for name, texts in sets.items():
        found = verdicts(texts, config)
        groups = shares(texts, found)
        print(table(name, groups))  # noqa: T201
        wrong = ~found["both"] if name == "wishes" else found["both"]
        result[name] = {"groups": groups, "wrong": [texts[i].id for i in np.flatnonzero(wrong) if texts[i].id]}
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
