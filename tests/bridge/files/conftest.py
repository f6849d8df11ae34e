"""Uploads and events with files, as clients post them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from tests.servers import Sandbox, until

ADA = 1001


@dataclass
class Client:
    """A client of a bridge, and what arrives in the sandbox."""

    http: httpx.AsyncClient
    sandbox: Sandbox

    async def upload(self, content: bytes) -> str:
        answer = await self.http.post("/api/v1/files", content=content)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def post(self, *attachments: dict[str, Any], **event: Any) -> dict[str, Any]:
        body = {"type": "info_notification", "title": "Report", "attachments": attachments} | event
        answer = await self.http.post("/api/v1/events", json=body)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def refused(self, *attachments: dict[str, Any], **event: Any) -> dict[str, Any]:
        body = {"type": "info_notification", "title": "Report", "attachments": attachments} | event
        answer = await self.http.post("/api/v1/events", json=body)
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        return dict(error)

    async def form(self, event: Any, files: Sequence[tuple[str, bytes]], **headers: str) -> httpx.Response:
        parts: list[Any] = [("event", (None, orjson.dumps(event), "application/json"))]
        parts += [("file", (name, content, "application/octet-stream")) for name, content in files]
        return await self.http.post("/api/v1/events", files=parts, headers=headers)

    async def message(self, accepted: dict[str, Any], status: str = "delivered") -> dict[str, Any]:
        """The first message of an event, once it has this status."""

        async def look() -> dict[str, Any] | None:
            found = (await self.http.get(f"/api/v1/messages/{accepted['message_ids'][0]}")).json()
            return dict(found) if found["status"] == status else None

        found = await until(look)
        assert found is not None
        return found

    async def shown(self, chat_id: int = ADA) -> list[dict[str, Any]]:
        """The messages in a chat, as Telegram answered them, with the content of their files."""
        page = (await self.sandbox.client.get(f"/api/chats/{chat_id}/messages")).json()
        for one in page["messages"]:
            if one["file"] is not None:
                one["content"] = (await self.sandbox.client.get(one["file"]["url"])).content
        return list(page["messages"])


@pytest.fixture
def client(bridge: httpx.AsyncClient, sandbox: Sandbox) -> Client:
    return Client(bridge, sandbox)
