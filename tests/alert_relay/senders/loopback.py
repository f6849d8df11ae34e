"""Real servers on loopback that take what the channels send, and misbehave as a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import orjson
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers import serving, until


@dataclass
class Call:
    """What an HTTP server was sent."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)


@dataclass
class Answer:
    """What an HTTP server answers; ``drop``: it closes the connection instead."""

    status: int = 200
    body: Any = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False


@dataclass
class HttpServer:
    """Answers with the given answers, one for each call, and then with the last one again and again."""

    url: str = ""
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    calls: list[Call] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(Call(request.path, headers, await request.read()))
        answer = self.answers[min(len(self.calls), len(self.answers)) - 1]
        if answer.drop:
            assert request.transport is not None
            request.transport.abort()
        body = answer.body if isinstance(answer.body, bytes) else orjson.dumps(answer.body)
        return web.Response(status=answer.status, body=body, headers=answer.headers)

    async def until_called(self, times: int) -> list[Call]:
        async def look() -> list[Call] | None:
            return self.calls if len(self.calls) >= times else None

        found = await until(look)
        assert found is not None
        return found


@asynccontextmanager
async def http_server(*answers: Answer) -> AsyncIterator[HttpServer]:
    server = HttpServer(answers=list(answers) or [Answer()])
    app = web.Application()
    app.router.add_post("/{path:.*}", server.take)
    async with serving(app) as server.url:
        yield server


@dataclass
class MailServer:
    """Takes mails; ``to`` and ``data`` are what it answers to a recipient and to the mail itself."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    to: str = "250 OK"
    data: str = "250 2.0.0 queued as A1"
    drop_after_data: bool = False

    async def handle_RCPT(  # noqa: N802 - a name of aiosmtpd
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.to.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.to

    async def handle_DATA(  # noqa: N802 - a name of aiosmtpd
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        if self.drop_after_data:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return self.data

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.logins.append(data.login.decode())
        return AuthResult(success=data.password == b"p@ss", handled=False)

    async def until_mails(self, number: int) -> list[EmailMessage]:
        async def look() -> list[EmailMessage] | None:
            return self.mails if len(self.mails) >= number else None

        found = await until(look)
        assert found is not None
        return found


@asynccontextmanager
async def mail_server(
    *, tls: ssl.SSLContext | None = None, auth: bool = False, implicit: bool = False
) -> AsyncIterator[MailServer]:
    """Runs a mail server; with ``tls`` it offers STARTTLS, or is encrypted from the start."""
    running = MailServer()
    options: dict[str, Any] = {"authenticator": running.authenticate, "auth_require_tls": False}
    if auth and not implicit:
        # aiosmtpd does not see that a connection is encrypted from the start.
        options |= {"auth_required": True, "auth_require_tls": True}

    def protocol() -> SMTP:
        return SMTP(running, hostname="localhost", tls_context=None if implicit else tls, **options)

    make: Callable[[], SMTP] = protocol
    server = await asyncio.get_running_loop().create_server(
        make, "127.0.0.1", 0, ssl=tls if implicit else None
    )
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        await server.wait_closed()
