"""Clusters of Alertmanagers as alert-relay returns them."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from services.contracts.fields import Strict
from services.kit.field_errors import ErrorText


class Prometheus(BaseModel):
    """A Prometheus replica, known by its Watchdog alert."""

    labels: dict[str, str] = Field(description="labels of its Watchdog alert")
    received_at: str = Field(description="when its Watchdog alert was last received, RFC 3339")


class Cluster(BaseModel):
    """Alertmanagers that share silences and notification logs."""

    name: str = Field(description="of the settings; of a cluster that no setting names: its external URL")
    configured: bool = Field(description="whether the settings name it")
    api_urls: list[str] = Field(description="where alert-relay reads its alerts, without passwords")
    external_urls: list[str] = Field(description="by which its Alertmanagers call themselves in webhooks")
    received_at: str | None = Field(description="when its last webhook was received; null: never")
    watchdog_at: str | None = Field(description="when its last Watchdog alert was received; null: never")
    read_at: str | None = Field(
        description="when all its Alertmanagers last answered with their alerts; null: not since the start"
    )
    prometheus: list[Prometheus] = Field(description="the Prometheus replicas that send a Watchdog alert")


class ClusterList(BaseModel):
    clusters: list[Cluster]


class ExternalUrl(Strict):
    """An external URL to join to a cluster."""

    external_url: Annotated[
        str,
        StringConstraints(pattern=r"^https?://\S+$", max_length=500),
        ErrorText("write a URL that begins with http:// or https://"),
    ] = Field(description="as the Alertmanager calls itself in its webhooks (--web.external-url)")
