"""The routes of clusters: which Alertmanagers post here, and which external URL belongs to which cluster."""

from functools import partial
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection

from services.alert_relay.clusters import configuration, membership, store
from services.alert_relay.clusters.cluster import StoredCluster
from services.alert_relay.clusters.configuration import ClusterName
from services.alert_relay.state import InjectedState, RelayState
from services.contracts.clusters import Cluster, ClusterList, ExternalUrl, Prometheus
from services.kit.clock import rfc3339
from services.kit.errors import Problem

router = APIRouter(prefix="/api/v1/clusters", tags=["clusters"])

_REFUSED: dict[int | str, dict[str, Any]] = {
    404: {"description": "No setting names such a cluster."},
    409: {"description": "The settings say that the URL belongs to another cluster."},
}


@router.get("")
async def list_clusters(service: InjectedState) -> ClusterList:
    """Lists the clusters of Alertmanagers: those of the settings, and unknown ones that have posted."""
    stored = await service.database.read("clusters", store.stored)
    return ClusterList(clusters=[_cluster(each, service) for each in stored])


@router.post("/{cluster}/external-urls", responses=_REFUSED)
async def join_external_url(
    cluster: ClusterName,
    joined: ExternalUrl,
    service: InjectedState,
) -> Cluster:
    """Joins an external URL to a cluster of the settings, with the alerts and incidents stored under it.

    A repetition changes nothing.
    """
    if cluster not in {each.name for each in service.clusters}:
        raise Problem(404, "Not Found", f"No setting names a cluster {cluster}; see ALERTMANAGER_CLUSTERS.")
    url = configuration.normal(joined.external_url)
    owner = next((each.name for each in service.clusters if url in each.external_urls), cluster)
    if owner != cluster:
        raise Problem(
            409, "Conflict", f"The settings say that {url} belongs to {owner}; change the settings."
        )
    work = partial(_join, url=url, target=cluster, now=service.clock.time())
    stored = await service.database.write("clusters", work)
    return _cluster(stored, service)


def _join(connection: Connection, url: str, target: str, now: float) -> StoredCluster:
    if membership.joined_to(connection, url) != target:
        membership.join(connection, url, target, now)
    return next(each for each in store.stored(connection) if each.name == target)


def _cluster(stored: StoredCluster, service: RelayState) -> Cluster:
    configured = next((each for each in service.clusters if each.name == stored.name), None)
    api_urls = configured.api_urls if configured else ()
    return Cluster(
        name=stored.name,
        configured=configured is not None,
        api_urls=[configuration.without_password(url) for url in api_urls],
        external_urls=list(stored.external_urls),
        received_at=_time(stored.received_at),
        watchdog_at=_time(stored.watchdog_at),
        read_at=_time(service.relay.metrics.reconciled.read_at.get(stored.name)),
        prometheus=[
            Prometheus(labels=beat.labels, received_at=rfc3339(beat.received_at))
            for beat in stored.heartbeats
        ],
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
