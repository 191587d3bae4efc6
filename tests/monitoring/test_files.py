"""The files in monitoring/ are what their programs take, and hang together."""

from __future__ import annotations

import re
import subprocess
from itertools import combinations
from typing import Any

import click
import pytest
import yaml

from l7proxy.cli.main import group
from l7proxy.config import Config
from tests.monitoring.files import ALERTS, DASHBOARD, FOLDER, PANELS, ROOT
from tests.monitoring.promql import named_in

UNITS = {"reqps", "cps", "s", "Bps", "percentunit", "short", "dateTimeFromNow"}
KINDS = {"timeseries", "stat", "table", "heatmap"}


@pytest.mark.needs_command("promtool")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "--lint-fatal", "prometheus.yml"),
        ("check", "rules", "--lint-fatal", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_no_fault(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_the_address_that_an_agent_has_by_default() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    assert job["job_name"] == "l7proxy"
    assert job["static_configs"] == [{"targets": [str(Config().metrics.listen)]}]


def test_every_alert_is_shown_to_fire_and_not_to_fire() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    shown = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in tests
        for case in test.get("alert_rule_test", [])
    ]
    assert set(shown) == {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do_about_it(rule: dict[str, Any]) -> None:
    assert rule["for"]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert "$labels.instance" in rule["annotations"]["summary"]
    description = rule["annotations"]["description"]
    named = set(re.findall(r"`l7proxy (\w+)", description))
    assert named
    assert named <= set(group.list_commands(click.Context(group)))
    limits = {name.removeprefix("limits.") for name in re.findall(r"limits\.\w+", description)}
    assert limits <= set(Config().limits.__dataclass_fields__)
    assert all((ROOT / path).exists() for path in re.findall(r"docs/\w+\.md", description))


def test_panels_have_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        apart = any(
            first[at] + first[size] <= second[at]
            for first, second in ((one, other), (other, one))
            for at, size in (("x", "w"), ("y", "h"))
        )
        assert apart, (one, other)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_the_chosen_nodes_and_has_a_unit(panel: dict[str, Any]) -> None:
    assert panel["type"] in KINDS
    options, defaults = panel["options"], panel["fieldConfig"]["defaults"]
    axis = options["yAxis"] if panel["type"] == "heatmap" else defaults
    assert panel["title"] == "Build" or axis["unit"] in UNITS
    assert panel["datasource"]["uid"] == "${datasource}"
    targets = panel["targets"]
    assert len({target["refId"] for target in targets}) == len(targets)
    for target in targets:
        assert target["datasource"]["uid"] == "${datasource}"
        named = named_in(target["expr"])
        for selector in named.selectors:
            assert ("instance", "=~", "$instance") in selector.matchers, target["expr"]
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert not named.groupings or shown <= named.groupings


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """Of no data source, folder or identity of the Grafana that it was made with."""
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 39
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["instance"]["datasource"]["uid"] == "${datasource}"
    needed = {each["id"] for each in DASHBOARD["__requires"] if each["type"] == "panel"}
    assert needed == {panel["type"] for panel in PANELS}
