"""Stores a mail as an event for each recipient; returns once all are on disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import Request

from services.bridge.events.accept import Caller
from services.bridge.keys.keys import Key
from services.bridge.state import BridgeState
from services.bridge.ways_in.admission import store
from services.bridge.ways_in.smtp import mail, mail_event
from services.bridge.ways_in.smtp.mail import MailFile
from services.bridge.ways_in.smtp.mail_event import StoredFile
from services.contracts.keys import Scope

#: The client of mails without a key; its name has a colon, so no key has it.
WITHOUT_KEY = "smtp:network"
#: Path in the log of wrong keys.
_PATH = "/smtp"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: the address of the connection, and ``Bearer KEY``; None: without a key."""

    address: str
    authorization: str | None = None


class MailDelivery:
    """Admits senders, and stores their mails.

    Args:
        state: of the bridge.
        app: the service, whose login blocker counts wrong keys.
    """

    def __init__(self, state: BridgeState, app: FastAPI) -> None:
        self._state = state
        self._app = app

    async def admit(self, sender: Sender) -> Key:
        """Admits one mail, or one login.

        Raises:
            Problem: 401 for a wrong key, 403 without the scope, 429 over a rate or after many wrong keys.
        """
        authenticator = self._state.authenticator
        if sender.authorization is None:
            return authenticator.admit_product(WITHOUT_KEY)
        # Keys are admitted as of a request: the same scopes, rates and counts of wrong ones.
        scope = {
            "type": "http",
            "method": "POST",
            "path": _PATH,
            "query_string": b"",
            "headers": [],
            "client": (sender.address, 0),
            "server": ("smtp", 0),
            "scheme": "http",
            "app": self._app,
        }
        return await authenticator.by_key(sender.authorization, Request(scope), Scope.EVENTS_WRITE)

    async def deliver(self, sender: Sender, topics: Sequence[str], content: bytes) -> bool:
        """Stores a mail for its topics; returns whether all of its events were stored before.

        If some are stored and another is not, the mail server delivers all again, and these are not repeated.

        Raises:
            Problem: it was not stored, or not for every topic.
        """
        key = await self.admit(sender)
        read = await asyncio.to_thread(mail.read, content)
        text, attached = mail_event.shown(read)
        files = [await self._stored(one) for one in attached]
        replayed = True
        for topic in dict.fromkeys(topics):
            draft = mail_event.draft(topic, read, text, files)
            identity = mail_event.identity(topic, read, text, files)
            caller = Caller(key.name, None, "", mail_event.idempotency_key(read, identity))
            stored = await store(self._state, caller, draft, identity)
            replayed = replayed and stored.replayed
        return replayed

    async def _stored(self, file: MailFile) -> StoredFile:
        async def pieces() -> AsyncIterator[bytes]:
            yield file.content

        stored = await self._state.files.write(pieces())
        return StoredFile(stored.id, file.name, hashlib.sha256(file.content).hexdigest())
