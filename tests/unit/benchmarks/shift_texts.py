"""A made-up data folder in the layout of the real one: enough prompts for small windows."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.benchmarks.shift.pair import Plan

CHAT = (
    "holiday",
    "recipe",
    "garden",
    "letter",
    "neighbour",
    "weather",
    "train",
    "ticket",
    "kitchen",
    "doctor",
    "music",
)
WORK = ("sum", "of", "apples", "pencils", "boxes", "dollars", "hours", "miles", "each", "total", "remaining", "many")
SMALL = Plan(
    sizes=(10, 30),
    shares=(10, 100),
    splits=3,
    calibration_windows=333,
    benign_windows=50,
    attack_windows=20,
    references=4,
    attack_prompts=100,
    attack_limit=60,
    block=4,
)


def prompts(rng: Random, vocabulary: tuple[str, ...], count: int) -> list[str]:
    return [f"what is {' '.join(rng.choices(vocabulary, k=rng.randint(4, 9)))} {number}" for number in range(count)]


def write_data(folder: Path, *, seed: int = 1) -> Path:
    """Benign sets about daily life, attack sets of sums; one prompt is in both, one twice, one is foreign."""
    rng = Random(seed)
    chats = [*prompts(rng, CHAT, 120), "hi", "escribe una carta para los vecinos de la casa", "What's 1 and 1, please?"]
    lines = {
        "benign/arena_hard_v0.1_question.jsonl": [{"turns": [{"content": text}]} for text in prompts(rng, CHAT, 40)],
        "benign/mt_bench_question.jsonl": [{"turns": [text, f"{text} again"]} for text in prompts(rng, CHAT, 10)],
        "benign/alpaca_eval_instructions.jsonl": [{"instruction": text} for text in prompts(rng, CHAT, 40)],
        "benign/user_oriented_instructions.jsonl": [
            {"instruction": text, "instances": [{"input": "my text"}]} for text in prompts(rng, CHAT, 20)
        ],
        "attack/gsm8k_train.jsonl": [{"question": text} for text in ["whats 1 and 1 please", *prompts(rng, WORK, 80)]],
    }
    arrays = {
        "benign/sharegpt_first_turns_2978.json": [
            {"conversations": [{"from": "human", "value": text}]} for text in [*chats, chats[0].upper()]
        ],
        "attack/alpaca_5000.json": [{"instruction": t, "input": "<noinput>"} for t in prompts(rng, WORK, 80)],
        "attack/code_alpaca_2k.json": [{"instruction": text, "input": "x = 1"} for text in prompts(rng, WORK, 80)],
    }
    for name in ("benign", "attack"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, rows in lines.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, rows in arrays.items():
        (folder / name).write_text(json.dumps(rows))
    (folder / "attack/all_wiki_sents.txt").write_text("\n".join(prompts(rng, WORK, 80)))
    return folder
