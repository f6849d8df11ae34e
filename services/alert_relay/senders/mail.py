"""Sends mails by SMTP, and decides by the server's answers what became of one."""

import asyncio
import ssl
import time
from email.message import EmailMessage

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPResponseException,
)
from aiosmtplib.errors import SMTPNotSupported

from services.alert_relay.channels.mail_server import Encryption, Mailbox, MailServer
from services.alert_relay.channels.target import Channel
from services.alert_relay.senders import mail_message
from services.alert_relay.senders.delivery import Delivery, Ending, refused, sent, unknown
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Reason

#: Seconds for one step of SMTP, and for all of them.
STEP_SECONDS = 10.0
MAIL_SECONDS = 25.0
_PERMANENT = 500
_START_TLS = {
    Encryption.AUTO: None,
    Encryption.REQUIRED: True,
    Encryption.NEVER: False,
    Encryption.IMPLICIT: False,
}


class Mail:
    """Sends mails, with a connection for each: alerts are rare, and servers close idle connections.

    Args:
        server: that takes the mails.
        sender: of the mails.
        telemetry: counts the mails.
        trusted: certificates of mail servers; None: those that the machine trusts.
    """

    channel = Channel.EMAIL

    def __init__(
        self,
        server: MailServer,
        sender: Mailbox,
        telemetry: Telemetry,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._sender = sender
        self._telemetry = telemetry
        self._trusted = trusted

    async def close(self) -> None:
        """Closes nothing: no connection outlasts a mail."""

    async def send(self, delivery: Delivery) -> Ending:
        mail = mail_message.message(delivery, self._sender)
        start, status = time.perf_counter(), "none"
        try:
            async with asyncio.timeout(MAIL_SECONDS):
                ended = await self._send(mail, delivery.address)
            status = ended.detail[:3] if ended.detail[:3].isdigit() else "none"
        except TimeoutError:
            # Where it hung is not known.
            ended = unknown(Reason.NO_ANSWER, "the mail server took too long")
        finally:
            self._telemetry.count_call(Channel.EMAIL.value, "smtp", status, time.perf_counter() - start)
        return ended

    async def _send(self, mail: EmailMessage, address: str) -> Ending:
        client = self._client()
        try:
            try:
                await client.connect()
                await client.mail(self._sender.address)
                await client.rcpt(address)
            except (SMTPException, OSError, TimeoutError) as error:
                return _before(error)
            # From here on the server may have the mail, whatever happens.
            try:
                answer = await client.data(mail.as_bytes())
            except SMTPResponseException as error:
                return _refusal(error)
            except (SMTPException, OSError, TimeoutError) as error:
                return unknown(Reason.NO_ANSWER, f"no answer to the mail: {type(error).__name__}")
            return sent(f"{answer.code} {answer.message}")
        finally:
            client.close()

    def _client(self) -> SMTP:
        server = self._server
        start_tls = _START_TLS[server.encryption]
        if server.encryption is Encryption.AUTO and server.username:
            # A password is sent in the clear only if SMTP_URL says starttls=never.
            start_tls = True
        return SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password or None,
            timeout=STEP_SECONDS,
            use_tls=server.encryption is Encryption.IMPLICIT,
            start_tls=start_tls,
            tls_context=self._trusted,
        )


def _before(error: Exception) -> Ending:
    """What an error before the mail itself means: it has not left."""
    if isinstance(error, SMTPResponseException):
        return _refusal(error)
    if isinstance(error, SMTPNotSupported):
        return refused(Reason.NO_RIGHTS, f"the mail server does not offer what SMTP_URL wants: {error}")
    return refused(Reason.CONNECT_FAILED, f"no connection: {type(error).__name__}: {error}")


def _refusal(error: SMTPResponseException) -> Ending:
    """What the answer of a server means that refuses: 4xx for now, 5xx for good."""
    detail = f"{error.code} {error.message}"
    if error.code < _PERMANENT:
        return refused(Reason.SERVER_ERROR, detail)
    permission = isinstance(error, SMTPAuthenticationError)
    return refused(Reason.NO_RIGHTS if permission else Reason.BAD_REQUEST, detail)
