"""Progress bars on stderr; silent when it is not a terminal or when nobody asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Progress:
    """Bars for long work, as a context manager.

    Args:
        enabled: False shows nothing.
        console: where to; stderr by default.
    """

    def __init__(self, *, enabled: bool, console: Console | None = None) -> None:
        console = Console(stderr=True) if console is None else console
        self._rich = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=console,
            # rich writes the last state of a bar also into files and pipes, where it is noise.
            disable=not (enabled and console.is_terminal),
        )

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rich.stop()

    @contextmanager
    def bar(self, what: str, total: int | None) -> Iterator[Callable[[int], object]]:
        """A bar over `total` steps (None: not known yet); call the result with the steps just done."""
        task = self._rich.add_task(what, total=total, rate="")

        def advance(steps: int) -> None:
            speed = self._rich.tasks[task].speed
            self._rich.update(task, advance=steps, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance
        done = self._rich.tasks[task].completed
        self._rich.update(task, total=done, completed=done)
