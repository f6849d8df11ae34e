"""Whatever stands in the rows of the relay's database, its lists and its incidents never answer 500."""

import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.schema import (
    cluster,
    entry,
    episode,
    heartbeat,
    incident,
    last_sound,
    maintenance_window,
    notification,
    receiver,
    timer,
    webhook,
)
from services.alert_relay.settings import AlertRelaySettings
from services.kit.database.connect import open_database
from services.kit.runner import running
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.schema import attempt, chat, event, feed, message
from tests import odd_rows, servers
from tests.alert_relay import payloads
from tests.alert_relay.conftest import Phone
from tests.alert_relay.payloads import START, alert

TABLES = (
    *(cluster, heartbeat, receiver, webhook, incident, episode, entry, notification, timer),
    *(maintenance_window, last_sound),
    *(event, message, attempt, chat, feed),
)
#: Combinations of odd values that a run of the suite tries on each database.
EXAMPLES = 60


@pytest.fixture
def settings(relay_settings: AlertRelaySettings, database_url: str) -> AlertRelaySettings:
    return relay_settings.model_copy(update={"database_url": SecretStr(database_url)})


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_no_stored_row_makes_a_list_of_incidents_fail(
    settings: AlertRelaySettings, database_url: str, phone: Phone
) -> None:
    async with (
        running(app.create_app, settings) as service,
        servers.http(service.url, key=servers.KEY) as client,
    ):
        for one in (alert(), alert(ends_at=START + 300), alert(name="DiskFull")):
            (await client.post("/webhook/alert", json=payloads.webhook(one))).raise_for_status()
        await phone.messages(3)
        listed = (await client.get("/api/v1/incidents")).json()["incidents"]
        (await client.post("/webhook/alert", json=payloads.watchdog())).raise_for_status()
        window = {"matchers": ["service=bridge"], "lasts": "2h"}
        made = (await client.post("/api/v1/maintenance-windows", json=window)).raise_for_status().json()
        paths = [f"/api/v1/maintenance-windows{rest}" for rest in ("", "?state=ended", f"/{made['id']}")]
        paths += ["/api/v1/incidents", "/api/v1/incidents?state=firing", "/api/v1/clusters"]
        paths += [f"/api/v1/incidents/{one['id']}" for one in listed]
        assert len(listed) == 2

        async def read() -> list[str]:
            answers = [(path, await client.get(path)) for path in paths]
            return [f"{path}: {a.text[:80]}" for path, a in answers if a.status_code >= 500]

        assert await read() == []
        telemetry = Telemetry("tests", ServiceSettings(data_dir=settings.data_dir))
        database = await open_database(database_url, telemetry, packages=app.PACKAGES)
        try:
            possible = odd_rows.changes(TABLES, database.dialect)
            tried = await odd_rows.for_each(database, possible, read, examples=EXAMPLES)
        finally:
            await database.close()
        assert tried >= EXAMPLES
