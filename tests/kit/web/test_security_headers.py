"""Every response tells browsers what it may do; the documentation runs its own scripts and no other."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, Route, async_playwright

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
@pytest.mark.parametrize(("path", "done"), [("/docs", "'/openapi.json'"), ("/redoc", "'redoc'")])
async def test_the_documentation_runs_in_a_browser(page: Page, service: Live, path: str, done: str) -> None:
    """Its files come from elsewhere; here the test serves them."""
    script = """
        window.blocked = [];
        document.addEventListener("securitypolicyviolation", event => blocked.push(event.violatedDirective));
        window.SwaggerUIBundle = options => { window.done = options.url; };
        window.SwaggerUIBundle.presets = {};
        if (document.querySelector("redoc")) window.done = "redoc";
    """

    async def serve(route: Route) -> None:
        is_script = route.request.resource_type == "script"
        kind = "text/javascript" if is_script else "text/css"
        await route.fulfill(body=script if is_script else "", content_type=kind)

    await page.route(re.compile("^https://"), serve)
    await page.goto(f"{service.running.url}{path}")
    await page.wait_for_function(f"window.done === {done}")
    assert await page.evaluate("window.blocked") == []
