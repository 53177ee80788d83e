from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import schemas
from schemas.alerts import ALERT_DECODER, Alert
from schemas.ocsf import detection_finding

ALERTS = sorted((Path(schemas.__file__).parent / "examples" / "alerts").glob("*.json"))


def alert(name: str) -> Alert:
    return ALERT_DECODER.decode(next(path for path in ALERTS if path.stem == name).read_bytes())


def finding(name: str, **changes: Any) -> dict[str, Any]:
    return detection_finding(msgspec.structs.replace(alert(name), **changes), product_version="0.1.0")


@pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)
def test_required_attributes_and_constraints_of_the_class(path: Path) -> None:
    original = ALERT_DECODER.decode(path.read_bytes())
    found = detection_finding(original, product_version="0.1.0")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    # Required by the class and by base_event.
    required = {
        "activity_id",
        "category_uid",
        "class_uid",
        "finding_info",
        "metadata",
        "severity_id",
        "time",
        "type_uid",
    }
    assert required <= set(found)
    assert (found["class_uid"], found["category_uid"]) == (2004, 2)
    assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
    assert found["finding_info"]["uid"] == original.alert_id
    assert {"version", "product"} <= set(found["metadata"])
    # At least one of these must be in each evidence.
    assert all({"actor", "data"} & set(evidence) for evidence in found["evidences"])
    assert all({"technique", "sub_technique"} & set(attack) for attack in found["finding_info"]["attacks"])
    for analysis in found.get("anomaly_analyses", []):
        assert analysis["analysis_target"]["name"]
        assert analysis["anomalies"]
        assert all(anomaly["observations"] and anomaly["observed_attribute"] for anomaly in analysis["anomalies"])
    assert found["start_time"] <= found["end_time"]


@pytest.mark.parametrize(
    ("status", "activity_id", "type_uid", "is_alert"),
    [("new", 1, 200401, True), ("updated", 2, 200402, True), ("closed", 3, 200403, False)],
)
def test_life_of_a_finding(status: str, activity_id: int, type_uid: int, is_alert: bool) -> None:
    found = finding("campaign_new", status=status)
    assert (found["activity_id"], found["type_uid"], found["is_alert"]) == (activity_id, type_uid, is_alert)
    assert found.get("status_id") == (1 if status == "new" else None)


def test_messages_of_one_alert_are_one_finding_and_different_events() -> None:
    first, second = finding("campaign_new"), finding("campaign_updated")
    assert first["finding_info"]["uid"] == second["finding_info"]["uid"]
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert first["metadata"]["correlation_uid"] == "cmp-4f1c2a90"
    assert "correlation_uid" not in finding("account_new")["metadata"]


@pytest.mark.parametrize(("severity", "number"), [("low", 2), ("medium", 3), ("high", 4), ("critical", 5)])
def test_severity(severity: str, number: int) -> None:
    assert finding("campaign_new", severity=severity)["severity_id"] == number


def test_shadow_is_no_alert() -> None:
    assert finding("account_shadow")["is_alert"] is False
    assert finding("account_shadow")["unmapped"]["shadow"] is True


def test_techniques() -> None:
    attacks = finding("campaign_new", atlas=["AML.T0024.002", "AML.T0021", "AML.T9999"])["finding_info"]["attacks"]
    assert attacks == [
        {
            "technique": {"uid": "AML.T0024"},
            "sub_technique": {"uid": "AML.T0024.002", "name": "Extract AI Model"},
            "version": "5.6.0",
        },
        {"technique": {"uid": "AML.T0021", "name": "Establish Accounts"}, "version": "5.6.0"},
        {"technique": {"uid": "AML.T9999"}, "version": "5.6.0"},
    ]


def test_accounts_are_actors_and_signals_are_evidence() -> None:
    found = finding("campaign_new")
    accounts = [evidence["actor"]["user"]["uid"] for evidence in found["evidences"] if "actor" in evidence]
    assert accounts == ["acct-11", "acct-12", "acct-13"]
    data = {evidence["name"]: evidence["data"] for evidence in found["evidences"] if "data" in evidence}
    assert data["template_family"]["contribution"] == 0.61
    assert data["template_family"]["requests"] == 41
    assert found["confidence_score"] == 88
    assert found["unmapped"]["blind"] == ["payment"]
    assert "anomaly_analyses" not in finding("account_shadow")
