"""grafana/: generated files are up to date, use existing data sources, and have valid queries."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards import __main__ as generator
from tests.stack import config, contract, servers

PROVISIONING = config.GRAFANA / "provisioning"


def _boards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in config.DASHBOARDS]


def _uids(node: Any) -> set[str]:
    """Returns the uids of all data sources in a dashboard."""
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


@pytest.mark.parametrize("board", _boards(), ids=lambda board: str(board["uid"]))
def test_a_dashboard_holds_nothing_that_grafana_s_own_schema_does_not_know(board: dict[str, Any]) -> None:
    """Parsing into the schema's types and writing again would drop an unknown key or option."""
    plugins.register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    assert _lost(board, again) == []
    unknown = {
        **board,
        "refreshes": "5s",
        "panels": [{**board["panels"][1], "options": {"graphmode": "area"}}],
    }
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(unknown)))
    assert set(_lost(unknown, again)) >= {"/refreshes", "/panels/0/options/graphmode"}


def _lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Returns what is missing or different; additional values do not count."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            lost
            for key, value in before.items()
            for lost in (_lost(value, after[key], f"{path}/{key}") if key in after else [f"{path}/{key}"])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [lost for number, (old, new) in pairs for lost in _lost(old, new, f"{path}/{number}")]
    return [] if before == after else [path]


@pytest.mark.parametrize("board", _boards(), ids=lambda board: str(board["uid"]))
def test_every_value_has_a_unit_that_grafana_knows(board: dict[str, Any]) -> None:
    known = {value for name, value in vars(units).items() if not name.startswith("_")}
    for panel in board["panels"]:
        if panel["type"] == "heatmap":
            unit = panel["options"]["yAxis"]["unit"]
        elif panel["type"] in ("row", "table", "state-timeline"):  # titles, labels, up or down
            continue
        else:
            unit = panel["fieldConfig"]["defaults"]["unit"]
        assert unit in known, panel["title"]


@pytest.mark.parametrize("board", _boards(), ids=lambda board: str(board["uid"]))
def test_queries_use_only_variables_that_there_are_and_every_variable_is_used(board: dict[str, Any]) -> None:
    own = {variable["name"] for variable in board["templating"]["list"]}
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    used = {name for expression in expressions for name in re.findall(r"\$(\w+)", expression)}
    assert used - own <= {"__rate_interval", "__range"}
    assert own <= used


@pytest.mark.parametrize("board", _boards(), ids=lambda board: str(board["uid"]))
def test_every_panel_names_its_data_source_in_each_of_its_queries(board: dict[str, Any]) -> None:
    for panel in board["panels"]:
        asked = [target["datasource"] for target in panel.get("targets", [])]
        assert all(source == panel["datasource"] for source in asked), panel["title"]
        references = [target["refId"] for target in panel.get("targets", [])]
        assert len(references) == len(set(references)), panel["title"]


@pytest.mark.parametrize("board", _boards(), ids=lambda board: str(board["uid"]))
def test_links_to_jaeger_search_for_a_service_that_there_is_by_tags_that_parse(board: dict[str, Any]) -> None:
    searches = [urlsplit(link["url"]) for link in board["links"] if ":16686/search" in link["url"]]
    assert searches
    for search in searches:
        asked = parse_qs(search.query, strict_parsing=True)
        assert asked.keys() <= {"service", "tags"}
        assert set(asked["service"]) <= contract.OURS
        assert all(isinstance(json.loads(tags), dict) for tags in asked.get("tags", []))


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


#: Keys of Grafana's provisioning documentation; Grafana silently ignores unknown keys.
SOURCE_KEYS = {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"}
JSON_DATA_KEYS = {
    "prometheus": {"httpMethod", "timeInterval", "manageAlerts"},
    "jaeger": set[str](),
    "alertmanager": {"implementation"},
}
PROVIDER_KEYS = {"name", "folder", "type", "allowUiUpdates", "updateIntervalSeconds", "options"}


def test_provisioning_is_spelled_as_grafana_reads_it() -> None:
    document = config.load(PROVISIONING / "datasources" / "datasources.yaml")
    assert document.keys() == {"apiVersion", "datasources"}
    for source in document["datasources"]:
        assert source.keys() <= SOURCE_KEYS, source["name"]
        assert source.get("jsonData", {}).keys() <= JSON_DATA_KEYS[source["type"]], source["name"]
        assert source["access"] == "proxy"
    assert sum(source.get("isDefault", False) for source in document["datasources"]) == 1
    document = config.load(PROVISIONING / "dashboards" / "dashboards.yaml")
    assert document.keys() == {"apiVersion", "providers"}
    (provider,) = document["providers"]
    assert provider.keys() <= PROVIDER_KEYS
    assert (provider["type"], provider["options"].keys()) == ("file", {"path"})


def test_the_first_page_that_grafana_opens_is_there() -> None:
    environment = config.load(servers.REPOSITORY / "compose.yaml")["services"]["grafana"]["environment"]
    home = Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.name in {path.name for path in config.DASHBOARDS}
    (provider,) = config.load(PROVISIONING / "dashboards" / "dashboards.yaml")["providers"]
    assert str(home.parent) == provider["options"]["path"]


def test_grafana_finds_the_dashboards_where_its_start_puts_them_with_links_to_this_host(
    tmp_path: Path,
) -> None:
    """Runs the command of compose.yaml with the test's folders."""
    grafana = config.load(servers.REPOSITORY / "compose.yaml")["services"]["grafana"]
    (provider,) = config.load(PROVISIONING / "dashboards" / "dashboards.yaml")["providers"]
    assert "./grafana/dashboards:/etc/grafana/dashboards:ro" in grafana["volumes"]
    folder, _, _ = provider["options"]["path"].rpartition("/")
    assert any(each.startswith(f"{folder}:") for each in grafana["tmpfs"])
    shell, option, script = grafana["entrypoint"]
    for there, here in (
        ("/etc/grafana/dashboards", config.DASHBOARDS[0].parent),
        (provider["options"]["path"], tmp_path / "dashboards"),
        ("/run.sh", "true"),
        ("$$", "$"),  # as compose hands it on
    ):
        assert there in script
        script = script.replace(there, str(here))
    subprocess.run(
        [shell, option, script], env={"PATH": os.defpath, "PUBLIC_HOST": "ops.example"}, check=True
    )
    written = sorted((tmp_path / "dashboards").iterdir())
    assert [path.name for path in written] == sorted(path.name for path in config.DASHBOARDS)
    for path in written:
        urls = [link["url"] for link in config.load(path)["links"] if link["type"] == "link"]
        assert {urlsplit(url).hostname for url in urls} == {"ops.example"}


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


def test_the_delivery_rate_turns_yellow_under_95_and_red_under_90() -> None:
    panels = [
        panel
        for board in _boards()
        for panel in board["panels"]
        for target in panel.get("targets", [])
        if "delivery_rate_percent" in target["expr"]
    ]
    assert [panel["type"] for panel in panels] == ["stat", "stat"]
    for panel in panels:
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
