"""Where a topic really ends, for readers that must know whether anything is left.

The broker's end offset counts the markers that end a transaction and the records of aborted ones. A reader's
committed offset lies behind the last record that it was given, so it never gets there.
"""

from __future__ import annotations

import time
from typing import Any, Final

_PATIENCE_S: Final = 15.0
_POLL_MS: Final = 500
_LOOK_BACK: Final = 8


def first_from(consumer: Any, partition: Any, offset: int, end: int, *, patience_s: float = _PATIENCE_S) -> int | None:
    """Offset of the first committed record at or behind `offset` and before `end`; None where there is none.

    Args:
        consumer: a read_committed consumer of nobody's group, whose assignment is changed.
        partition: kafka-python's topic and partition.

    Raises:
        KafkaError: the broker does not answer.
        TimeoutError: it does not give the records that it says it has.
    """
    if offset >= end:
        return None
    deadline = time.monotonic() + patience_s
    consumer.assign([partition])
    try:
        consumer.seek(partition, offset)
        while time.monotonic() < deadline:
            for record in consumer.poll(timeout_ms=_POLL_MS, max_records=1).get(partition, ()):
                return int(record.offset) if record.offset < end else None
            if consumer.position(partition) >= end:
                return None
        raise TimeoutError(f"{partition.topic} {partition.partition}: nothing from {offset} on within {patience_s:g} s")
    finally:
        # An assigned consumer fetches ahead, and nobody reads on here.
        consumer.unsubscribe()


def end_of_records(consumer: Any, partition: Any, first: int, end: int) -> int:
    """Offset after the last committed record before `end`; `first` where there is none.

    Looks back from the end, further each time; there are rarely more than a few markers.

    Raises:
        KafkaError: the broker does not answer.
        TimeoutError: it does not give the records that it says it has.
    """
    back = _LOOK_BACK
    while True:
        begin, last = max(first, end - back), None
        at = first_from(consumer, partition, begin, end)
        while at is not None:
            last = at
            at = first_from(consumer, partition, at + 1, end)
        if last is not None:
            return last + 1
        if begin == first:
            return first
        back *= 8
