"""Contracts to Arrow columns for ClickHouse, and alerts back from its rows.

A value that is absent stays NULL. Times become UTC timestamps of milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from schemas.activity import Activity
from schemas.alerts import Alert, Signal, SignalShare
from schemas.deadletters import DeadLetter
from schemas.events import MAX_TS

if TYPE_CHECKING:
    import pyarrow as pa

READ_ALERTS: Final = """
SELECT
    alert_id, version, kind, campaign_id, status,
    toUnixTimestamp64Milli(ts) AS ts_ms,
    toUnixTimestamp64Milli(first_seen) AS first_seen_ms,
    toUnixTimestamp64Milli(last_seen) AS last_seen_ms,
    accounts, accounts_total, requests_total, score, severity, confidence,
    `signals.name` AS names, `signals.contribution` AS contributions, `signals.evidence` AS evidence,
    blind, atlas, runbook, config_version, shadow
FROM
(
    SELECT *
    FROM alerts FINAL
    WHERE ts >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
    ORDER BY ts DESC, alert_id DESC, version DESC
    LIMIT {limit:UInt64}
)
ORDER BY ts, alert_id, version
"""
"""Columns that :func:`alert_from_row` reads."""

_JSON: Final = msgspec.json.Encoder(order="deterministic")
_MAX_INT32: Final = 2**31 - 1
_MAX_INT64: Final = 2**63 - 1


def alert_rows(alerts: Sequence[Alert]) -> pa.Table:
    """Table `alerts`: a row an alert version."""
    pa, moment = _arrow()
    label = pa.string()
    labels = pa.list_(pa.string())
    get = _columns(alerts)
    return pa.table(
        {
            "alert_id": pa.array(get("alert_id"), label),
            "version": pa.array(get("version"), pa.uint32()),
            "kind": pa.array(get("kind"), label),
            "campaign_id": pa.array(get("campaign_id"), label),
            "status": pa.array(get("status"), label),
            "ts": pa.array(get("ts"), moment),
            "first_seen": pa.array(get("first_seen"), moment),
            "last_seen": pa.array(get("last_seen"), moment),
            "accounts": pa.array(get("accounts"), labels),
            "accounts_total": pa.array(get("accounts_total"), pa.uint64()),
            "requests_total": pa.array(get("requests_total"), pa.uint64()),
            "score": pa.array(get("score"), pa.float64()),
            "severity": pa.array(get("severity"), label),
            "confidence": pa.array(get("confidence"), pa.float64()),
            "signals.name": pa.array([[share.name for share in alert.signals] for alert in alerts], labels),
            "signals.contribution": pa.array(
                [[share.contribution for share in alert.signals] for alert in alerts], pa.list_(pa.float64())
            ),
            "signals.evidence": pa.array(
                [[_json(share.evidence) for share in alert.signals] for alert in alerts], labels
            ),
            "blind": pa.array(get("blind"), labels),
            "atlas": pa.array(get("atlas"), labels),
            "runbook": pa.array(get("runbook"), label),
            "config_version": pa.array(get("config_version"), label),
            "shadow": pa.array(get("shadow"), pa.bool_()),
        }
    )


def account_rows(alerts: Sequence[Alert]) -> pa.Table:
    """Table `alert_accounts`: a row an account that an alert version names."""
    pa, moment = _arrow()
    named = [(account, alert) for alert in alerts for account in alert.accounts]
    get = _columns([alert for _, alert in named])
    return pa.table(
        {
            "account": pa.array([account for account, _ in named], pa.string()),
            "alert_id": pa.array(get("alert_id"), pa.string()),
            "version": pa.array(get("version"), pa.uint32()),
            "kind": pa.array(get("kind"), pa.string()),
            "campaign_id": pa.array(get("campaign_id"), pa.string()),
            "ts": pa.array(get("ts"), moment),
            "shadow": pa.array(get("shadow"), pa.bool_()),
        }
    )


def signal_rows(signals: Sequence[Signal]) -> pa.Table:
    """Table `signals`: a row a signal."""
    pa, moment = _arrow()
    get = _columns(signals)
    return pa.table(
        {
            "signal_id": pa.array([_signal_id(signal) for signal in signals], pa.uint64()),
            "ts": pa.array(get("ts"), moment),
            "request_id": pa.array(get("request_id"), pa.string()),
            "account": pa.array(get("account"), pa.string()),
            "cohort": pa.array(get("cohort"), pa.string()),
            "detector": pa.array(get("detector"), pa.string()),
            "score": pa.array(get("score"), pa.float64()),
            "p_value": pa.array(get("p_value"), pa.float64()),
            "evidence": pa.array([_json(signal.evidence) for signal in signals], pa.string()),
        }
    )


def activity_rows(rows: Sequence[Activity]) -> pa.Table:
    """Table `activity`: a row an account and hour; `hour` (its start) and `as_of` are epoch milliseconds."""
    pa, _ = _arrow()
    if any(not 0 <= row.hour <= MAX_TS for row in rows):
        raise ValueError(f"activity: hour lies outside 0 to {MAX_TS} epoch ms")
    get = _columns(rows)
    counts = ("requests", "responses", "refused", "input_tokens", "output_tokens", "reasoning_tokens")
    return pa.table(
        {
            "account": pa.array(get("account"), pa.string()),
            "hour": pa.array([row.hour // 1000 for row in rows], pa.timestamp("s", tz="UTC")),
            "as_of": pa.array(get("as_of"), pa.uint64()),
            **{name: pa.array(get(name), pa.uint64()) for name in counts},
        }
    )


def letter_rows(letters: Sequence[DeadLetter]) -> pa.Table:
    """Table `dead_letters`: where and why, and how large; not the bytes."""
    pa, moment = _arrow()
    get = _columns(letters)
    return pa.table(
        {
            "source": pa.array(get("source"), pa.string()),
            # Headers of a letter that somebody else wrote may say anything.
            "partition": pa.array([_within(letter.partition, _MAX_INT32) for letter in letters], pa.int32()),
            "offset": pa.array([min(letter.offset, _MAX_INT64) for letter in letters], pa.uint64()),
            "ts": pa.array([min(letter.ts, MAX_TS) for letter in letters], moment),
            "reason": pa.array(get("reason"), pa.string()),
            "detail": pa.array(get("detail"), pa.string()),
            "bytes": pa.array([len(letter.raw) for letter in letters], pa.uint64()),
        }
    )


def alert_from_row(row: Mapping[str, Any]) -> Alert:
    """One alert from a row of :data:`READ_ALERTS`; equal to the alert that was written."""
    shares = zip(row["names"], row["contributions"], row["evidence"], strict=True)
    return Alert(
        alert_id=row["alert_id"],
        version=row["version"],
        kind=row["kind"],
        campaign_id=row["campaign_id"],
        status=row["status"],
        ts=row["ts_ms"],
        first_seen=row["first_seen_ms"],
        last_seen=row["last_seen_ms"],
        accounts=list(row["accounts"]),
        accounts_total=row["accounts_total"],
        requests_total=row["requests_total"],
        score=row["score"],
        severity=row["severity"],
        confidence=row["confidence"],
        signals=[
            SignalShare(name=name, contribution=contribution, evidence=msgspec.json.decode(evidence))
            for name, contribution, evidence in shares
        ],
        blind=list(row["blind"]),
        atlas=list(row["atlas"]),
        runbook=row["runbook"],
        config_version=row["config_version"],
        shadow=bool(row["shadow"]),
    )


def _within(value: int | None, largest: int) -> int | None:
    return value if value is None or value <= largest else None


def _arrow() -> tuple[Any, Any]:
    import pyarrow as pa

    return pa, pa.timestamp("ms", tz="UTC")


def _columns(rows: Iterable[Any]) -> Callable[[str], list[Any]]:
    return lambda name: [getattr(row, name) for row in rows]


def _json(evidence: Mapping[str, Any]) -> str:
    return _JSON.encode(evidence).decode()


def _signal_id(signal: Signal) -> int:
    """The same finding has the same id in every process and every run."""
    return int.from_bytes(hashlib.blake2b(_JSON.encode(signal), digest_size=8).digest(), "little")
