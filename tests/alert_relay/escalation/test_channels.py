"""An incident that no person acknowledges reaches real servers level by level, and none after that."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.settings import AlertRelaySettings
from services.kit.runner import running
from tests import servers
from tests.alert_relay.conftest import Phone
from tests.alert_relay.payloads import alert, webhook
from tests.alert_relay.senders.loopback import Answer, http_server, mail_server
from tests.servers import until

ON_CALL = """
policies:
  default:
    levels:
      - targets: [telegram:1001]
      - {after: 1s, targets: ["email:ops@example.com", "slack:ops"]}
      - {after: 3s, targets: ["pagerduty:ops"]}
"""


def settings_of(
    relay_settings: AlertRelaySettings, folder: Path, programs: str, mail_port: int
) -> AlertRelaySettings:
    path = folder / "on-call.yaml"
    path.write_text(ON_CALL)
    channels = f"""
[slack.ops]
webhook_url = "{programs}/slack"
[pagerduty.ops]
routing_key = "{"a1" * 16}"
url = "{programs}/pagerduty"
"""
    changes = {
        "alert_channels": SecretStr(channels),
        "smtp_url": SecretStr(f"smtp://127.0.0.1:{mail_port}"),
        "smtp_from": "alerts@example.com",
        "on_call_file": path,
    }
    return AlertRelaySettings(**(relay_settings.model_dump() | changes))


async def escalations(client: httpx.AsyncClient, incident: dict[str, Any]) -> list[dict[str, Any]]:
    detail = (await client.get(f"/api/v1/incidents/{incident['id']}")).json()
    return [each for each in detail["timeline"] if each["kind"] == "escalated"]


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_each_level_reaches_its_channels_until_a_person_acknowledges(
    relay_settings: AlertRelaySettings, tmp_path: Path, phone: Phone, *, acknowledged: bool
) -> None:
    async with mail_server() as mails, http_server(Answer(202, {"status": "success"})) as programs:
        settings = settings_of(relay_settings, tmp_path, programs.url, mails.port)
        async with (
            running(app.create_app, settings) as service,
            servers.http(service.url, key=servers.KEY) as client,
        ):
            await client.post("/webhook/alert", json=webhook(alert()))
            await phone.messages(1)
            (mail,) = await mails.until_mails(1)
            (incident,) = (await client.get("/api/v1/incidents")).json()["incidents"]
            if acknowledged:
                command = {"version": incident["version"], "by": "Ada"}
                answer = await client.post(f"/api/v1/incidents/{incident['id']}/ack", json=command)
                assert answer.status_code == 200
                incident = answer.json()
                assert incident["escalates_at"] is None
            else:
                calls = await programs.until_called(2)
                assert [each.path for each in calls[:2]] == ["/slack", "/pagerduty"]

                async def last() -> dict[str, Any] | None:
                    (found,) = (await client.get("/api/v1/incidents")).json()["incidents"]
                    return found if found["level"] == 3 else None

                incident = await until(last) or {}
                assert incident["escalates_at"] is None
            levels = [each["detail"]["level"] for each in await escalations(client, incident)]
            shown = (await client.get("/metrics")).text

    assert "HighErrorRate" in str(mail["Subject"])
    assert levels == ([2] if acknowledged else [2, 3])
    reached = 'cctelegram_escalations_total{level="3",outcome="unacknowledged"}'
    assert f"{reached} {0.0 if acknowledged else 1.0}" in shown
