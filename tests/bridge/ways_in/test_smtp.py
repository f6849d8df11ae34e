"""Mails by SMTP are events: stored before 250 is answered, once, and within limits."""

import asyncio
import smtplib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.bridge.app import create_app
from services.bridge.metrics import SmtpMetrics
from services.bridge.settings import BridgeSettings
from services.bridge.ways_in.smtp import session
from services.bridge.ways_in.smtp.delivery import MailDelivery, Sender
from services.bridge.ways_in.smtp.session import MailHandler, MailSession
from services.kit import runner
from services.kit.settings import StartError
from services.kit.web.client_address import Networks
from tests.bridge.people import ADA, Bridge, People, bridge_of
from tests.bridge.ways_in.test_mail import mail_of
from tests.conftest import BridgeFactory
from tests.images import png
from tests.ports import free_port
from tests.servers import KEY, until

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
        with pytest.raises(smtplib.SMTPConnectError, match="SMTP_ALLOWED_NETWORKS") as refused:
            await with_server(settings, sent(b""))
        assert refused.value.smtp_code == 554


async def test_a_connection_above_the_most_is_ended_and_taken_once_another_ends(
    settings: BridgeSettings,
) -> None:
    async with bridge_of(settings) as bridge:
        opened = [
            await asyncio.open_connection(settings.host, settings.smtp_port)
            for _ in range(session.MOST_CONNECTIONS)
        ]
        for reader, _ in opened:
            assert (await reader.readline()).startswith(b"220 ")
        reader, one_more = await asyncio.open_connection(settings.host, settings.smtp_port)
        one_more.write(b"EHLO nas\r\n")
        assert (await reader.read()).startswith(b"421 4.7.0 50 connections")
        for _, writer in (*opened, (reader, one_more)):
            writer.close()

        async def taken() -> bool:
            with suppress(smtplib.SMTPConnectError):
                return bool(await with_server(settings, sent(mail_of().as_bytes())) == STORED)
            return False

        assert await until(taken)
        assert len(await messages(bridge)) == 1


class Kept(MailDelivery):
    """Keeps the mails that it is given."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def deliver(self, sender: Sender, topics: Sequence[str], content: bytes) -> bool:
        self.contents.append(content)
        return False


@pytest.mark.parametrize(
    ("written", "content"),
    [
        ([b".\r\n"], b""),
        ([b"\r\n.\r\n"], b"\r\n"),
        ([b"..b\n.\r\nc\n.\n..\r", b"\n", b"...\r\n.", b"\r", b"\n"], b".b\n.\r\nc\n.\n..\r\n..\r\n"),
        ([b"b\n.\nMAIL FROM:<x>\r.\r\nRCPT\r\n.\r\n"], b"b\n.\nMAIL FROM:<x>\r.\r\nRCPT\r\n"),
        ([b"\r\n" * 700_000, b".\r\n"], b"\r\n" * 700_000),
        ([b"\r\n" * 1_100_000, b".\r\n"], None),
    ],
)
async def test_a_mail_ends_at_a_line_with_a_dot_alone(written: list[bytes], content: bytes | None) -> None:
    kept = Kept()
    handler = handler_of(kept)
    # What follows the mail in the same moment is the next command.
    codes = await codes_of(handler, [*written, b"NOOP\r\nQUIT\r\n"])
    assert codes == ["220", "250", "250", "250", "354", "552" if content is None else "250", "250", "221"]
    assert kept.contents == ([] if content is None else [content])
    assert handler.receiving == 0


async def test_a_mail_waits_while_too_much_is_received_at_once() -> None:
    kept = Kept()
    handler = handler_of(kept)
    others = session.MOST_AT_ONCE * (LARGEST + len(b"\r\n.\r\n"))
    handler.receiving = others
    mail = b"x\r\n.\r\n"
    assert (await codes_of(handler, [mail, b"QUIT\r\n"]))[-2:] == ["452", "221"]
    assert (handler.receiving, kept.contents) == (others, [])
    handler.receiving -= LARGEST
    assert (await codes_of(handler, [mail, b"QUIT\r\n"]))[-2:] == ["250", "221"]
    assert kept.contents == [b"x\r\n"]


async def test_a_connection_that_ends_within_a_mail_gives_its_place_back() -> None:
    handler = handler_of(Kept())
    await codes_of(handler, [b"x\r\n" * 400_000], leave=True)

    async def is_free() -> bool:
        return not handler.sessions and handler.receiving == 0

    await until(is_free)


LARGEST = 2_000_000


def handler_of(kept: "Kept") -> MailHandler:
    return MailHandler(kept, Networks(["127.0.0.1"]), SmtpMetrics(CollectorRegistry()), needs_key=False)


async def codes_of(handler: MailHandler, written: list[bytes], *, leave: bool = False) -> list[str]:
    """The codes of the answers to a mail in pieces; ``leave``: without waiting for them."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: MailSession(handler, data_size_limit=LARGEST, loop=loop), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"HELO nas\r\nMAIL FROM:<root@nas>\r\nRCPT TO:<ops@bridge>\r\nDATA\r\n")
        for piece in written:
            writer.write(piece)
            await writer.drain()
        codes = [] if leave else [line[:3].decode() for line in (await reader.read()).splitlines()]
        writer.close()
        return codes


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
