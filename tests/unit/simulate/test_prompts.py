"""The texts of a simulation: real sets read, sides kept apart."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.demo.prompts import Dialogue, Prompt, PromptSets, normal
from pipelines.errors import UsageError
from pipelines.simulate.prompts import DATA_ENV, SETS, build_prompts, data_directory, fold_of, tidy

WHEELS = PromptSets(
    live=tuple(Prompt(text=f"live {n}", app=f"live:{n // 2}", tools=("t",)) for n in range(200)),
    curated=tuple(Prompt(text=f"curated {n}", app=f"curated:{n}") for n in range(40)),
    dialogues=(Dialogue(turns=("hello there", "and now?")), Dialogue(turns=("shared prompt", "more"))),
    code=("def f(): ...",),
)


def json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with every file, a few rows each; "shared prompt" is on both sides of it."""
    benign, attack = tmp_path / "benign", tmp_path / "attack"
    benign.mkdir()
    attack.mkdir()
    (attack / "alpaca_5000.json").write_text(
        json.dumps([{"instruction": "Shared  prompt", "input": ""}, {"instruction": "add", "input": "1, 2"}])
    )
    json_lines(attack / "seed_tasks.jsonl", [{"instruction": "seed", "instances": [{"input": "", "output": "x"}]}])
    (attack / "code_alpaca_2k.json").write_text(json.dumps([{"instruction": "sort", "input": "a list"}]))
    json_lines(attack / "gsm8k_train.jsonl", [{"question": "how many?", "answer": "one and one. #### 2"}])
    (attack / "all_wiki_sents.txt").write_text("a sentence\nanother sentence\n")
    chats = [{"conversations": [{"value": "shared prompt"}]}, {"conversations": [{"value": "a\\_b , isn 't it ?"}]}]
    (benign / "sharegpt_first_turns_2978.json").write_text(json.dumps(chats))
    json_lines(benign / "arena_hard_v0.1_question.jsonl", [{"turns": [{"content": "arena"}]}])
    json_lines(benign / "mt_bench_question.jsonl", [{"turns": ["first", "second"]}])
    json_lines(benign / "alpaca_eval_instructions.jsonl", [{"instruction": "eval"}, {"instruction": "EVAL"}])
    json_lines(benign / "user_oriented_instructions.jsonl", [{"instruction": "app", "instances": [{"input": "in"}]}])
    (benign / "awesome_prompts.csv").write_text('act,prompt\nx,"a role\nin two lines"\n')
    (benign / "banking77.csv").write_text("text,category\nwhere is my card?,card\n")
    json_lines(benign / "donotanswer.jsonl", [{"prompt": "abuse"}])
    json_lines(benign / "t0_per_template_a-f.jsonl.gz", [{"template": "t", "prompt": "row one"}])
    return tmp_path


def test_wheels_alone_give_both_sides() -> None:
    found = build_prompts(WHEELS, None)
    tasks = {prompt.text for name in SETS for prompt in found.attack[name]}
    honest = {prompt.text for prompt in found.ordinary}
    assert tasks
    assert honest
    assert tasks.isdisjoint(honest)
    assert len(tasks) + len(honest) == 240
    # An app is on one side as a whole.
    sides = {prompt.app: prompt in found.ordinary for prompt in (*WHEELS.live, *WHEELS.curated)}
    assert all(sides[prompt.app] == (prompt in found.ordinary) for prompt in WHEELS.live)


def test_a_prompt_of_both_sides_is_the_campaigns_alone(data: Path) -> None:
    found = build_prompts(WHEELS, data)
    tasks = {normal(prompt.text) for name in SETS for prompt in found.attack[name]}
    assert "shared prompt" in tasks
    honest = [
        *(prompt.text for prompt in found.ordinary),
        *(turn for talk in found.dialogues for turn in talk.turns),
        *(row for rows in found.rows.values() for row in rows),
    ]
    assert tasks.isdisjoint(map(normal, honest))
    assert len(set(map(normal, honest))) == len(honest)


def test_every_set_is_read(data: Path) -> None:
    found = build_prompts(WHEELS, data)
    texts = {prompt.text for prompt in found.ordinary}
    assert {"a_b, isn't it?", "arena", "first", "second", "eval", "app\nin", "a role\nin two lines", "abuse"} <= texts
    assert {name: len(prompts) for name, prompts in found.attack.items() if name != "agentic"} == {
        "tasks": 3, "code": 1, "maths": 1, "sentences": 2,
    }  # fmt: skip
    assert found.rows == {"t": ("row one",), "customer_messages": ("where is my card?",)}
    assert found.thoughts == (("how many?", "one and one. #### 2"),)


def test_folds_share_nothing_and_lose_nothing() -> None:
    found = build_prompts(WHEELS, None)
    score, tune = found.fold("score"), found.fold("tune")
    assert len(score.ordinary) + len(tune.ordinary) == len(found.ordinary)
    assert set(score.ordinary).isdisjoint(tune.ordinary)
    assert set(score.attack["tasks"]).isdisjoint(tune.attack["tasks"])
    assert len(score.ordinary) > 2 * len(tune.ordinary) > 0
    assert fold_of("live 1") == fold_of(" LIVE  1")


def test_texts_lose_the_marks_of_their_set() -> None:
    assert tidy("x \\_ y \\[1\\] , do n't !") == "x _ y [1], don't!"
    assert len(tidy("word " * 4_000)) < 4_001


@pytest.mark.parametrize("name", ["benign/banking77.csv", "attack/gsm8k_train.jsonl"])
def test_a_missing_set_is_named(data: Path, name: str) -> None:
    (data / name).unlink()
    with pytest.raises(UsageError, match=rf"{name}: cannot be read: .*--data none does without"):
        build_prompts(WHEELS, data)


def test_a_broken_set_is_named(data: Path) -> None:
    (data / "benign" / "donotanswer.jsonl").write_text('{"prompt": "a"}\n{"prompt": \n')
    with pytest.raises(UsageError, match=r"donotanswer\.jsonl:2: is not JSON"):
        build_prompts(WHEELS, data)


def test_the_data_directory_is_given_named_or_absent(tmp_path: Path) -> None:
    assert data_directory(tmp_path, {DATA_ENV: "/nowhere"}) == tmp_path
    assert data_directory(None, {DATA_ENV: str(tmp_path)}) == tmp_path
    assert data_directory(Path("none"), {DATA_ENV: str(tmp_path)}) is None
    assert data_directory(None, {DATA_ENV: "none"}) is None
    with pytest.raises(UsageError, match="is not a directory of prompt sets"):
        data_directory(None, {DATA_ENV: str(tmp_path / "missing")})
