"""Alerts as OCSF 1.9 Detection Findings (`class_uid` 2004, `category_uid` 2), for a SIEM.

Source: the OCSF schema, classes `finding` and `detection_finding`, objects `finding_info`, `attack`,
`evidences` and `anomaly_analysis`. Techniques are MITRE ATLAS 5.6.0, which OCSF keeps in the same object as
ATT&CK. What OCSF has no attribute for goes to `unmapped` under its own name.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.alerts import Alert

OCSF_VERSION: Final = "1.9.0"
ATLAS_VERSION: Final = "5.6.0"
CLASS_UID: Final = 2004
CATEGORY_UID: Final = 2

ACTIVITIES: Final = {"new": (1, "Create"), "updated": (2, "Update"), "closed": (3, "Close")}
SEVERITIES: Final = {"low": (2, "Low"), "medium": (3, "Medium"), "high": (4, "High"), "critical": (5, "Critical")}

TECHNIQUES: Final = {
    "AML.T0005.001": "Train Proxy via Replication",
    "AML.T0008.005": "AI Service Proxies",
    "AML.T0012": "Valid Accounts",
    "AML.T0021": "Establish Accounts",
    "AML.T0024.002": "Extract AI Model",
    "AML.T0040": "AI Model Inference API Access",
    "AML.T0048.004": "AI IP Theft",
}


def detection_finding(alert: Alert, *, product_version: str) -> dict[str, Any]:
    """One message about an alert as a Detection Finding; all messages of an alert share `finding_info.uid`.

    Args:
        alert: times in epoch milliseconds, as OCSF has them.
        product_version: the version of distillwatch that wrote the alert.
    """
    activity_id, activity = ACTIVITIES[alert.status]
    severity_id, severity = SEVERITIES[alert.severity]
    title = _title(alert)
    finding: dict[str, Any] = {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": CATEGORY_UID,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "type_uid": CLASS_UID * 100 + activity_id,
        "type_name": f"Detection Finding: {activity}",
        "time": alert.ts,
        "start_time": alert.first_seen,
        "end_time": alert.last_seen,
        "severity_id": severity_id,
        "severity": severity,
        "confidence_score": round(alert.confidence * 100),
        "is_alert": alert.status != "closed" and not alert.shadow,
        "message": title,
        "metadata": {
            "version": OCSF_VERSION,
            "uid": f"{alert.alert_id}:{alert.version}",
            "product": {"name": "distillwatch", "vendor_name": "distillwatch", "version": product_version},
        },
        "finding_info": {
            "uid": alert.alert_id,
            "title": title,
            "types": ["Model distillation"],
            # 3: a statistical analytic
            "analytic": {"name": f"{alert.kind} alert", "type_id": 3, "type": "Statistical"},
            "first_seen_time": alert.first_seen,
            "last_seen_time": alert.last_seen,
            "modified_time": alert.ts,
            "related_events_count": alert.requests_total,
            "attacks": [_attack(technique) for technique in alert.atlas],
        },
        "evidences": _evidences(alert),
        "remediation": {"desc": f"Follow {alert.runbook}"},
        "unmapped": {
            "alert_version": alert.version,
            "accounts_total": alert.accounts_total,
            "score": alert.score,
            "blind": alert.blind,
            "config_version": alert.config_version,
            "shadow": alert.shadow,
        },
    }
    if alert.status == "new":
        finding |= {"status_id": 1, "status": "New"}
    if alert.campaign_id is not None:
        finding["metadata"]["correlation_uid"] = alert.campaign_id
    if alert.signals:
        finding["anomaly_analyses"] = [_anomalies(alert)]
    return finding


def _title(alert: Alert) -> str:
    if alert.kind == "account":
        return "Account suspected of model distillation"
    return f"Campaign of {alert.accounts_total} accounts suspected of model distillation"


def _attack(technique: str) -> dict[str, Any]:
    """ATLAS numbers a sub-technique with a second dot: AML.T0024.002 is one of AML.T0024."""
    named = {"uid": technique}
    if technique in TECHNIQUES:
        named["name"] = TECHNIQUES[technique]
    if technique.count(".") < 2:
        return {"technique": named, "version": ATLAS_VERSION}
    return {
        "technique": {"uid": technique.rpartition(".")[0]},
        "sub_technique": named,
        "version": ATLAS_VERSION,
    }


def _evidences(alert: Alert) -> list[dict[str, Any]]:
    """The accounts, as the actors that they are, and then what each signal saw."""
    accounts = [{"name": "account", "actor": {"user": {"uid": account}}} for account in alert.accounts]
    signals = [
        {"name": signal.name, "data": {"contribution": signal.contribution, **signal.evidence}}
        for signal in alert.signals
    ]
    return accounts + signals


def _anomalies(alert: Alert) -> dict[str, Any]:
    """Each signal as one anomaly of the account or campaign; how much of the score it gave is its observation."""
    target = alert.campaign_id if alert.campaign_id is not None else next(iter(alert.accounts), alert.alert_id)
    return {
        "analysis_target": {"name": target, "type": alert.kind},
        "anomalies": [
            {
                "observed_attribute": signal.name,
                "observations": [{"value": f"{signal.contribution:.3f} of the score"}],
            }
            for signal in alert.signals
        ],
    }
