"""The distribution-shift bench as a part of the arena."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from pipelines.errors import UsageError
from tests.benchmarks.arena import progress, runner


@pytest.fixture(name="options")
def _options(tmp_path: Path) -> runner.Options:
    """Of a data directory that holds nothing."""
    return runner.Options(scenario="small", work=tmp_path, cache=tmp_path / "prompts", data=tmp_path, shift="quick")


def test_one_job_runs_it_when_its_result_is_wanted(options: runner.Options, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"ours": None, "ours_reason": "no detector", "mmd": {"fpr": 0.1}, "seconds": 1.0}
    monkeypatch.setattr(runner.shift, "run", lambda *_, **__: found)
    report: dict[str, Any] = {"absent": {}, "shift": None}
    with ExitStack() as stack:
        bench = runner._shift_begun(structs.replace(options, jobs=1), progress.silent, stack)
        runner._shift(report, options, bench)
    assert report == {"absent": {"shift, ours": "no detector"}, "shift": found}


def test_what_goes_wrong_in_its_process_is_told(options: runner.Options) -> None:
    with ExitStack() as stack:
        bench = runner._shift_begun(structs.replace(options, jobs=2), progress.silent, stack)
        assert bench is not None
        with pytest.raises(UsageError, match="DID NOT RUN"):
            bench()


def test_without_prompt_sets_the_report_says_so(options: runner.Options) -> None:
    report: dict[str, Any] = {"absent": {}}
    with ExitStack() as stack:
        bare = structs.replace(options, data=None)
        runner._shift(report, bare, runner._shift_begun(bare, progress.silent, stack))
    assert "needs the prompt sets" in report["absent"]["shift"]
