"""A detect worker in a group whose members come and go: restarts under a lasting name, and a storm of rebalances."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.detect.kafka_source import KafkaSource
from pipelines.detect.ports import Change
from pipelines.kafka_io import make_consumer, produce_events
from pipelines.settings import KafkaSettings
from schemas.alerts import SIGNAL_DECODER
from schemas.events import Request, Response
from tests.conftest import Topics
from tests.integration.stream_rig import Stream, until
from tests.integration.stream_traffic import traffic
from tests.integration.test_stream_detect import ends, harvest_requests, newest_rows

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# A member hears of a rebalance by its next heartbeat; no session ends by itself, however busy the machine is.
_QUICK = "import pipelines.kafka_io as kafka_io\nkafka_io.HEARTBEAT_S = 0.3"
_SESSION = "session_s = 120"
_PATIENCE_S = 200
_STORM = 5


class Guest:
    """A member of the group that is given partitions and does nothing with them."""

    def __init__(self, stream: Stream, instance: str) -> None:
        settings = KafkaSettings(bootstrap=stream.topics.bootstrap, session_s=120, group_instance_id=instance)
        names = [stream.topics[role] for role in ("requests", "responses", "accounts")]
        group = f"{stream.topics.prefix}w-detect"
        self.source = KafkaSource(make_consumer(settings, group=group, poll_records=10, member=True), names)
        self.changes: list[Change] = []

    def look(self) -> list[Change]:
        """Poll once; all changes so far."""
        self.source.poll(100, 10)
        self.changes += self.source.changes()
        return self.changes

    @property
    def partitions(self) -> set[int]:
        """What it was given last."""
        return {number for _, number in self.look()[-1].partitions} if self.look() else set()


@contextlib.contextmanager
def guest(stream: Stream, instance: str = "") -> Iterator[Guest]:
    """A member that joins, and leaves at the end unless it has a lasting name."""
    one = Guest(stream, instance)
    try:
        until(lambda: bool(one.partitions), seconds=_PATIENCE_S, what="a share for the guest")
        yield one
    finally:
        one.source.close()


def test_a_worker_keeps_its_partitions_over_a_restart_and_its_events_over_a_storm(
    topics: Topics, tmp_path: Path
) -> None:
    stream = Stream(topics, tmp_path, kafka=_SESSION)
    events = traffic(everyday=60, hours=2)
    cuts = [len(events) * part // (_STORM + 3) for part in range(_STORM + 4)]
    slices = (events[start:stop] for start, stop in itertools.pairwise(cuts))

    def send() -> None:
        produce_events(topics.bootstrap, topics.names, next(slices))

    def assigned() -> list[str]:
        lines = stream.logs("detect").splitlines()
        return [line.rpartition("partitions=")[2] for line in lines if "partitions assigned" in line]

    send()
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(stream.running("detect", "--instance", "first", fault=_QUICK))
        until(lambda: assigned() == ["0,1,2,3"], seconds=_PATIENCE_S, what="all partitions")
        with guest(stream) as other:
            until(lambda: assigned()[-1] == "0,1", seconds=_PATIENCE_S, what="the worker's half")
            rebalances, halves = len(other.look()), len(assigned())
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(_PATIENCE_S) == 0
            worker = stack.enter_context(stream.running("detect", "--instance", "first", fault=_QUICK))
            # The guest does not poll meanwhile, and a rebalance would have to wait for it.
            until(lambda: len(assigned()) > halves, seconds=_PATIENCE_S, what="the worker's half again")
            assert assigned()[halves:] == ["0,1"]
            assert len(other.look()) == rebalances
            assert other.partitions == {2, 3}
        send()
        until(lambda: assigned()[-1] == "0,1,2,3", seconds=_PATIENCE_S, what="all partitions again")
        for _ in range(_STORM - 1):
            with guest(stream):
                send()
        send()
        until(lambda: assigned()[-1] == "0,1,2,3", seconds=_PATIENCE_S, what="all partitions after the storm")
        with guest(stream, instance="first"):
            send()
            assert worker.wait(_PATIENCE_S) == 1, "two have one name"
        assert "give each its own --instance" in stream.logs("detect")
    stream.once("detect", "--instance", "first", timeout=_PATIENCE_S)
    assert next(slices, None) is None, "all events were sent"
    assert stream.committed("detect") == ends(stream), "no partition was left unowned"
    rows = newest_rows(stream)
    assert sum(row.requests for row in rows) == sum(isinstance(event, Request) for event in events)
    assert sum(row.responses for row in rows) == sum(isinstance(event, Response) for event in events)
    # The elicitation detector judges every request by itself.
    signals = [SIGNAL_DECODER.decode(record.value) for record in stream.read("signals")]
    scored = Counter(one.request_id for one in signals if one.detector == "elicitation" and one.request_id is not None)
    assert set(scored) == harvest_requests(events)
    assert max(scored.values()) == 1, "no event was scored twice"
