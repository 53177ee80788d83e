"""What `distillwatch dead-letters` does: the letters of a topic or a file, and how they are shown."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import typer

from pipelines.config import load_config
from pipelines.dead_letters import (
    Selection,
    Sender,
    Stored,
    Summary,
    describe,
    plan_send_back,
    read_file,
    read_topic,
    remedy,
    send_back,
    summarise,
    write_back,
)
from pipelines.errors import UsageError
from pipelines.kafka_io import ConfirmedProducer, make_consumer, make_producer
from pipelines.launch import override
from pipelines.safe_text import safe_line, when
from pipelines.settings import KafkaSettings

_NOTHING: Final = "no dead letters"


class LetterDesk:
    """Reads letters from one place and prints with `echo`; a context manager.

    Raises:
        UsageError: config or options are wrong.
        Failure: the broker does not answer.
    """

    def __init__(
        self,
        *,
        file: Path | None,
        bootstrap: str | None,
        config: Path | None,
        echo: Callable[[str], None] = typer.echo,
    ) -> None:
        if file is not None and bootstrap is not None:
            raise UsageError("say --file or --bootstrap, not both")
        self._file = file
        self._config = config
        self._bootstrap = bootstrap
        self._echo = echo
        self._stack = contextlib.ExitStack()
        self._settings: KafkaSettings | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def list_letters(self, *, reason: str | None, source: str | None, newest: int) -> None:
        """Counts by reason, each with its remedy, and the newest letters."""
        summary = summarise(self._letters(Selection(reason=reason, source=source)), newest)
        for line in summary_lines(summary):
            self._echo(line)

    def show(self, place: int, *, size: int) -> None:
        """One letter.

        Raises:
            UsageError: there is no such letter.
        """
        for stored in self._letters(Selection(places=frozenset((place,)))):
            self._echo(describe(stored, size))
            return
        raise UsageError(f"no letter {place}; `distillwatch dead-letters list` shows their numbers")

    def send_back(
        self,
        *,
        reason: str | None,
        source: str | None,
        places: Iterable[int],
        to_topic: str | None,
        output: Path | None,
        really: bool,
    ) -> None:
        """Send or write the originals; without `really` only say what would happen.

        Raises:
            UsageError: it is not clear where to send them.
            DeliveryFailure: the broker did not take one.
        """
        if to_topic is not None and output is not None:
            raise UsageError("say --to-topic or --output, not both")
        chosen = Selection(reason=reason, source=source, places=frozenset(places))
        if output is not None:
            count = sum(1 for _ in self._letters(chosen))
            if really and count:
                count = write_back(self._letters(chosen), output)
            self._echo(told(count, str(output), really=really, verb="written"))
            return
        planned = plan_send_back(self._letters(chosen), to=to_topic)
        if really and planned:
            planned = send_back(self._letters(chosen), self._sender(), to=to_topic)
        for topic, count in sorted(planned.items()):
            self._echo(told(count, topic, really=really, verb="sent"))
        if not planned:
            self._echo(_NOTHING)

    def _letters(self, selection: Selection) -> Iterator[Stored]:
        for stored in self._all():
            if selection.takes(stored):
                yield stored

    def _all(self) -> Iterator[Stored]:
        if self._file is not None:
            yield from read_file(self._file)
            return
        settings = self._kafka()
        with contextlib.closing(make_consumer(settings, group=None, poll_records=200)) as consumer:
            yield from read_topic(consumer, settings.topics.dead_letters)

    def _kafka(self) -> KafkaSettings:
        if self._settings is None:
            self._settings = override(load_config(self._config), bootstrap=self._bootstrap).pipeline.kafka
        return self._settings

    def _sender(self) -> Sender:
        return self._stack.enter_context(contextlib.closing(ConfirmedProducer(make_producer(self._kafka()))))


def summary_lines(summary: Summary) -> Iterator[str]:
    """The lines of `list`."""
    if not summary.total:
        yield _NOTHING
        return
    yield f"{summary.total} dead letter{'s' if summary.total > 1 else ''}"
    width = max(map(len, map(safe_line, summary.by_reason)))
    for reason, count in summary.by_reason.items():
        yield f"{count:>8}  {safe_line(reason):<{width}}  {remedy(reason)}"
    if summary.newest:
        yield ""
        yield "newest first; `distillwatch dead-letters show NUMBER` shows one"
    for stored in summary.newest:
        letter = stored.letter
        place = "" if letter.partition is None else f" partition {letter.partition}"
        yield (
            f"{stored.place:>8}  {when(letter.ts)}  {safe_line(letter.reason):<{width}}  "
            f"{safe_line(letter.source, 60)}{place} offset {letter.offset}, {len(letter.raw)} bytes"
        )


def told(count: int, target: str, *, really: bool, verb: str) -> str:
    """What was done, or would be.

    >>> told(2, "llm.requests", really=False, verb="sent")
    '2 messages would be sent to llm.requests; say --yes to do it'
    """
    if not count:
        return _NOTHING
    messages = f"{count} message{'s' if count > 1 else ''}"
    return f"{messages} {verb} to {target}" if really else f"{messages} would be {verb} to {target}; say --yes to do it"
