"""The environment variables of the dashboard."""

from pydantic import Field, SecretStr

from services.kit.settings import Address, ServiceSettings


class DashboardSettings(ServiceSettings):
    port: int = Field(
        8082, ge=0, le=65535, validation_alias="MONITORING_SERVER_PORT", description="port of the dashboard"
    )
    update_interval: int = Field(
        1000,
        ge=100,
        le=60_000,
        validation_alias="DASHBOARD_UPDATE_INTERVAL",
        description="time between two updates of the page, milliseconds",
    )
    history_minutes: int = Field(
        60,
        ge=1,
        le=1440,
        validation_alias="DASHBOARD_HISTORY_MINUTES",
        description="time range of the charts, minutes",
    )
    auth_enabled: bool = Field(
        True,
        validation_alias="DASHBOARD_AUTH_ENABLED",
        description="whether the page needs a login; false: everyone who can reach it sees it",
    )
    username: str = Field(
        "admin",
        min_length=1,
        max_length=100,
        validation_alias="DASHBOARD_USERNAME",
        description="name for the login",
    )
    password: SecretStr | None = Field(
        None,
        min_length=8,
        validation_alias="DASHBOARD_PASSWORD",
        description="password for the login; unset: generated and printed at the first start",
    )
    bridge_url: Address = Field("http://127.0.0.1:8080", description="URL of the bridge")
    alert_relay_url: Address = Field("http://127.0.0.1:8081", description="URL of alert-relay")
    mcp_health_url: Address = Field("http://127.0.0.1:3000", description="URL of mcp-health")
    prometheus_ui_url: Address | None = Field(
        None, description="URL of Prometheus for browsers; unset: the page has no link to it"
    )
    grafana_ui_url: Address | None = Field(
        None, description="URL of Grafana for browsers; unset: the page has no link to it"
    )
    jaeger_ui_url: Address | None = Field(
        None, description="URL of Jaeger for browsers; unset: there are no links to traces"
    )
    sandbox_ui_url: Address | None = Field(
        None, description="URL of the Telegram sandbox for browsers; unset: there are no links to chats"
    )
