"""Opens the port of SMTP for the length of a block."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from services.bridge.metrics import SmtpMetrics
from services.bridge.settings import BridgeSettings
from services.bridge.state import BridgeState
from services.bridge.ways_in.smtp.delivery import MailDelivery
from services.bridge.ways_in.smtp.session import MailHandler, MailSession
from services.kit.settings import StartError
from services.kit.web.client_address import Networks

log = structlog.get_logger()
#: The library's logger, whose lines have addresses, and parts of mails.
_LIBRARY = "mail.log"
#: Name of the server in its greeting.
_IDENT = "CCTelegram"


@asynccontextmanager
async def open_smtp(
    settings: BridgeSettings, state: BridgeState, app: FastAPI, metrics: SmtpMetrics
) -> AsyncIterator[None]:
    """Takes mails while the block runs, if SMTP_PORT is set.

    Args:
        settings: of the bridge.
        state: of the bridge.
        app: the service.
        metrics: of this way in.

    Raises:
        StartError: the port cannot be opened.
    """
    if not settings.smtp_port:
        yield
        return
    logging.getLogger(_LIBRARY).setLevel(logging.ERROR)
    handler = MailHandler(
        MailDelivery(state, app),
        Networks(settings.smtp_allowed_networks),
        metrics,
        needs_key=settings.smtp_require_key,
    )
    loop = asyncio.get_running_loop()

    def session() -> MailSession:
        return MailSession(
            handler,
            data_size_limit=settings.smtp_max_bytes,
            enable_SMTPUTF8=True,
            hostname="cctelegram",
            ident=_IDENT,
            auth_require_tls=False,
            loop=loop,
        )

    try:
        server = await loop.create_server(session, settings.host, settings.smtp_port)
    except OSError as error:
        where = f"{settings.host}:{settings.smtp_port}"
        raise StartError(
            f"SMTP_PORT: cannot listen at {where}: {error.strerror}; choose another port, or 0 for none"
        ) from error
    log.info("smtp_started", host=settings.host, port=settings.smtp_port)
    try:
        yield
    finally:
        server.close()
        for one in tuple(handler.sessions):
            if one.transport is not None:
                one.transport.close()
        await server.wait_closed()
