"""Mails, at a real mail server that takes them, refuses them, and drops connections."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.alert_relay.channels import mail_server as mail_servers
from services.alert_relay.channels.mail_server import Mailbox
from services.alert_relay.notifications.notification import NotificationKind, Purpose
from services.alert_relay.senders.delivery import Ending
from services.alert_relay.senders.mail import Mail
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Outcome, Reason
from tests.alert_relay.senders.loopback import MailServer, mail_server
from tests.alert_relay.senders.making import (
    EVENT,
    EVIL,
    FIRST,
    alert,
    delivery,
    incident,
    notification,
    storm,
)
from tests.outbox.telegram import certificates

SENDER = Mailbox("Alerts", "alerts@example.com")
ADA = "ada@example.com"


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as running:
        yield running


def mail(url: str, trusted: ssl.SSLContext | None = None) -> Mail:
    return Mail(mail_servers.parse(url), SENDER, Telemetry("tests", ServiceSettings()), trusted)


async def send(server: MailServer, **changes: Any) -> Ending:
    shown = delivery(changes.pop("notification", None), address=ADA, **changes)
    return await mail(f"smtp://127.0.0.1:{server.port}").send(shown)


async def test_a_mail_has_text_and_html_and_its_receipt_is_what_the_server_answered(
    server: MailServer,
) -> None:
    ended = await send(server)

    assert ended == Ending(Outcome.SENT, detail="250 2.0.0 queued as A1")
    (got,) = server.mails
    assert got["subject"] == "[FIRING] DiskFull (critical) (europe)"
    assert (got["from"], got["to"]) == ("Alerts <alerts@example.com>", ADA)
    assert got["message-id"] == f"<{EVENT}@example.com>"
    assert got["in-reply-to"] is None
    text, html = got.get_body(("plain",)), got.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "db-1 is full" in text.get_content()
    assert "https://runbooks.example/disk" in text.get_content()
    assert '<a href="https://runbooks.example/disk">runbook_url</a>' in html.get_content()


async def test_a_mail_keeps_auto_responders_quiet(server: MailServer) -> None:
    await send(server)

    (got,) = server.mails
    assert got["auto-submitted"] == "auto-generated"
    assert got["x-auto-response-suppress"] == "All"
    assert got["precedence"] == "bulk"
    assert got["list-id"] == "CCTelegram alerts <alerts.example.com>"


async def test_news_of_an_incident_answer_its_first_mail(server: MailServer) -> None:
    over = alert(kind=NotificationKind.RESOLVED, ended_at=1_767_226_000.0)
    about = incident(first_event=FIRST, resolved_at=1_767_226_000.0, firing=0)
    await send(server, notification=notification(Purpose.NEWS, items=(over,), incident=about))

    (got,) = server.mails
    assert got["subject"] == "[RESOLVED] DiskFull (critical) (europe)"
    assert got["in-reply-to"] == got["references"] == f"<{FIRST}@example.com>"


async def test_the_mails_of_a_storm_belong_together(server: MailServer) -> None:
    await send(server, notification=storm(11))
    await send(server, notification=storm(0, 11))

    assert {got["references"] for got in server.mails} == {"<0190-storm@example.com>"}
    assert server.mails[1]["subject"] == "Many incidents at once: 0 open, 11 resolved (europe)"


async def test_a_label_is_no_markup_and_no_header(server: MailServer) -> None:
    evil = alert(name=f"A\r\nBcc: eve@example.com {EVIL}", annotations={"summary": EVIL, "x": "javascript:1"})
    about = incident(name=f"A\r\nBcc: eve@example.com {EVIL}")
    await send(server, notification=notification(items=(evil,), incident=about, cluster="c\nX-Evil: 1"))

    (got,) = server.mails
    assert got["bcc"] is None
    assert got["x-evil"] is None
    html = got.get_body(("html",))
    assert html is not None
    assert "<b onclick" not in html.get_content()
    assert "href" not in html.get_content()


async def test_a_possible_repetition_says_so(server: MailServer) -> None:
    await send(server, perhaps_repeated=True)

    text = server.mails[0].get_body(("plain",))
    assert text is not None
    assert text.get_content().startswith("This mail is perhaps a repetition")


@pytest.mark.parametrize(
    ("to", "data", "reason"),
    [
        ("450 greylisted", "250 OK", Reason.SERVER_ERROR),
        ("550 no such mailbox", "250 OK", Reason.BAD_REQUEST),
        ("250 OK", "452 mailbox full", Reason.SERVER_ERROR),
        ("250 OK", "554 refused as spam", Reason.BAD_REQUEST),
    ],
)
async def test_a_refused_mail_is_certainly_not_sent(
    server: MailServer, to: str, data: str, reason: Reason
) -> None:
    server.to, server.data = to, data

    ended = await send(server)

    refusal = to if not to.startswith("250") else data
    assert (ended.outcome, ended.reason, ended.detail) == (Outcome.NOT_SENT, reason, refusal)


async def test_a_mail_without_an_answer_may_have_arrived(server: MailServer) -> None:
    server.drop_after_data = True

    ended = await send(server)

    assert (ended.outcome, ended.reason) == (Outcome.UNKNOWN, Reason.NO_ANSWER)
    assert len(server.mails) == 1


async def test_a_server_that_is_not_there_has_no_mail() -> None:
    async with mail_server() as gone:
        port = gone.port
    ended = await mail(f"smtp://127.0.0.1:{port}").send(delivery(address=ADA))
    assert (ended.outcome, ended.reason) == (Outcome.NOT_SENT, Reason.CONNECT_FAILED)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificate:
    return certificates.make(tmp_path_factory.mktemp("certificate"))


def trusting(certificate: certificates.Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.certificate)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_the_login_is_encrypted(scheme: str, certificate: certificates.Certificate) -> None:
    context = certificate.context()
    async with mail_server(tls=context, auth=True, implicit=scheme == "smtps") as server:
        url = f"{scheme}://ada:p%40ss@localhost:{server.port}"
        ended = await mail(url, trusting(certificate)).send(delivery(address=ADA))

    assert ended.outcome is Outcome.SENT, ended
    assert server.logins == ["ada"]
    assert server.encrypted == [True]


async def test_a_wrong_password_is_refused_for_good(certificate: certificates.Certificate) -> None:
    async with mail_server(tls=certificate.context(), auth=True) as server:
        url = f"smtp://ada:wrong@localhost:{server.port}"
        ended = await mail(url, trusting(certificate)).send(delivery(address=ADA))

    assert (ended.outcome, ended.reason) == (Outcome.NOT_SENT, Reason.NO_RIGHTS)
    assert "wrong" not in ended.detail


async def test_no_password_goes_to_a_server_without_encryption(server: MailServer) -> None:
    ended = await mail(f"smtp://ada:p%40ss@127.0.0.1:{server.port}").send(delivery(address=ADA))

    assert ended.outcome is Outcome.NOT_SENT
    assert server.logins == []


async def test_a_certificate_that_is_not_trusted_gets_no_mail(certificate: certificates.Certificate) -> None:
    async with mail_server(tls=certificate.context()) as server:
        ended = await mail(f"smtp://localhost:{server.port}").send(delivery(address=ADA))

    assert ended.outcome is Outcome.NOT_SENT
    assert server.mails == []


def test_a_name_of_the_sender_cannot_add_a_header() -> None:
    with pytest.raises(ValueError, match=r"write alerts@example.com"):
        mail_servers.mailbox("A\r\nBcc: eve@example.com <alerts@example.com>")
