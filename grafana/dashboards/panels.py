"""Builders of the panels that the dashboards use, on the Grafana Foundation SDK."""

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import heatmap as heatmaps
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard, heatmap
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = dashboard.DataSourceRef(type_val="prometheus", uid="prometheus")
JAEGER_SEARCH = "http://localhost:16686/search?service="

HALF, THIRD, QUARTER, SIXTH = 12, 8, 6, 4
Query = tuple[str, str]  # expression, legend
Step = tuple[float | None, str]  # from this value on, this colour

Panel = TypeVar("Panel", stat.Panel, timeseries.Panel, heatmaps.Panel, table.Panel, statetimeline.Panel)


def graph(
    title: str, unit: str, *queries: Query, width: int = THIRD, stacked: bool = False, about: str = ""
) -> timeseries.Panel:
    """Returns a panel of lines over time; stack them if they are parts of a whole."""
    panel = (
        timeseries.Panel()
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    about = _with_interval(about, *(expression for expression, _ in queries))
    return _with_queries(_head(panel, title, width, 8, about), queries)


def number(
    title: str, unit: str, query: str, *steps: Step, width: int = SIXTH, about: str = ""
) -> stat.Panel:
    """Returns a panel with the current value, coloured by its thresholds, over its history."""
    panel = (
        stat.Panel()
        .unit(unit)
        .decimals(0 if unit == "short" else 1)
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps or ((None, "blue"),)))
        .no_value("no data")
    )
    return _with_queries(_head(panel, title, width, 5, about), [(query, "")])


def heat(title: str, unit: str, query: str, *, width: int = HALF, about: str = "") -> heatmaps.Panel:
    """Returns a heat map of a histogram. The query yields one series for each ``le``."""
    panel = (
        heatmaps.Panel()
        .calculate(calculate=False)
        .color(
            heatmaps.HeatmapColorOptions().mode(heatmap.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
        )
        .y_axis(heatmaps.YAxisConfig().unit(unit))
        .show_tooltip()
    )
    target = _target(query, "{{le}}").format(PromQueryFormat.HEATMAP)
    return _head(panel, title, width, 8, _with_interval(about, query)).with_target(target)


def ups(title: str, query: Query, *, width: int = HALF) -> statetimeline.Panel:
    """Returns a timeline whose bars are green while the value is 1."""
    panel = (
        statetimeline.Panel()
        .thresholds(_thresholds(((None, "red"), (1, "green"))))
        .mappings(
            [
                dashboard.ValueMap(
                    options={
                        "0": dashboard.ValueMappingResult(text="down", color="red"),
                        "1": dashboard.ValueMappingResult(text="up", color="green"),
                    }
                )
            ]
        )
        .show_value(common.VisibilityMode.NEVER)
    )
    return _with_queries(_head(panel, title, width, 9, ""), [query])


def rows(title: str, query: str, columns: Sequence[str], *, width: int = HALF) -> table.Panel:
    """Returns a table of the labels of the current series, one series in each row."""
    keep = dashboard.DataTransformerConfig(
        id_val="filterFieldsByName", options={"include": {"names": list(columns)}}
    )
    target = _target(query, "").format(PromQueryFormat.TABLE).instant()
    return (
        _head(table.Panel().show_header(show_header=True), title, width, 9, "")
        .with_target(target)
        .with_transformation(keep)
    )


def _with_interval(about: str, *expressions: str) -> str:
    """Adds to a description what a point is, if the panel counts events."""
    if not any("increase(" in expression for expression in expressions):
        return about
    return f"{about} Each point is the number within the interval before it.".strip()


def _with_queries(panel: Panel, queries: Sequence[Query]) -> Panel:
    for position, (expression, legend) in enumerate(queries):
        panel.with_target(_target(expression, legend).ref_id(chr(ord("A") + position)))
    return panel


def _head(panel: Panel, title: str, width: int, height: int, about: str) -> Panel:
    panel.title(title).datasource(PROMETHEUS).span(width).height(height)
    if about:
        panel.description(about)
    return panel


def _target(expression: str, legend: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(expression).datasource(PROMETHEUS).ref_id("A").range()
    return made.legend_format(legend or "__auto")


def _thresholds(steps: Sequence[Step]) -> dashboards.ThresholdsConfig:
    return (
        dashboards.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=value, color=color) for value, color in steps])
    )


def board(uid: str, title: str, about: str) -> dashboards.Dashboard:
    """Returns an empty dashboard with refresh, and links to the other dashboards and to traces."""
    return (
        dashboards.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["cctelegram"])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("5s")
        .timepicker(dashboards.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m"]))
        .link(
            dashboards.DashboardLink("Dashboards")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["cctelegram"])
            .as_dropdown(as_dropdown=True)
            .keep_time(keep_time=True)
        )
        .link(_link("Traces in Jaeger", f"{JAEGER_SEARCH}bridge"))
        .link(_link("Failed traces", f"{JAEGER_SEARCH}bridge&tags=%7B%22error%22%3A%22true%22%7D"))
        .link(_link("Live dashboard", "http://localhost:8082/"))
        .link(_link("Alertmanager", "http://localhost:9093/"))
    )


def _link(title: str, url: str) -> dashboards.DashboardLink:
    return (
        dashboards.DashboardLink(title)
        .type(dashboard.DashboardLinkType.LINK)
        .url(url)
        .target_blank(target_blank=True)
    )


def choice(name: str, label: str, query: str) -> dashboards.QueryVariable:
    """Returns a drop-down of a label's values, with multiple choice."""
    return (
        dashboards.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    )


def row(title: str) -> dashboards.Row:
    return dashboards.Row(title)
