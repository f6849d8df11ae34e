"""The answer if a webhook cannot be stored is 503, never 429 or 207."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.alert_relay import relay as relay_module
from services.alert_relay.app import create_app
from services.alert_relay.channels import store as channel_store
from services.alert_relay.channels.target import Target
from services.alert_relay.metrics import NotificationOutcome, RelayMetrics
from services.alert_relay.notifications.recipients import Recipients
from services.alert_relay.outcomes import OutcomeCounter
from services.alert_relay.relay import Relay
from services.alert_relay.senders.channel_sender import TargetNumbers
from services.alert_relay.settings import AlertRelaySettings
from services.contracts.alertmanager import Webhook
from services.kit.clock import SystemClock
from services.kit.errors import Problem
from services.kit.runner import running
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.outbox.engine import Outbox
from services.outbox.messages import (
    Claimed,
    Decision,
    Lane,
    MessageState,
    Origin,
    Outcome,
    Reason,
    Result,
    Settled,
    UnknownPolicy,
)
from services.outbox.metrics import OutboxMetrics
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from tests import servers
from tests.alert_relay.conftest import Phone, Store, opened
from tests.alert_relay.payloads import START, alert, webhook


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection holds the database's write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
async def sqlite_relay(relay_settings: AlertRelaySettings) -> AsyncIterator[httpx.AsyncClient]:
    """A relay on a SQLite file that tests can open."""
    settings = relay_settings.model_copy(update={"database_url": SecretStr("")})
    async with (
        running(create_app, settings) as service,
        servers.http(service.url, key=servers.KEY) as client,
    ):
        yield client


async def test_a_database_that_cannot_be_written_is_a_503_and_the_retry_is_told(
    sqlite_relay: httpx.AsyncClient, phone: Phone, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "alert_relay.db")) as other:
        other.execute("ALTER TABLE webhook RENAME TO gone")
        refused = await sqlite_relay.post("/webhook/alert", json=webhook(alert()))
        other.execute("ALTER TABLE gone RENAME TO webhook")
    stored = await sqlite_relay.post("/webhook/alert", json=webhook(alert()))

    assert (refused.status_code, stored.status_code) == (503, 200)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["title"] == "Store unavailable"
    assert len(await phone.messages(1)) == 1


async def test_more_webhooks_at_once_than_can_be_stored_are_a_503(
    sqlite_relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    many = relay_module.MAX_CONCURRENT + 10
    async with httpx.AsyncClient(
        base_url=sqlite_relay.base_url,
        headers=sqlite_relay.headers,
        timeout=30,
        limits=httpx.Limits(max_connections=many),
    ) as client:
        with locked(tmp_path / "alert_relay.db"):
            posts = [
                asyncio.create_task(client.post("/webhook/alert", json=webhook(alert(str(number)))))
                for number in range(many)
            ]
            done, _ = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
        answers = [answer.status_code for answer in await asyncio.gather(*posts)]

    assert {post.result().json()["detail"] for post in done} == {"Too many webhooks are being stored."}
    assert set(answers) == {200, 503}
    assert answers.count(200) >= relay_module.MAX_CONCURRENT


async def test_a_commit_that_takes_too_long_is_a_503_and_its_retry_is_told_once(tmp_path: Path) -> None:
    """The slow transaction may end after the answer; the retry causes no second notification."""
    read = Webhook.model_validate(webhook(alert()))
    file = tmp_path / "slow.db"
    async with opened(f"sqlite:///{file}", tmp_path) as store:
        short_timeout = _relay(store, store_within=0.05)
        with locked(file), pytest.raises(Problem) as refused:
            await short_timeout.receive(read, "{}", None)
        await _relay(store).receive(read, "{}", None)

        assert refused.value.status == 503
        assert len(await store.notifications()) == 1


def _relay(store: Store, *, store_within: float = 10.0) -> Relay:
    clock, telemetry = SystemClock(), Telemetry("alert-relay", store.settings)
    sender = Sender(make_bot("1:token", "http://127.0.0.1:1", 1), clock)
    metrics = OutboxMetrics(telemetry.registry, {})
    return Relay(
        settings=store.settings,
        recipients=Recipients(store.settings, store.database),
        outbox=Outbox(
            database=store.database, telemetry=telemetry, metrics=metrics, clock=clock, sender=sender
        ),
        telemetry=telemetry,
        metrics=RelayMetrics(telemetry.registry, clock),
        clock=clock,
        store_within=store_within,
    )


def _settled(
    state: MessageState,
    seconds: float,
    *,
    reason: Reason = Reason.NONE,
    origin: Origin = Origin.ALERT,
) -> Settled:
    claimed = Claimed(
        seq=1,
        id="m",
        event_id="e",
        event_type="alert_notification",
        category="notification",
        source="alertmanager",
        title="",
        body="",
        correlation_id="",
        trace=TraceContext(1, 1, sampled=True),
        bot="alerts",
        chat_id=1001,
        thread_id=None,
        lane=Lane.URGENT,
        silent=False,
        on_unknown=UnknownPolicy.RESEND,
        accepted_at=START,
        due_at=0.0,
        expires_at=None,
        claimed_at=START,
        limiter_wait=0.0,
        attempt=1,
        retries=0,
        part=0,
        possible_duplicate=False,
        plain=False,
        origin=origin,
    )
    result = Result(Outcome.SENT, reason, START, START + seconds)
    return Settled(claimed, result, Decision(state))


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (MessageState.DELIVERED, "delivered"),
        (MessageState.DEAD_LETTER, "failed"),
        (MessageState.SUPPRESSED, "suppressed"),
        (MessageState.EXPIRED, "failed"),
        (MessageState.UNKNOWN, "unknown"),
    ],
)
async def test_every_end_of_a_notification_is_counted(
    relay_store: Store, state: MessageState, outcome: str
) -> None:
    registry = CollectorRegistry()
    reason = Reason.BOT_BLOCKED if state is MessageState.SUPPRESSED else Reason.NONE
    await _counter(registry, relay_store).observe([_settled(state, 2.5, reason=reason)])

    counted = {each.value: _count(registry, each.value) for each in NotificationOutcome}
    assert counted == {each.value: float(each.value == outcome) for each in NotificationOutcome}


async def test_a_delivery_that_will_be_tried_again_is_no_end(relay_store: Store) -> None:
    registry = CollectorRegistry()
    await _counter(registry, relay_store).observe([_settled(MessageState.RETRY_WAIT, 1.0)])

    assert {_count(registry, each.value) for each in NotificationOutcome} == {0.0}


async def test_what_keeps_no_notification_from_people_is_not_counted(relay_store: Store) -> None:
    """An edit that a later one replaced, and an answer to a command."""
    registry = CollectorRegistry()
    await _counter(registry, relay_store).observe(
        [
            _settled(MessageState.SUPPRESSED, 1.0, reason=Reason.SUPERSEDED),
            _settled(MessageState.SUPPRESSED, 1.0, reason=Reason.NEVER_SENT),
            _settled(MessageState.DELIVERED, 1.0, origin=Origin.BOT),
        ]
    )

    assert {_count(registry, each.value) for each in NotificationOutcome} == {0.0}


async def test_the_delay_runs_from_the_webhook_to_telegrams_answer(relay_store: Store) -> None:
    registry = CollectorRegistry()
    await _counter(registry, relay_store).observe([_settled(MessageState.DELIVERED, 2.5)])

    assert registry.get_sample_value("cctelegram_notification_delay_seconds_sum") == 2.5


async def test_each_channel_is_counted(relay_store: Store) -> None:
    registry = CollectorRegistry()
    mail = Target.parse("email:ada@example.com")
    numbers = await relay_store.database.write("targets", partial(channel_store.ids, targets=[mail]))
    settled = _settled(MessageState.DELIVERED, 2.5)
    to_mail = replace(settled.message, bot="channels", chat_id=numbers[mail])
    await _counter(registry, relay_store).observe([settled, replace(settled, message=to_mail)])

    assert [_count(registry, "delivered", channel) for channel in ("telegram", "email", "slack")] == [1, 1, 0]


def _counter(registry: CollectorRegistry, store: Store) -> OutcomeCounter:
    return OutcomeCounter(RelayMetrics(registry, SystemClock()), TargetNumbers(store.database))


def _count(registry: CollectorRegistry, outcome: str, channel: str = "telegram") -> float | None:
    labels = {"channel": channel, "outcome": outcome}
    return registry.get_sample_value("cctelegram_notifications_total", labels)
