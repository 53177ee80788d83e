"""The `distillwatch` command: one table of commands, each imported only when it is called.

So `--help` stays fast, and a command whose libraries are missing does not break the others.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Final, NamedTuple

import typer

from pipelines.errors import ConfigError, Failure, UsageError

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


class Command(NamedTuple):
    """Where a command lives (`module:function`, or `module:app` for a group) and its line in the list.

    `example` ends the command's help where its docstring has none.
    """

    target: str
    summary: str
    example: str = ""


COMMANDS: Final[dict[str, Command]] = {
    "demo": Command(
        "pipelines.commands.demo:demo",
        "Simulate traffic with a campaign in it, and find it.",
        "distillwatch demo --out build/demo",
    ),
    "replay": Command("pipelines.commands.replay:replay", "Run the detectors over event files, without a broker."),
    "simulate": Command(
        "pipelines.commands.simulate:simulate",
        "Write labelled traffic from a scenario.",
        "distillwatch simulate small --out build/small",
    ),
    "convert": Command("pipelines.commands.convert:convert", "Turn a gateway's records into events."),
    "alerts": Command("pipelines.commands.alerts:alerts", "List alerts from a file, a topic or ClickHouse."),
    "explain": Command("pipelines.commands.explain:explain", "Say why an alert was raised and what to do next."),
    "up": Command(
        "pipelines.commands.up:up",
        "Start a local broker, ClickHouse endpoint and workers.",
        "distillwatch up --dir build/up",
    ),
    "detect": Command(
        "pipelines.commands.detect:detect",
        "Worker: events from Kafka to evidence and signals.",
        "distillwatch detect --bootstrap 127.0.0.1:9092 --config config",
    ),
    "correlate": Command(
        "pipelines.commands.correlate:correlate",
        "Worker: evidence from Kafka to campaign alerts.",
        "distillwatch correlate --bootstrap 127.0.0.1:9092 --config config",
    ),
    "sink": Command(
        "pipelines.commands.sink:sink",
        "Worker: alerts and signals from Kafka into ClickHouse.",
        "distillwatch sink --bootstrap 127.0.0.1:9092 --clickhouse http://127.0.0.1:8123/default",
    ),
    "dead-letters": Command(
        "pipelines.commands.dead_letters:app",
        "List, show and send back rejected messages.",
        "distillwatch dead-letters list",
    ),
    "config": Command(
        "pipelines.commands.config:app",
        "Check a config directory, or show what is in force.",
        "distillwatch config check --config config",
    ),
}

_ABOUT: Final = """Find campaigns that distil a language model through its API, in a stream of its traffic.

\b
Try:
  distillwatch demo --out build/demo
  distillwatch alerts --file build/demo/alerts.jsonl
  distillwatch explain ALERT_ID --file build/demo/alerts.jsonl

\b
Exit codes: 0 done, 1 the work failed, 2 the command line or the config is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. `arguments` are those after the program's name."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build_app(args[0] if args else None)(args, prog_name="distillwatch")
    except ConfigError as error:
        # One problem a line, file first, so that editors and terminals jump to it.
        typer.echo(str(error), err=True)
        return _complain(f"{len(error.problems)} problem(s) in the config", EXIT_USAGE)
    except UsageError as error:
        return _complain(str(error), EXIT_USAGE)
    except Failure as error:
        return _complain(str(error), EXIT_FAILURE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; without this, Python complains again at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except SystemExit as error:
        return _code(error)
    return 0


def build_app(selected: str | None) -> typer.Typer:
    """The command line with `selected` imported and every other command as a line of help.

    Raises:
        Failure: the selected command needs something that is not installed.
    """
    app = typer.Typer(
        help=_ABOUT,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for name, command in COMMANDS.items():
        if name != selected:
            app.command(name, help=command.summary)(_not_selected)
            continue
        target = _load(name, command)
        # \b keeps the lines that follow as they are.
        example = f"\b\nExample:\n  {command.example}" if command.example else None
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=command.summary, epilog=example, no_args_is_help=True)
        else:
            app.command(name, epilog=example)(target)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"distillwatch {metadata.version('distillwatch')}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Options before a command; each acts through its own callback."""


def _not_selected() -> None:
    raise AssertionError("only the command named first on the command line is ever run")


def _load(name: str, command: Command) -> Callable[..., Any] | typer.Typer:
    module, _, attribute = command.target.partition(":")
    try:
        target: Callable[..., Any] | typer.Typer = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise Failure(f"`distillwatch {name}` needs the module {error.name}, which is not installed") from None
    return target


def _complain(message: str, code: int) -> int:
    typer.echo(f"distillwatch: {message}", err=True)
    return code


def _code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main())
