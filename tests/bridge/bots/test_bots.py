"""Several bots on one bridge: named by events, routes and questions; each listens and answers for itself."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import orjson
import pytest

from services.bridge import paid_broadcast
from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, TEAM, Bridge, People, bridge_of, buttons
from tests.bridge.tracking.test_stream import following
from tests.conftest import BridgeFactory
from tests.ports import free_port
from tests.servers import BOT_ID, until

ALERTS_TOKEN = "1000000002:another-token-of-the-tests"
ALERTS = 1_000_000_002


@pytest.fixture(autouse=True)
async def _two_bots(people: People) -> None:
    await people.sandbox.post("/bots", {"token": ALERTS_TOKEN})


def written(**more: Any) -> str:
    return orjson.dumps({"alerts": {"token": ALERTS_TOKEN} | more}).decode()


@pytest.fixture
def settings(bridge_settings: BridgeFactory, database_url: str) -> BridgeSettings:
    return bridge_settings(
        database_url=database_url,
        telegram_chat_ids=[ADA],
        telegram_allowed_users=[ADA, GRACE],
        telegram_bots=written(chat_ids=[GRACE]),
    )


@pytest.fixture
async def quick(bridge_settings: BridgeFactory) -> AsyncIterator[Bridge]:
    """On SQLite alone, for what no database changes."""
    chosen = bridge_settings(telegram_allowed_users=[ADA, GRACE], telegram_bots=written(chat_ids=[GRACE]))
    async with bridge_of(chosen) as running:
        yield running


async def components(bridge: Bridge) -> dict[str, Any]:
    return dict((await bridge.client.get("/health")).json()["components"])


async def until_level(bridge: Bridge, name: str, level: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = (await components(bridge)).get(name, {})
        return found if found.get("status") == level else None

    found = await until(look)
    assert found is not None
    return found


async def senders(people: People, chat_id: int) -> dict[str, int]:
    """The text of each message of a chat, and the bot that sent it."""
    return {call["text"]: call["bot"] for call in await people.sandbox.delivered(chat_id)}


async def test_an_event_names_its_bot_and_goes_to_that_ones_chats(talk: Bridge, people: People) -> None:
    named = await talk.post(title="by alerts", bot="alerts")
    plain = await talk.post(title="by the default one")
    also = await talk.post(title="to Ada", bot="alerts", chat_id=ADA)
    for posted in (named, plain, also):
        await talk.until_message(posted["message_ids"][0], "delivered")
    told = {
        text.splitlines()[0]: bot
        for chat in (ADA, GRACE)
        for text, bot in (await senders(people, chat)).items()
    }
    assert {bot for text, bot in told.items() if "alerts" in text or "Ada" in text} == {ALERTS}
    assert {bot for text, bot in told.items() if "default" in text} == {BOT_ID}
    found = await talk.message(named["message_ids"][0])
    assert (found["bot"], found["chat_id"]) == ("alerts", GRACE)
    page = await talk.client.get("/api/v1/messages", params={"bot": "alerts"})
    assert {item["id"] for item in page.json()["items"]} == {*named["message_ids"], *also["message_ids"]}


async def test_a_bot_that_is_not_there_is_refused_by_the_field(quick: Bridge) -> None:
    for body, place in (
        ({"type": "info_notification", "title": "t", "bot": "nobody"}, ["bot"]),
        ([{"type": "info_notification", "title": "t", "bot": "nobody"}], [0, "bot"]),
        ({"type": "info_notification", "title": "t", "bot": "No Name"}, ["bot"]),
    ):
        refused = await quick.client.post("/api/v1/events", json=body)
        assert refused.status_code == 422
        assert [entry["loc"] for entry in refused.json()["errors"]] == [place]
    assert (
        "alerts"
        in (
            await quick.client.post("/api/v1/events", json={"type": "x", "title": "t", "bot": "nobody"})
        ).json()["errors"][0]["msg"]
    )
    refused = await quick.client.post(
        "/api/v1/approvals", json={"title": "t", "prompt": "p", "bot": "nobody"}
    )
    assert [entry["loc"] for entry in refused.json()["errors"]] == [["body", "bot"]]
    assert (await quick.client.get("/api/v1/messages")).json()["items"] == []


async def test_a_route_may_name_the_bot(talk: Bridge, people: People) -> None:
    rules = [
        {"name": "security", "type": "security_alert", "to": [{"chat_id": GRACE, "bot": "alerts"}]},
        {"name": "rest", "to": [{"chat_id": GRACE}]},
    ]
    assert (await talk.client.put("/api/v1/routes", json={"routes": rules})).status_code == 200
    alarm = await talk.post(type="security_alert", title="alarm")
    rest = await talk.post(title="rest")
    chosen = await talk.post(title="chosen", bot="alerts")
    assert [(await talk.message(one["message_ids"][0]))["bot"] for one in (alarm, rest, chosen)] == [
        "alerts",
        "default",
        "alerts",
    ]
    trial = {"event": {"type": "security_alert", "title": "t"}}
    tried = (await talk.client.post("/api/v1/routes/test", json=trial)).json()
    assert [one["bot"] for one in tried["recipients"]] == ["alerts"]


async def test_a_route_to_a_bot_that_is_not_there_is_refused(quick: Bridge) -> None:
    rules = [{"name": "wrong", "to": [{"chat_id": 1, "bot": "nobody"}]}]
    refused = await quick.client.put("/api/v1/routes", json={"routes": rules})
    assert refused.status_code == 422
    assert "nobody" in refused.json()["errors"][0]["msg"]
    trial = {"event": {"type": "x", "title": "t"}, "routes": rules}
    assert (await quick.client.post("/api/v1/routes/test", json=trial)).status_code == 422
    trial = {"event": {"type": "x", "title": "t", "bot": "nobody"}}
    assert (await quick.client.post("/api/v1/routes/test", json=trial)).status_code == 422


async def test_what_is_routed_to_a_bot_that_was_taken_away_waits_and_health_says_so(
    settings: BridgeSettings, bridge_settings: BridgeFactory, database_url: str, people: People
) -> None:
    rules = [{"name": "all", "to": [{"chat_id": GRACE, "bot": "alerts"}]}]
    async with bridge_of(settings) as bridge:
        await bridge.client.put("/api/v1/routes", json={"routes": rules})
    async with bridge_of(bridge_settings(database_url=database_url)) as bridge:
        waits = await bridge.post(title="kept")
        told = await until_level(bridge, "telegram_bots", "degraded")
        assert told["waiting_for_unknown"] == {"alerts": 1}
        assert (await until_level(bridge, "routes", "degraded"))["unknown_bots"] == ["alerts"]
        assert (await bridge.message(waits["message_ids"][0]))["status"] == "queued"
    async with bridge_of(settings) as bridge:
        await bridge.until_message(waits["message_ids"][0], "delivered")
        await until_level(bridge, "telegram_bots", "healthy")


async def test_a_question_comes_back_to_the_bot_that_asked_it(talk: Bridge, people: People) -> None:
    asked = await talk.ask(bot="alerts", chat_id=[ADA, GRACE])
    assert asked["bot"] == "alerts"
    shown = await people.question(ADA)
    assert set((await senders(people, ADA)).values()) == {ALERTS}
    await people.tap(shown, "Approve")
    decided = await talk.until_status(asked["id"], "decided")
    assert decided["decision"]["user_id"] == ADA
    for chat_id in (ADA, GRACE):
        assert buttons(await people.until_text(chat_id, "☑️ Decided: Approve, by Ada")) == []
    await people.until_toast("Noted. ☑️ Decided: Approve")
    for method in ("editMessageText", "answerCallbackQuery"):
        assert {call["bot"] for call in await people.calls(method)} == {ALERTS}
    (response,) = await talk.responses(bot="alerts")
    assert (response["bot"], response["kind"]) == ("alerts", "tap")
    assert await talk.responses(bot="default") == []
    found = (await talk.client.get("/api/v1/approvals", params={"bot": "default"})).json()
    assert found["items"] == []


async def test_a_button_of_one_bot_means_nothing_to_another(talk: Bridge, people: People) -> None:
    asked = await talk.ask(bot="alerts")
    shown = await people.question(GRACE)
    data = shown["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    update = {
        "update_id": 1,
        "callback_query": {"id": "1", "from": {"id": GRACE, "first_name": "Grace"}, "data": data},
    }
    headers = {"X-Telegram-Bot-Api-Secret-Token": BridgeSettings().bots()["default"].webhook_secret}
    assert (await talk.client.post("/telegram/webhook", json=update, headers=headers)).status_code == 200
    await talk.until_metric('cctelegram_telegram_updates_total{kind="callback_query"}', 1.0)

    async def told() -> bool:
        return len(await people.calls("answerCallbackQuery")) == 1

    await until(told)
    typed = {
        "update_id": 2,
        "message": {
            "message_id": 1,
            "from": {"id": GRACE, "first_name": "Grace"},
            "chat": {"id": GRACE, "type": "private"},
            "text": f"/approve {asked['code']} approve",
        },
    }
    assert (await talk.client.post("/telegram/webhook", json=typed, headers=headers)).status_code == 200
    await people.until_text(GRACE, f"No question has the code {asked['code']}")
    found = await talk.approval(asked["id"])
    assert (found["status"], found["answers"]) == ("open", [])


async def test_each_bot_has_its_own_people(bridge_settings: BridgeFactory, people: People) -> None:
    settings = bridge_settings(
        telegram_allowed_users=[ADA], telegram_bots=written(allowed_users=[GRACE], chat_ids=[GRACE])
    )
    async with bridge_of(settings) as bridge:
        assert (await bridge.ask(bot="alerts"))["approvers"] == [GRACE]
        refused = await bridge.client.post(
            "/api/v1/approvals", json={"title": "t", "prompt": "p", "bot": "alerts", "approvers": [ADA]}
        )
        assert refused.status_code == 422
        await people.say(GRACE, "/start")

        async def answered() -> set[tuple[int, bool]] | None:
            told = {
                (call["bot"], "not authorised" in call["text"])
                for call in await people.sandbox.delivered(GRACE)
                if "CCTelegram" in call["text"] or "not authorised" in call["text"]
            }
            return told if len(told) == 2 else None

        assert await until(answered) == {(BOT_ID, True), (ALERTS, False)}


async def test_a_chat_is_quiet_for_one_bot_and_not_for_another(quick: Bridge) -> None:
    wanted = {"name": "Grace", "time_zone": "Europe/Berlin"}
    put = await quick.client.put(f"/api/v1/chats/{GRACE}", params={"bot": "alerts"}, json=wanted)
    assert (put.status_code, put.json()["bot"]) == (200, "alerts")
    read = await quick.client.get(f"/api/v1/chats/{GRACE}", params={"bot": "alerts"})
    assert read.json()["time_zone"] == "Europe/Berlin"
    assert (await quick.client.get(f"/api/v1/chats/{GRACE}")).status_code == 404
    refused = await quick.client.put(f"/api/v1/chats/{GRACE}", params={"bot": "nobody"}, json=wanted)
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["query", "bot"])


async def test_a_refused_token_stops_one_bot_and_not_the_bridge(
    settings: BridgeSettings, people: People
) -> None:
    await people.sandbox.post(f"/bots/{ALERTS}/revoke")
    async with bridge_of(settings) as bridge:
        kept = await bridge.post(title="kept", bot="alerts")
        goes = await bridge.post(title="goes")
        await bridge.until_message(goes["message_ids"][0], "delivered")
        told = await until_level(bridge, "telegram:alerts", "unhealthy")
        assert told["error"] == "invalid_token"
        health = await bridge.client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "unhealthy")
        assert (await bridge.client.get("/health/ready")).status_code == 200
        assert (await components(bridge))["telegram_api"]["status"] == "healthy"
        assert (await bridge.message(kept["message_ids"][0]))["status"] in {"queued", "sending"}
    await people.sandbox.post(f"/bots/{ALERTS}/restore")
    async with bridge_of(settings) as bridge:
        await bridge.until_message(kept["message_ids"][0], "delivered")
        await until_level(bridge, "telegram:alerts", "healthy")
        await until_level(bridge, "telegram_updates:alerts", "healthy")


async def test_a_second_poller_of_one_bot_is_a_conflict_of_that_bot(quick: Bridge, people: People) -> None:
    await until_level(quick, "telegram_updates:alerts", "healthy")

    async def conflicted() -> bool:
        await people.sandbox.client.post(f"/bot{ALERTS_TOKEN}/getUpdates", json={"timeout": 0})
        return bool((await components(quick))["telegram_updates:alerts"]["conflicts_total"])

    await until(conflicted)
    assert (await components(quick))["telegram_updates"]["conflicts_total"] == 0
    assert await quick.metric('cctelegram_telegram_update_conflicts_total{bot="default"}') == 0
    assert (await quick.metric('cctelegram_telegram_update_conflicts_total{bot="alerts"}') or 0) >= 1


async def test_in_webhook_mode_each_bot_is_called_at_its_own_path(
    bridge_settings: BridgeFactory, people: People, database_url: str
) -> None:
    port = free_port()
    settings = bridge_settings(
        database_url=database_url,
        port=port,
        telegram_allowed_users=[ADA, GRACE],
        telegram_bots=written(),
        telegram_webhook_url=f"http://127.0.0.1:{port}/telegram/webhook",
    )
    bots = settings.bots()
    async with bridge_of(settings) as bridge:

        async def registered() -> bool:
            found = (await people.sandbox.client.get("/control/bots")).json()
            return {bot["webhook"] for bot in found} == {bot.webhook_url for bot in bots.values()}

        await until(registered)
        asked = await bridge.ask(bot="alerts", chat_id=ADA)
        await people.tap(await people.question(ADA), "Deny")
        assert (await bridge.until_status(asked["id"], "decided"))["decision"]["option"] == "deny"
        update = {"update_id": 77_000, "message": {"nothing": "known"}}
        for path, secret, status in (
            ("/alerts", bots["alerts"].webhook_secret, 200),
            ("/alerts", bots["default"].webhook_secret, 401),
            ("", bots["alerts"].webhook_secret, 401),
            ("/nobody", "", 401),
            ("/nobody", bots["alerts"].webhook_secret, 401),
            ("/default", bots["default"].webhook_secret, 200),
        ):
            answer = await bridge.client.post(
                f"/telegram/webhook{path}", json=update, headers={"X-Telegram-Bot-Api-Secret-Token": secret}
            )
            assert (path, answer.status_code) == (path, status)


async def test_the_same_update_id_of_two_bots_is_two_updates(quick: Bridge, settings: BridgeSettings) -> None:
    for name, path in (("default", ""), ("alerts", "/alerts")):
        update = {
            "update_id": 9,
            "message": {
                "message_id": 9,
                "from": {"id": ADA, "is_bot": False, "first_name": "Ada"},
                "chat": {"id": ADA, "type": "private"},
                "date": 1,
                "text": f"to {name}",
            },
        }
        headers = {"X-Telegram-Bot-Api-Secret-Token": settings.bots()[name].webhook_secret}
        await quick.client.post(f"/telegram/webhook{path}", json=update, headers=headers)

    async def both() -> bool:
        return {one["text"]: one["bot"] for one in await quick.responses()} == {
            "to default": "default",
            "to alerts": "alerts",
        }

    await until(both)


async def test_a_bot_in_a_group_of_its_own_is_blocked_alone(quick: Bridge, people: People) -> None:
    posted = await quick.post(title="to the team", bot="alerts", chat_id=TEAM)
    await quick.until_message(posted["message_ids"][0], "delivered")
    gone = {"kind": "answer", "status": 403, "description": "Forbidden: bot was kicked from the group chat"}
    await people.sandbox.faults(gone | {"chat_ids": [TEAM], "times": 1})
    ended = await quick.post(title="kicked", bot="alerts", chat_id=TEAM)
    await quick.until_message(ended["message_ids"][0], "dead_letter")
    other = await quick.post(title="still here", chat_id=TEAM)
    await quick.until_message(other["message_ids"][0], "delivered")
    found = await quick.client.get("/api/v1/dead-letters", params={"bot": "alerts"})
    assert [item["id"] for item in found.json()["items"]] == ended["message_ids"]
    found = await quick.client.get("/api/v1/dead-letters", params={"bot": "default"})
    assert found.json()["items"] == []


async def test_a_replay_in_bulk_is_of_one_bot(talk: Bridge, people: People) -> None:
    refused = {"kind": "answer", "status": 400, "description": "Bad Request: message text is empty"}
    # Each message is tried twice: the second time as plain text.
    await people.sandbox.faults(refused | {"times": 4})
    ended = {}
    for name in ("default", "alerts"):
        posted = await talk.post(title=f"by {name}", bot=name)
        ended[name] = posted["message_ids"][0]
        await talk.until_message(ended[name], "dead_letter")
    answer = await talk.client.post("/api/v1/dead-letters/replay", json={"bot": "alerts"})
    assert answer.status_code == 202

    async def done() -> dict[str, Any] | None:
        job = dict((await talk.client.get(answer.headers["Location"])).json())
        return job if job["status"] != "running" else None

    job = await until(done)
    assert job is not None
    assert job["progress"] == {"total": 1, "passed": 1, "replayed": 1}
    await talk.until_message(ended["alerts"], "delivered")
    assert (await talk.message(ended["default"]))["status"] == "dead_letter"


async def test_the_stream_tells_the_bot_and_may_be_of_one(quick: Bridge) -> None:
    async with following(quick.client, bot="alerts") as follower:
        await quick.post(title="of the default one")
        posted = await quick.post(title="of alerts", bot="alerts")
        told = [frame["data"] for frame in await follower.changes(3)]
    assert {(one["bot"], one["message_id"]) for one in told} == {("alerts", posted["message_ids"][0])}
    assert told[-1]["status"] == "delivered"


async def test_bulk_of_a_bot_that_pays_is_not_held_to_the_free_rate_and_its_cost_is_counted(
    bridge_settings: BridgeFactory, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people.sandbox.limits(enabled=True, bot_per_second=2, hold_seconds=0)
    await people.sandbox.post("/chats/range", {"first_id": 100_000, "count": 40})
    settings = bridge_settings(
        telegram_bot_per_second=0.2,
        telegram_bots=written(bot_per_second=0.2, paid_broadcast=True, chat_ids=[GRACE]),
    )
    monkeypatch.setattr(paid_broadcast, "EVERY_SECONDS", 0.1)
    async with bridge_of(settings) as bridge:
        await until(partial(_asked_for_costs, bridge))
        chats = list(range(100_000, 100_030))
        posted = await bridge.post(title="campaign", bot="alerts", priority="low", chat_id=chats)
        for message_id in posted["message_ids"]:
            await bridge.until_message(message_id, "delivered")
        free = await bridge.post(title="free", priority="low", chat_id=chats[:5])
        await bridge.until_message(free["message_ids"][0], "delivered")
        calls = await people.sandbox.delivered()
        charged = sum(call.get("charged", False) for call in calls)
        cost = 'message_cost_total{bot="alerts"}'

        async def counted() -> bool:
            return bool(await bridge.metric(cost) == pytest.approx(charged / 10))

        await until(counted)
        assert await bridge.metric('message_cost_total{bot="default"}') == 0.0
    assert {call["bot"] for call in calls if call.get("charged")} == {ALERTS}
    assert sum(call.get("charged", False) for call in calls) >= 20
    assert not [call for call in await people.sandbox.sends() if call["status"] == 429]


async def _asked_for_costs(bridge: Bridge) -> bool:
    labels = 'endpoint="getStarTransactions",provider="telegram",status_code="200"'
    return bool(await bridge.metric(f"external_api_calls_total{{{labels}}}"))
