"""A hot request's body: in one piece, in several, and one that ends too early."""

from collections.abc import Sequence

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from services.kit.web.fast_route import HotRequest


def request(messages: Sequence[Message]) -> HotRequest:
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming)

    return HotRequest({"type": "http", "headers": []}, receive)


def piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ([piece(b"{}", more=False)], b"{}"),
        ([piece(b"[1", more=True), piece(b"", more=True), piece(b",2]", more=False)], b"[1,2]"),
        # Servers leave out what has its default.
        ([{"type": "http.request"}], b""),
    ],
)
async def test_a_body_is_put_together(messages: list[Message], body: bytes) -> None:
    assert await request(messages).body() == body


async def test_a_connection_that_ends_within_the_body_is_told() -> None:
    with pytest.raises(ClientDisconnect):
        await request([piece(b"{", more=True), {"type": "http.disconnect"}]).body()
