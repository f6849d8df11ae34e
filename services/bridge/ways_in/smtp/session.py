"""Sessions of SMTP: who may send, which recipients there are, and what each mail is answered."""

from collections.abc import Sequence
from typing import Any

import structlog
from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session

from services.bridge.metrics import SmtpMetrics
from services.bridge.ways_in.smtp import mail_event, replies
from services.bridge.ways_in.smtp.delivery import MailDelivery, Sender
from services.kit.database.connect import StoreUnavailableError
from services.kit.errors import Problem
from services.kit.web.client_address import Networks

log = structlog.get_logger()

MOST_RECIPIENTS = 100
MOST_CONNECTIONS = 50
#: Longest line of a mail, bytes. Mails should have shorter ones (RFC 5321: 1,000), but not all do.
LONGEST_LINE = 1 << 20
#: A line above this ends the connection.
ENDLESS_LINE = 4 * LONGEST_LINE
_NOT_STORED = "451 4.3.0 The mail was not stored: send it again later"
_FULL = f"421 4.7.0 {MOST_CONNECTIONS} connections are open already: try again later"
_NO_KEY = "530 5.7.0 Log in first: the password is an API key with the scope events:write"


class MailSession(SMTP):
    """The session of one connection."""

    line_length_limit = LONGEST_LINE

    def __init__(self, handler: "MailHandler", **options: Any) -> None:
        super().__init__(handler, authenticator=_given, **options)
        self._handler = handler
        #: Bytes since the last end of a line.
        self._line_bytes = 0

    def connection_made(self, transport: Any) -> None:
        self._handler.sessions.add(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        end = data.rfind(b"\r\n")
        self._line_bytes = len(data) - end if end >= 0 else self._line_bytes + len(data)
        if self._line_bytes > ENDLESS_LINE:
            # The library keeps what it has of a line, and would fill the memory.
            transport: Any = self.transport
            transport.abort()
            return
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._handler.sessions.discard(self)
        super().connection_lost(error)

    async def auth_PLAIN(self, server: Any, args: list[str]) -> AuthResult:  # noqa: N802 - the library's name
        """Logs in by user and password at once."""
        return await self._verified(await super().auth_PLAIN(server, args))

    async def auth_LOGIN(self, server: Any, args: list[str]) -> AuthResult:  # noqa: N802 - the library's name
        """Logs in by user and password, one after the other."""
        return await self._verified(await super().auth_LOGIN(server, args))

    async def _verified(self, given: AuthResult) -> AuthResult:
        if not given.success or not isinstance(given.auth_data, LoginPassword) or self.session is None:
            return given
        return await self._handler.logged_in(self.session, given.auth_data)


def _given(*parts: Any) -> AuthResult:
    """What was given; the session verifies it, since that reads the database."""
    return AuthResult(success=True, auth_data=parts[-1])


class MailHandler:
    """Answers the commands of all sessions.

    Args:
        delivery: stores mails.
        allowed: who may connect.
        needs_key: whether mails without a key are refused.
        metrics: of this way in.
    """

    def __init__(
        self, delivery: MailDelivery, allowed: Networks, metrics: SmtpMetrics, *, needs_key: bool
    ) -> None:
        self._delivery = delivery
        self._allowed = allowed
        self._needs_key = needs_key
        self._metrics = metrics
        self.sessions: set[MailSession] = set()

    async def handle_AUTH(  # noqa: N802 - the library's name
        self, _: SMTP, session: Session, __: Envelope, ___: Sequence[str]
    ) -> Any:
        """Refuses to log in from an address that may not connect; MISSING: the session goes on."""
        return self._refusal(session) or MISSING

    async def logged_in(self, session: Session, given: LoginPassword) -> AuthResult:
        """The result of a login whose password is an API key, with any user name."""
        authorization = f"Bearer {given.password.decode('latin-1')}"
        try:
            await self._delivery.admit(Sender(_address(session), authorization))
        except Problem as problem:
            return AuthResult(success=False, handled=False, message=replies.of_problem(problem))
        return AuthResult(success=True, auth_data=authorization)

    async def handle_MAIL(  # noqa: N802 - the library's name
        self, _: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Begins a mail."""
        if len(self.sessions) > MOST_CONNECTIONS:
            return _FULL
        refusal = self._refusal(session)
        if refusal is None and self._needs_key and not session.authenticated:
            refusal = _NO_KEY
        if refusal is not None:
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Adds a recipient, whose local part is a topic."""
        if mail_event.topic_of(address) is None:
            return "550 5.1.1 No topic has this name: write 1 to 64 letters, digits, - and _ before the @"
        if len(envelope.rcpt_tos) >= MOST_RECIPIENTS:
            return f"452 4.5.3 A mail has at most {MOST_RECIPIENTS} recipients: send the others another one"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - the library's name
        self, _: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Stores the mail; 250 is answered once it is on disk."""
        # It is bytes, since the session decodes nothing.
        content: Any = envelope.content
        topics = [topic for one in envelope.rcpt_tos if (topic := mail_event.topic_of(one))]
        # `logged_in` puts it there.
        authorization: str | None = session.auth_data if session.authenticated else None
        sender = Sender(_address(session), authorization)
        try:
            replayed = await self._delivery.deliver(sender, topics, content)
        except Problem as problem:
            reply = replies.of_problem(problem)
            self._metrics.count("refused" if replies.is_refusal(reply) else "postponed")
            log.warning("mail_not_stored", reply=reply)
            return reply
        self._metrics.count("repeated" if replayed else "stored")
        return replies.STORED

    async def handle_exception(self, error: Exception) -> str:
        """Answers that the mail can be sent again, whatever has failed."""
        self._metrics.count("postponed")
        if isinstance(error, StoreUnavailableError):
            log.warning("mail_not_stored", error=str(error))
        else:
            log.error("mail_failed", exc_info=error)
        return _NOT_STORED

    def _refusal(self, session: Session) -> str | None:
        address = _address(session)
        if address in self._allowed:
            return None
        return f"554 5.7.1 The address {address} is not in SMTP_ALLOWED_NETWORKS"


def _address(session: Session) -> str:
    peer: Any = session.peer  # a host and a port, whatever the library says
    return str(peer[0]) if isinstance(peer, tuple) and peer else "unknown"
