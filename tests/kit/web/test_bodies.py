"""Bodies as clients send them: compressed, without a type, with a byte order mark."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from services.kit.web.bodies import BYTE_ORDER_MARK
from tests.kit.apps import LIMIT, Live

THING = json.dumps({"name": "ada"}).encode()
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(THING) + RAW.flush()


async def post(service: Live, body: bytes, path: str = "/things", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = service.http.build_request("POST", path, content=body, headers=named)
    if "content_type" not in headers:
        request.headers.pop("content-type", None)
    return await service.http.send(request)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/json",
        "application/json; charset=utf-8",
        "application/cloudevents+json",
    ],
)
async def test_json_is_taken_as_programs_name_it(service: Live, kind: str | None) -> None:
    named = {} if kind is None else {"content_type": kind}
    answer = await post(service, THING, **named)
    assert (answer.status_code, answer.json()["name"]) == (200, "ada")


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "image/png", "application/xml", "odd"])
async def test_a_type_that_is_no_json_is_415(service: Live, kind: str) -> None:
    answer = await post(service, THING, content_type=kind)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize(
    "page", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}]
)
async def test_a_page_of_another_website_cannot_send_json_as_a_text(
    service: Live, kind: str | None, page: dict[str, str]
) -> None:
    """A browser sends these types without asking the service first."""
    named = {} if kind is None else {"content_type": kind}
    assert (await post(service, THING, **named, **page)).status_code == 415


async def test_a_missing_body_is_missing_whatever_its_type(service: Live) -> None:
    answer = await post(service, b"", content_type="image/png")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"loc": ["body"], "msg": "this field is missing"}]


async def test_a_byte_order_mark_is_skipped(service: Live) -> None:
    assert (await post(service, BYTE_ORDER_MARK + THING)).status_code == 200


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(THING, mtime=0)),
        ("x-gzip", gzip.compress(THING, mtime=0)),
        ("GZIP", gzip.compress(THING, mtime=0)),
        ("gzip", gzip.compress(THING[:5], mtime=0) + gzip.compress(THING[5:], mtime=0)),
        ("deflate", zlib.compress(THING)),
        ("deflate", RAW_DEFLATE),
        ("identity", THING),
    ],
)
async def test_a_compressed_body_is_unpacked(service: Live, coding: str, body: bytes) -> None:
    answer = await post(service, body, content_encoding=coding)
    assert (answer.status_code, answer.json()["name"]) == (200, "ada")
    fast = await post(service, body, "/fast", content_encoding=coding)
    assert (fast.status_code, fast.text) == (202, str(len(THING)))


async def test_a_compressed_body_may_come_byte_by_byte(service: Live) -> None:
    async def bytes_of(body: bytes) -> AsyncIterator[bytes]:
        for byte in body:
            yield bytes([byte])

    for coding, body in (("gzip", gzip.compress(THING, mtime=0)), ("deflate", RAW_DEFLATE)):
        answer = await service.http.post(
            "/fast", content=bytes_of(body), headers={"content-encoding": coding}
        )
        assert answer.text == str(len(THING))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "odd"])
async def test_another_encoding_is_415_that_names_those_there_are(service: Live, coding: str) -> None:
    answer = await post(service, THING, content_encoding=coding)
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("path", ["/things", "/fast"])
@pytest.mark.parametrize(
    ("coding", "body", "text"),
    [
        ("gzip", THING, "is broken"),
        ("gzip", gzip.compress(THING, mtime=0)[:-4], "ends too early"),
        ("gzip", gzip.compress(THING, mtime=0) + b"more", "is broken"),
        ("deflate", zlib.compress(THING) + b"more", "is broken"),
        ("gzip", b"", "ends too early"),
    ],
)
async def test_a_broken_one_is_400(service: Live, path: str, coding: str, body: bytes, text: str) -> None:
    answer = await post(service, body, path, content_encoding=coding)
    assert answer.status_code == 400
    assert text in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/things", "/fast"])
async def test_a_body_that_grows_over_the_limit_is_413(service: Live, path: str) -> None:
    assert len(gzip.compress(b" " * LIMIT)) < 100
    for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        taken = await post(service, pack(b" " * (LIMIT - len(THING)) + THING), path, content_encoding=coding)
        assert taken.status_code in (200, 202)
        answer = await post(service, pack(b" " * (LIMIT + 1)), path, content_encoding=coding)
        assert answer.status_code == 413
        assert answer.json()["detail"] == f"The body may have {LIMIT} bytes (MAX_BODY_BYTES)."


async def test_a_zip_bomb_takes_no_memory(service: Live) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100))[: LIMIT - 1]
    tracemalloc.start()
    answer = await post(service, bomb, content_encoding="deflate")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 413
    assert peak < 1 << 20
