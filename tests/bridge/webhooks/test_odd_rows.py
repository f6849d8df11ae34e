"""Whatever stands in the row of a call, the calls to other programs are made."""

from functools import partial

from sqlalchemy import Connection, delete

from services.bridge import inbound
from services.bridge.metrics import WebhookMetrics
from services.bridge.webhooks import store
from services.bridge.webhooks.destinations import Destinations
from services.bridge.webhooks.schema import webhook_attempt, webhook_call
from services.bridge.webhooks.store import NewCall
from services.bridge.webhooks.worker import WebhookWorker
from services.kit.clock import SystemClock
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import Telemetry
from tests import odd_rows
from tests.bridge.webhooks.test_results import SECRET, listening
from tests.odd_rows import Change

#: Another origin than that of the program; nothing listens there.
ELSEWHERE = "http://127.0.0.1:9/hook"


def _replace(connection: Connection, *, url: str, odd: Change, now: float) -> None:
    """Leaves one odd call, which is due, and adds a good one."""
    for table in (webhook_call, webhook_attempt):
        connection.execute(delete(table))
    store.add(connection, [NewCall("approval", "a-1", ELSEWHERE, "{}")], now - 10)
    odd_rows.apply(connection, [odd])
    store.add(connection, [NewCall("approval", "a-2", url, "{}")], now)


async def test_an_odd_row_delays_no_other_call(database: Database, telemetry: Telemetry) -> None:
    await database.migrate(inbound.PACKAGES)
    clock, made = SystemClock(), 0
    worker = WebhookWorker(
        database,
        secret=SECRET,
        allowed=Destinations(loopback=True),
        timeout=5.0,
        telemetry=telemetry,
        metrics=WebhookMetrics(telemetry.registry, list(store.State)),
        clock=clock,
    )
    async with listening() as program, worker.running():
        for odd in odd_rows.changes([webhook_call], database.dialect):
            await database.write("odd", partial(_replace, url=program.url, odd=odd, now=clock.time()))
            database.notify_local(store.CHANNEL)
            made += 1
            await program.until_called(made)
    assert made > 100
