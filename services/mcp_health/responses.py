"""What the others answer, as far as it is read here. An answer of another shape is not understood."""

from collections.abc import Mapping
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class ComponentAnswer(Answer):
    """One component of a service; what it measured is kept as extra fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    status: str
    last_check: AwareDatetime | None = None

    @property
    def measured(self) -> Mapping[str, Any]:
        return self.model_extra or {}


class HealthAnswer(Answer):
    """``GET /health`` of one of our services."""

    status: str
    timestamp: AwareDatetime
    version: str = ""
    components: Mapping[str, ComponentAnswer] = Field(default_factory=dict)


class Target(Answer):
    scrape_pool: str = Field(alias="scrapePool")
    scrape_url: str = Field(alias="scrapeUrl")
    health: str
    last_error: str = Field("", alias="lastError")


class ActiveTargets(Answer):
    active: tuple[Target, ...] = Field(alias="activeTargets")


class Targets(Answer):
    """``GET /api/v1/targets`` of Prometheus."""

    data: ActiveTargets


class Alert(Answer):
    labels: Mapping[str, str]
    state: str


class AlertList(Answer):
    alerts: tuple[Alert, ...]


class Alerts(Answer):
    """``GET /api/v1/alerts`` of Prometheus."""

    data: AlertList


class Cluster(Answer):
    status: str


class AlertmanagerVersion(Answer):
    version: str


class AlertmanagerStatus(Answer):
    """``GET /api/v2/status`` of Alertmanager."""

    cluster: Cluster
    version_info: AlertmanagerVersion = Field(alias="versionInfo")


class StatusOnly(Answer):
    state: str


class Silence(Answer):
    """One of ``GET /api/v2/silences`` of Alertmanager."""

    status: StatusOnly


class AlertmanagerAlert(Answer):
    """One of ``GET /api/v2/alerts`` of Alertmanager."""

    status: StatusOnly


class GrafanaHealth(Answer):
    """``GET /api/health`` of Grafana."""

    database: str
    version: str = ""


class JaegerServices(Answer):
    """``GET /api/services`` of Jaeger; ``data`` is null while it has seen no trace."""

    data: tuple[str, ...] | None = None
