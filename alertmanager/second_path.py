"""Copies Alertmanager's configuration and adds the configured integrations of the second path.

``python -m alertmanager.second_path FOLDER TARGET``. Without any setting the copy equals the original.
Values are written as JSON, which is YAML without further escaping rules.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from services.kit.settings import FileSource, StartError, load

RECEIVER = "  - name: second-path\n"


class SecondPath(BaseSettings):
    """Where critical alerts are sent as well; each integration is off until it is configured."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    alert_email_to: str | None = Field(None, description="recipients, separated by commas")
    alert_email_from: str | None = Field(None, description="sender of these e-mails")
    smtp_smarthost: str | None = Field(None, pattern=r"^\S+:\d+$", description="mail server, HOST:PORT")
    smtp_username: str | None = Field(None, description="user name at the mail server, if it needs a login")
    smtp_password: SecretStr | None = Field(None, description="password at the mail server")
    smtp_require_tls: bool = Field(default=True, description="refuse to send e-mail unencrypted")
    slack_webhook_url: SecretStr | None = Field(None, description="a Slack incoming webhook")
    pagerduty_routing_key: SecretStr | None = Field(None, description="a PagerDuty Events v2 key")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FileSource(settings_cls)

    @model_validator(mode="after")
    def mail_is_whole(self) -> "SecondPath":
        needed = (self.alert_email_to, self.alert_email_from, self.smtp_smarthost)
        if any(needed) and not all(needed):
            raise ValueError("mail needs ALERT_EMAIL_TO, ALERT_EMAIL_FROM and SMTP_SMARTHOST together")
        if self.smtp_password and not self.smtp_username:
            raise ValueError("SMTP_PASSWORD needs SMTP_USERNAME")
        return self


def integrations(settings: SecondPath) -> dict[str, list[dict[str, Any]]]:
    """Returns the integrations of Alertmanager's receiver, by field name."""
    found: dict[str, list[dict[str, Any]]] = {}
    if settings.alert_email_to:
        found["email_configs"] = [_email(settings)]
    if settings.slack_webhook_url:
        found["slack_configs"] = [
            {
                "api_url": settings.slack_webhook_url.get_secret_value(),
                "send_resolved": True,
                "title": '{{ template "cctelegram.subject" . }}',
                "text": '{{ template "cctelegram.text" . }}',
            }
        ]
    if settings.pagerduty_routing_key:
        found["pagerduty_configs"] = [
            {
                "routing_key": settings.pagerduty_routing_key.get_secret_value(),
                "send_resolved": True,
                "severity": "critical",
                "description": '{{ template "cctelegram.subject" . }}',
                "details": {"text": '{{ template "cctelegram.text" . }}'},
            }
        ]
    return found


def _email(settings: SecondPath) -> dict[str, Any]:
    mail: dict[str, Any] = {
        "to": settings.alert_email_to,
        "from": settings.alert_email_from,
        "smarthost": settings.smtp_smarthost,
        "require_tls": settings.smtp_require_tls,
        "send_resolved": True,
        "headers": {"Subject": '{{ template "cctelegram.subject" . }}'},
        "text": '{{ template "cctelegram.text" . }}',
        "html": '{{ template "cctelegram.html" . }}',
    }
    if settings.smtp_username:
        mail["auth_username"] = settings.smtp_username
    if settings.smtp_password:
        mail["auth_password"] = settings.smtp_password.get_secret_value()
    return mail


def render(source: str, settings: SecondPath) -> str:
    """Returns the configuration with the integrations appended to the receiver at its end."""
    if not source.endswith(RECEIVER):
        raise ValueError(f"the source must end with {RECEIVER!r}")
    fields = (f"    {name}: {json.dumps(configs)}\n" for name, configs in integrations(settings).items())
    return source + "".join(fields)


def main(folder: Path, target: Path) -> None:
    settings = load(SecondPath)
    text = render((folder / "alertmanager.yml").read_text(encoding="utf-8"), settings)
    shutil.copytree(folder / "templates", target / "templates", dirs_exist_ok=True)
    draft = target / ".alertmanager.yml.draft"
    draft.touch(mode=0o640)
    draft.write_text(text, encoding="utf-8")
    draft.replace(target / "alertmanager.yml")
    names = ", ".join(name.removesuffix("_configs") for name in integrations(settings)) or "none configured"
    print(f"second path for critical alerts: {names}", file=sys.stderr)  # noqa: T201 - for `docker compose logs`


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except StartError as error:
        sys.exit(f"cannot configure the second path: {error}")
