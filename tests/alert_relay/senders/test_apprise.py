"""Apprise sends for real, to a program on loopback that takes its JSON."""

from collections.abc import AsyncIterator

import pytest

from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.senders.apprise_service import AppriseServices, kind, service_of
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Outcome, Reason
from tests.alert_relay.senders.loopback import Answer, HttpServer, http_server
from tests.alert_relay.senders.making import delivery, incident, notification

#: Apprise loads all its plugins, and some of them import modules that Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with http_server() as running:
        yield running


def services(server: HttpServer) -> AppriseServices:
    url = server.url.replace("http://", "json://")
    return AppriseServices({"ops": url}, Telemetry("tests", ServiceSettings()))


async def test_apprise_gets_title_text_and_type(server: HttpServer) -> None:
    ended = await services(server).send(delivery())

    assert ended.outcome is Outcome.SENT
    body = server.calls[0].body
    assert body["title"] == "[FIRING] DiskFull (critical) (europe)"
    assert "db-1 is full" in body["message"]
    assert body["type"] == "failure"


async def test_apprise_does_not_say_why_a_service_took_nothing(server: HttpServer) -> None:
    server.answers = [Answer(500, b"")]

    ended = await services(server).send(delivery())

    assert (ended.outcome, ended.reason) == (Outcome.UNKNOWN, Reason.BAD_ANSWER)


@pytest.mark.parametrize(
    ("urgency", "resolved", "expected"),
    [
        (Urgency.LOUD, None, "failure"),
        (Urgency.NORMAL, None, "warning"),
        (Urgency.QUIET, None, "info"),
        (Urgency.LOUD, 5.0, "success"),
    ],
)
def test_the_type_follows_the_urgency(urgency: Urgency, resolved: float | None, expected: str) -> None:
    assert kind(notification(urgency=urgency, incident=incident(resolved_at=resolved))) == expected


def test_a_url_that_apprise_does_not_know_ends_the_start_without_its_secret() -> None:
    with pytest.raises(StartError, match=r"apprise.ops.url: Apprise knows no such URL") as refused:
        service_of("ops", "nosuch://user:hidden@host/")
    assert "hidden" not in str(refused.value)
