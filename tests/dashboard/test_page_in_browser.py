"""The page as a person sees it, in Chromium."""

import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, WebSocketRoute, async_playwright, expect
from starlette.responses import JSONResponse

from services.dashboard.app import create_app
from services.kit.clock import rfc3339
from services.kit.runner import Running, running
from tests.dashboard.conftest import Settings
from tests.dashboard.suite import PASSWORD, START, Suite, incident

NOTHING = "\N{EN DASH}"
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS.split())
        yield made
        await made.close()


@pytest.fixture
async def up(suite: Suite, make_settings: Settings) -> AsyncIterator[Running]:
    links = {"jaeger_ui_url": "http://localhost:16686", "sandbox_ui_url": "http://localhost:8083"}
    async with running(create_app, make_settings(suite.url, **links)) as running_dashboard:
        yield running_dashboard


@pytest.fixture
async def page(browser: Browser, up: Running) -> AsyncIterator[Page]:
    """The page after the login, with its first numbers; an error in the browser's console fails the test."""
    complaints: list[str] = []
    made = await browser.new_page(viewport={"width": 1400, "height": 900})
    made.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    await log_in(made, up.url)
    yield made
    await made.close()
    # The page shows refusals of the server; this is about broken scripts and blocked content.
    assert [text for text in complaints if "Failed to load resource" not in text] == []


async def log_in(page: Page, url: str) -> None:
    await page.goto(f"{url}/dashboard/")
    await page.get_by_label("Name").fill("admin")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator(".pulse")).to_have_text("Live")


async def test_a_wrong_password_is_told_and_the_right_one_lets_in_and_out(
    browser: Browser, dashboard: Running
) -> None:
    page = await browser.new_page()
    await page.goto(f"{dashboard.url}/dashboard/")
    await page.get_by_label("Name").fill("admin")
    await page.get_by_label("Password").fill("guess")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("That name or password is not right.")
    await log_in(page, dashboard.url)
    await page.get_by_role("button", name="Log out").click()
    await expect(page).to_have_url(f"{dashboard.url}/login")
    await page.goto(f"{dashboard.url}/dashboard/")
    await expect(page).to_have_url(f"{dashboard.url}/login")


async def test_before_anything_happened_no_number_is_made_up(page: Page) -> None:
    await expect(page.get_by_label("Delivery rate").locator(".big")).to_have_text(f"{NOTHING} %")
    await expect(page.get_by_label("Time to deliver").first.locator("dd").first).to_have_text(NOTHING)
    await expect(page.get_by_text("No message was accepted yet")).to_be_visible()
    await expect(page.get_by_label("Incidents")).to_contain_text("None so far")


async def test_the_numbers_change_when_a_message_comes_in(page: Page, suite: Suite) -> None:
    waiting = page.get_by_label("Waiting", exact=True)
    await expect(waiting.locator(".big")).to_have_text("0")
    message_id = suite.accept("Build finished")
    await expect(waiting.locator(".big")).to_have_text("1")
    row = page.get_by_role("row", name="Build finished")
    await expect(row).to_contain_text("queued")
    suite.deliver(message_id)
    await expect(waiting.locator(".big")).to_have_text("0")
    await expect(row).to_contain_text("delivered")
    await expect(row).to_contain_text("120 ms")
    await expect(page.get_by_label("Delivery rate").locator(".big")).to_have_text("100 %")
    await expect(page.get_by_role("img", name="now accepted")).to_be_visible()


async def test_a_service_that_gets_worse_is_told_in_the_header(page: Page, suite: Suite) -> None:
    verdict = page.locator(".verdict")
    await expect(verdict).to_have_text("All services healthy")
    suite.health["bridge"]["status"] = "degraded"
    suite.health["bridge"]["components"]["message_queue"]["status"] = "degraded"
    await expect(verdict).to_have_text(f"Degraded {NOTHING} bridge: message queue")
    await page.locator(".service summary").first.click()
    await expect(page.locator(".part", has_text="telegram api")).to_contain_text("45 ms")
    suite.instead["/bridge/health"] = JSONResponse({}, 500)
    await expect(verdict).to_have_text(f"Critical {NOTHING} bridge: answered 500")


async def test_messages_are_found_by_status_and_by_words(page: Page, suite: Suite) -> None:
    for number in range(3):
        suite.accept(f"Build {number}")
    suite.deliver(suite.accept("Deploy"))
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(4)
    await page.get_by_label("Status").select_option("queued")
    await expect(rows).to_have_count(3)
    await page.get_by_label("Search titles").fill("build 1")
    await expect(rows).to_have_count(1)
    suite.accept("Build 1 again")
    await expect(rows).to_have_count(2)
    await page.get_by_label("Search titles").fill("nothing like it")
    await expect(page.get_by_text("No message matches")).to_be_visible()
    await page.get_by_label("Search titles").fill("")
    await page.get_by_label("Status").select_option("")
    await expect(rows).to_have_count(5)


async def test_older_messages_are_shown_when_asked_for(page: Page, suite: Suite) -> None:
    for number in range(60):
        suite.accept(f"Build {number}")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_role("button", name="Show older").click()
    await expect(rows).to_have_count(60)
    await expect(rows.last).to_contain_text("Build 0")
    suite.accept("Build 60")
    await expect(rows.first).to_contain_text("Build 60")
    await expect(rows).to_have_count(61)


async def test_a_message_opens_with_its_life_and_closes_by_key(page: Page, suite: Suite) -> None:
    message_id = suite.accept("Build finished")
    await page.get_by_role("button", name="Build finished").focus()
    await page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog")
    await expect(drawer.locator(".timeline li")).to_have_count(1)
    suite.deliver(message_id)
    await expect(drawer.locator(".timeline li")).to_have_count(4)
    await expect(drawer).to_contain_text("Attempt 1 sent")
    await expect(drawer).to_contain_text("took 60 ms · waited for the limiter 41 ms")
    trace = drawer.get_by_role("link", name="Trace in Jaeger")
    await expect(trace).to_have_attribute("href", f"http://localhost:16686/trace/{1:032x}")
    chat = drawer.get_by_role("link", name="Chat in the sandbox")
    await expect(chat).to_have_attribute("href", "http://localhost:8083/#1001")
    assert page.url.endswith(f"#message/{message_id}")
    await page.keyboard.press("Escape")
    await expect(drawer).to_have_count(0)


async def test_a_message_can_be_linked_to_and_back_closes_it(page: Page, suite: Suite, up: Running) -> None:
    message_id = suite.accept("Build finished")
    await page.goto(f"{up.url}/dashboard/#message/{message_id}")
    await expect(page.get_by_role("dialog")).to_contain_text("Build finished")
    await page.go_back()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.goto(f"{up.url}/dashboard/#message/0199-9999")
    await expect(page.get_by_role("dialog")).to_contain_text("There is no message with this id.")


async def test_text_of_a_message_is_never_markup(page: Page, suite: Suite) -> None:
    suite.accept("<img src=x onerror=alert(1)><b>bold</b>")
    await expect(page.get_by_role("row", name="<b>bold</b>")).to_be_visible()
    assert await page.locator("tbody img, tbody b").count() == 0


async def test_a_bridge_that_never_answered_is_not_said_to_be_idle(
    page: Page, suite: Suite, up: Running
) -> None:
    quiet = page.get_by_label("Delivery rate")
    await expect(quiet).to_contain_text("none finished")
    await page.route_web_socket("**/api/live", _withhold_flow)
    await page.reload()
    await expect(page.locator(".notice")).to_contain_text("The bridge has not told its numbers yet")
    await expect(quiet).not_to_contain_text("none finished")
    await expect(page.get_by_label("Time to deliver").first).not_to_contain_text("nothing delivered")


def _withhold_flow(socket: WebSocketRoute) -> None:
    """The update has no flow, as before the first answer of the bridge."""
    server = socket.connect_to_server()

    def without_flow(text: str | bytes) -> None:
        update = json.loads(text)
        update["state"]["flow"] = dict.fromkeys(update["state"]["flow"]) | {"fresh": False}
        socket.send(json.dumps(update))

    server.on_message(without_flow)


async def test_numbers_that_grew_old_are_shown_as_old(page: Page, suite: Suite) -> None:
    suite.accept("Build finished")
    await expect(page.get_by_label("Waiting", exact=True).locator(".big")).to_have_text("1")
    suite.instead["/bridge/api/v1/stats"] = JSONResponse({}, 500)
    await expect(page.locator(".notice")).to_contain_text("The bridge last told its numbers")
    await expect(page.locator(".notice")).to_contain_text("answered 500")
    await expect(page.locator(".tiles.stale")).to_be_visible()
    await expect(page.get_by_label("Waiting", exact=True).locator(".big")).to_have_text("1")
    suite.instead.clear()
    await expect(page.locator(".notice")).to_have_count(0)


async def test_a_page_that_lost_the_dashboard_says_since_when_and_comes_back(
    browser: Browser, suite: Suite, make_settings: Settings
) -> None:
    page = await browser.new_page()
    async with running(create_app, make_settings(suite.url)) as first:
        await log_in(page, first.url)
        port = int(first.url.rpartition(":")[2])
    await expect(page.locator(".pulse")).to_contain_text("Stale since")
    await expect(page.locator("main.stale")).to_be_visible()
    async with running(create_app, make_settings(suite.url, port=port)):
        await expect(page.locator(".pulse")).to_have_text("Live", timeout=20_000)
        await expect(page.locator("main.stale")).to_have_count(0)


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (1000, 800), (768, 1024), (375, 700)])
async def test_no_window_is_too_narrow(page: Page, suite: Suite, width: int, height: int) -> None:
    suite.accept("A title that is rather long, so that it would not fit on one line of a telephone at all")
    suite.health["bridge"]["components"]["redis"] = {"status": "unhealthy", "error": "x" * 200}
    await expect(page.get_by_role("row", name="A title")).to_be_visible()
    await page.set_viewport_size({"width": width, "height": height})
    await page.locator(".service summary").first.click()
    overflow = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow == 0
    await page.get_by_role("button", name="A title").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    box = await page.get_by_role("dialog").bounding_box()
    assert box is not None
    assert round(box["width"]) <= width


async def test_what_people_identify_things_by_is_not_cut(page: Page, suite: Suite) -> None:
    suite.accept("To the team", chat_id=-1001234567890, finished_at=rfc3339(START + 5000))
    suite.incidents.append(incident(alertname="HighErrorRate" * 6))
    row = page.get_by_role("row", name="To the team")
    await expect(row).to_be_visible()
    incident_name = page.get_by_label("Incidents").locator(".name")
    await expect(incident_name).to_be_visible()
    await expect(page.locator(".verdict")).to_contain_text("1 open incident")
    for each in (row.locator(".c-chat"), row.locator(".c-number").last, incident_name):
        assert await each.evaluate("each => each.scrollWidth - each.clientWidth") == 0


async def test_a_message_that_waits_says_for_what(page: Page, suite: Suite) -> None:
    message_id = suite.accept("Build finished", status="retry_wait")
    suite.histories[message_id]["next_attempt_at"] = "2030-01-02T00:00:00Z"
    await page.get_by_role("button", name="Build finished").click()
    await expect(page.get_by_role("dialog").locator(".about")).to_contain_text("next attempt")


async def test_what_the_keyboard_reaches_is_not_behind_the_header(page: Page, suite: Suite) -> None:
    for number in range(40):
        suite.accept(f"Build {number}")
    first = page.get_by_role("button", name="Build 39")
    await expect(first).to_be_visible()
    await page.locator("tbody button").last.focus()
    while not await first.evaluate("each => each === document.activeElement"):
        await page.keyboard.press("Shift+Tab")
    header, box = await page.locator("header").bounding_box(), await first.bounding_box()
    assert header is not None
    assert box is not None
    assert box["y"] >= header["y"] + header["height"]


async def test_a_page_that_cannot_connect_says_so(browser: Browser, up: Running) -> None:
    page = await browser.new_page()
    await page.route_web_socket("**/api/live", lambda socket: socket.close())
    await page.goto(f"{up.url}/dashboard/")
    await page.get_by_label("Name").fill("admin")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("The dashboard cannot be reached: trying again…")


async def test_nothing_jumps_while_numbers_change(page: Page, suite: Suite) -> None:
    boxes = """[...document.querySelectorAll('.tile, .chart, .messages, th')]
        .map((element) => element.getBoundingClientRect().toJSON())"""
    await expect(page.get_by_text("No message was accepted yet")).to_be_visible()
    before = await page.evaluate(boxes)
    for _ in range(3):
        suite.deliver(suite.accept("Build finished"))
    suite.stats |= {
        "accepted_total": 1_234_567,
        "rates": {"accepted_per_second": 1234.5, "delivered_per_second": 0.001},
        "queue": {"queued": 12_345, "sending": 30, "retry_wait": 999},
        "oldest_message_age_seconds": 4000.0,
        "latency_seconds": {"p50": 0.12, "p95": 75.0, "p99": 7300.0},
    }
    await expect(page.get_by_label("Waiting", exact=True).locator(".big")).to_have_text("13,374")
    after = await page.evaluate(boxes)
    places = [[(box["x"], box["y"], box["width"]) for box in found] for found in (before, after)]
    assert places[0] == places[1]
