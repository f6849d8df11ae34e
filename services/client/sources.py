"""Places that may name URLs and a key: arguments, environment, configuration file, this machine."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, TypeAdapter, ValidationError

from services.client.call import Service
from services.client.errors import ConfigurationError, invalid_fields
from services.client.settings import ClientSettings

#: In the data folder of a suite: its API key, and the URLs that it wrote when it started.
KEY_FILE, URLS_FILE = "api_key", "urls.json"
#: The data folder of a suite that runs from this clone of the repository.
_CLONE = Path(__file__).parents[2] / "data"
_URLS = TypeAdapter(dict[str, str])


@dataclass(frozen=True, slots=True)
class Source:
    """URLs and a key from one place.

    Args:
        name: of the place, for people.
        urls: base URLs by service.
        key: API key; None: the place has none.
        key_name: where exactly the key is.
        bound: whether all of it is only for the bridge that it names.
        machine: whether it is of a suite on this machine.
    """

    name: str
    urls: Mapping[Service, str] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    key_name: str = ""
    bound: bool = False
    machine: bool = False


class Written(BaseModel):
    """What `config.toml` has."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: str | None = None
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    alert_relay_url: str | None = None
    mcp_health_url: str | None = None
    dashboard_url: str | None = None
    sandbox_url: str | None = None


def arguments(url: str | None, key: str | None, urls: Mapping[Service, str]) -> Source:
    """What the caller gives.

    Raises:
        ConfigurationError: a URL or the key cannot be used.
    """
    named = {**urls, **({} if url is None else {Service.BRIDGE: url})}
    checked = {service: _url(given, f"the URL of {service}") for service, given in named.items()}
    return Source("the arguments", checked, _key(key, "the arguments"), "the arguments")


def environment(settings: ClientSettings) -> Source:
    """What the variables say.

    Raises:
        ConfigurationError: a variable or the file that it names cannot be used.
    """
    urls = {
        service: _url(value, variable(service))
        for service in Service
        if (value := getattr(settings, _setting(service))) is not None
    }
    key, name = _secret(settings.api_key), "CCT_API_KEY"
    if key is None and settings.api_key_file is not None:
        key, name = _content(settings.api_key_file, "CCT_API_KEY_FILE"), "CCT_API_KEY_FILE"
    return Source(variable(Service.BRIDGE), urls, _key(key, name), name)


def variable(service: Service) -> str:
    """The environment variable that names a service's URL."""
    return f"CCT_{_setting(service).upper()}"


def _setting(service: Service) -> str:
    return "url" if service is Service.BRIDGE else f"{service}_url"


def configuration_path(settings: ClientSettings) -> Path | None:
    """Where the configuration file is; None: this user has no home."""
    try:
        return (settings.config_home or Path.home() / ".config") / "cct" / "config.toml"
    except RuntimeError:
        return None


def configuration_file(settings: ClientSettings) -> Source:
    """What the configuration file says; nothing if there is none.

    Raises:
        ConfigurationError: the file, or a file that it names, cannot be used.
    """
    path = configuration_path(settings)
    if path is None or not path.is_file():
        return Source("no configuration file")
    name = str(path)
    try:
        written = Written.model_validate(tomllib.loads(_content(path, "the configuration file")))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {invalid_fields(error)[0]}") from None
    urls = {
        service: _url(value, f"{_setting(service)} in {name}")
        for service in Service
        if (value := getattr(written, _setting(service))) is not None
    }
    key = _secret(written.api_key)
    if key is None and written.api_key_file is not None:
        key = _content(written.api_key_file.expanduser(), f"api_key_file in {name}")
    return Source(name, urls, _key(key, name), name, bound=True)


def this_machine(settings: ClientSettings) -> Source:
    """The suite whose data folder is here, whether it runs or not."""
    folders = [settings.data_dir] if settings.data_dir else [_CLONE, Path("data")]
    for folder in folders:
        if (folder / KEY_FILE).is_file() or (folder / URLS_FILE).is_file():
            return _suite(folder)
    return Source("this machine", bound=True, machine=True)


def _suite(folder: Path) -> Source:
    key_file = folder / KEY_FILE
    key = _content(key_file, "the key") if key_file.is_file() else None
    return Source(
        str(folder), _suite_urls(folder / URLS_FILE), _key(key, str(key_file)), str(key_file), True, True
    )


def _suite_urls(path: Path) -> Mapping[Service, str]:
    if not path.is_file():
        return {}
    try:
        written = _URLS.validate_json(_content(path, "the suite's URLs"))
    except ValidationError:
        raise ConfigurationError(
            f"{path} has no URLs: start the suite again, which writes the file"
        ) from None
    # A later version may know further services.
    return {
        service: _url(written[service], f"{service} in {path}") for service in Service if service in written
    }


def _secret(written: SecretStr | None) -> str | None:
    return None if written is None else written.get_secret_value()


def _content(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: {path} is not UTF-8 text") from None


def _key(key: str | None, name: str) -> str | None:
    """The key, if it can be sent in a header."""
    if key is None or (key.isascii() and key.isprintable() and key and " " not in key):
        return key
    raise ConfigurationError(f"The key in {name} is empty, or has characters that no key has.")


def _url(url: str, name: str) -> str:
    """The URL without a slash at the end.

    Raises:
        ConfigurationError: it is no http or https URL, or it has a user name or a password.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ConfigurationError(f"{name}: write a URL such as http://127.0.0.1:8080")
    if "@" in parts.netloc:
        raise ConfigurationError(f"{name}: give the key apart from the URL, which has no user or password")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{name}: write a URL without ? and #")
    return url.rstrip("/")
