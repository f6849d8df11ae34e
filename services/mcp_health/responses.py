"""Answers of Prometheus, Alertmanager, Grafana and Jaeger: the fields that the checks read."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of the answers; fields that are not listed are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class PrometheusTarget(Answer):
    scrape_pool: str = Field(alias="scrapePool")
    scrape_url: str = Field(alias="scrapeUrl")
    health: str
    last_error: str = Field("", alias="lastError")


class ActiveTargets(Answer):
    active: tuple[PrometheusTarget, ...] = Field(alias="activeTargets")


class PrometheusTargets(Answer):
    """``GET /api/v1/targets`` of Prometheus."""

    data: ActiveTargets


class PrometheusAlert(Answer):
    labels: Mapping[str, str]
    state: str


class AlertList(Answer):
    alerts: tuple[PrometheusAlert, ...]


class PrometheusAlerts(Answer):
    """``GET /api/v1/alerts`` of Prometheus."""

    data: AlertList


class AlertmanagerCluster(Answer):
    status: str


class AlertmanagerVersion(Answer):
    version: str


class AlertmanagerStatus(Answer):
    """``GET /api/v2/status`` of Alertmanager."""

    cluster: AlertmanagerCluster
    version_info: AlertmanagerVersion = Field(alias="versionInfo")


class AlertmanagerState(Answer):
    state: str


class AlertmanagerSilence(Answer):
    """One of ``GET /api/v2/silences`` of Alertmanager."""

    status: AlertmanagerState


class AlertmanagerAlert(Answer):
    """One of ``GET /api/v2/alerts`` of Alertmanager."""

    status: AlertmanagerState


class GrafanaHealth(Answer):
    """``GET /api/health`` of Grafana."""

    database: str
    version: str = ""


class JaegerServices(Answer):
    """``GET /api/services`` of Jaeger; ``data`` is null while it has no traces."""

    data: tuple[str, ...] | None = None
