"""The Bot API over HTTP: raw ASGI in front of everything else, for this path is measured in microseconds.

It stands outside the service's middleware: it must reach the server's own `send` to drop a connection without
an answer, and a load run must measure the client, not us.
"""

import asyncio
import inspect
import math
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from services.telegram_sandbox import arguments, methods, refusals
from services.telegram_sandbox.calls import Call, Held, Result
from services.telegram_sandbox.faults import Fault, Kind, Plan
from services.telegram_sandbox.methods import BY_LOWER_NAME
from services.telegram_sandbox.metrics import SandboxMetrics
from services.telegram_sandbox.sandbox import Sandbox

MAX_BODY = 52 << 20  # bytes: a document of 50 MB and its form around it
JSON_HEADERS = [(b"content-type", b"application/json")]
FLOOD = 429


class BotApi:
    """Answers /bot<token>/<method> and /file/bot<token>/<path>; everything else goes to the service."""

    def __init__(self, service: ASGIApp, sandbox: Sandbox, metrics: SandboxMetrics) -> None:
        self._service = service
        self._sandbox = sandbox
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] != "http":
            await self._service(scope, receive, send)
        elif path.startswith("/bot"):
            token, _, name = path[4:].partition("/")
            await self._request(token, name, scope, receive, send)
        elif path.startswith("/file/bot"):
            token, _, file_path = path[9:].partition("/")
            await self._download(token, file_path, send)
        else:
            await self._service(scope, receive, send)

    async def _request(self, token: str, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        method, handler = BY_LOWER_NAME.get(name.lower(), ("unknown", methods.unknown))
        try:
            bot = self._sandbox.bots.authorize(token)
            args = await arguments.read(scope, receive, MAX_BODY)
            call = Call(self._sandbox, bot, method, args)
            plan = (
                self._sandbox.faults.plan(name.lower(), args.chat_id) if self._sandbox.faults.rules else None
            )
        except refusals.Refusal as refusal:
            self._metrics.count(method, "refused")
            await _refuse(refusal, send)
            return
        bot.active += 1
        try:
            if plan is not None:
                await self._faulty(call, handler, plan, receive, send)
            else:
                await self._plain(call, handler, receive, send)
        finally:
            bot.active -= 1

    async def _plain(self, call: Call, handler: Any, receive: Receive, send: Send) -> None:
        """Do what was asked and answer."""
        try:
            result = await self._perform(call, handler, receive)
        except refusals.Refusal as refusal:
            self._count_refusal(call, refusal)
            if refusal.pause:
                await self._sandbox.clock.sleep(refusal.pause)
            await _refuse(refusal, send)
        else:
            self._metrics.count(call.method, "ok")
            await _answer(200, b'{"ok":true,"result":' + orjson.dumps(result) + b"}", send)

    async def _perform(self, call: Call, handler: Any, receive: Receive) -> Result:
        """Run the method; a refusal is logged and raised."""
        try:
            outcome = handler(call)
            if isinstance(outcome, Held):
                return await self._hold(call, outcome, receive)
            if inspect.isawaitable(outcome):
                return await self._unless_gone(outcome, receive)
        except refusals.Refusal as refusal:
            call.refused(refusal)
            raise
        return outcome

    async def _hold(self, call: Call, held: Held, receive: Receive) -> Result:
        """Keep the request while the flood control asks for it; it is done even when its client has left."""
        call.held = held.seconds
        held.chat.unsent += 1
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await self._sandbox.clock.sleep(held.seconds)
            if gone.done():
                call.answer = "lost"
                self._metrics.lost_answers.inc()
            return held.finish()
        finally:
            gone.cancel()
            held.chat.unsent -= 1

    async def _unless_gone(self, outcome: Awaitable[Result], receive: Receive) -> Result:
        """A long poll ends with its connection, as it does with Telegram."""
        poll = asyncio.ensure_future(outcome)
        gone = asyncio.create_task(_disconnected(receive))
        await asyncio.wait({poll, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not poll.done():
            poll.cancel()
            await asyncio.wait({poll})
            return []
        return poll.result()

    async def _faulty(self, call: Call, handler: Any, plan: Plan, receive: Receive, send: Send) -> None:
        """Act as a fault says: the latency, then the method if it is to be done, then the bad answer."""
        if plan.latency:
            await self._sandbox.clock.sleep(plan.latency)
        fault = plan.fault
        if fault is None:
            await self._plain(call, handler, receive, send)
            return
        self._metrics.count(call.method, "fault")
        call.answer = "replaced" if fault.kind in (Kind.ANSWER, Kind.RAW) else "dropped"
        if fault.deliver:
            with suppress(refusals.Refusal):  # it is in the log; the client hears what the fault says
                await self._perform(call, handler, receive)
        else:
            call.log(status=fault.status if call.answer == "replaced" else 0, fault=fault.kind)
        await self._misbehave(fault, receive, send)

    async def _misbehave(self, fault: Fault, receive: Receive, send: Send) -> None:
        match fault.kind:
            case Kind.ANSWER:
                await _refuse(
                    refusals.Refusal(fault.status, fault.description, parameters=fault.parameters), send
                )
            case Kind.RAW:
                headers = [(b"content-type", fault.content_type.encode())]
                await _answer(fault.status, fault.body.encode(), send, headers)
            case Kind.HANG:
                await self._sandbox.clock.sleep(fault.seconds)
                await _drop(receive, send, reset=False)
            case _:
                await _drop(receive, send, reset=fault.kind is Kind.RESET)

    def _count_refusal(self, call: Call, refusal: refusals.Refusal) -> None:
        self._metrics.count(call.method, "flood" if refusal.status == FLOOD else "refused")

    async def _download(self, token: str, path: str, send: Send) -> None:
        try:
            bot = self._sandbox.bots.authorize(token)
            data = await asyncio.to_thread(self._sandbox.files.read, bot.id, path)
        except FileNotFoundError:
            await _refuse(refusals.Refusal(404, "Not Found"), send)
        except refusals.Refusal as refusal:
            await _refuse(refusal, send)
        else:
            await _answer(200, data, send, [(b"content-type", b"application/octet-stream")])


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(refusal: refusals.Refusal, send: Send) -> None:
    body: dict[str, Any] = {"ok": False, "error_code": refusal.status, "description": refusal.description}
    headers = JSON_HEADERS
    if refusal.parameters:
        body["parameters"] = refusal.parameters
    if refusal.retry_after is not None:
        headers = [*JSON_HEADERS, (b"retry-after", str(math.ceil(refusal.retry_after)).encode())]
    await _answer(refusal.status, orjson.dumps(body), send, headers)


async def _answer(
    status: int, body: bytes, send: Send, headers: list[tuple[bytes, bytes]] = JSON_HEADERS
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _drop(receive: Receive, send: Send, *, reset: bool) -> None:
    """End the connection without a byte of an answer.

    ASGI has no word for it: this reaches for the transport of uvicorn's request cycle, whose `send` we have.

    Raises:
        ConnectionResetError: there is no transport, as when the app is called inside the client's process.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("the sandbox dropped the connection")
    if reset:
        connection = transport.get_extra_info("socket")
        linger_for_nothing = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_nothing)
    transport.abort()
    await _disconnected(receive)  # uvicorn must have seen it, or it would answer 500 for us
