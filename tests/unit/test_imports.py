"""Nothing happens at import: no file, thread, socket, signal handler, environment or argument changes."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "detectors", "pipelines", "infra")
# numpy sets this variable while it loads and unsets it again before it is done.
NUMPY_VARIABLE = "OPENBLAS_MAIN_FREE"
CLIENTS = {"aiokafka", "chdb", "clickhouse_connect", "faust", "kafka", "mode", "rocksdict", "typer", "rich", "pandas"}

# Imports everything that stands in argv[2:], watched by an audit hook, and prints what happened.
WATCHER = r"""
import json, os, signal, sys, threading

seen = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def watch(event, args):
    if event == "open":
        path, mode, flags = args
        if "__pycache__" not in str(path) and (flags & WRITES or (mode and set(mode) & set("wax+"))):
            seen.append(f"opened {path} for writing")
    elif event.startswith(("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename", "os.fork", "os.putenv",
                           "os.unsetenv", "os.chdir")):
        seen.append(f"{event} {args!r:.200}")

def state():
    return {
        "environ": dict(os.environ),
        "argv": list(sys.argv),
        "cwd": os.getcwd(),
        "threads": threading.active_count(),
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
    }

def watch_start(*args, start=threading._start_new_thread):
    seen.append("started a thread")
    return start(*args)

before = state()
sys.addaudithook(watch)
threading._start_new_thread = watch_start
for name in sys.argv[1:]:
    __import__(name)
events = list(seen)
after = state()
print(json.dumps({
    "events": events,
    "changed": [key for key in before if before[key] != after[key]],
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""


def modules_of(package: str) -> list[str]:
    """The package and all of its modules but `__main__`, which is a program."""
    found = import_module(package)
    names = [info.name for info in pkgutil.walk_packages(found.__path__, f"{package}.") if "__main__" not in info.name]
    return [package, *names]


@cache
def imported(*names: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, *names], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_and_all_of_its_modules_does_nothing(package: str) -> None:
    result = imported(*modules_of(package))
    assert [event for event in result["events"] if NUMPY_VARIABLE not in event] == []
    assert result["changed"] == []


@pytest.mark.parametrize("package", ["schemas", "detectors"])
def test_the_pure_packages_load_no_client_library(package: str) -> None:
    assert CLIENTS.isdisjoint(imported(*modules_of(package))["modules"])


def test_the_command_line_loads_no_client_library_until_a_command_runs() -> None:
    heavy = CLIENTS - {"typer", "rich"} | {"numpy", "river", "hyperscan"}
    names = modules_of("pipelines.commands")
    assert heavy.isdisjoint(imported("pipelines.cli", *names)["modules"])


def test_the_watcher_sees_what_it_looks_for(tmp_path: Path) -> None:
    culprit = tmp_path / "culprit.py"
    culprit.write_text(
        "import os, signal, socket, sys, threading\n"
        f"open({str(tmp_path / 'left')!r}, 'w').close()\n"
        "socket.socket().close()\n"
        "thread = threading.Thread(target=lambda: None); thread.start(); thread.join()\n"
        "os.environ['LEFT'] = '1'\n"
        "sys.argv.append('left')\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    )
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{WATCHER}"
    done = subprocess.run(
        [sys.executable, "-c", script, "culprit"], capture_output=True, text=True, timeout=60, check=True
    )
    result = json.loads(done.stdout)
    assert set(result["changed"]) == {"environ", "argv", "signals"}
    for word in ("for writing", "socket.", "started a thread", "os.putenv"):
        assert any(word in event for event in result["events"]), word
