"""A small service of the tests' own: every kind of route, and failures to order."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Body, FastAPI, Query
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.kit.clock import SystemClock
from services.kit.errors import Problem
from services.kit.health import Health, Level, Measurement
from services.kit.runner import Running, running
from services.kit.settings import ServiceSettings
from services.kit.telemetry.span_queue import SpanSink
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.fast_route import FastRoute
from services.kit.web.service import create_service
from tests import servers

KEY = "cct_the-key-of-the-kit-tests"
LIMIT = 2048


class KitSettings(ServiceSettings):
    port: int = Field(0, validation_alias="KIT_PORT", description="port of the tests' service")


def kit_settings(folder: Path, **more: Any) -> KitSettings:
    values: dict[str, Any] = {
        "data_dir": folder,
        "api_key": SecretStr(KEY),
        "max_body_bytes": LIMIT,
        "port": 0,
    } | more
    return KitSettings(**values)


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100)
    size: int = 0

    @field_validator("name")
    @classmethod
    def _lower(cls, name: str) -> str:
        if name != name.lower():
            raise ValueError("write it in lower case")
        return name


@dataclass
class Parts:
    """What a test holds of the running service, to steer it and to look into it."""

    health: Health
    telemetry: Telemetry
    measured: Level = Level.HEALTHY
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    finished: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)


public = APIRouter()
fast = APIRouter(route_class=FastRoute)
guarded = APIRouter(prefix="/guarded")


@public.get("/things/{thing_id}")
async def one(
    thing_id: int,
    page: Annotated[int, Query(le=10)] = 1,
    wait: float = 0,
) -> dict[str, int]:
    return {"id": thing_id, "page": page}


@public.post("/things")
async def make(thing: Thing) -> Thing:
    return thing


@public.get("/both")
async def read_both() -> dict[str, bool]:
    return {"read": True}


@public.post("/both")
async def make_both(name: Annotated[str, Body(embed=True, pattern=r"^[^\x00]*$")]) -> str:
    return name


@public.get("/traceparent")
async def traceparent(request: Request) -> str | None:
    return request.headers.get("traceparent")


@public.get("/problem")
async def problem() -> None:
    raise Problem(409, "Not now", "Try later.", headers={"Retry-After": "3"}, stage="second")


@public.get("/plain")
async def plain() -> None:
    raise HTTPException(403, "Not yours")


@public.get("/fails")
async def fails() -> None:
    raise RuntimeError("http://127.0.0.1/bot123456789:AAbbCCddEEffGGhhIIjjKKllMMnnOOppQQ/sendMessage failed")


@public.get("/slow")
async def slow(request: Request) -> dict[str, str]:
    parts: Parts = request.state.parts
    parts.entered.set()
    await parts.let_go.wait()
    parts.finished.append("slow")
    return {"was": "waited for"}


@fast.post("/fast")
async def fast_one(request: Request) -> Response:
    if request.query_params.get("fail"):
        raise RuntimeError("the fast route failed")
    if request.query_params.get("problem"):
        raise Problem(409, "Not now")
    if request.query_params.get("forbidden"):
        raise HTTPException(403, "Not yours")
    return Response(str(len(await request.body())), 202)


@guarded.get("/thing")
async def guarded_thing() -> dict[str, bool]:
    return {"open": True}


def kit_app(settings: KitSettings, parts: list[Parts] | None = None, sink: SpanSink | None = None) -> FastAPI:
    """The tests' service; what it is made of is put into ``parts``."""
    telemetry = Telemetry("kit-test", settings, sink)
    health = Health(SystemClock())
    made = Parts(health, telemetry)
    if parts is not None:
        parts.append(made)

    async def probe() -> Measurement:
        return Measurement(made.measured, {"rooms": 3})

    health.add("house", probe, required=True, every=0.01)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        made.opened.append("open")
        yield {"parts": made}
        made.opened.append("closed")

    return create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary="The tests' own.",
        public=[public, fast],
        routers=[guarded],
        watched=["/things", "/things/{thing_id}"],
    )


@dataclass
class Live:
    """The service as it runs, and a client of it."""

    running: Running
    parts: Parts
    http: httpx.AsyncClient

    async def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = (await self.http.get("/metrics")).text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def value(self, name: str, **labels: str) -> float | None:
        return (await self.samples()).get((name, tuple(sorted(labels.items()))))


@asynccontextmanager
async def live(folder: Path, sink: SpanSink | None = None, **more: Any) -> AsyncIterator[Live]:
    parts: list[Parts] = []

    def create(settings: KitSettings) -> FastAPI:
        return kit_app(settings, parts, sink)

    async with (
        running(create, kit_settings(folder, **more)) as service,
        servers.http(service.url) as client,
    ):
        yield Live(service, parts[0], client)
