"""Sessions of SMTP: who may send, which recipients there are, and what each mail is answered."""

import asyncio
from typing import Any, AnyStr

import structlog
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from services.bridge.metrics import SmtpMetrics
from services.bridge.ways_in.smtp import mail_event, replies
from services.bridge.ways_in.smtp.delivery import MailDelivery, Sender
from services.kit.database.connect import StoreUnavailableError
from services.kit.errors import Problem
from services.kit.web.client_address import Networks

log = structlog.get_logger()

MOST_RECIPIENTS = 100
MOST_CONNECTIONS = 50
#: Most bytes that are read at once.
PIECE = 1 << 20
#: A line above this ends the connection. Mails should have shorter ones (RFC 5321: 1,000), but not all do.
ENDLESS_LINE = 4 * PIECE
#: Most bytes of the mails that are received at the same time, as a multiple of the largest mail.
MOST_AT_ONCE = 4
#: The end of a mail. A line feed alone ends no line: nothing within a mail can be taken for a command.
_END = b"\r\n.\r\n"
_TOO_LARGE = "552 5.3.4 Too much mail data: SMTP_MAX_BYTES"
_BUSY = "452 4.3.1 Too much mail is being received: send it again later"
_NOT_STORED = "451 4.3.0 The mail was not stored: send it again later"
_FULL = f"421 4.7.0 {MOST_CONNECTIONS} connections are open already: try again later"
_NO_KEY = "530 5.7.0 Log in first: the password is an API key with the scope events:write"


class MailSession(SMTP):
    """The session of one connection."""

    line_length_limit = PIECE

    def __init__(self, handler: "MailHandler", **options: Any) -> None:
        super().__init__(handler, authenticator=_given, **options)
        self._handler = handler
        #: Bytes since the last end of a line.
        self._line_bytes = 0
        self._is_refused = False

    def connection_made(self, transport: Any) -> None:
        refusal = self._handler.refusal(transport.get_extra_info("peername"))
        if refusal is not None:
            self._is_refused = True
            transport.write(f"{refusal}\r\n".encode())
            transport.close()
            return
        self._handler.sessions.add(self)
        super().connection_made(transport)

    def eof_received(self) -> bool | None:
        return None if self._is_refused else super().eof_received()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        end = data.rfind(b"\r\n")
        self._line_bytes = len(data) - end if end >= 0 else self._line_bytes + len(data)
        if self._line_bytes > ENDLESS_LINE:
            # The library keeps what it has of a line, and would fill the memory.
            transport: Any = self.transport
            transport.abort()
            return
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._is_refused:
            return
        self._handler.sessions.discard(self)
        super().connection_lost(error)

    async def push(self, status: AnyStr) -> None:
        """Answers a command; other tasks get their turn, however many commands are here already."""
        await super().push(status)
        await asyncio.sleep(0)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - the library's name
        """Takes a mail. The library's own method keeps each line as an object, and reads them in one turn."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        envelope: Any = self.envelope
        if arg or not envelope.rcpt_tos:
            await self.push("501 5.5.4 Syntax: DATA" if arg else "503 5.5.1 First name a recipient: RCPT")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        received = _ReceivedMail(self.data_size_limit, self._handler)
        try:
            await self._read_into(received)
            status: Any = received.refusal
            if status is None:
                envelope.content = envelope.original_content = received.content()
                status = await self._call_handler_hook("DATA")
        finally:
            received.release()
        self._set_post_data_state()  # type: ignore[no-untyped-call]  # the library's own
        await self.push(status)

    async def _read_into(self, received: "_ReceivedMail") -> None:
        """Reads a mail up to its end."""
        reader: Any = self._reader
        # The end of the line before, so that the end of an empty mail is one too.
        reader._buffer[:0] = _END[:2]  # noqa: SLF001 - what is here already belongs behind it
        is_last = False
        while not is_last:
            try:
                piece, is_last = await reader.readuntil(_END), True
            except asyncio.LimitOverrunError as error:
                piece = await reader.read(error.consumed)
            received.add(piece)

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


class _ReceivedMail:
    """A mail while it is received; one that is refused is read to its end, and not kept.

    Args:
        limit: largest mail, bytes.
        handler: knows how much mail all sessions receive.
    """

    def __init__(self, limit: Any, handler: "MailHandler") -> None:
        self._limit = int(limit) + len(_END)
        self._handler = handler
        self._found = bytearray()
        self._held = 0
        #: What the client is answered; None: the mail is taken.
        self.refusal: str | None = None

    def add(self, piece: bytes) -> None:
        if self.refusal is None and self._held + len(piece) > self._limit:
            self._refuse(_TOO_LARGE)
        elif self.refusal is None and self._handler.receiving + len(piece) > MOST_AT_ONCE * self._limit:
            self._refuse(_BUSY)
        if self.refusal is None:
            self._found += piece
            self._held += len(piece)
            self._handler.receiving += len(piece)

    def _refuse(self, refusal: str) -> None:
        self.refusal = refusal
        self._found.clear()
        self.release()

    def content(self) -> bytes:
        """The mail without its end, and without the dots that the client put before lines."""
        return bytes(self._found[:-3].replace(b"\r\n.", b"\r\n")[2:])

    def release(self) -> None:
        """Gives the place of the mail to others."""
        self._handler.receiving -= self._held
        self._held = 0


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
        #: Bytes of the mails that all sessions have received and not handled.
        self.receiving = 0

    def refusal(self, peer: Any) -> str | None:
        """Why a connection is ended at once; None: it is taken.

        Args:
            peer: the address and the port of the other end.
        """
        address = _address_of(peer)
        if address not in self._allowed:
            return f"554 5.7.1 The address {address} is not in SMTP_ALLOWED_NETWORKS"
        return _FULL if len(self.sessions) >= MOST_CONNECTIONS else None

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
        if self._needs_key and not session.authenticated:
            return _NO_KEY
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


def _address(session: Session) -> str:
    return _address_of(session.peer)


def _address_of(peer: Any) -> str:
    return str(peer[0]) if isinstance(peer, tuple) and peer else "unknown"
