"""Commands in a chat: replies show measurements; a mute suppresses messages and is shown with them."""

import time

from services.bridge.commands.commands import MENU
from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, MALLORY, Bridge, People, bridge_of, text_of
from tests.conftest import BridgeFactory
from tests.servers import ManualClock, until


async def test_the_menu_is_set_when_the_bridge_starts(quick: Bridge, people: People) -> None:
    async def menu() -> list[str]:
        (bot,) = (await people.sandbox.client.get("/control/bots")).json()
        menus = list(bot["commands"].values())
        return [command["command"] for command in menus[0]] if menus else []

    assert await until(menu) == list(MENU)


async def test_status_health_queue_metrics_and_analytics_show_what_happened(
    talk: Bridge, people: People
) -> None:
    posted = await talk.post(title="one event")
    await talk.until_message(posted["message_ids"][0], "delivered")

    async def counted_by_the_bridge() -> bool:
        found = (await talk.client.get("/api/v1/stats")).json()
        return bool(found["delivered_total"] == 1 and found["delivery_rate_percent"] == 100.0)

    await until(counted_by_the_bridge)
    await people.say(ADA, "/metrics")
    counted = text_of(await people.until_text(ADA, "Messages since"))
    assert "Accepted: 1" in counted
    assert "Delivered: 1" in counted
    await people.say(ADA, "/queue")
    assert "dead letter: 0" in text_of(await people.until_text(ADA, "Messages by state"))

    async def healthy() -> bool:
        return bool((await talk.client.get("/health")).json()["status"] == "healthy")

    await until(healthy)
    await people.say(ADA, "/health")
    assert "database: healthy" in text_of(await people.until_text(ADA, "🟢 healthy"))
    await people.say(ADA, "/analytics")
    analysis = text_of(await people.until_text(ADA, "Accepted to delivered"))
    assert "Delivered of finished, last hour: 100.0 %" in analysis
    assert "recent p50: unknown" not in analysis


async def test_many_open_approvals_are_counted_and_the_first_ones_listed(
    bridge_settings: BridgeFactory, database_url: str, people: People
) -> None:
    settings = bridge_settings(
        database_url=database_url,
        telegram_allowed_users=[ADA, GRACE],
        telegram_chat_per_second=0,
        telegram_bot_per_second=0,
    )
    await people.sandbox.client.patch("/control/limits", json={"enabled": False})
    options = [f"{number} {'x' * 60}" for number in range(10)]
    async with bridge_of(settings) as bridge:
        for number in range(12):
            title = f"{number:02} {'y' * 190}"
            await bridge.ask(title=title, options=options, expires_in=600 + number, approvers=[ADA])
        for _ in range(10):  # newer, and for Grace only
            await bridge.ask(approvers=[GRACE])
        await people.say(ADA, "/status")
        await people.until_text(ADA, "Open questions for you: 12")
        await people.say(ADA, "/approve")
        assert "00 yyy" in text_of(await people.until_text(ADA, "Open questions\n"))
        assert "09 yyy" in text_of(await people.until_text(ADA, "and 2 more, which end later"))
        await people.say(ADA, f"/approve {'z' * 4_000}")
        await people.until_text(ADA, "No question has the code zzzzzzzzzzzzzzz….")
        assert (await bridge.client.get("/api/v1/dead-letters")).json()["items"] == []


async def test_a_command_of_a_stranger_has_no_effect(talk: Bridge, people: People) -> None:
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    await people.say(MALLORY, "/mute")
    await people.until_text(MALLORY, "not authorised")
    posted = await talk.post(title="to Mallory", chat_id=MALLORY)
    await talk.until_message(posted["message_ids"][0], "delivered")


async def test_a_muted_chat_gets_only_critical_events_and_questions(talk: Bridge, people: People) -> None:
    await people.say(ADA, "/mute")
    await people.until_text(ADA, "🔇 Muted until you end it")
    quiet = await talk.post(title="progress report")
    life = await talk.until_message_finished(quiet["message_ids"][0])
    assert (life["status"], life["last_error"]) == ("suppressed", "muted")
    assert (life["events"][-1]["state"], life["events"][-1]["cause"]) == ("suppressed", "muted")
    urgent = await talk.post(title="told to hurry", priority="urgent")
    assert (await talk.until_message_finished(urgent["message_ids"][0]))["status"] == "suppressed"
    critical = await talk.post(title="disk full", severity="critical")
    assert (await talk.until_message_finished(critical["message_ids"][0]))["status"] == "delivered"
    await talk.ask()
    await people.question(ADA)
    others = await talk.post(title="to Grace", chat_id=GRACE)
    assert (await talk.until_message_finished(others["message_ids"][0]))["status"] == "delivered"
    await people.say(ADA, "/unmute")
    await people.until_text(ADA, "🔔 Everything again")
    again = await talk.post(title="progress again")
    assert (await talk.until_message_finished(again["message_ids"][0]))["status"] == "delivered"
    assert not any("progress report" in text_of(message) for message in await people.messages(ADA))


async def test_a_mute_survives_a_restart_and_ends_in_time(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        await people.say(ADA, "/mute 30m")
        await people.until_text(ADA, "🔇 Muted until 20")
    async with bridge_of(settings, clock) as bridge:
        clock.advance(1_790)
        early = await bridge.post(title="too early")
        assert (await bridge.until_message_finished(early["message_ids"][0]))["status"] == "suppressed"
        clock.advance(20)
        late = await bridge.post(title="late enough")
        assert (await bridge.until_message_finished(late["message_ids"][0]))["status"] == "delivered"
        await people.say(ADA, "/status")
        await people.until_text(ADA, "This chat: local")


async def test_local_mode_confirms_by_a_reaction_and_nomad_mode_by_a_reply(
    talk: Bridge, people: People
) -> None:
    written = await people.say(ADA, "on my way")

    async def signed() -> list[int]:
        return [call["message_id"] for call in await people.calls("setMessageReaction")]

    assert await until(signed) == [written["message_id"]]
    await people.say(ADA, "/nomad")
    await people.until_text(ADA, "Nomad:")
    written = await people.say(ADA, "at the station")
    noted = await people.until_text(ADA, "Noted: programs can read it.")
    assert noted["reply_to_message"]["message_id"] == written["message_id"]
    posted = await talk.post(title="how far?", correlation_id="run-9")
    # The bridge knows the message that is replied to only after it has stored Telegram's answer.
    await talk.until_message(posted["message_ids"][0], "delivered")
    shown = await people.until_text(ADA, "how far?")
    await people.say(ADA, "nearly there", reply_to=shown["message_id"])
    await people.until_text(ADA, "Noted about run-9: kept for the program that asked.")
    assert len(await people.calls("setMessageReaction")) == 1


async def test_each_chat_has_its_mode(talk: Bridge, people: People) -> None:
    await people.say(ADA, "/nomad")
    await people.until_text(ADA, "Nomad:")
    await people.say(GRACE, "/status")
    assert "This chat: local" in text_of(await people.until_text(GRACE, "This chat"))
