"""The clusters of the settings. Pure.

ALERTMANAGER_CLUSTERS is TOML or JSON with one table for each cluster: ``api_urls``, where alert-relay reaches
its Alertmanagers, and ``external_urls``, by which they call themselves in webhooks (``--web.external-url``).
ALERTMANAGER_URL and ALERTMANAGER_PEERS describe one cluster without a table, named :data:`DEFAULT`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from services.contracts.fields import Strict
from services.kit import field_errors
from services.kit.field_errors import ErrorText
from services.kit.settings import read_tables

#: Name of the cluster that ALERTMANAGER_URL and ALERTMANAGER_PEERS describe.
DEFAULT = "alertmanager"
MOST_CLUSTERS = 100
MOST_URLS = 20
LONGEST_URL = 500
_NAME_FORM = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

_Url = Annotated[
    str,
    StringConstraints(pattern=r"^https?://\S+$", max_length=LONGEST_URL),
    ErrorText("write a URL that begins with http:// or https://"),
]
_Urls = Annotated[tuple[_Url, ...], Field(max_length=MOST_URLS)]
ClusterName = Annotated[
    str,
    StringConstraints(pattern=_NAME_FORM),
    ErrorText("a name has letters, digits, '.', '_' and '-', at most 64"),
]


class ClusterDocument(Strict):
    """A cluster as written in ALERTMANAGER_CLUSTERS."""

    api_urls: _Urls = ()
    external_urls: _Urls = ()


@dataclass(frozen=True, slots=True)
class ClusterConfiguration:
    """A cluster of the settings; URLs end without a slash.

    Args:
        name: of the cluster.
        api_urls: where alert-relay reaches its Alertmanagers; one may hold a password. Empty: nowhere.
        external_urls: by which its Alertmanagers call themselves in webhooks.
    """

    name: str
    api_urls: tuple[str, ...]
    external_urls: tuple[str, ...]


_documents = TypeAdapter(Annotated[dict[ClusterName, ClusterDocument], Field(max_length=MOST_CLUSTERS)])


def read(
    text: str, default_urls: Iterable[str], default_peers: Iterable[str]
) -> tuple[ClusterConfiguration, ...]:
    """Returns the clusters of the settings.

    Args:
        text: ALERTMANAGER_CLUSTERS; empty: none.
        default_urls: ALERTMANAGER_URL, if it is set.
        default_peers: ALERTMANAGER_PEERS.

    Raises:
        ValueError: the text is invalid, or two clusters have the same URL; the error names the field and no
            password.
    """
    try:
        documents = _documents.validate_python(read_tables(text))
    except ValidationError as error:
        raise ValueError("; ".join(field_errors.lines(error))) from None
    found = {name: _cluster(name, one.api_urls, one.external_urls) for name, one in documents.items()}
    taken = {url for cluster in found.values() for url in (*cluster.api_urls, *cluster.external_urls)}
    default = _cluster(DEFAULT, default_urls, default_peers)
    if DEFAULT not in found and {*default.api_urls, *default.external_urls} - taken:
        found[DEFAULT] = default
    _check_urls(found)
    return tuple(found.values())


def _cluster(name: str, api_urls: Iterable[str], external_urls: Iterable[str]) -> ClusterConfiguration:
    apis = tuple(dict.fromkeys(normal(url) for url in api_urls))
    known = (*(normal(url) for url in external_urls), *(without_password(url) for url in apis))
    return ClusterConfiguration(name, apis, tuple(dict.fromkeys(known)))


def _check_urls(clusters: Mapping[str, ClusterConfiguration]) -> None:
    owner: dict[str, str] = {}
    for cluster in clusters.values():
        for url in cluster.external_urls:
            if url in clusters and url != cluster.name:
                raise ValueError(f"{cluster.name}: {url} is the name of another cluster")
            if owner.setdefault(url, cluster.name) != cluster.name:
                raise ValueError(f"{cluster.name}: {url} belongs to {owner[url]} already; name it once")


def normal(url: str) -> str:
    """Returns the URL without a slash at its end."""
    return url.rstrip("/")


def without_password(url: str) -> str:
    """Returns the URL without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
