"""Sends by any service that Apprise knows. Apprise is an extra: ``pip install 'cctelegram[channels]'``."""

import asyncio
import importlib
import time
from collections.abc import Mapping
from typing import Any

from services.alert_relay.channels.target import Channel
from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.notifications.notification import Notification
from services.alert_relay.senders import plain_text
from services.alert_relay.senders.delivery import Delivery, Ending, sent, unknown
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Reason

CALL_SECONDS = 25.0
_KINDS = {Urgency.LOUD: "failure", Urgency.NORMAL: "warning", Urgency.QUIET: "info"}


class AppriseServices:
    """Sends by Apprise, which says only whether a service took a message, and not why it did not.

    Args:
        urls: of the services by name.
        telemetry: counts the calls.

    Raises:
        StartError: Apprise is not installed, or does not know a URL.
    """

    channel = Channel.APPRISE

    def __init__(self, urls: Mapping[str, str], telemetry: Telemetry) -> None:
        self._services = {name: service_of(name, url) for name, url in urls.items()}
        self._telemetry = telemetry

    async def close(self) -> None:
        """Closes nothing: Apprise has a connection for each call."""

    async def send(self, delivery: Delivery) -> Ending:
        service = self._services[delivery.address]
        start, status = time.perf_counter(), "none"
        try:
            async with asyncio.timeout(CALL_SECONDS):
                taken = await service.async_notify(
                    body=delivery.text,
                    title=plain_text.line(delivery.notification),
                    notify_type=kind(delivery.notification),
                    body_format="text",
                )
            status = "taken" if taken else "refused"
        except TimeoutError:
            return unknown(Reason.NO_ANSWER, "the service took too long")
        finally:
            self._telemetry.count_call(Channel.APPRISE.value, "notify", status, time.perf_counter() - start)
        if taken:
            return sent("taken")
        return unknown(Reason.BAD_ANSWER, "Apprise says that it was not sent, and not why; see the log")


def kind(notification: Notification) -> str:
    """Returns the type of a notification, in Apprise's words."""
    about = notification.incident
    over = about is not None and about.resolved_at is not None
    return "success" if over else _KINDS[notification.urgency]


def service_of(name: str, url: str) -> Any:
    """Returns the service of a URL.

    Raises:
        StartError: Apprise is not installed, or does not know the URL.
    """
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        raise StartError(
            f"ALERT_CHANNELS: apprise.{name}: Apprise is not installed; pip install 'cctelegram[channels]'"
        ) from None
    service = apprise.Apprise()
    if not service.add(url):
        raise StartError(f"ALERT_CHANNELS: apprise.{name}.url: Apprise knows no such URL")
    return service
