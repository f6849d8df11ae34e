"""What the dashboard reads from its environment."""

from pydantic import Field, SecretStr

from services.kit.settings import Address, ServiceSettings


class DashboardSettings(ServiceSettings):
    port: int = Field(8082, ge=0, le=65535, validation_alias="MONITORING_SERVER_PORT", description="port")
    update_interval: int = Field(
        1000,
        ge=100,
        le=60_000,
        validation_alias="DASHBOARD_UPDATE_INTERVAL",
        description="milliseconds between two updates of the page",
    )
    history_minutes: int = Field(
        60,
        ge=1,
        le=1440,
        validation_alias="DASHBOARD_HISTORY_MINUTES",
        description="minutes that the charts go back",
    )
    auth_enabled: bool = Field(
        True,
        validation_alias="DASHBOARD_AUTH_ENABLED",
        description="false: everybody who reaches it may look",
    )
    username: str = Field(
        "admin",
        min_length=1,
        max_length=100,
        validation_alias="DASHBOARD_USERNAME",
        description="who logs in",
    )
    password: SecretStr | None = Field(
        None,
        min_length=8,
        validation_alias="DASHBOARD_PASSWORD",
        description="unset: one is made at the first start and printed once",
    )
    bridge_url: Address = Field("http://127.0.0.1:8080", description="the bridge")
    alert_relay_url: Address = Field("http://127.0.0.1:8081", description="alert-relay")
    mcp_health_url: Address = Field("http://127.0.0.1:3000", description="mcp-health")
    prometheus_ui_url: Address | None = Field(None, description="link on the page, as a browser reaches it")
    grafana_ui_url: Address | None = Field(None, description="link on the page, as a browser reaches it")
    jaeger_ui_url: Address | None = Field(None, description="link on the page, as a browser reaches it")
    sandbox_ui_url: Address | None = Field(
        None, description="the Telegram sandbox's page, as a browser reaches it; unset: no links to chats"
    )
