"""The files in monitoring/, and the expressions in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "monitoring"

ONLY_IN_THE_KERNEL = {"l7proxy_datapath_events_total", "l7proxy_table_limit"}
"""Metrics that a node in userspace mode has no samples of."""
KERNEL_TABLES = ("roads", "namespaces", "kernel_rules_crowded_out", "kernel_table_bytes")
"""Tables of the kernel; ``tests/datapath/test_refusals.py`` finds them there."""

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED: dict[str, str] = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"panel {panel['title']} {target['refId']}", shown(target["expr"])
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation {annotation['name']}", shown(annotation["expr"])


def levels(record: str) -> set[str]:
    """The labels that a recorded series has, by its name: ``level:metric:operations``."""
    return set(record.partition(":")[0].split("_"))


def shown(expression: str) -> str:
    """The expression as Grafana sends it, for all nodes and the last minute."""
    for variable, value in (("$__rate_interval", "1m"), ("$__range", "1m"), ("$instance", ".*")):
        expression = expression.replace(variable, value)
    return expression


EXPRESSIONS = tuple(_expressions())
"""Where each expression of rules and dashboard stands, and the expression."""
