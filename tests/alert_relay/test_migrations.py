"""A database of an earlier version keeps what is open, and its cluster gets the name of the settings."""

import json
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, MetaData, insert, select

from services.alert_relay import app, schema
from services.alert_relay.clusters import membership, store
from services.alert_relay.clusters.configuration import ClusterConfiguration
from services.kit.database import migrate
from services.kit.database.connect import open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from tests.alert_relay.payloads import START

URL = "http://localhost:9093"
CLUSTER = ClusterConfiguration("alertmanager", ("http://alertmanager:9093",), (URL,))


def telemetry() -> Telemetry:
    return Telemetry("tests", ServiceSettings())


def _fill(connection: Connection) -> None:
    """Writes an alert and a WatchdogSilent that fire, as the version before clusters stored them."""
    migrate.upgrade(connection, "services.outbox")
    migrate.upgrade(connection, "services.alert_relay", "0003")
    old = MetaData()
    old.reflect(connection, only=["alertmanager", "incident", "episode", "webhook"])
    cluster = {"cluster": URL, "first_heard_at": START, "heard_at": START, "watchdog_at": START}
    connection.execute(insert(old.tables["alertmanager"]), [cluster])
    own = sha256(f"WatchdogSilent {URL}".encode()).hexdigest()[:16]
    for number, (name, fingerprint) in enumerate((("DiskFull", "a" * 16), ("WatchdogSilent", own))):
        incident, episode = _rows(number, name, fingerprint)
        connection.execute(insert(old.tables["incident"]), [incident])
        connection.execute(insert(old.tables["episode"]), [episode])


def _rows(number: int, name: str, fingerprint: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    incident = {
        "id": f"incident-{number}",
        "key": f"key-{number}",
        "cluster": URL,
        "alertname": name,
        "severity": "critical",
        "group_labels": json.dumps({"alertname": name}),
        "group_key": "{}:{}",
        "receiver": "" if name == "WatchdogSilent" else "alert-relay",
        "state": "firing",
        "opened_at": START,
        "updated_at": START,
    }
    episode = {
        "id": f"episode-{number}",
        "incident_id": f"incident-{number}",
        "cluster": URL,
        "fingerprint": fingerprint,
        "newest": True,
        "labels": json.dumps({"alertname": name}),
        "annotations": "{}",
        "generator_url": "",
        "severity": "critical",
        "starts_at": START,
        "opened_at": START,
        "heard_at": START + 5,
    }
    return incident, episode


async def test_what_is_open_under_a_url_moves_to_the_cluster_of_the_settings(empty_database_url: str) -> None:
    before = await open_database(empty_database_url, telemetry(), packages=())
    await before.write("fill", _fill)
    await before.close()

    database = await open_database(empty_database_url, telemetry(), packages=app.PACKAGES)
    configure = partial(membership.configure, clusters=[CLUSTER], now=START + 100)
    await database.write("clusters", configure)
    (cluster,) = await database.read("clusters", store.stored)
    episodes = await database.read("read", lambda c: c.execute(select(schema.episode)).all())
    incidents = await database.read("read", lambda c: c.execute(select(schema.incident)).all())
    await database.close()

    assert (cluster.name, cluster.watchdog_at) == ("alertmanager", START)
    assert {row.cluster for row in (*episodes, *incidents)} == {"alertmanager"}
    assert [(row.newest, row.closed_at, row.notified_at, row.suppressed) for row in episodes] == [
        (True, None, START + 5, False)
    ] * 2
    # WatchdogSilent goes on as the same alert, so that the next Watchdog resolves it.
    assert {row.fingerprint for row in episodes} == {
        "a" * 16,
        sha256(b"WatchdogSilent ").hexdigest()[:16],
    }
