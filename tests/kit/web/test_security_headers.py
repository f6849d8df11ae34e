"""Every response tells browsers what it may do; the documentation runs its own scripts and no other."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from tests.kit.apps import Live

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.mark.parametrize(
    "path", ["/", "/things/1", "/problem", "/fails", "/nothing", "/metrics", "/health", "/docs", "/redoc"]
)
async def test_every_response_has_the_headers(path: str, service: Live) -> None:
    headers = (await service.http.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


async def test_a_response_that_is_no_page_may_load_nothing(service: Live) -> None:
    policy = (await service.http.get("/things/1")).headers["content-security-policy"]
    assert {part.split()[1] for part in policy.split("; ")} == {"'none'"}


async def test_the_number_of_the_script_changes_with_each_response(service: Live) -> None:
    pages = [await service.http.get("/docs") for _ in range(2)]
    numbers = [re.findall(r'nonce="([^"]+)"', page.text) for page in pages]
    assert all(len(found) == 1 for found in numbers)
    assert numbers[0] != numbers[1]
    for page, (number,) in zip(pages, numbers, strict=True):
        assert f"'nonce-{number}'" in page.headers["content-security-policy"]


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield await browser.new_page()
        await browser.close()


@pytest.mark.needs("chromium")
@pytest.mark.parametrize(
    ("path", "shown"), [("/docs", ".opblock-summary-path"), ("/redoc", "h2:has-text('Make')")]
)
async def test_the_documentation_runs_in_a_browser_without_another_website(
    page: Page, service: Live, path: str, shown: str
) -> None:
    complaints: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((service.running.url, "data:", "blob:"))
            else elsewhere.append(request.url)
        ),
    )
    await page.goto(f"{service.running.url}{path}")
    await page.locator(shown).first.wait_for()
    await page.wait_for_load_state("networkidle")
    assert (complaints, elsewhere) == ([], [])


async def test_the_files_of_the_documentation_are_the_named_ones(service: Live) -> None:
    script = await service.http.get("/docs/files/redoc.standalone.js")
    assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "https://cdn.redoc.ly" not in script.text
    for name in ("index.html", "..%2f__init__.py", "core.py"):
        assert (await service.http.get(f"/docs/files/{name}")).status_code == 404
