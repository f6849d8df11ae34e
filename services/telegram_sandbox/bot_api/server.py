"""The Bot API over HTTP, as an ASGI application in front of the service.

It bypasses the service's middleware: it needs the server's own `send` to close a connection without an
answer, and load runs should measure the client, not the sandbox.
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

from services.telegram_sandbox import errors
from services.telegram_sandbox.bot_api import methods, parameters
from services.telegram_sandbox.bot_api.call import Call, HeldCall, Result
from services.telegram_sandbox.bot_api.methods import BY_LOWER_NAME
from services.telegram_sandbox.faults import Fault, Kind, Plan
from services.telegram_sandbox.metrics import SandboxMetrics
from services.telegram_sandbox.state.sandbox import Sandbox

MAX_BODY = 52 << 20  # bytes: a document of 50 MB and the form around it
JSON_HEADERS = [(b"content-type", b"application/json")]
FLOOD = 429


class BotApi:
    """Answers /bot<token>/<method> and /file/bot<token>/<path>; passes other requests to the service."""

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
            args = await parameters.read(scope, receive, MAX_BODY)
            call = Call(self._sandbox, bot, method, args)
            plan = (
                self._sandbox.faults.plan(name.lower(), args.chat_id) if self._sandbox.faults.rules else None
            )
        except errors.BotApiError as error:
            self._metrics.count(method, "refused")
            await _send_error(error, send)
            return
        bot.active += 1
        try:
            if plan is not None:
                await self._with_faults(call, handler, plan, receive, send)
            else:
                await self._run_and_answer(call, handler, receive, send)
        finally:
            bot.active -= 1

    async def _run_and_answer(self, call: Call, handler: Any, receive: Receive, send: Send) -> None:
        """Runs the method and sends its result or its error."""
        try:
            result = await self._run(call, handler, receive)
        except errors.BotApiError as error:
            self._count_error(call, error)
            if error.delay:
                await self._sandbox.clock.sleep(error.delay)
            await _send_error(error, send)
        else:
            self._metrics.count(call.method, "ok")
            await _send(200, b'{"ok":true,"result":' + orjson.dumps(result) + b"}", send)

    async def _run(self, call: Call, handler: Any, receive: Receive) -> Result:
        """Runs the method; logs and raises its error."""
        try:
            outcome = handler(call)
            if isinstance(outcome, HeldCall):
                return await self._hold(call, outcome, receive)
            if inspect.isawaitable(outcome):
                return await self._until_disconnected(outcome, receive)
        except errors.BotApiError as error:
            call.log_error(error)
            raise
        return outcome

    async def _hold(self, call: Call, held: HeldCall, receive: Receive) -> Result:
        """Waits as long as flood control requires, then runs the call, also if its client disconnected."""
        call.held = held.seconds
        held.chat.unsent += 1
        disconnected = asyncio.create_task(_disconnected(receive))
        try:
            await self._sandbox.clock.sleep(held.seconds)
            if disconnected.done():
                call.answer = "lost"
                self._metrics.lost_answers.inc()
            return held.finish()
        finally:
            disconnected.cancel()
            held.chat.unsent -= 1

    async def _until_disconnected(self, outcome: Awaitable[Result], receive: Receive) -> Result:
        """Waits for a long poll, which ends with its connection, as with Telegram."""
        poll = asyncio.ensure_future(outcome)
        disconnected = asyncio.create_task(_disconnected(receive))
        await asyncio.wait({poll, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        disconnected.cancel()
        if not poll.done():
            poll.cancel()
            await asyncio.wait({poll})
            return []
        return poll.result()

    async def _with_faults(self, call: Call, handler: Any, plan: Plan, receive: Receive, send: Send) -> None:
        """Waits the latency, runs the method if the fault has `deliver`, and sends the bad answer."""
        if plan.latency:
            await self._sandbox.clock.sleep(plan.latency)
        fault = plan.fault
        if fault is None:
            await self._run_and_answer(call, handler, receive, send)
            return
        self._metrics.count(call.method, "fault")
        call.answer = "replaced" if fault.kind in (Kind.ANSWER, Kind.RAW) else "dropped"
        if fault.deliver:
            with suppress(errors.BotApiError):  # it is in the log; the client gets the fault's answer
                await self._run(call, handler, receive)
        else:
            call.log(status=fault.status if call.answer == "replaced" else 0, fault=fault.kind)
        await self._send_fault(fault, receive, send)

    async def _send_fault(self, fault: Fault, receive: Receive, send: Send) -> None:
        match fault.kind:
            case Kind.ANSWER:
                await _send_error(
                    errors.BotApiError(fault.status, fault.description, parameters=fault.parameters), send
                )
            case Kind.RAW:
                headers = [(b"content-type", fault.content_type.encode())]
                await _send(fault.status, fault.body.encode(), send, headers)
            case Kind.HANG:
                await self._sandbox.clock.sleep(fault.seconds)
                await _abort(receive, send, reset=False)
            case _:
                await _abort(receive, send, reset=fault.kind is Kind.RESET)

    def _count_error(self, call: Call, error: errors.BotApiError) -> None:
        self._metrics.count(call.method, "flood" if error.status == FLOOD else "refused")

    async def _download(self, token: str, path: str, send: Send) -> None:
        try:
            bot = self._sandbox.bots.authorize(token)
            data = await asyncio.to_thread(self._sandbox.files.read, bot.id, path)
        except FileNotFoundError:
            await _send_error(errors.BotApiError(404, "Not Found"), send)
        except errors.BotApiError as error:
            await _send_error(error, send)
        else:
            await _send(200, data, send, [(b"content-type", b"application/octet-stream")])


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_error(error: errors.BotApiError, send: Send) -> None:
    body: dict[str, Any] = {"ok": False, "error_code": error.status, "description": error.description}
    headers = JSON_HEADERS
    if error.parameters:
        body["parameters"] = error.parameters
    if error.retry_after is not None:
        headers = [*JSON_HEADERS, (b"retry-after", str(math.ceil(error.retry_after)).encode())]
    await _send(error.status, orjson.dumps(body), send, headers)


async def _send(
    status: int, body: bytes, send: Send, headers: list[tuple[bytes, bytes]] = JSON_HEADERS
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _abort(receive: Receive, send: Send, *, reset: bool) -> None:
    """Closes or resets the connection without an answer.

    ASGI has no message for that. This uses the transport of uvicorn's request cycle, which owns `send`.

    Raises:
        ConnectionResetError: there is no transport, because the app runs inside the client's process.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("the sandbox closed the connection")
    if reset:
        connection = transport.get_extra_info("socket")
        no_linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    transport.abort()
    await _disconnected(receive)  # until uvicorn has noticed, or it would answer 500
