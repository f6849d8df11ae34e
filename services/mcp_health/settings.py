"""What mcp-health reads from its environment."""

from pathlib import Path

from pydantic import Field

from services.kit.settings import Address, ServiceSettings


class McpHealthSettings(ServiceSettings):
    port: int = Field(3000, ge=0, le=65535, validation_alias="MCP_HEALTH_PORT", description="port")
    environment: str = Field(
        "local", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="name of this installation, e.g. production"
    )
    api_key_file: Path | None = Field(
        None, description="where API_KEY is read from; its permissions are checked"
    )
    check_interval_seconds: float = Field(5.0, ge=1, le=300, description="between two checks of one part")
    check_timeout_seconds: float = Field(
        3.0, gt=0, le=60, description="for one check, all its calls together"
    )
    compliance_interval_seconds: float = Field(
        # Each round leaves two refused requests at every service, and ten within 5 minutes are an alert.
        300.0,
        ge=120,
        le=86_400,
        description="between two measurements of a control",
    )
    bridge_url: Address = Field("http://127.0.0.1:8080", description="the bridge")
    alert_relay_url: Address = Field("http://127.0.0.1:8081", description="alert-relay")
    dashboard_url: Address = Field("http://127.0.0.1:8082", description="the dashboard")
    sandbox_url: Address | None = Field(None, description="the Telegram sandbox; unset: not in use")
    prometheus_url: Address | None = Field(None, description="unset: reported as unknown")
    alertmanager_url: Address | None = Field(None, description="unset: reported as unknown")
    grafana_url: Address | None = Field(None, description="unset: reported as unknown")
    jaeger_url: Address | None = Field(None, description="unset: reported as unknown")
