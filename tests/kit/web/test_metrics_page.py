"""The metrics page in the formats and the compression that a scraper asks for."""

import gzip

import httpx

from tests.kit.apps import Live

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


async def scrape(service: Live, accept: str, encoding: str) -> tuple[httpx.Response, bytes]:
    """The response and its body as it was sent."""
    headers = {"accept": accept, "accept-encoding": encoding}
    async with service.http.stream("GET", "/metrics", headers=headers) as answer:
        return answer, b"".join([piece async for piece in answer.aiter_raw()])


def series(page: bytes) -> list[str]:
    """Each line without its value, which changes from one scrape to the next."""
    return [line.rpartition(" ")[0] for line in page.decode().splitlines()]


async def test_a_scraper_that_accepts_gzip_gets_the_same_page_compressed(service: Live) -> None:
    _, plain = await scrape(service, "text/plain", "identity")
    answer, packed = await scrape(service, "text/plain", "gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert series(gzip.decompress(packed)) == series(plain)
    assert len(packed) < len(plain) / 3


async def test_a_scraper_that_does_not_accept_gzip_gets_plain_text(service: Live) -> None:
    answer, page = await scrape(service, "*/*", "identity")
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert page.startswith(b"# HELP ")


async def test_a_cache_keeps_the_formats_apart(service: Live) -> None:
    answer, _ = await scrape(service, "text/plain", "gzip")
    assert answer.headers["vary"] == "Accept, Accept-Encoding"


async def test_openmetrics_is_compressed_too(service: Live) -> None:
    answer, page = await scrape(service, OPENMETRICS, "gzip")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert gzip.decompress(page).endswith(b"# EOF\n")
