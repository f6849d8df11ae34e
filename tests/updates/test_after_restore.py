"""After a restore, updates of a service that is not the bridge are not handled a second time."""

from functools import partial
from pathlib import Path

from services.backup import sent_since
from services.kit.database import leader_lease
from services.kit.database.connect import open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery.after_restore import Unsent
from services.updates.stored_updates import schema, store
from tests.updates.making import states, text

PACKAGES = ("services.outbox", leader_lease.PACKAGE, schema.PACKAGE)
NOW = 1_000.0


async def test_updates_that_waited_at_the_backup_are_set_aside_and_leases_end(
    tmp_path: Path, telemetry: Telemetry
) -> None:
    database = await open_database(f"sqlite:///{tmp_path / 'own.db'}", telemetry, packages=PACKAGES)
    await database.write("updates", partial(store.add, bot="alerts", updates=[text(1)], now=NOW))
    take = partial(leader_lease.take, name="updates:alerts", owner="old", now=NOW, seconds=600.0)
    assert await database.write("lead", take)
    restore = partial(sent_since.apply, packages=PACKAGES, unsent=Unsent.HOLD, backup_at=NOW, now=NOW + 60)
    await database.write("restore", restore)
    assert await states(database) == ["failed"]
    assert await database.write("lead", partial(take, owner="new", now=NOW + 60))
    await database.close()
