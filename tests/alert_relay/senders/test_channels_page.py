"""docs/channels.md: its settings are valid, its commands run, and a webhook has the form that it shows."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.channels import mail_server as mail_servers
from services.alert_relay.settings import AlertRelaySettings
from services.kit.runner import running
from tests import servers
from tests.alert_relay.payloads import alert, webhook
from tests.alert_relay.senders.loopback import Answer, http_server, mail_server
from tests.servers import until

PAGE = (Path(__file__).parents[3] / "docs" / "channels.md").read_text()

#: Apprise loads all its plugins, and some of them import modules that Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def variables() -> dict[str, str]:
    return dict(line.split("=", 1) for block in blocks("ini") for line in block.splitlines())


async def test_the_commands_of_the_page_reach_every_channel(relay_settings: AlertRelaySettings) -> None:
    ok = Answer(202, {"ok": True, "ts": "1767225600.000123", "status": "success"})
    async with mail_server() as mails, http_server(ok) as programs:
        settings = AlertRelaySettings(**(relay_settings.model_dump() | _settings(programs.url, mails.port)))
        async with (
            running(app.create_app, settings) as service,
            servers.http(service.url, key=servers.KEY) as client,
        ):
            testing, listing = blocks("sh")
            commands = testing.splitlines()
            for command in commands:
                assert (await run(client, command)).status_code == 202
            await mails.until_mails(1)
            await programs.until_called(4)

            async def look() -> list[str] | None:
                found = (await run(client, listing)).json()["targets"]
                reached = [each["target"] for each in found if each["last_receipt"]]
                return reached if len(reached) == len(commands) else None

            reached = await until(look)

    wanted = [json.loads(shlex.split(command)[2])["target"] for command in commands]
    assert sorted(reached or ()) == sorted(wanted)


def _settings(url: str, mail_port: int) -> dict[str, Any]:
    """Returns the settings of the page, with addresses on loopback."""
    (text,) = blocks("toml")
    named = tomllib.loads(text)
    assert mail_servers.parse(variables()["SMTP_URL"]).port == 587
    named["slack"]["operations"]["webhook_url"] = f"{url}/slack"
    named["slack"]["database"]["api_url"] = f"{url}/api"
    named["pagerduty"]["payments"]["url"] = f"{url}/pagerduty"
    named["webhook"]["statuspage"]["url"] = f"{url}/statuspage"
    return {
        "alert_channels": SecretStr(json.dumps(named)),
        "alert_targets": variables()["ALERT_TARGETS"],
        "smtp_url": SecretStr(f"smtp://127.0.0.1:{mail_port}"),
        "smtp_from": variables()["SMTP_FROM"],
    }


async def run(client: httpx.AsyncClient, command: str) -> httpx.Response:
    """Makes the request of a curl command."""
    words = shlex.split(command)
    assert words[0] == "curl"
    path = words[-1].removeprefix("localhost:8081")
    return await client.request("POST", path, content=words[2]) if "-d" in words else await client.get(path)


async def test_a_webhook_has_the_form_of_the_page(relay_settings: AlertRelaySettings) -> None:
    (shown,) = blocks("json")
    async with http_server() as program:
        settings = relay_settings.model_dump() | _settings(program.url, 1)
        settings["alert_targets"] = "webhook:statuspage"
        del settings["smtp_url"]
        async with (
            running(app.create_app, AlertRelaySettings(**settings)) as service,
            servers.http(service.url, key=servers.KEY) as client,
        ):
            await client.post("/webhook/alert", json=webhook(alert()))
            call = (await program.until_called(1))[0]

    assert _shape(call.body) == _shape(json.loads(shown))


def _shape(value: Any) -> Any:
    """Returns the names of fields with the types of their values, without those of labels."""
    if isinstance(value, dict):
        free = {"labels", "annotations"}
        return {name: "pairs" if name in free else _shape(one) for name, one in value.items()}
    return [_shape(one) for one in value] if isinstance(value, list) else type(value).__name__
