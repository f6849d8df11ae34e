"""Mails by SMTP are events: stored before 250 is answered, once, and within limits."""

import asyncio
import smtplib
from collections.abc import Callable
from typing import Any

import pytest

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.bridge.ways_in.smtp import session
from services.kit import runner
from services.kit.settings import StartError
from tests.bridge.people import ADA, Bridge, People, bridge_of
from tests.bridge.ways_in.test_mail import mail_of
from tests.conftest import BridgeFactory
from tests.images import png
from tests.ports import free_port
from tests.servers import KEY

STORED = (250, b"2.0.0 Stored")


@pytest.fixture
def settings(bridge_settings: BridgeFactory) -> BridgeSettings:
    return bridge_settings(smtp_port=free_port(), telegram_allowed_users=[ADA])


async def with_server(settings: BridgeSettings, work: Callable[[smtplib.SMTP], Any]) -> Any:
    """Runs a program that sends mails, which waits for each answer."""

    def run() -> Any:
        with smtplib.SMTP(settings.host, settings.smtp_port, timeout=60) as server:
            server.ehlo()
            return work(server)

    return await asyncio.to_thread(run)


def sent(content: bytes, *recipients: str) -> Callable[[smtplib.SMTP], tuple[int, bytes]]:
    def send(server: smtplib.SMTP) -> tuple[int, bytes]:
        code, words = server.mail("root@nas")
        if code != 250:
            return code, words
        for one in recipients or ("ops@bridge",):
            code, words = server.rcpt(one)
            if code != 250:
                return code, words
        return server.data(content)

    return send


async def messages(bridge: Bridge) -> list[dict[str, Any]]:
    return list((await bridge.client.get("/api/v1/messages")).json()["items"])


async def test_a_mail_is_a_message_with_its_attachments(settings: BridgeSettings, people: People) -> None:
    mail = mail_of("98 % full", X_Priority="2")
    mail.add_attachment(png(8, 8), maintype="image", subtype="png", filename="disk.png")
    async with bridge_of(settings) as bridge:
        assert await with_server(settings, sent(mail.as_bytes())) == STORED
        (message,) = await messages(bridge)
        assert (message["source"], message["severity"]) == ("ops", "high")
        shown = await people.until_text(ADA, "98 % full")
        assert "photo" in shown
        assert await bridge.metric('cctelegram_smtp_mails_total{outcome="stored"}') == 1


async def test_a_mail_that_is_delivered_again_is_stored_once_for_each_topic(settings: BridgeSettings) -> None:
    mail = mail_of()
    async with bridge_of(settings) as bridge:
        assert await with_server(settings, sent(mail.as_bytes(), "ops@bridge")) == STORED
        mail["Received"] = "by a relay"
        for _ in range(2):
            again = sent(mail.as_bytes(), "ops@bridge", "ops+disk@bridge", "nas@bridge")
            assert await with_server(settings, again) == STORED
        assert sorted(one["source"] for one in await messages(bridge)) == ["nas", "ops"]
        assert await bridge.metric('cctelegram_smtp_mails_total{outcome="repeated"}') == 1
        without_id = mail_of()
        del without_id["Message-ID"]
        for _ in range(2):
            await with_server(settings, sent(without_id.as_bytes()))
        assert len(await messages(bridge)) == 4


async def test_what_is_refused_says_why(bridge_settings: BridgeFactory) -> None:
    settings = bridge_settings(smtp_port=free_port(), smtp_max_bytes=20_000, max_file_bytes=2_048)
    large = mail_of()
    large.add_attachment(b"x" * 3_000, maintype="application", subtype="pdf", filename="a.pdf")
    many = mail_of()
    for number in range(11):
        many.add_attachment(f"{number}", filename=f"{number}.txt")
    async with bridge_of(settings) as bridge:
        for recipient, content, code, words in (
            ("my ops@bridge", b"", 550, b"No topic has this name"),
            ("a.b@bridge", b"", 550, b"No topic has this name"),
            ("ops@bridge", b"x\r\n" * 20_000, 552, b"Too much mail data"),
            ("ops@bridge", large.as_bytes(), 552, b"2048"),
            ("ops@bridge", many.as_bytes(), 554, b"attachments"),
        ):
            answer = await with_server(settings, sent(content, recipient))
            assert (answer[0], words in answer[1]) == (code, True), answer
        assert await messages(bridge) == []


async def test_an_address_that_is_not_allowed_is_refused(bridge_settings: BridgeFactory) -> None:
    settings = bridge_settings(smtp_port=free_port(), smtp_allowed_networks="10.0.0.0/8")
    async with bridge_of(settings):
        code, words = await with_server(settings, lambda server: server.mail("root@nas"))
        assert (code, b"SMTP_ALLOWED_NETWORKS" in words) == (554, True)
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            await with_server(settings, lambda server: server.login("any", KEY))
        assert refused.value.smtp_code == 554


async def test_a_login_is_an_api_key_with_its_scope(bridge_settings: BridgeFactory) -> None:
    settings = bridge_settings(smtp_port=free_port(), smtp_require_key=True)

    async with bridge_of(settings) as bridge:
        made = await bridge.client.post("/api/v1/keys", json={"name": "reader", "scopes": ["messages:read"]})

        def logged_in(key: str, way: str) -> Callable[[smtplib.SMTP], Any]:
            def work(server: smtplib.SMTP) -> Any:
                server.user, server.password = "nas", key
                server.auth(way, getattr(server, f"auth_{way.lower()}"))
                return sent(mail_of(Message_ID=f"<{way}>").as_bytes())(server)

            return work

        refused = await with_server(settings, sent(mail_of().as_bytes()))
        assert refused[0] == 530
        for way in ("PLAIN", "LOGIN"):
            assert await with_server(settings, logged_in(KEY, way)) == STORED
            for key, code in (("cct_wrong", 535), (made.json()["secret"], 550)):
                with pytest.raises(smtplib.SMTPAuthenticationError) as failed:
                    await with_server(settings, logged_in(key, way))
                assert failed.value.smtp_code == code
        assert len(await messages(bridge)) == 2


async def test_a_mail_that_cannot_be_stored_now_can_be_sent_again(bridge_settings: BridgeFactory) -> None:
    settings = bridge_settings(smtp_port=free_port(), files_max_total_bytes=1 << 20)
    large = mail_of()
    large.add_attachment(b"x" * (1 << 20) + b"x", maintype="application", subtype="pdf", filename="a.pdf")
    async with bridge_of(settings) as bridge:
        answer = await with_server(settings, sent(large.as_bytes()))
        assert answer[0] == 451
        assert await messages(bridge) == []
        assert await with_server(settings, sent(mail_of().as_bytes())) == STORED
        assert await bridge.metric('cctelegram_smtp_mails_total{outcome="postponed"}') == 1


async def test_a_port_that_is_taken_is_an_error_at_the_start(settings: BridgeSettings) -> None:
    server = await asyncio.start_server(lambda _, __: None, settings.host, settings.smtp_port)
    async with server:
        with pytest.raises(StartError, match="SMTP_PORT: cannot listen at"):
            async with runner.running(create_app, settings):
                pass


async def test_a_line_without_an_end_ends_the_connection(settings: BridgeSettings) -> None:
    def flood(server: smtplib.SMTP) -> None:
        server.mail("root@nas")
        server.rcpt("ops@bridge")
        server.docmd("data")
        for _ in range(2 * session.ENDLESS_LINE // 65_536):
            server.send(b"x" * 65_536)
        server.getreply()

    async with bridge_of(settings):
        with pytest.raises((ConnectionError, smtplib.SMTPServerDisconnected)):
            await with_server(settings, flood)
