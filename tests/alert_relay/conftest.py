"""The relay's store on a real database, and the relay as a running service beside a sandbox."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select

from services.alert_relay import app, history, notices, reading, store
from services.alert_relay.history import Row
from services.alert_relay.notices import Notice
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.store import Addressed, Received
from services.contracts.alertmanager import Webhook
from services.kit.db import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry import Telemetry
from services.outbox.schema import event
from tests.alert_relay.payloads import START


@dataclass
class Store:
    """The store's functions on a database that is really there."""

    database: Database
    telemetry: Telemetry
    settings: AlertRelaySettings

    async def receive(self, payload: Mapping[str, Any], now: float = START) -> Received:
        webhook = Webhook.model_validate(payload)
        heard = reading.heard(webhook, self.settings.cluster_of(webhook.externalURL), now)
        to = Addressed((1001, -2002), self.telemetry.new_trace())
        work = partial(store.receive, heard=heard, body=json.dumps(payload), to=to, now=now)
        return await self.database.write("receive", work)

    async def told(self) -> list[Notice]:
        """What was handed to the outbox, in order."""
        return [notices.from_json(row["body"]) for row in await self.rows(event)]

    async def rows(self, table: Table) -> list[Row]:
        order = list(table.primary_key.columns)
        return await self.database.read(
            "read", lambda c: [dict(row) for row in c.execute(select(table).order_by(*order)).mappings()]
        )

    async def incidents(self) -> list[Row]:
        """Oldest first."""
        return (await self.database.read("incidents", lambda c: history.page(c, None, None, 100)))[::-1]

    async def incident(self, incident_id: str) -> Row:
        found = await self.database.read("incident", lambda c: history.one(c, incident_id))
        assert found is not None
        return found


@pytest.fixture
async def relay_store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    settings = AlertRelaySettings(
        data_dir=tmp_path, alertmanager_peers=("http://alertmanager-0:9093", "http://alertmanager-1:9093")
    )
    telemetry = Telemetry("alert-relay", ServiceSettings(data_dir=tmp_path))
    database = await open_database(database_url, telemetry, packages=app.PACKAGES)
    yield Store(database, telemetry, settings)
    await database.close()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"
