"""`distillwatch dead-letters`: list, show and send back rejected messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import ConfigDir

app = typer.Typer(help="List, show and send back rejected messages.", rich_markup_mode=None)

File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="Dead letters of `replay --dead-letters`; else the topic.")
]
Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap", metavar="HOST:PORT", help="Kafka brokers, instead of kafka.bootstrap in pipeline.toml."
    ),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Only letters with this reason.")]
Source = Annotated[str | None, typer.Option("--source", help="Only letters from this topic or file.")]


@app.command("list")
def list_letters(
    file: File = None,
    bootstrap: Bootstrap = None,
    config: ConfigDir = None,
    reason: Reason = None,
    source: Source = None,
    newest: Annotated[int, typer.Option(min=0, help="How many of the newest letters to list.")] = 10,
) -> None:
    """Count letters by reason and list the newest.

    \b
    Examples:
      distillwatch dead-letters list
      distillwatch dead-letters list --file rejected.jsonl --reason not_json
    """
    from pipelines.letter_desk import LetterDesk

    with LetterDesk(file=file, bootstrap=bootstrap, config=config) as desk:
        desk.list_letters(reason=reason, source=source, newest=newest)


@app.command("show")
def show(
    place: Annotated[int, typer.Argument(metavar="LETTER", help="Number of the letter, as `list` shows it.", min=0)],
    file: File = None,
    bootstrap: Bootstrap = None,
    config: ConfigDir = None,
    size: Annotated[int, typer.Option("--bytes", min=0, help="How much of the message to show.")] = 512,
) -> None:
    """Show one letter: why it was rejected, where it came from, what to do, and its bytes.

    The bytes may hold a customer's text.
    """
    from pipelines.letter_desk import LetterDesk

    with LetterDesk(file=file, bootstrap=bootstrap, config=config) as desk:
        desk.show(place, size=size)


@app.command("send-back")
def send_back(
    file: File = None,
    bootstrap: Bootstrap = None,
    config: ConfigDir = None,
    reason: Reason = None,
    source: Source = None,
    letter: Annotated[
        list[int] | None,
        typer.Option("--offset", min=0, help="Only this letter (may be repeated), as `list` numbers it."),
    ] = None,
    to_topic: Annotated[
        str | None,
        typer.Option("--to-topic", metavar="TOPIC", help="Send all to this topic, not where they came from."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the messages to a new file, for a replay.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send; without it, only say what would be sent.")] = False,
) -> None:
    """Send the original bytes and keys back to the topics they came from.

    Do this after the cause is gone: what is still wrong is rejected again. Letters stay where they are;
    the topic's retention removes them.

    \b
    Examples:
      distillwatch dead-letters send-back --reason too_large
      distillwatch dead-letters send-back --reason too_large --yes
      distillwatch dead-letters send-back --file rejected.jsonl --output again.jsonl --yes
    """
    from pipelines.letter_desk import LetterDesk

    with LetterDesk(file=file, bootstrap=bootstrap, config=config) as desk:
        desk.send_back(reason=reason, source=source, places=letter or (), to_topic=to_topic, output=output, really=yes)
