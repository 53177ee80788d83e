"""The two processes of a run at half load: `python -m tests.benchmarks.throughput.live feed|worker …`.

`feed` sends events as they happen, each with the time of its sending; `worker` is `distillwatch detect`, which tells
beside its work when it closed which tick.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.benchmarks.throughput.traffic import Line

_SLICE_S: Final = 0.01
_TS: Final = b'"ts":'
BEGUN: Final = "sending"
"""What `feed` writes to stderr once it sends."""

_TS_DIGITS: Final = 13  # epoch milliseconds, this century


def save_lines(path: Path, lines: Iterator[Line]) -> None:
    """A file that `feed` reads; JSON has neither raw tabs nor raw line ends."""
    with path.open("wb") as file:
        for role, key, value in lines:
            file.write(b"\t".join((role.encode(), key, value)) + b"\n")


def feed(bootstrap: str, topics: dict[str, str], lines: Path, rate: float, out: Path) -> None:
    """Send the events of a file at `rate` a second until told to end; from its beginning again after its end.

    When each request of the first pass was sent is in `out`: seconds since the epoch, in the order of their numbers.
    """
    from pipelines.kafka_io import ConfirmedProducer, make_producer
    from pipelines.settings import KafkaSettings

    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    producer = ConfirmedProducer(make_producer(KafkaSettings(bootstrap=bootstrap)))
    sent_at, sent, again = array("d"), 0, False
    began = time.monotonic()
    sys.stderr.write(f"{BEGUN}\n")
    while not ended:
        with lines.open("rb") as file:
            for line in file:
                role, key, value = line.rstrip(b"\n").split(b"\t", 2)
                # A few at a time, so that waiting costs little and the times are still even.
                while not ended and sent >= rate * (time.monotonic() - began):
                    time.sleep(_SLICE_S)
                if ended:
                    break
                now = time.time()
                producer.send(topics[role.decode()], at_time(value, int(now * 1000)), key=key)
                sent += 1
                if role == b"requests" and not again:
                    sent_at.append(now)
        again = True
    producer.flush()
    producer.close()
    out.write_bytes(sent_at.tobytes())


def at_time(value: bytes, ts: int) -> bytes:
    """The event with another time."""
    head, mark, rest = value.partition(_TS)
    return b"%b%b%d%b" % (head, mark, ts, rest[_TS_DIGITS:])


def worker(config: Path, out: Path) -> None:
    """`distillwatch detect`; a line of `out` has a partition, a tick that it closed, and the time (epoch seconds)."""
    from detectors.engine import Lane
    from pipelines.cli import main
    from schemas.evidence import Watermark

    close_until = Lane.close_until

    def timed(self: Lane, watermark: int) -> Iterator[Any]:
        for output in close_until(self, watermark):
            mark = output.evidence[-1]
            if isinstance(mark, Watermark):
                closed.write(msgspec.json.encode((mark.source, output.tick, time.time())) + b"\n")
            yield output

    Lane.close_until = timed  # type: ignore[method-assign]
    sys.argv = ["distillwatch", "detect", "--config", str(config)]
    # Unbuffered: a worker that does not stop in its time is ended where it stands.
    with out.open("wb", buffering=0) as closed:
        sys.exit(main())


def parse() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    programs = parser.add_subparsers(dest="program", required=True)
    one = programs.add_parser("feed")
    one.add_argument("--bootstrap", required=True)
    one.add_argument("--topics", type=msgspec.json.decode, required=True, help="names by role, as JSON")
    one.add_argument("--rate", type=float, required=True)
    one.add_argument("--lines", type=Path, required=True)
    two = programs.add_parser("worker")
    two.add_argument("--config", type=Path, required=True)
    for program in (one, two):
        program.add_argument("--out", type=Path, required=True)
    options = vars(parser.parse_args())
    if options.pop("program") == "feed":
        feed(**options)
    else:
        worker(**options)


if __name__ == "__main__":
    parse()
