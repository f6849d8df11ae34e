import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.kit import runner
from services.kit.clock import SystemClock
from services.kit.health import Health
from services.kit.runner import Running
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.service import create_service
from services.outbox.telegram import connections
from tests import servers
from tests.kit.apps import KitSettings, Parts, kit_app, kit_settings, live


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def failing_app(settings: KitSettings, error: Exception | None) -> FastAPI:
    """A service whose lifespan fails, after it was built and bound."""
    telemetry = Telemetry("failing", settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        if error is not None:
            raise error
        yield {}

    return create_service(
        settings=settings,
        telemetry=telemetry,
        health=Health(SystemClock()),
        lifespan=lifespan,
        summary="Fails.",
    )


def later_failing_app(settings: KitSettings, fail: asyncio.Event) -> FastAPI:
    """A service that runs, and comes down by itself while its lifespan is left."""
    telemetry = Telemetry("failing", settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async def come_down() -> None:
            await fail.wait()
            app.state.stopping.set()

        task = asyncio.create_task(come_down())
        yield {}
        await task
        raise RuntimeError("the ground gave way")

    return create_service(
        settings=settings,
        telemetry=telemetry,
        health=Health(SystemClock()),
        lifespan=lifespan,
        summary="Fails.",
    )


def prepared(folder: Path, parts: list[Parts]) -> Running:
    return runner.prepare(lambda settings: kit_app(settings, parts), kit_settings(folder))


def test_a_port_in_use_is_one_line_that_names_the_variable(taken: int, tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        runner.prepare(kit_app, kit_settings(tmp_path, port=taken))
    assert str(caught.value).startswith("KIT_PORT: ")
    assert str(caught.value).endswith(f" cannot listen on 127.0.0.1:{taken}: Address already in use")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_names_the_host(host: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=rf"^HOST: .* cannot listen on {host}:0: "):
        runner.prepare(kit_app, kit_settings(tmp_path, host=host))


async def test_two_services_on_one_port_are_one_line_too(tmp_path: Path) -> None:
    """Both may bind; only who listens first has it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    first = runner.prepare(kit_app, kit_settings(tmp_path, port=port))
    second = runner.prepare(kit_app, kit_settings(tmp_path, port=port))
    with pytest.raises(StartError, match=rf"^KIT_PORT: .*:{port}: Address already in use$"):
        await runner.serve([first, second])


async def test_a_service_answers_from_the_moment_it_says_that_it_started(tmp_path: Path) -> None:
    async with live(tmp_path) as service:
        _, writer = await asyncio.open_connection(*service.running.listener.getsockname())
        writer.close()
        await writer.wait_closed()


async def test_a_service_on_ipv6_writes_its_address_so_that_it_can_be_called(tmp_path: Path) -> None:
    async with live(tmp_path, host="::1") as service:
        assert service.running.url.startswith("http://[::1]:")
        assert (await service.http.get("/things/1")).status_code == 200


async def test_sigterm_lets_the_request_in_flight_finish(tmp_path: Path) -> None:
    parts: list[Parts] = []
    service = prepared(tmp_path, parts)
    serving = asyncio.create_task(runner.serve([service]))
    await service.started.wait()
    async with servers.http(service.url) as client:
        request = asyncio.create_task(client.get("/slow"))
        await parts[0].entered.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await service.stop.wait()
        assert not serving.done()
        parts[0].let_go.set()
        assert (await request).json() == {"was": "waited for"}
    await serving
    assert parts[0].finished == ["slow"]
    assert parts[0].opened == ["open", "closed"]


async def test_a_request_that_outlasts_the_grace_is_ended(tmp_path: Path) -> None:
    async with live(tmp_path, shutdown_grace_seconds=0) as service:
        request = asyncio.create_task(service.http.get("/slow"))
        await service.parts.entered.wait()
        service.running.stop.set()
        (answer,) = await asyncio.gather(request, return_exceptions=True)
        assert not (isinstance(answer, httpx.Response) and answer.is_success)
    assert service.parts.finished == []


async def test_services_stop_in_the_reverse_of_their_start(tmp_path: Path) -> None:
    ended: list[str] = []
    parts: list[Parts] = []
    services = [prepared(tmp_path, parts) for _ in range(3)]
    serving = asyncio.create_task(
        runner.serve(services, on_started=lambda: os.kill(os.getpid(), signal.SIGINT))
    )
    watches = [asyncio.create_task(_note(service, str(n), ended)) for n, service in enumerate(services)]
    await serving
    await asyncio.gather(*watches)
    assert ended == ["2", "1", "0"]
    assert [part.opened for part in parts] == [["open", "closed"]] * 3


async def _note(service: Running, name: str, ended: list[str]) -> None:
    await service.stop.wait()
    ended.append(name)


async def test_one_that_cannot_start_stops_those_that_run_and_starts_no_more(tmp_path: Path) -> None:
    parts: list[Parts] = []
    first, third = prepared(tmp_path, parts), prepared(tmp_path, parts)
    second = runner.prepare(
        lambda settings: failing_app(settings, StartError("STORE: away")), kit_settings(tmp_path)
    )
    with pytest.raises(StartError, match=r"^STORE: away$"):
        await runner.serve([first, second, third])
    assert parts[0].opened == ["open", "closed"]
    assert parts[1].opened == []
    assert all(service.listener.fileno() == -1 for service in (first, second, third))


async def test_one_that_fails_later_ends_the_others_in_order_and_is_told(tmp_path: Path) -> None:
    parts: list[Parts] = []
    fail = asyncio.Event()
    first = prepared(tmp_path, parts)
    second = runner.prepare(lambda settings: later_failing_app(settings, fail), kit_settings(tmp_path))
    with pytest.raises(RuntimeError, match="the ground gave way"):
        await runner.serve([first, second], on_started=fail.set)
    assert parts[0].opened == ["open", "closed"]


async def test_one_that_fails_while_it_stops_is_told_and_keeps_none_from_stopping(tmp_path: Path) -> None:
    parts: list[Parts] = []
    never = asyncio.Event()
    never.set()
    first = prepared(tmp_path, parts)
    second = runner.prepare(lambda settings: later_failing_app(settings, never), kit_settings(tmp_path))
    with pytest.raises(RuntimeError, match="the ground gave way"):
        await runner.serve([first, second], on_started=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert parts[0].opened == ["open", "closed"]


def test_a_service_that_cannot_be_built_gives_its_port_back(tmp_path: Path) -> None:
    def broken(_: KitSettings) -> FastAPI:
        raise StartError("BROKEN: on purpose")

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with pytest.raises(StartError):
        runner.prepare(broken, kit_settings(tmp_path, port=port))
    runner.prepare(kit_app, kit_settings(tmp_path, port=port)).listener.close()


def test_a_start_error_is_one_line_a_cause_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        runner.fail(StartError("ONE: wrong\nTWO: wrong too"))
    assert caught.value.code == 1
    assert capsys.readouterr().err == "cannot start: ONE: wrong\ncannot start: TWO: wrong too\n"


def test_clients_close_an_idle_connection_before_the_server_does() -> None:
    assert runner.KEEP_ALIVE_SECONDS > connections.IDLE_SECONDS
    assert (httpx.Limits().keepalive_expiry or 0) < runner.KEEP_ALIVE_SECONDS
