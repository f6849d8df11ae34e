"""grafana/: generated files are fresh, point at data sources that exist, and ask valid questions."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.dashboards import __main__ as generator
from tests.stack import config, servers

PROVISIONING = config.GRAFANA / "provisioning"


def _boards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in config.DASHBOARDS]


def _uids(node: Any) -> set[str]:
    """Every data source that some part of a dashboard names."""
    if isinstance(node, list):
        return set().union(*map(_uids, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    own = {node["datasource"]["uid"]} if isinstance(node.get("datasource"), dict) else set()
    return own.union(*map(_uids, node.values())) if node else own


@pytest.mark.parametrize("name", generator.DASHBOARDS)
def test_the_dashboard_is_what_its_source_makes(name: str) -> None:
    path = generator.FOLDER / f"{name}.json"
    assert path.read_text(encoding="utf-8") == generator.rendered(name), (
        f"{path.name} is stale: run `python -m grafana.dashboards`"
    )


def test_there_is_no_dashboard_without_a_source() -> None:
    assert {path.stem for path in config.DASHBOARDS} == set(generator.DASHBOARDS)


def test_dashboards_name_only_data_sources_that_are_provisioned() -> None:
    provisioned = {
        source["uid"]
        for source in config.load(PROVISIONING / "datasources" / "datasources.yaml")["datasources"]
    }
    assert provisioned >= {"prometheus", "jaeger"}
    assert _uids(_boards()) <= provisioned
    assert _uids(_boards()) == {"prometheus"}


def test_data_sources_are_services_of_the_stack_at_their_ports() -> None:
    urls = {
        source["name"]: source["url"]
        for source in config.load(PROVISIONING / "datasources" / "datasources.yaml")["datasources"]
    }
    assert urls == {
        "Prometheus": "http://prometheus:9090",
        "Jaeger": "http://jaeger:16686",
        "Alertmanager": "http://alertmanager:9093",
    }


def test_grafana_finds_the_dashboards_where_compose_puts_them() -> None:
    (provider,) = config.load(PROVISIONING / "dashboards" / "dashboards.yaml")["providers"]
    volumes = config.load(servers.REPOSITORY / "compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in volumes


@pytest.mark.parametrize("board", _boards(), ids=lambda board: str(board["uid"]))
def test_a_dashboard_refreshes_every_five_seconds_and_leads_to_jaeger(board: dict[str, Any]) -> None:
    assert board["refresh"] == "5s"
    assert "5s" in board["timepicker"]["refresh_intervals"]
    assert any(link["url"].startswith("http://localhost:16686/search") for link in board["links"])
    assert board["templating"]["list"]


@pytest.mark.parametrize("board", _boards(), ids=lambda board: str(board["uid"]))
def test_panels_have_their_own_numbers_and_places(board: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place.get("x", 0), place.get("x", 0) + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells


@pytest.mark.parametrize("board", _boards(), ids=lambda board: str(board["uid"]))
def test_the_delivery_rate_turns_yellow_under_95_and_red_under_90(board: dict[str, Any]) -> None:
    (panel,) = [
        panel
        for panel in board["panels"]
        for target in panel.get("targets", [])
        if "delivery_rate_percent" in target["expr"]
    ]
    assert panel["type"] == "stat"
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in steps] == [
        (None, "red"),
        (90, "yellow"),
        (95, "green"),
    ]


def test_every_panel_asks_a_question_that_prometheus_understands(tmp_path: Path) -> None:
    questions = [
        {"record": f"panel:{number}", "expr": config.with_values(panel.expression)}
        for number, panel in enumerate(config.panels())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": questions}]}))
    checked = servers.run("promtool", "check", "rules", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(questions)} rules found" in checked.stdout
