"""The example rules for Prometheus: they ask for metrics that there are, and lead to sections that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.metrics import LABELS, METRICS

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "infra" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
SCRAPES = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
KNOWN = {metric.name: metric for metric in METRICS}
PARTS = [
    f"{metric.name}_{part}" for metric in METRICS if metric.kind == "histogram" for part in ("bucket", "sum", "count")
]


def name_of(rule: dict[str, Any]) -> str:
    return str(rule.get("alert", rule.get("record")))


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_a_rule_asks_for_metrics_and_labels_of_the_list(rule: dict[str, Any]) -> None:
    asked = re.findall(r"\bdistillwatch_[a-z_]+", rule["expr"])
    assert asked or "up{" in rule["expr"]
    assert set(asked) <= set(KNOWN) | set(PARTS)
    grouped = {label.strip() for found in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in found.split(",")}
    assert grouped <= set(LABELS) | {"job", "instance"}
    assert rule["expr"].count("(") == rule["expr"].count(")")
    for name in re.findall(r"(?:rate|increase)\((distillwatch_[a-z_]+)\[", rule["expr"]):
        assert KNOWN[name].kind == "counter", f"{name} is no counter"
    for name in re.findall(r"deriv\((distillwatch_[a-z_]+)\[", rule["expr"]):
        assert KNOWN[name].kind == "gauge", f"{name} is no gauge"


@pytest.mark.parametrize("rule", ALERTS, ids=name_of)
def test_an_alert_leads_to_what_to_do(rule: dict[str, Any]) -> None:
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    titles = re.findall(r"^### (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {title.lower().replace(" ", "-") for title in titles}
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in ("warning", "critical")
    labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) - {"job", "instance"}
    assert labels <= {label for name in KNOWN if name in rule["expr"] for label in KNOWN[name].labels}


def test_every_worker_is_scraped_on_a_port_of_its_own() -> None:
    assert {scrape["job_name"] for scrape in SCRAPES} == {
        "distillwatch-detect",
        "distillwatch-correlate",
        "distillwatch-sink",
    }
    targets = [target for scrape in SCRAPES for static in scrape["static_configs"] for target in static["targets"]]
    assert len(set(targets)) == 3
    described = (ROOT / "infra" / "config" / "pipeline.toml").read_text()
    assert all(target.split(":")[1] in described for target in targets)
