"""Child processes: logs, clean ends, and an end by force."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from infra.processes import spawn, stop, tail

STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def test_output_goes_to_the_log_and_the_exit_code_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "import os,sys; print(os.environ['GREETING']); print('bad', file=sys.stderr); sys.exit(3)"
    process = spawn([sys.executable, "-c", script], log=log, environment={"GREETING": "good"})
    assert process.wait(30) == 3
    assert sorted(tail(log).splitlines()) == ["bad", "good"]
    assert stop(process) == 3


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn([sys.executable, "-c", STUBBORN], log=log)
    while "up" not in tail(log):
        time.sleep(0.02)
    assert stop(process, timeout=0.2) == -9


def test_tail_of_nothing(tmp_path: Path) -> None:
    assert tail(tmp_path / "missing") == ""
    (tmp_path / "log").write_text("\n".join(map(str, range(50))))
    assert tail(tmp_path / "log", 3) == "47\n48\n49"
