"""The processes of one deployment: started, looked at, killed, started again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from infra.kafka.broker import free_port
from infra.processes import spawn, stop, tail

ROOT: Final = Path(__file__).resolve().parents[2]
HASH_KEY: Final = "the fault runs' own key"
DETECT_WORKERS: Final = 2
LOST_STATE: Final = "the state cannot be used"

_PROBLEM: Final = re.compile(
    r"\blevel=(error|critical|ERROR|CRITICAL)\b|^Traceback|^\[.*\] (ERROR|CRITICAL)", re.MULTILINE
)
_ANSWER_S: Final = 2.0
# A supervisor's patience with a worker that ends by itself.
_RESTART_S: Final = 2.0


class Worker:
    """One worker over all of its lives.

    Args:
        options: of its command.
        prelude: Python that runs before the command does.

    Attributes:
        recoveries: seconds from each kill until the worker was ready again.
        rss_max: the largest resident set of any life, bytes.
        exits: exit codes of lives that ended by themselves.
    """

    def __init__(
        self, name: str, config: Path, folder: Path, options: Iterable[str] = (), *, prelude: str = ""
    ) -> None:
        self.name = name
        self.role = name.split("-", maxsplit=1)[0]
        self.kills = 0
        self.recoveries: list[float] = []
        self.rss_max = 0
        self.exits: list[int] = []
        self.ready_at: float | None = None
        self.started_at = 0.0
        self._config = config
        self._folder = folder
        self._options = list(options)
        main = f"{prelude}\nimport sys\nfrom pipelines.cli import main\nsys.exit(main())"
        self._program = ["-c", main] if prelude else ["-m", "pipelines.cli"]
        self._lives = 0
        self._killed = False
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at: float | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    def start(self, *options: str) -> None:
        """Start a life with a log of its own."""
        self._lives += 1
        self._port = free_port()
        command = [sys.executable, *self._program, self.role, "--config", str(self._config)]
        command += ["--metrics-port", str(self._port), *self._options, *options]
        environment = {**os.environ, "DISTILLWATCH_HASH_KEY": HASH_KEY, "PYTHONPATH": str(ROOT)}
        self.started_at, self.ready_at = time.monotonic(), None
        self._process = spawn(command, log=self._log(), environment=environment)

    def kill(self) -> None:
        """SIGKILL, and start again."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._killed = True
        self.start()

    def stop(self) -> int:
        """Stop in order; its exit code."""
        code = 0 if self._process is None else stop(self._process)
        self._process = None
        return code

    def finish(self, seconds: float) -> None:
        """Run `--once` to its end.

        Raises:
            RuntimeError: it ended with an error, or not in time.
        """
        self.start("--once")
        assert self._process is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise RuntimeError(f"{self.name} --once is not done after {seconds:.0f} s:\n{tail(self._log())}") from None
        self._process = None
        if code:
            raise RuntimeError(f"{self.name} --once ended with {code}:\n{tail(self._log())}")

    def look(self) -> None:
        """Note memory and readiness; start it again where it ended by itself."""
        now = time.monotonic()
        if self._process is None:
            if self._ended_at is not None and now - self._ended_at >= _RESTART_S:
                self._ended_at = None
                self.start()
            return
        code = self._process.poll()
        if code is not None:
            self.exits.append(code)
            self._process, self._ended_at, self.ready_at = None, now, None
            return
        self.rss_max = max(self.rss_max, self.memory("VmHWM"))
        if self.ready_at is None and answers(self._port, "/readyz"):
            self.ready_at = time.monotonic()
            if self._killed:
                self.recoveries.append(self.ready_at - self.started_at)
                self._killed = False

    def is_ready(self) -> bool:
        """Does it say now that it does its work?"""
        return self._process is not None and answers(self._port, "/readyz")

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes of `/proc/PID/status`; 0 where the process is gone."""
        try:
            found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        except OSError:
            return 0
        return int(found[1]) * 1024 if found else 0

    def logs(self) -> str:
        """Everything it ever logged."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob(f"{self.name}.*.log")))

    def problems(self) -> list[str]:
        """Lines of its logs that tell an error."""
        logs = self.logs()
        return [logs[found.start() : logs.find("\n", found.start())] for found in _PROBLEM.finditer(logs)]

    def _log(self) -> Path:
        return self._folder / f"{self.name}.{self._lives:04}.log"


def fleet(config: Path, folder: Path, dsn: str, *, prelude: str = "") -> list[Worker]:
    """Two detect workers, correlate, and a sink that writes to `dsn`; none is started."""
    names = [*(f"detect-{n}" for n in range(DETECT_WORKERS)), "correlate", "sink"]
    options = {"sink": ["--clickhouse", dsn]}
    return [Worker(name, config, folder, options.get(name, ()), prelude=prelude) for name in names]


def answers(port: int, path: str) -> bool:
    """Does a worker's page answer 200?"""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=_ANSWER_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def write_config(
    folder: Path,
    bootstrap: str,
    topics: Mapping[str, str],
    group: str,
    *,
    checkpoint_ms: int,
    session_s: int,
    detectors: str,
) -> Path:
    """A config directory of a deployment: what is shipped, but for topics, group, checkpoints and sessions."""
    config = folder / "config"
    config.mkdir(parents=True)
    names = "\n".join(f'{role} = "{name}"' for role, name in topics.items())
    (config / "pipeline.toml").write_text(
        f'[kafka]\nbootstrap = "{bootstrap}"\ngroup = "{group}"\nsession_s = {session_s}\n[kafka.topics]\n{names}\n'
        f"[stream]\ncheckpoint_ms = {checkpoint_ms}\n"
        f'[correlate]\ndata_dir = "{folder / "store"}"\n'
    )
    (config / "detectors.toml").write_text(detectors)
    return config


def counted(lines: Iterable[str]) -> dict[str, int]:
    """Lines by what they say, without times and values."""
    plain = (
        re.sub(r"timestamp=\S+ |\d+", lambda found: "" if found[0].startswith("t") else "N", line)[:160]
        for line in lines
    )
    return dict(Counter(plain).most_common(20))
