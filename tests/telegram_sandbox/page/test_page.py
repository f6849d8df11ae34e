"""The page: its JSON, its stream, and what a browser shows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import aiohttp
import orjson
import pytest
from playwright.async_api import Page, async_playwright, expect
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, InputMediaPhoto

from services.telegram_sandbox.control.api import MOST_WAITING
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.images import png
from tests.servers import BOT_ID
from tests.telegram_sandbox.conftest import ADA, CI_TOPIC, GRACE, OPERATIONS, TEAM, SandboxServer, soon, until

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
APPROVE = InlineKeyboardMarkup(
    [
        [
            InlineKeyboardButton("Approve", callback_data="yes"),
            InlineKeyboardButton("Docs", url="https://example.org/"),
        ]
    ]
)


async def test_a_browser_gets_the_page_and_other_clients_get_json(server: SandboxServer) -> None:
    async with server.http.get(server.url, headers=BROWSER) as answer:
        assert answer.content_type == "text/html"
        policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert (await server.get("/"))["name"] == "telegram-sandbox"


async def test_only_the_page_s_files_are_served(server: SandboxServer) -> None:
    for name, kind in (
        ("page.js", "text/javascript"),
        ("page.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ):
        async with server.http.get(f"{server.url}/page/{name}") as answer:
            assert (answer.status, answer.content_type) == (200, kind)
    for name in ("index.html", "..%2Fapp.py", "app.py"):
        async with server.http.get(f"{server.url}/page/{name}") as answer:
            assert answer.status == 404


async def test_the_chat_with_the_latest_message_comes_first(server: SandboxServer, bot: Bot) -> None:
    for chat in (GRACE, TEAM, ADA):
        await bot.send_message(chat, f"to {chat}")
        await server.advance(1)
    found = await server.get("/api/chats")
    assert [chat["id"] for chat in found["chats"]] == [ADA, TEAM, GRACE, OPERATIONS]
    assert found["chats"][0]["last"]["message"]["text"] == f"to {ADA}"


async def test_chats_are_searched_by_title_or_id(server: SandboxServer) -> None:
    assert [chat["id"] for chat in (await server.get("/api/chats?q=gra"))["chats"]] == [GRACE]
    assert [chat["id"] for chat in (await server.get(f"/api/chats?q={TEAM}"))["chats"]] == [TEAM]
    limited = await server.get("/api/chats?limit=1")
    assert (limited["total"], len(limited["chats"])) == (4, 1)


async def test_messages_are_read_page_by_page_backwards(server: SandboxServer) -> None:
    for n in range(5):
        await server.result("sendMessage", chat_id=ADA, text=str(n))
    last = await server.get(f"/api/chats/{ADA}/messages?limit=2")
    assert [m["message"]["text"] for m in last["messages"]] == ["3", "4"]
    assert last["more"] is True
    first = last["messages"][0]["message"]["message_id"]
    before = await server.get(f"/api/chats/{ADA}/messages?limit=3&before={first}")
    assert [m["message"]["text"] for m in before["messages"]] == ["0", "1", "2"]
    assert before["more"] is False


async def test_a_missing_chat_is_not_found(server: SandboxServer) -> None:
    async with server.http.get(f"{server.url}/api/chats/5/messages") as answer:
        assert answer.status == 404


async def test_a_document_is_downloaded_under_its_own_name(server: SandboxServer, bot: Bot) -> None:
    await bot.send_document(ADA, b"data", filename="büild.txt", disable_notification=True)
    (shown,) = (await server.get(f"/api/chats/{ADA}/messages"))["messages"]
    assert shown["silent"] is True
    async with server.http.get(server.url + shown["file"]["url"]) as answer:
        assert await answer.read() == b"data"
        assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''b%C3%BCild.txt"
        assert answer.content_type == "application/octet-stream"
    for path in ("documents/nothing.txt", "../log.jsonl", "log.jsonl"):
        async with server.http.get(f"{server.url}/api/files/{path}") as answer:
            assert answer.status == 404


async def next_event(stream: aiohttp.ClientResponse) -> dict[str, object]:
    while True:
        line = await soon(stream.content.readline())
        if line.startswith(b"data: "):
            event: dict[str, object] = orjson.loads(line[6:])
            return event


async def test_the_stream_names_the_changed_chats(server: SandboxServer, bot: Bot) -> None:
    async with server.http.get(f"{server.url}/api/stream") as stream:
        await soon(stream.content.readline())
        await asyncio.gather(bot.send_message(ADA, "x"), bot.send_message(TEAM, "x"))
        assert await next_event(stream) == {"all": False, "chats": [TEAM, ADA], "answers": []}


async def test_a_stream_that_fell_behind_gets_all_changed(server: SandboxServer) -> None:
    async with server.http.get(f"{server.url}/api/stream") as stream:
        await soon(stream.content.readline())
        await server.control("/chats/range", {"first_id": 100_000, "count": 6_000})
        assert (await next_event(stream))["all"] is True


@pytest.fixture
async def page(any_page: Page) -> AsyncIterator[Page]:
    """A browser's page; an error in its console fails the test."""
    complaints: list[str] = []
    any_page.on(
        "console", lambda message: complaints.append(message.text) if message.type == "error" else None
    )
    any_page.on("pageerror", lambda error: complaints.append(str(error)))
    yield any_page
    assert complaints == []


@pytest.fixture
async def any_page() -> AsyncIterator[Page]:
    """A browser's page, which may have errors."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield await browser.new_page()
        await browser.close()


async def visit(page: Page, server: SandboxServer, chat_id: int) -> None:
    await page.goto(f"{server.url}/#{chat_id}")
    await expect(page.locator("#live")).to_have_text("live")


async def test_formatting_is_shown_and_text_is_never_interpreted_as_markup(
    server: SandboxServer, bot: Bot, page: Page
) -> None:
    evil = "<img src=x onerror=alert(1)>"
    await bot.send_message(
        ADA,
        f"<b>bold</b> <i>it</i> <code>{evil.replace('<', '&lt;')}</code> <tg-spoiler>secret</tg-spoiler> "
        "<a href='https://example.org'>link</a><pre><code class='language-py'>x = 1</code></pre>",
        parse_mode="HTML",
    )
    await server.control(f"/chats/{ADA}/say", {"text": evil})
    await visit(page, server, ADA)
    body = page.locator(".message:not(.mine) .body")
    await expect(body.locator("strong")).to_have_text("bold")
    await expect(body.locator("em")).to_have_text("it")
    await expect(body.locator("code")).to_have_text(evil)
    await expect(body.locator("pre")).to_have_attribute("data-language", "py")
    await expect(body.locator("a")).to_have_attribute("href", "https://example.org/")
    await expect(page.locator("#messages img")).to_have_count(0)
    spoiler = body.locator(".spoiler")
    await expect(spoiler).to_have_attribute("aria-expanded", "false")
    await spoiler.click()
    await expect(spoiler).to_have_attribute("aria-expanded", "true")


async def test_a_button_is_tapped_and_the_toast_and_the_edit_appear(
    server: SandboxServer, bot: Bot, page: Page
) -> None:
    message = await bot.send_message(ADA, "Deploy?", reply_markup=APPROVE)
    await visit(page, server, ADA)
    await expect(page.locator(".keys a")).to_have_attribute("href", "https://example.org/")
    await page.get_by_role("button", name="Approve").click()
    (update,) = await soon(bot.get_updates(timeout=5))
    assert update.callback_query is not None
    await update.callback_query.answer("Thank you, Ada")
    await bot.edit_message_text("Deployed", ADA, message.message_id)
    await expect(page.locator("#toast")).to_have_text("Thank you, Ada")
    await expect(page.locator(".message .body")).to_contain_text("Deployed")
    await expect(page.locator(".message .meta")).to_contain_text("edited")
    await expect(page.locator(".keys")).to_have_count(0)


async def test_an_answer_with_show_alert_opens_a_dialog(server: SandboxServer, bot: Bot, page: Page) -> None:
    await bot.send_message(ADA, "Deploy?", reply_markup=APPROVE)
    await visit(page, server, ADA)
    await page.get_by_role("button", name="Approve").click()
    (update,) = await soon(bot.get_updates(timeout=5))
    assert update.callback_query is not None
    await update.callback_query.answer("Really?", show_alert=True)
    await expect(page.locator("dialog")).to_contain_text("Really?")
    await page.get_by_role("button", name="OK").click()
    await expect(page.locator("dialog")).to_be_hidden()


async def test_a_person_writes_in_a_topic_and_the_bot_gets_the_update(
    server: SandboxServer, bot: Bot, page: Page
) -> None:
    await bot.send_message(OPERATIONS, "Pipeline red", message_thread_id=CI_TOPIC)
    await bot.send_message(OPERATIONS, "General news")
    await visit(page, server, OPERATIONS)
    await page.get_by_role("button", name="CI", exact=True).click()
    await expect(page.locator(".message")).to_have_count(1)
    await page.get_by_label("Write as").select_option("Grace")
    await page.get_by_placeholder("Message").fill("Looking at it")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.mine .body")).to_contain_text("Looking at it")
    (update,) = await soon(bot.get_updates(timeout=5))
    assert update.message is not None
    assert update.message.from_user is not None
    assert (update.message.text, update.message.message_thread_id) == ("Looking at it", CI_TOPIC)
    assert update.message.from_user.first_name == "Grace"


async def test_new_messages_appear_live_and_other_chats_show_a_count(
    server: SandboxServer, bot: Bot, page: Page
) -> None:
    await visit(page, server, ADA)
    await bot.send_message(ADA, "live")
    await expect(page.locator(".message .body")).to_contain_text("live")
    await bot.send_message(GRACE, "for Grace")
    await expect(page.locator("#chats button", has_text="Grace").locator(".unread")).to_have_text("1")


async def test_a_person_replies_to_a_message(server: SandboxServer, bot: Bot, page: Page) -> None:
    asked = await bot.send_message(OPERATIONS, "Deploy?", message_thread_id=CI_TOPIC)
    await visit(page, server, OPERATIONS)
    await page.locator(".message", has_text="Deploy?").hover()
    await page.get_by_role("button", name="Reply", exact=True).click()
    await expect(page.locator("#replying")).to_contain_text("Deploy?")
    await page.keyboard.type("not on a Friday")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.mine .quote")).to_have_text("Deploy?")
    await expect(page.locator("#replying")).to_be_hidden()
    (update,) = await soon(bot.get_updates(timeout=5))
    assert update.message is not None
    assert update.message.reply_to_message is not None
    assert update.message.reply_to_message.message_id == asked.message_id
    assert update.message.message_thread_id == CI_TOPIC


async def test_a_reaction_is_shown_and_removed(server: SandboxServer, bot: Bot, page: Page) -> None:
    await server.control(f"/chats/{ADA}/say", {"text": "hello"})
    (update,) = await soon(bot.get_updates(timeout=5))
    assert update.message is not None
    await visit(page, server, ADA)
    await update.message.set_reaction("👌")
    await expect(page.locator(".mine .reaction")).to_have_text("👌")
    await update.message.set_reaction()
    await expect(page.locator(".reaction")).to_have_count(0)


async def test_a_document_is_a_link_and_a_silent_message_is_marked(
    server: SandboxServer, bot: Bot, page: Page
) -> None:
    await bot.send_document(ADA, b"x" * 2048, filename="build.log", disable_notification=True)
    await visit(page, server, ADA)
    await expect(page.locator(".document")).to_contain_text("build.log")
    await expect(page.locator(".document")).to_contain_text("2.0 KB")
    await expect(page.get_by_role("img", name="Sent without a sound")).to_be_visible()


async def test_an_album_is_one_message_and_a_spoiler_stays_covered_in_its_frame(
    server: SandboxServer, bot: Bot, page: Page
) -> None:
    photos = (png(600, 200), png(200, 600))
    album = [InputMediaPhoto(each, has_spoiler=number == 1) for number, each in enumerate(photos)]
    await bot.send_media_group(ADA, album, caption="Coverage")
    await visit(page, server, ADA)
    pictures = page.locator(".message .album .picture")
    await expect(pictures).to_have_count(2)
    await expect(page.locator(".message", has=page.locator(".picture"))).to_contain_text("Coverage")
    for number in range(2):
        await expect(pictures.nth(number).locator("img")).to_have_js_property("complete", value=True)
        assert await pictures.nth(number).locator("img").evaluate("image => image.naturalWidth") > 0
    await expect(pictures.nth(1)).to_have_class("picture covered")
    await expect(pictures.nth(1)).to_have_css("overflow", "hidden")


async def test_a_phone_shows_the_list_or_one_chat(server: SandboxServer, page: Page) -> None:
    await page.set_viewport_size({"width": 390, "height": 780})
    await page.goto(server.url)
    await expect(page.locator("#chats button")).to_have_count(4)
    await expect(page.locator("main")).to_be_hidden()
    await page.locator("#chats button", has_text="Grace").click()
    await expect(page.locator("#title")).to_have_text("Grace")
    await expect(page.locator("aside")).to_be_hidden()
    await page.get_by_role("button", name="Back to chats").click()
    await expect(page.locator("aside")).to_be_visible()


async def test_so_many_streams_may_be_open_and_no_more(server: SandboxServer) -> None:
    """A stream needs no key and has no end."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(server.url, connector=connector))
        for _ in range(MOST_WAITING):
            await stack.enter_async_context(http.get("/api/stream"))
        await until(lambda: server.sandbox.event_log.waiting == MOST_WAITING)
        for path in ("/api/stream", "/control/log?wait=1&cursor=100"):
            refused = await stack.enter_async_context(http.get(path))
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5"), path
        assert (await server.get("/api/chats"))["total"] > 0


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/api/chats", "/control/limits", "/docs"])
async def test_every_answer_keeps_other_peoples_code_out(server: SandboxServer, path: str) -> None:
    async with server.http.get(server.url + path, headers=BROWSER) as answer:
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/control/reset"),
        ("POST", f"/control/bots/{BOT_ID}/freeze"),
        ("POST", f"/control/chats/{ADA}/block"),
        ("GET", f"/bot{DEFAULT_TOKEN}/sendMessage?chat_id={ADA}&text=phish"),
        ("POST", f"/bot{DEFAULT_TOKEN}/deleteWebhook"),
        ("GET", "/api/chats"),
        ("GET", "/api/stream"),
    ],
)
async def test_another_website_can_change_and_read_nothing(
    server: SandboxServer, verb: str, path: str
) -> None:
    for headers in (
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:8083", "Origin": "http://evil.example:8083"},
    ):
        async with server.http.request(verb, server.url + path, headers=headers) as answer:
            assert answer.status == (421 if "Host" in headers else 403), headers
    assert (await server.get(f"/api/chats/{ADA}/messages"))["messages"] == []


async def test_a_page_of_another_site_cannot_reset_the_sandbox_from_a_browser(
    server: SandboxServer, bot: Bot, any_page: Page
) -> None:
    await bot.send_message(ADA, "here to stay")

    async def evil(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A connection that is closed before its request is read is reset; the browser also opens idle ones.
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>evil")
        writer.close()

    async with await asyncio.start_server(evil, "127.0.0.1", 0) as site:
        await any_page.goto(f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}/")
        for path in ("/control/reset", f"/bot{DEFAULT_TOKEN}/logOut"):
            sent = f"fetch('{server.url}{path}', {{method: 'POST', mode: 'no-cors'}}).then(() => true)"
            assert await any_page.evaluate(sent)
    shown = await server.get(f"/api/chats/{ADA}/messages")
    assert [each["message"]["text"] for each in shown["messages"]] == ["here to stay"]
