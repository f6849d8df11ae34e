"""Active users are counted from responses: each person once, and only if the whole period is stored."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import insert

from services.bridge.updates.active_users import DAY, ActiveUserCounter
from services.bridge.updates.metrics import PeopleMetrics
from services.bridge.updates.schema import response
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from tests.servers import ManualClock

NOW = 1_767_225_600.0
ADA, BOB, CYD = 1001, 1002, 1003


@pytest.fixture
async def answers(database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    packages = ["services.outbox", "services.bridge.updates"]
    opened = await open_database(database_url, telemetry, packages=packages)
    yield opened
    await opened.close()


async def store_texts(database: Database, *rows: tuple[int, float]) -> None:
    """Stores texts, given as person and seconds before now."""
    values = [
        {
            "id": f"{person}-{ago}",
            "at": NOW - ago,
            "kind": "text",
            "bot": "default",
            "user_id": person,
            "name": "x",
            "text": "x",
            "traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-00",
        }
        for person, ago in rows
    ]
    await database.write("updates", lambda connection: connection.execute(insert(response), values))


async def counted(database: Database, keep_days: float = 30.0) -> dict[str, float | None]:
    registry = CollectorRegistry()
    active = PeopleMetrics(registry).active_users
    await ActiveUserCounter(database, active, keep_days, ManualClock(NOW)).count()
    return {name: registry.get_sample_value(f"{name}_active_users") for name in ("daily", "monthly")}


async def test_a_person_with_several_responses_counts_once(answers: Database) -> None:
    await store_texts(answers, (ADA, 1), (ADA, 2), (BOB, 3), (BOB, 2 * DAY), (CYD, 5 * DAY), (9, 31 * DAY))
    assert await counted(answers) == {"daily": 2, "monthly": 3}


async def test_without_responses_the_number_is_zero(answers: Database) -> None:
    assert await counted(answers) == {"daily": 0, "monthly": 0}


@pytest.mark.parametrize(("keep_days", "shown"), [(0.0, True), (30.0, True), (7.0, False)])
async def test_with_a_retention_below_a_month_there_is_no_monthly_number(
    answers: Database, keep_days: float, shown: bool
) -> None:
    assert ((await counted(answers, keep_days))["monthly"] is not None) is shown


def test_before_the_first_count_there_is_no_number() -> None:
    registry = CollectorRegistry()
    PeopleMetrics(registry)
    assert registry.get_sample_value("daily_active_users") is None
