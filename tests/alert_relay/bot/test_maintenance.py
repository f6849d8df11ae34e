"""Maintenance windows in Telegram: the command, and the button that ends a window."""

from pathlib import Path
from typing import Any

import pytest

from tests.alert_relay.bot.test_people import TEAM, World, anyhow, own, world
from tests.bridge.people import ADA, GRACE, buttons, text_of
from tests.servers import until

__all__ = ["anyhow", "own"]


PATH = "/api/v1/maintenance-windows"


async def answered(world: World, part: str, chat_id: int = ADA) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        return next((each for each in await world.people.messages(chat_id) if part in text_of(each)), None)

    found = await until(look)
    assert found is not None
    return found


async def windows(world: World) -> list[dict[str, Any]]:
    return list((await world.relay.get(PATH)).json()["windows"])


async def test_a_person_begins_a_window_and_ends_it(anyhow: World) -> None:
    await anyhow.people.say(ADA, '/maintenance 2h service=bridge instance=~"a|b" don\'t wake us')
    began = await answered(anyhow, "Maintenance began")
    (window,) = await windows(anyhow)
    assert window["matchers"] == ['service="bridge"', 'instance=~"a|b"']
    assert (window["reason"], window["created_by"]["user_id"]) == ("don't wake us", ADA)
    await anyhow.fire()
    assert (await anyhow.incident())["suppressed_by"] != []

    await anyhow.people.tap(began, "End")

    await answered(anyhow, "is over. 1 incident, 1 still firing")
    await answered(anyhow, "🔥 HighErrorRate")
    assert await windows(anyhow) == []


async def test_the_list_has_a_button_for_each_active_window(own: World) -> None:
    await own.relay.post(PATH, json={"matchers": ["a=b"], "lasts": "1h", "name": "deploy"})
    await own.relay.post(PATH, json={"matchers": ["a=c"], "lasts": "1h", "starts_at": "2030-01-01T00:00:00Z"})

    await own.people.say(ADA, "/maintenance")

    shown = await answered(own, "1 active, 1 planned")
    assert buttons(shown) == ["End"]


@pytest.mark.parametrize("argument", ["soon service=api", "2h", "2h service=~("])
async def test_what_cannot_be_a_window_is_answered_with_what_to_write(own: World, argument: str) -> None:
    await own.people.say(ADA, f"/maintenance {argument}")
    await answered(own, "Write /maintenance 2h service=api")
    assert await windows(own) == []


async def test_only_the_users_of_the_setting_begin_a_window(tmp_path: Path) -> None:
    async with world(tmp_path, own_bot=True, alert_user_ids=(ADA,)) as made:
        await made.people.say(TEAM, "/maintenance 2h service=bridge", person=GRACE)
        await made.people.say(ADA, "/maintenance 2h service=other")
        await answered(made, "Maintenance began")
        assert [each["created_by"]["user_id"] for each in await windows(made)] == [ADA]
