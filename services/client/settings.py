"""The environment variables of the client and of the command `cct`."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ClientSettings(BaseSettings):
    """URLs and the key, each as the configuration file names it, and where to look for more."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(None, validation_alias="CCT_URL")
    api_key: SecretStr | None = Field(None, validation_alias="CCT_API_KEY")
    api_key_file: Path | None = Field(None, validation_alias="CCT_API_KEY_FILE")
    alert_relay_url: str | None = Field(None, validation_alias="CCT_ALERT_RELAY_URL")
    mcp_health_url: str | None = Field(None, validation_alias="CCT_MCP_HEALTH_URL")
    dashboard_url: str | None = Field(None, validation_alias="CCT_DASHBOARD_URL")
    sandbox_url: str | None = Field(None, validation_alias="CCT_SANDBOX_URL")
    config_home: Path | None = Field(
        None,
        validation_alias="XDG_CONFIG_HOME",
        description="folder of configuration files; unset: ~/.config",
    )
    data_dir: Path | None = Field(
        None, validation_alias="DATA_DIR", description="folder of a suite on this machine; unset: data"
    )
