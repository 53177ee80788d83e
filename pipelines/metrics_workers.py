"""From the counters of a worker's loop to its board; each is called about once a second, from the loop's own thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from pipelines.correlate.correlator import PARTITION, Correlator
from pipelines.detect.loop import DetectLoop
from pipelines.detect.tallies import drained
from pipelines.metrics_http import Monitor
from pipelines.sink import SinkLoop


def publish_detect(monitor: Monitor, loop: DetectLoop, *, roles: Mapping[str, str], wall: Callable[[], float]) -> None:
    """Bring the board of a detect worker up to date.

    Args:
        roles: of the topics, by name.
        wall: seconds since the epoch, for the age of the watermarks.
    """
    board, counters, tallies, shares = monitor.board, loop.counters, loop.tallies, loop.shares
    board.totals("events_total", {roles[topic]: count for topic, count in tallies.events.items()})
    board.totals("rejected_total", tallies.rejected)
    board.totals("alerts_total", tallies.alerts)
    board.total("control_letters_dropped_total", loop.dropped_control_letters)
    board.total("misplaced_total", counters.misplaced)
    board.total("ticks_total", counters.ticks)
    board.total("refused_commits_total", counters.refused_commits)
    board.total("lost_states_total", counters.lost_states)
    board.total("evidence_messages_total", tallies.evidence)
    board.total("checkpoints_total", tallies.checkpoints)
    board.total("checkpoint_records_total", tallies.records)
    board.total("checkpoint_bytes_total", tallies.bytes)
    board.total("restore_records_total", tallies.restored_records)
    board.total("restore_bytes_total", tallies.restored_bytes)
    board.observe("checkpoint_seconds", drained(tallies.checkpoint_s))
    board.observe("restore_seconds", drained(tallies.restore_s))
    board.gauge("evidence_waiting_cohorts", sum(share.lane.waiting for share in shares))
    board.gauge("evidence_evicted_cohorts", sum(share.lane.evicted for share in shares))
    board.gauge("partitions", len(shares))
    board.gauge("paused_partitions", sum(len(share.paused) for share in shares))
    board.gauges("lag_records", {share.partition: share.merge.behind for share in shares})
    board.gauges("pending_events", {share.partition: share.lane.pending for share in shares})
    board.gauges("state_records", {share.partition: share.checkpoint.records for share in shares})
    # An idle partition has nothing open, so its watermark is no sign of anything; nor is that before the first tick.
    now, active = wall(), [share for share in shares if share.closed and not share.idle]
    board.gauges("watermark_age_seconds", {share.partition: now - share.closed / 1000 for share in active})
    monitor.tell(loop.waits_for)


def publish_correlate(monitor: Monitor, correlator: Correlator, *, lag: int | None) -> None:
    """Bring the board of a correlate worker up to date.

    Args:
        lag: offsets of the evidence that are not taken yet; None where the worker does not know.
    """
    board, stage = monitor.board, correlator.stage
    campaigns = (stage.campaigns or {}).values()
    states = Counter(campaign.status for campaign in campaigns)
    board.total("messages_total", stage.messages)
    board.total("skipped_total", stage.skipped)
    board.total("acknowledged_total", correlator.acknowledged)
    board.totals("rejected_total", stage.rejected_by)
    board.totals("alerts_total", stage.alerts_by)
    board.gauges("campaigns", {state: states[state] for state in ("new", "updated", "closed")})
    board.gauge("campaign_accounts", sum(len(campaign.requests) for campaign in campaigns))
    board.gauges("lag_records", {} if lag is None else {PARTITION: lag})
    board.observe("restore_seconds", drained(stage.restore_s))
    board.total("restore_records_total", stage.restored)
    monitor.tell(correlator.waits_for)


def publish_sink(monitor: Monitor, loop: SinkLoop) -> None:
    """Bring the board of a sink worker up to date."""
    board, counters = monitor.board, loop.counters
    board.totals("rows_total", counters.rows)
    board.totals("rejected_total", loop.tallies.rejected)
    board.total("batches_total", counters.batches)
    board.total("retries_total", counters.retries)
    board.total("refused_commits_total", counters.refused_commits)
    board.observe("insert_seconds", drained(loop.tallies.insert_s))
    board.gauge("buffered_rows", loop.buffered)
    board.gauge("clickhouse_reachable", loop.reachable)
    board.gauge("partitions", len(loop.partitions))
    board.gauges("lag_records", loop.behind())
    monitor.tell(loop.waits_for)
