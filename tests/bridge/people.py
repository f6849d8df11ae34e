"""A bridge, the sandbox, and people: Ada (1001) and Grace (1002) may use the bot, Mallory (1003) may not."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from fastapi import FastAPI

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.kit import runner
from services.kit.clock import Clock
from tests import servers
from tests.servers import BOT_ID, KEY, Sandbox, until

ADA, GRACE, TEAM = 1001, 1002, -2001
MALLORY = 1003


@dataclass
class Bridge:
    """A running bridge, and the requests that tests make."""

    client: httpx.AsyncClient
    app: FastAPI
    stop: asyncio.Event

    async def ask(self, headers: dict[str, str] | None = None, **question: Any) -> dict[str, Any]:
        body = {"title": "Deploy 1.4?", "prompt": "git push production"} | question
        response = await self.client.post("/api/v1/approvals", json=body, headers=headers)
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def approval(self, approval_id: str, **params: Any) -> dict[str, Any]:
        response = await self.client.get(f"/api/v1/approvals/{approval_id}", params=params)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def decide(self, approval_id: str, option: str = "approve") -> dict[str, Any]:
        response = await self.client.post(f"/api/v1/approvals/{approval_id}/decide", json={"option": option})
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def until_status(self, approval_id: str, status: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found = await self.approval(approval_id)
            return found if found["status"] == status else None

        found = await until(look)
        assert found is not None
        return found

    async def until_answered(self, approval_id: str, outcome: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            answers = (await self.approval(approval_id))["answers"]
            return next((answer for answer in answers if answer["outcome"] == outcome), None)

        found = await until(look)
        assert found is not None
        return found

    async def responses(self, **params: Any) -> list[dict[str, Any]]:
        response = await self.client.get("/api/v1/responses", params=params)
        assert response.status_code == 200, response.text
        return list(response.json()["items"])

    async def post(self, **event: Any) -> dict[str, Any]:
        body = {"type": "info_notification", "title": "hello"} | event
        response = await self.client.post("/api/v1/events", json=body)
        assert response.status_code == 202, response.text
        return dict(response.json())

    async def message(self, message_id: str) -> dict[str, Any]:
        return dict((await self.client.get(f"/api/v1/messages/{message_id}")).json())

    async def until_message(self, message_id: str, status: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found = await self.message(message_id)
            return found if found["status"] == status else None

        found = await until(look)
        assert found is not None
        return found

    async def until_message_finished(self, message_id: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found = await self.message(message_id)
            return found if found["finished_at"] else None

        found = await until(look)
        assert found is not None
        return found

    async def health(self) -> dict[str, Any]:
        report = (await self.client.get("/health")).json()
        return dict(report["components"]["telegram_updates"])

    async def until_heard(self) -> None:
        """Waits until the bridge has received updates once, even an empty list."""

        async def look() -> bool:
            return (await self.health()).get("last_success_age_seconds") is not None

        await until(look)

    async def metric(self, name: str) -> float | None:
        """One sample by its exported name and labels; None if there is no such sample."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), None)

    async def until_waiting(self) -> None:
        """Waits until a request waits: then its connection and the one of this request are open."""

        async def look() -> bool:
            return (await self.metric("cctelegram_active_connections") or 0) >= 2

        await until(look)

    async def until_metric(self, name: str, value: float) -> None:
        async def look() -> bool:
            return await self.metric(name) == value

        await until(look)


@asynccontextmanager
async def bridge_of(settings: BridgeSettings, clock: Clock | None = None) -> AsyncIterator[Bridge]:
    """A bridge that runs for the length of the block, with the given clock if there is one."""

    def create(chosen: BridgeSettings) -> FastAPI:
        return create_app(chosen, clock)

    async with (
        runner.running(create, settings) as running,
        servers.http(running.url, key=KEY, timeout=60) as client,
    ):
        yield Bridge(client, running.app, running.stop)


class People:
    """The actions of people in the sandbox's chats, and what they see there."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def messages(self, chat_id: int) -> list[dict[str, Any]]:
        """The messages of a chat now, with edits applied."""
        answer = await self.sandbox.client.get(f"/api/chats/{chat_id}/messages")
        answer.raise_for_status()
        return [shown["message"] for shown in answer.json()["messages"]]

    async def until_text(self, chat_id: int, part: str) -> dict[str, Any]:
        """Waits for a message that contains a text; returns the newest."""

        async def look() -> dict[str, Any] | None:
            found = [m for m in await self.messages(chat_id) if part in text_of(m)]
            return found[-1] if found else None

        found = await until(look)
        assert found is not None
        return found

    async def question(self, chat_id: int, part: str = "Deploy 1.4?") -> dict[str, Any]:
        """Waits for a message with buttons; returns the newest."""

        async def look() -> dict[str, Any] | None:
            found = [m for m in await self.messages(chat_id) if buttons(m) and part in text_of(m)]
            return found[-1] if found else None

        found = await until(look)
        assert found is not None
        return found

    async def tap(self, message: dict[str, Any], label: str, person: int | None = None) -> str:
        path = f"/chats/{message['chat']['id']}/messages/{message['message_id']}/tap"
        answer = await self.sandbox.post(path, {"text": label, "person_id": person})
        return str(answer["callback_query_id"])

    async def tap_data(self, message: dict[str, Any], data: str, person: int | None = None) -> str:
        path = f"/chats/{message['chat']['id']}/messages/{message['message_id']}/tap"
        answer = await self.sandbox.post(path, {"data": data, "person_id": person})
        return str(answer["callback_query_id"])

    async def say(
        self, chat_id: int, text: str, *, reply_to: int | None = None, person: int | None = None
    ) -> dict[str, Any]:
        body = {"text": text, "reply_to": reply_to, "person_id": person}
        return dict(await self.sandbox.post(f"/chats/{chat_id}/say", body))

    async def send_file(
        self,
        chat_id: int,
        kind: str,
        content: bytes,
        caption: str = "",
        *,
        reply_to: int | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Sends a file as a person; ``more`` is its name, media type and size."""
        file = {"kind": kind, "content": b64encode(content).decode(), **more}
        body = {"text": caption, "file": file, "reply_to": reply_to}
        return dict(await self.sandbox.post(f"/chats/{chat_id}/say", body))

    async def toasts(self) -> list[str]:
        return [entry["text"] for entry in await self.calls("answerCallbackQuery") if entry["status"] == 200]

    async def until_toast(self, part: str) -> str:
        async def look() -> str | None:
            return next((toast for toast in await self.toasts() if part in toast), None)

        found = await until(look)
        assert found is not None
        return found

    async def calls(self, method: str) -> list[dict[str, Any]]:
        return [
            entry
            for entry in await self.sandbox.log()
            if entry["kind"] == "call" and entry["method"] == method
        ]

    async def pending(self) -> list[dict[str, Any]]:
        answer = await self.sandbox.client.get(f"/control/bots/{BOT_ID}/updates")
        return list(orjson.loads(answer.content))


def text_of(message: dict[str, Any]) -> str:
    return str(message.get("text") or message.get("caption") or "")


def buttons(message: dict[str, Any]) -> list[str]:
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [button["text"] for row in rows for button in row]


def data_of(message: dict[str, Any]) -> list[str]:
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [button["callback_data"] for row in rows for button in row]
