"""Fixtures: the store on a real database, and the running relay with a sandbox for Telegram."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Table, select

from services.alert_relay import app, commands, store
from services.alert_relay.alertmanager import parse
from services.alert_relay.channels.target import Target
from services.alert_relay.clusters import configuration, membership
from services.alert_relay.commands import Performed
from services.alert_relay.incidents import queries
from services.alert_relay.incidents.incident import Actor, Command
from services.alert_relay.incidents.queries import IncidentRow
from services.alert_relay.notifications import notification
from services.alert_relay.notifications.notification import Notification, Purpose
from services.alert_relay.notifications.router import Router
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.store import StoreResult
from services.contracts.alertmanager import Webhook
from services.kit.database.connect import Database, open_database
from services.kit.runner import Running, running
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.schema import event
from services.telegram_sandbox import app as telegram_sandbox
from services.telegram_sandbox.settings import SandboxSettings
from tests import servers
from tests.alert_relay.payloads import START


@dataclass
class Store:
    """The store's functions on a real database."""

    database: Database
    telemetry: Telemetry
    settings: AlertRelaySettings
    #: Who is notified of which incident; None: two chats of all.
    router: Router | None = None

    async def receive(self, payload: Mapping[str, Any], now: float = START) -> StoreResult:
        webhook = Webhook.model_validate(payload)
        group = parse.alert_group(webhook, configuration.normal(webhook.externalURL), now)
        work = partial(store.receive, group=group, body=json.dumps(payload), target=self.target(), now=now)
        return await self.database.write("receive", work)

    async def perform(
        self,
        wanted: Command,
        now: float,
        *,
        actor: Actor,
        version: int | None = None,
        target: NotificationTarget | None = None,
    ) -> Performed:
        """Carries out a command on the only incident; ``version`` None: as it is now."""
        (incident,) = await self.incidents()
        work = partial(
            commands.perform,
            incident_id=incident["id"],
            wanted=wanted,
            actor=actor,
            version=version,
            target=target or self.target(),
            now=now,
        )
        performed = await self.database.write("command", work)
        assert performed is not None
        return performed

    def target(self, **options: Any) -> NotificationTarget:
        targets = (Target.telegram(1001), Target.telegram(-2002))
        return NotificationTarget(targets, self.telemetry.new_trace(), router=self.router, **options)

    async def notifications(self) -> list[Notification]:
        """Returns the notifications in the outbox that people get as new messages, oldest first."""
        return [each for each in await self.all_notifications() if each.purpose is not Purpose.CHANGED]

    async def all_notifications(self) -> list[Notification]:
        """Returns the notifications in the outbox, also the edits of an incident's message, oldest first."""
        return [notification.from_json(row["body"]) for row in await self.rows(event)]

    async def rows(self, table: Table) -> list[IncidentRow]:
        order = list(table.primary_key.columns)
        return await self.database.read(
            "read", lambda c: [dict(row) for row in c.execute(select(table).order_by(*order)).mappings()]
        )

    async def incidents(self) -> list[IncidentRow]:
        """Returns all incidents, oldest first."""
        return (await self.database.read("incidents", lambda c: queries.page(c, None, None, 100)))[::-1]

    async def incident(self, incident_id: str) -> IncidentRow:
        found = await self.database.read("incident", lambda c: queries.one(c, incident_id))
        assert found is not None
        return found


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[Store]:
    settings = AlertRelaySettings(
        data_dir=folder, alertmanager_peers=("http://alertmanager-0:9093", "http://alertmanager-1:9093")
    )
    telemetry = Telemetry("alert-relay", settings)
    database = await open_database(url, telemetry, packages=app.PACKAGES)
    configure = partial(membership.configure, clusters=settings.clusters, now=START)
    await database.write("clusters", configure)
    yield Store(database, telemetry, settings)
    await database.close()


@pytest.fixture
async def relay_store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(database_url, tmp_path) as made:
        yield made


@dataclass
class Phone:
    """Reads a person's chat in the sandbox."""

    client: httpx.AsyncClient
    chat_id: int = 1001

    async def messages(self, count: int) -> list[dict[str, Any]]:
        """Waits until the chat has that many messages and returns them."""
        async with asyncio.timeout(20):
            while True:
                before = await self.client.get("/control/log", params={"limit": 10_000})
                answer = await self.client.get(f"/api/chats/{self.chat_id}/messages")
                shown: list[dict[str, Any]] = answer.json()["messages"]
                if len(shown) >= count:
                    return shown
                cursor = before.headers["X-Next-Cursor"]
                await self.client.get("/control/log", params={"cursor": cursor, "wait": 5})


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Running]:
    settings = SandboxSettings(port=0, data_dir=tmp_path / "sandbox")
    async with running(telegram_sandbox.create_app, settings) as service:
        yield service


@pytest.fixture
async def phone(sandbox: Running) -> AsyncIterator[Phone]:
    async with servers.http(sandbox.url) as client:
        yield Phone(client)


@pytest.fixture
def relay_settings(tmp_path: Path, sandbox: Running) -> AlertRelaySettings:
    return AlertRelaySettings(
        port=0,
        data_dir=tmp_path,
        api_key=SecretStr(servers.KEY),
        database_url=SecretStr(f"sqlite:///{tmp_path / 'test.db'}"),
        sandbox_url=sandbox.url,
        max_body_bytes=100_000,
        # Alerts of the tests have names that are throttled by default.
        alert_throttles="",
    )


@pytest.fixture
async def relay(relay_settings: AlertRelaySettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running relay, with its key."""
    async with (
        running(app.create_app, relay_settings) as service,
        servers.http(service.url, key=servers.KEY) as client,
    ):
        yield client
