"""The clusters of the settings."""

import pytest
from pydantic import SecretStr

from services.alert_relay.clusters import configuration
from services.alert_relay.clusters.configuration import ClusterConfiguration
from services.alert_relay.settings import AlertRelaySettings
from services.kit.settings import StartError, load


def test_without_a_setting_there_is_no_cluster() -> None:
    assert configuration.read("", (), ()) == ()


def test_one_alertmanager_and_its_peers_are_one_cluster() -> None:
    (cluster,) = configuration.read("", ["http://alertmanager:9093/"], ["http://a:9093/", "http://b:9093"])

    assert cluster == ClusterConfiguration(
        "alertmanager",
        ("http://alertmanager:9093",),
        ("http://a:9093", "http://b:9093", "http://alertmanager:9093"),
    )


@pytest.mark.parametrize(
    "text",
    [
        """
[prod]
api_urls = ["http://ops:secret@am-1:9093/", "http://am-2:9093"]
external_urls = ["https://alerts.example/"]
[lab]
""",
        """{"prod": {"api_urls": ["http://ops:secret@am-1:9093/", "http://am-2:9093"],
        "external_urls": ["https://alerts.example/"]}, "lab": {}}""",
    ],
)
def test_clusters_are_written_as_toml_or_json(text: str) -> None:
    """The API URLs are external URLs too, as Alertmanager has it by default."""
    prod, lab = configuration.read(text, (), ())

    assert prod.api_urls == ("http://ops:secret@am-1:9093", "http://am-2:9093")
    assert prod.external_urls == ("https://alerts.example", "http://am-1:9093", "http://am-2:9093")
    assert lab == ClusterConfiguration("lab", (), ())


def test_a_cluster_that_has_the_url_of_alertmanager_replaces_the_one_without_a_table() -> None:
    text = '[prod]\napi_urls = ["http://alertmanager:9093"]'

    assert [each.name for each in configuration.read(text, ["http://alertmanager:9093"], ())] == ["prod"]
    assert [each.name for each in configuration.read(text, ["http://other:9093"], ())] == [
        "prod",
        "alertmanager",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[prod", "neither TOML nor JSON"),
        ("[prod]\nurls = []", "prod.urls: there is no such field"),
        ('[prod]\napi_urls = ["am-1:9093"]', "prod.api_urls.0: write a URL that begins with http://"),
        ('["a b"]\n', "a name has letters, digits"),
        (
            '[a]\nexternal_urls = ["http://x"]\n[b]\nexternal_urls = ["http://x/"]',
            "b: http://x belongs to a already; name it once",
        ),
    ],
)
def test_what_is_wrong_is_named_without_a_password(
    text: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTMANAGER_CLUSTERS", text)
    with pytest.raises(StartError, match=r"^ALERTMANAGER_CLUSTERS: ") as error:
        load(AlertRelaySettings)
    assert fault in str(error.value)


def test_a_password_is_in_no_setting_that_is_shown() -> None:
    text = '[prod]\napi_urls = ["http://ops:secret@am-1:9093"]'
    settings = AlertRelaySettings(alertmanager_clusters=SecretStr(text))

    assert "secret" not in repr(settings)
    assert configuration.without_password("http://ops:secret@am-1:9093/x") == "http://am-1:9093/x"
