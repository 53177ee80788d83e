"""`python -m infra.kafka`: one local broker in the foreground, with the topics created."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import Final, TextIO

from infra.kafka.broker import Broker, BrokerUnavailable
from infra.kafka.jars import resolve_jars
from infra.topics import TopicError, create_topics

_CHECK_EVERY_S: Final = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; returns the exit code (2: no broker can run here)."""
    parser = argparse.ArgumentParser(prog="python -m infra.kafka", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("build/broker"), help="data folder, kept between runs")
    parser.add_argument("--port", type=int, default=9092, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--partitions", type=int, default=None, help="partitions of the llm.* topics of accounts")
    parser.add_argument("--jars", type=Path, default=None, help="folder of Kafka's jars (default: build/kafka/libs)")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        jars = resolve_jars(options.jars)
        with Broker(options.data, port=options.port or None, jars=jars) as broker:
            names = create_topics(broker.bootstrap, partitions=options.partitions)
            _write(sys.stdout, f"Kafka broker at {broker.bootstrap}, log in {broker.log_path}")
            _write(sys.stdout, f"topics: {', '.join(sorted(names.values()))}")
            while not stop.wait(_CHECK_EVERY_S):
                if broker.returncode is not None:
                    _write(sys.stderr, f"the broker exited with {broker.returncode}:\n{broker.log_tail()}")
                    return 1
    except (BrokerUnavailable, TopicError) as error:
        _write(sys.stderr, str(error))
        return 2
    return 0


def _write(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
