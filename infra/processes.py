"""Child processes that do not outlive their parent."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


def spawn(
    command: Sequence[str], *, log: Path | None = None, pipe: bool = False, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches the parent alone, which stops things in order.

    Where `setpriv` (Linux) is installed, the kernel ends the child when its parent is killed. It sends the
    signal when the *thread* that started the child ends, so only the main thread asks for it.

    Args:
        log: file for stdout and stderr, overwritten; None leaves both to the parent's.
        pipe: stdout becomes a pipe instead, stderr goes to `log`.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is not None and threading.current_thread() is threading.main_thread():
        command = [setpriv, "--pdeathsig", "TERM", "--", *command]
    sink = None if log is None else log.open("wb")
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else sink,
            stderr=sink,
            start_new_session=True,
            env=None if environment is None else dict(environment),
        )
    finally:
        if sink is not None:
            sink.close()


def stop(process: subprocess.Popen[bytes], timeout: float = 30.0) -> int:
    """End a child with SIGTERM, after `timeout` seconds with SIGKILL; returns its exit code."""
    process.terminate()  # does nothing to a child that has ended
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return code


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file; empty when there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
