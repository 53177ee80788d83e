"""What a checkpoint costs as accounts change, and how long a partition's state takes to come back.

    python -m tests.benchmarks.checkpoint_cost --accounts 10000 100000 [--broker]

One lane with the shipped sizes is filled with accounts of one request each. Then some of them send one more, and the
checkpoint of that is timed: marks, digests and compression, without the broker. `--broker` starts one, writes the state
to its topic, and times the way back as a worker takes it, by the clock on the wall: reading, decoding, restoring.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from detectors.engine import FrameBuilder, Lane
from detectors.params import DetectorParams
from pipelines.detect.changelog import BlockWriter, Head, assemble, extent
from schemas.events import Event
from tests.unit.detectors.traffic import START, TICK, make_config, request

CHANGED: Final = (0, 100, 1_000, 10_000)
_BATCH: Final = 5_000
_WORDS: Final = 20
_VOCABULARY: Final = 3_000


class Filled:
    """A lane of so many accounts, and the topic that its checkpoints make."""

    def __init__(self, accounts: int) -> None:
        self.config = make_config(DetectorParams())
        self.lane = Lane(0, self.config)
        self.topic: dict[bytes, bytes] = {}
        self._builder = FrameBuilder(self.config)
        self._writer = BlockWriter()
        self._rng = random.Random(11)
        self._names = [f"acct-{n:08d}" for n in range(accounts)]
        self._now = START
        for start in range(0, accounts, _BATCH):
            self._tick(self._names[start : start + _BATCH])

    def _tick(self, names: Sequence[str]) -> None:
        events: list[Event] = [
            request(
                name, self._now + n % 9_000, " ".join(f"w{self._rng.randrange(_VOCABULARY)}" for _ in range(_WORDS))
            )
            for n, name in enumerate(names)
        ]
        if events:
            self.lane.offer(self._builder.build(events))
        self._now += TICK
        list(self.lane.close_until(self._now))

    def change(self, accounts: int) -> None:
        """One more request of so many accounts, chosen at random."""
        self._tick(self._rng.sample(self._names, min(accounts, len(self._names))))

    def checkpoint(self) -> tuple[float, int, int]:
        """Seconds of the processor, records and bytes."""
        began = time.process_time()
        parts = self.lane.parts()
        records = list(self._writer.changes(Head("cost", self.lane.layout, 0, {}, extent(parts)), parts))
        self._writer.durable()
        seconds = time.process_time() - began
        self.topic.update((key, value) for key, value in records if value is not None)
        for key, value in records:
            if value is None:
                self.topic.pop(key, None)
        return seconds, len(records), sum(len(value or b"") for _, value in records)


def restore(filled: Filled, records: dict[bytes, bytes]) -> None:
    """Take the state over into a fresh lane, which must then be the same.

    Raises:
        RuntimeError: it is not.
    """
    state = assemble(records)
    if state is None:
        raise RuntimeError("there is no state")
    lane = Lane(0, filled.config)
    lane.restore_parts(state.parts)
    BlockWriter().adopt(state, lane.parts())
    if lane.accounts != filled.lane.accounts:
        raise RuntimeError(f"{lane.accounts} accounts came back of {filled.lane.accounts}")


def through_a_broker(filled: Filled) -> tuple[float, float]:
    """Seconds to write the whole state, and to read it back and restore it."""
    import structlog

    from infra.kafka.broker import Broker
    from infra.topics import create_topics
    from pipelines.detect.state_topic import KafkaChangelog
    from pipelines.settings import KafkaSettings

    with tempfile.TemporaryDirectory() as directory:
        broker = Broker(Path(directory))
        broker.start()
        try:
            topics = create_topics(broker.bootstrap, prefix="cost.")
            settings = KafkaSettings(bootstrap=broker.bootstrap)
            changelog = KafkaChangelog(settings, topics, "cost", _no_group, structlog.get_logger())
            began = time.perf_counter()
            writer = changelog.open(0)
            for key, value in filled.topic.items():
                writer.put_state(key, value)
            if not writer.commit({}):
                raise RuntimeError("the broker did not take the state")
            writer.close()
            written = time.perf_counter() - began
            began = time.perf_counter()
            restore(filled, changelog.read(0))
            return written, time.perf_counter() - began
        finally:
            broker.stop()


def _no_group() -> Any:
    return None


def tell(say: Callable[[str], Any], what: str, cost: tuple[float, int, int]) -> None:
    seconds, records, size = cost
    say(f"{what}: {1e3 * seconds:.1f} ms of the processor, {records} records, {size / 1e6:.2f} MB\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line a measurement."""
    parser = argparse.ArgumentParser(description="What a checkpoint costs.")
    parser.add_argument("--accounts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--broker", action="store_true")
    args = parser.parse_args(argv)
    say = sys.stdout.write
    for accounts in args.accounts:
        filled = Filled(accounts)
        tell(say, f"{accounts} accounts, everything", filled.checkpoint())
        for changed in CHANGED:
            filled.change(changed)
            tell(say, f"{accounts} accounts, {changed} changed", filled.checkpoint())
        began = time.process_time()
        restore(filled, filled.topic)
        say(f"{accounts} accounts, restored in {time.process_time() - began:.2f} s of the processor\n")
        if args.broker:
            written, back = through_a_broker(filled)
            say(f"{accounts} accounts, written to a broker in {written:.2f} s, read and restored in {back:.2f} s\n")


if __name__ == "__main__":
    main()
