"""The environment variables of mcp-health."""

from pathlib import Path

from pydantic import Field

from services.kit.settings import Address, ServiceSettings


class McpHealthSettings(ServiceSettings):
    port: int = Field(
        3000, ge=0, le=65535, validation_alias="MCP_HEALTH_PORT", description="port of mcp-health"
    )
    environment: str = Field(
        "local", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="name of this installation, e.g. production"
    )
    api_key_file: Path | None = Field(
        None, description="file that API_KEY is read from; its permissions are checked"
    )
    check_interval_seconds: float = Field(5.0, ge=1, le=300, description="time between two runs of a check")
    check_timeout_seconds: float = Field(
        3.0, gt=0, le=60, description="longest duration of a check, all its calls together"
    )
    compliance_interval_seconds: float = Field(
        # A service that does not know the internal key counts each round as two failed logins.
        300.0,
        ge=120,
        le=86_400,
        description="time between two measurements of a compliance control",
    )
    bridge_url: Address = Field("http://127.0.0.1:8080", description="URL of the bridge")
    alert_relay_url: Address = Field("http://127.0.0.1:8081", description="URL of alert-relay")
    dashboard_url: Address = Field("http://127.0.0.1:8082", description="URL of the dashboard")
    sandbox_url: Address | None = Field(
        None, description="URL of the Telegram sandbox; unset: it is not checked"
    )
    prometheus_url: Address | None = Field(
        None, description="URL of Prometheus; unset: its health is unknown"
    )
    alertmanager_url: Address | None = Field(
        None, description="URL of Alertmanager; unset: its health is unknown"
    )
    grafana_url: Address | None = Field(None, description="URL of Grafana; unset: its health is unknown")
    jaeger_url: Address | None = Field(None, description="URL of Jaeger; unset: its health is unknown")
