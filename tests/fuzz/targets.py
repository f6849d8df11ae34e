"""Starts each service as a process of its own, with data that makes every operation possible."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from services.bridge.settings import BridgeSettings
from services.kit.background import run_in_background
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests import servers
from tests.alert_relay.payloads import alert, webhook
from tests.e2e.suite import NO_LIMITS, program, sandbox_program
from tests.fuzz.run import Service
from tests.images import png
from tests.ports import free_port
from tests.servers import KEY, Sandbox, until

Target = Callable[[Path], AbstractAsyncContextManager[Service]]

KEYED = {"Authorization": f"Bearer {KEY}"}
#: How many of each thing there are: an operation may use one up.
SOME = 20
NOBODY = "http://127.0.0.1:9/hook"
LOGIN = {"username": "admin", "password": "correct horse battery staple"}
_BRIDGE_BODIES: dict[str, Any] = {
    "POST /api/v1/approvals/{approval_id}/decide": {"option": "approve"},
    "PUT /api/v1/callbacks/{client}": {"url": NOBODY},
    "POST /": {"topic": "backup", "message": "x"},
    "PUT /": {"topic": "backup", "message": "x"},
    "POST /hooks/{source}": {"msg": "x"},
    "POST /api/v1/hooks/{source}/preview": {"msg": "x"},
}


@asynccontextmanager
async def bridge(folder: Path, database_url: str = "", name: str = "bridge") -> AsyncIterator[Service]:
    """The bridge at a sandbox, with messages in several states, questions, keys and a callback."""
    async with (
        sandbox_program(folder / "sandbox") as sandbox,
        _bridge(folder, sandbox, database_url) as url,
        servers.http(url, key=KEY) as client,
    ):
        secret = BridgeSettings().bots()["default"].webhook_secret
        headers = KEYED | {"X-Telegram-Bot-Api-Secret-Token": secret}
        yield Service(name, url, headers, await _fill_bridge(client, sandbox), _BRIDGE_BODIES)


@asynccontextmanager
async def _bridge(folder: Path, sandbox: Sandbox, database_url: str = "") -> AsyncIterator[str]:
    url, environment = _at("BRIDGE_PORT")
    environment |= NO_LIMITS | {"TELEGRAM_API_URL": sandbox.url}
    if database_url:
        environment["DATABASE_URL"] = database_url
    async with program("services.bridge", folder, url, **environment):
        yield url


def _at(variable: str) -> tuple[str, dict[str, str]]:
    """The URL of a free port, and the environment of a service that listens there.

    It believes the addresses that the requests name: one address with so many wrong keys would be blocked.
    """
    port = free_port()
    return f"http://127.0.0.1:{port}", {variable: str(port), "FORWARDED_ALLOW_IPS": "127.0.0.1"}


async def _fill_bridge(client: httpx.AsyncClient, sandbox: Sandbox) -> dict[str, list[str]]:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    # Replayed, cancelled, and read.
    dead = await _post(client, *({"title": "dead", "chat_id": 900_000 + n} for n in range(SOME)))
    later = await _post(client, *({"title": "later", "deliver_at": tomorrow} for _ in range(SOME)))
    read = await _post(client, {"title": "hello", "correlation_id": "order-4711"})
    question = {"title": "Go?", "prompt": "Deploy 2.1?"}
    approvals = [(await _made(client, "/api/v1/approvals", question))["id"] for _ in range(SOME)]
    keys = [{"name": f"key-{number}", "scopes": ["messages:read"]} for number in range(SOME)]
    key_ids = [(await _made(client, "/api/v1/keys", key))["id"] for key in keys]
    job = await _made(client, "/api/v1/dead-letters/replay", {"type": "nothing"})
    (await client.put("/api/v1/callbacks/ci", json={"url": NOBODY})).raise_for_status()
    await sandbox.post("/chats/1001/say", {"text": "hello"})
    photo = {"kind": "photo", "content": b64encode(png(8, 8)).decode()}
    await sandbox.post("/chats/1001/say", {"text": "a photo", "file": photo})

    async def with_file() -> list[str]:
        page = (await client.get("/api/v1/responses")).json()
        return [one["id"] for one in page["items"] if one["attachment"]]

    return {
        "response_id": await until(with_file),
        "message_id": [one["message_ids"][0] for pair in zip(dead, later, strict=True) for one in pair],
        "event_id": [read[0]["event_id"]],
        "approval_id": approvals,
        "key_id": key_ids,
        "job_id": [job["id"]],
        "client": ["ci"],
        "correlation_id": ["order-4711"],
        "chat_id": ["1001"],
        "bot": ["default"],
        "topic": ["backup"],
        "source": ["uptime-kuma"],
    }


async def _post(client: httpx.AsyncClient, *events: dict[str, Any]) -> list[dict[str, Any]]:
    batch = [{"type": "custom_event"} | event for event in events]
    accepted: list[dict[str, Any]] = (await _made(client, "/api/v1/events", batch))["accepted"]
    return accepted


async def _made(client: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


@asynccontextmanager
async def alert_relay(folder: Path) -> AsyncIterator[Service]:
    """alert-relay at a sandbox, with open incidents and dead letters: one of its two chats does not exist."""
    url, environment = _at("ALERT_RELAY_PORT")
    async with sandbox_program(folder / "sandbox") as sandbox:
        environment |= NO_LIMITS | {"TELEGRAM_API_URL": sandbox.url, "ALERTMANAGER_URL": NOBODY}
        environment |= {"ALERT_CHAT_IDS": "1001,900001"}
        async with (
            program("services.alert_relay", folder, url, **environment),
            servers.http(url, key=KEY) as client,
        ):
            for number in range(SOME):
                await _made(client, "/webhook/alert", webhook(alert(name=f"Alert{number}")))

            async def incidents() -> list[str]:
                page = (await client.get("/api/v1/incidents")).json()
                return [incident["id"] for incident in page["incidents"]]

            async def dead_letters() -> list[str] | None:
                page = (await client.get("/api/v1/dead-letters")).json()
                found = [letter["message_id"] for letter in page["dead_letters"]]
                return found if len(found) == SOME else None

            window = {"matchers": ["service=elsewhere"], "lasts": "2h"}
            windows = [await _made(client, "/api/v1/maintenance-windows", window) for _ in range(SOME)]
            ids = {
                "incident_id": await until(incidents),
                "message_id": await until(dead_letters),
                "window_id": [each["id"] for each in windows],
                "cluster": ["alertmanager"],
            }
            bodies = {
                "POST /webhook/alert": webhook(alert("b")),
                "POST /api/v1/route-test": {"labels": {"alertname": "DiskFull"}},
                "POST /api/v1/targets/test": {"target": "telegram:1001"},
            }
            yield Service("alert_relay", url, KEYED, ids, bodies)


@asynccontextmanager
async def mcp_health(folder: Path) -> AsyncIterator[Service]:
    """mcp-health beside a running bridge."""
    url, environment = _at("MCP_HEALTH_PORT")
    async with (
        sandbox_program(folder / "sandbox") as sandbox,
        _bridge(folder / "bridge", sandbox) as bridge_url,
    ):
        environment |= {"BRIDGE_URL": bridge_url}
        async with program("services.mcp_health", folder / "mcp", url, **environment):
            yield Service("mcp_health", url)


@asynccontextmanager
async def dashboard(folder: Path) -> AsyncIterator[Service]:
    """The dashboard beside a running bridge that has delivered a message."""
    url, environment = _at("MONITORING_SERVER_PORT")
    async with (
        sandbox_program(folder / "sandbox") as sandbox,
        _bridge(folder / "bridge", sandbox) as bridge_url,
        servers.http(bridge_url, key=KEY) as client,
    ):
        environment |= {"BRIDGE_URL": bridge_url}
        environment |= {f"DASHBOARD_{name.upper()}": value for name, value in LOGIN.items()}
        (read,) = await _post(client, {"title": "hello"})
        async with program("services.dashboard", folder / "dashboard", url, **environment):
            yield Service(
                "dashboard", url, KEYED, {"message_id": read["message_ids"]}, {"POST /login": LOGIN}
            )


@asynccontextmanager
async def telegram_sandbox(folder: Path) -> AsyncIterator[Service]:
    """The sandbox, in which a bot and a person go on writing: a reset deletes their messages."""
    ids: dict[str, list[str]] = {
        "chat_id": ["1001", "-2001", "-1001000000001"],
        "bot_id": [DEFAULT_TOKEN.partition(":")[0]],
        "fault_id": ["1"],
        "topic_id": ["7"],
        "name": ["page.css"],
        "message_id": ["1"],
        "path": ["none"],
    }
    async with (
        sandbox_program(folder) as sandbox,
        run_in_background(_write(sandbox, ids)),
    ):
        yield Service("telegram_sandbox", sandbox.url, {}, ids)


async def _write(sandbox: Sandbox, ids: dict[str, list[str]]) -> None:
    """Sends messages with a button and documents to Ada, and answers them; notes their ids."""
    button = {"inline_keyboard": [[{"text": "yes", "callback_data": "yes"}]]}
    while True:
        # The fuzzer revokes the bot, blocks Ada, and adds faults, such as empty answers: the next try works.
        with suppress(httpx.HTTPError, KeyError, ValueError):
            text = {"chat_id": 1001, "text": "Go?", "reply_markup": button}
            sent = (await sandbox.client.post(f"/bot{DEFAULT_TOKEN}/sendMessage", json=text)).json()
            ids["message_id"][:] = [str(sent["result"]["message_id"])]
            await sandbox.client.post(
                f"/bot{DEFAULT_TOKEN}/sendDocument",
                data={"chat_id": "1001"},
                files={"document": ("report.txt", b"all well")},
            )
            await sandbox.client.post("/control/chats/1001/say", json={"text": "yes"})
            page = (await sandbox.client.get("/api/chats/1001/messages")).json()
            files = [one["file"]["url"] for one in page["messages"] if one["file"]]
            ids["path"][:] = [file.removeprefix("/api/files/") for file in files[-1:]]
        await asyncio.sleep(0.1)


#: In the order of the table.
TARGETS: dict[str, Target] = {
    "bridge": bridge,
    "alert_relay": alert_relay,
    "mcp_health": mcp_health,
    "dashboard": dashboard,
    "telegram_sandbox": telegram_sandbox,
}
