"""Which URL and which key are used."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client import connection, sources
from services.client.call import Service
from services.client.errors import ConfigurationError
from services.client.settings import ClientSettings
from services.client.sources import Source

HERE, THERE = "http://127.0.0.1:8080", "https://cct.example.com"
KEY, OTHER_KEY = "cct_first-key", "cct_second-key"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Only what a test sets: no variables, no configuration file, no suite on this machine."""
    for name in list(os.environ):
        if name.startswith("CCT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return monkeypatch.setenv


def configure(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config" / "cct" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def suite(tmp_path: Path, key: str | None = KEY, **urls: str) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    if key is not None:
        (folder / "api_key").write_text(key + "\n")
    if urls:
        (folder / "urls.json").write_text(json.dumps(urls))
    return folder


def test_without_anything_it_is_this_machine_and_no_key() -> None:
    found = connection.find()
    assert found.urls[Service.BRIDGE] == HERE
    assert found.urls[Service.MCP_HEALTH] == "http://127.0.0.1:3000"
    assert (found.key, found.url_from, found.key_from) == (None, "the default", "no key was found")


def test_a_suite_on_this_machine_is_found_by_its_data(tmp_path: Path) -> None:
    folder = suite(tmp_path, bridge="http://127.0.0.1:9000", alert_relay="http://127.0.0.1:9001")
    found = connection.find()
    assert dict(found.urls) == {
        Service.BRIDGE: "http://127.0.0.1:9000",
        Service.ALERT_RELAY: "http://127.0.0.1:9001",
    }
    assert (found.key, found.key_from) == (KEY, str(folder / "api_key"))


def test_the_file_comes_before_this_machine(tmp_path: Path) -> None:
    suite(tmp_path)
    path = configure(tmp_path, f'url = "{THERE}/"\napi_key = "{OTHER_KEY}"\n')
    found = connection.find()
    assert (found.urls, found.key) == ({Service.BRIDGE: THERE}, OTHER_KEY)
    assert (found.url_from, found.key_from) == (str(path), str(path))


def test_the_environment_comes_before_the_file(
    tmp_path: Path, environment: Callable[[str, str], None]
) -> None:
    configure(tmp_path, f'url = "{THERE}"\napi_key = "{OTHER_KEY}"\n')
    environment("CCT_URL", HERE)
    environment("CCT_API_KEY", KEY)
    environment("CCT_ALERT_RELAY_URL", "http://relay:8081/")
    found = connection.find()
    assert (found.urls[Service.BRIDGE], found.key) == (HERE, KEY)
    assert found.urls[Service.ALERT_RELAY] == "http://relay:8081"
    assert (found.url_from, found.key_from) == ("CCT_URL", "CCT_API_KEY")


def test_the_environment_may_name_a_file_with_the_key(
    tmp_path: Path, environment: Callable[[str, str], None]
) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    environment("CCT_API_KEY_FILE", str(tmp_path / "key"))
    assert connection.find().key == KEY
    environment("CCT_API_KEY", OTHER_KEY)
    assert connection.find().key == OTHER_KEY


def test_the_file_may_name_a_file_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    configure(tmp_path, f'api_key_file = "{tmp_path / "key"}"\n')
    assert connection.find().key == KEY


def test_arguments_come_first(environment: Callable[[str, str], None]) -> None:
    environment("CCT_URL", HERE)
    environment("CCT_API_KEY", OTHER_KEY)
    found = connection.find(THERE, KEY, {Service.DASHBOARD: "https://dash.example.com"})
    assert (found.urls[Service.BRIDGE], found.key) == (THERE, KEY)
    assert found.urls[Service.DASHBOARD] == "https://dash.example.com"


def test_no_other_server_gets_the_key_of_this_machine(tmp_path: Path) -> None:
    folder = suite(tmp_path)
    found = connection.find(THERE)
    assert found.key is None
    assert found.key_from == f"the key in {folder / 'api_key'} is for another bridge than {THERE}"


def test_no_other_server_gets_the_key_of_the_file(tmp_path: Path) -> None:
    path = configure(tmp_path, f'url = "{THERE}"\napi_key = "{KEY}"\n')
    found = connection.find("https://elsewhere.example.com")
    assert found.key is None
    assert str(path) in found.key_from


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://[::1]:9000", "http://127.0.0.2:8080/"])
def test_every_address_of_this_machine_gets_its_key(tmp_path: Path, url: str) -> None:
    suite(tmp_path)
    assert connection.find(url).key == KEY


def test_a_key_of_the_environment_goes_where_the_user_says(environment: Callable[[str, str], None]) -> None:
    environment("CCT_API_KEY", KEY)
    assert connection.find(THERE).key == KEY


def test_the_urls_of_this_machine_do_not_mix_with_another_bridge(tmp_path: Path) -> None:
    suite(tmp_path, bridge="http://127.0.0.1:9000", alert_relay="http://127.0.0.1:9001")
    assert connection.find("http://cct:8080").urls[Service.ALERT_RELAY] == "http://cct:8081"
    assert Service.ALERT_RELAY not in connection.find(THERE).urls


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://host",
        "http://",
        "http://ho st",
        "http://h:99999",
        "http://h\n",
        "http://[1",
    ],
)
def test_what_is_no_url_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the URL of bridge: write a URL such as http://"):
        connection.find(url)


@pytest.mark.parametrize("url", ["http://ada:secret@host", "http://host?key=secret", "http://host#secret"])
def test_a_url_holds_no_secret(url: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        connection.find(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("key", ["", "two words", "naïve", "a\nb", "a\x00"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="The key in the arguments is empty, or has characters"):
        connection.find(key=key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url = ", "is not TOML"),
        ('urrl = "x"', "urrl: there is no such field"),
        ('url = "x"', "url in"),
        ('api_key_file = "/no/such/file"', "cannot read /no/such/file"),
        ('api_key = ["cct_secret-in-a-list"]', "api_key: write a text"),
    ],
)
def test_a_wrong_file_is_named_and_its_secrets_are_not(tmp_path: Path, text: str, said: str) -> None:
    path = configure(tmp_path, text)
    with pytest.raises(ConfigurationError) as error:
        connection.find()
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "cct_secret" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "1", '{"bridge": 7}', '{"bridge": "x"}'])
def test_a_damaged_list_of_urls_says_what_to_do(tmp_path: Path, text: str) -> None:
    folder = suite(tmp_path)
    (folder / "urls.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"urls\.json"):
        connection.find()


def test_a_user_without_a_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME", raising=False)
    assert sources.configuration_path(ClientSettings()) is None or connection.find().key is None


_URL = st.sampled_from((HERE, "http://localhost:8080", THERE, "https://other.example.com"))


@given(argument=st.none() | _URL, env=st.none() | _URL, file=st.none() | _URL, local=st.none() | _URL)
def test_a_bound_key_never_goes_to_another_place(
    argument: str | None, env: str | None, file: str | None, local: str | None
) -> None:
    def source(name: str, url: str | None, **more: bool) -> Source:
        urls = {} if url is None else {Service.BRIDGE: url}
        return Source(name, urls, f"key-of-{name}" if more else None, name, **more)

    found = connection.choose(
        (
            source("arguments", argument),
            source("environment", env),
            source("file", file, bound=True),
            source("local", local, bound=True, machine=True),
        )
    )
    bridge = found.urls[Service.BRIDGE]
    assert bridge == (argument or env or file or local or HERE)
    if found.key == "key-of-file":
        assert file is None or connection.place(file) == connection.place(bridge)
    if found.key == "key-of-local":
        here = connection.is_loopback(bridge)
        assert here or (local is not None and connection.place(local) == connection.place(bridge))


def test_no_text_of_a_connection_shows_the_key() -> None:
    assert KEY not in repr(connection.find(HERE, KEY))
