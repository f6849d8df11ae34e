"""The table of keys: a row that cannot be read is no valid key, and hides no other."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, update

from services.bridge.keys import store
from services.bridge.keys.store import api_key
from services.kit.database.connect import Database
from tests.bridge.keys.test_keys import key
from tests.servers import ManualClock


@pytest.mark.parametrize("odd", [{"digest": "zz"}, {"kind": "zz"}], ids=str)
async def test_a_key_that_cannot_be_read_is_left_out_and_the_others_are_valid(
    database: Database, clock: ManualClock, odd: dict[str, Any]
) -> None:
    good, bad = key("cct_good"), key("cct_bad", id="key_2", name="cd")

    def write(connection: Connection) -> None:
        for one in (good, bad):
            store.add(connection, one)
        connection.execute(update(api_key).where(api_key.c.id == bad.id).values(odd))

    await database.write("key_write", write)
    assert await database.read("keys", partial(store.living, now=clock.time())) == [good]
    assert await database.read("keys", store.every) == [good]
    assert await database.read("keys", partial(store.one, key_id=bad.id)) is None
