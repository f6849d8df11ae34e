"""Settings: environment variables as typed values, read once at start.

Every variable may also come from a file: ``API_KEY_FILE=/run/secrets/api_key`` instead of ``API_KEY``.
"""

import re
import tomllib
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote

import orjson
from dotenv import load_dotenv
from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from services.kit.field_errors import message

S = TypeVar("S", bound=BaseSettings)


class StartError(Exception):
    """The service cannot start. The text has one line for each cause, and is shown without a traceback."""


class EnvironmentSource(EnvSettingsSource):
    """Reads each field from one variable: ``BRIDGE_PORT``, not also ``PORT``, which would set every port."""

    def _extract_field_info(
        self, field: FieldInfo, field_name: str, model_config: Mapping[str, Any] | None = None
    ) -> list[tuple[str, str, bool]]:
        return super()._extract_field_info(field, field_name, model_config)[:1]


class FileSource(EnvironmentSource):
    """Reads ``NAME_FILE`` where ``NAME`` is not set; an unreadable file stops the start."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        for _, name, _complex in self._extract_field_info(field, field_name):
            path = self.env_vars.get(f"{name}_file")
            if path:
                return _content(f"{name}_file".upper(), Path(path)), field_name, False
        return None, field_name, False


def _content(variable: str, path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StartError(f"{variable}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StartError(f"{variable}: cannot read {path}: it is not UTF-8 text") from error
    if not content:
        raise StartError(f"{variable}: {path} is empty")
    return content


def _split(value: object) -> object:
    """``"1, 2"`` → ``["1", "2"]``: lists have commas, not JSON."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _not_zero(number: int) -> int:
    if number == 0:
        raise ValueError("no chat and no person has the id 0")
    return number


def _digits(text: object) -> object:
    if isinstance(text, str) and not text.removeprefix("-").isdecimal():
        raise ValueError(
            "write the ids of Telegram, which are whole numbers; names and @usernames are not read"
        )
    return text


# Telegram's ids have at most 52 significant bits.
_Id = Annotated[int, BeforeValidator(_digits), Field(ge=-(2**53), le=2**53), AfterValidator(_not_zero)]
#: Ids of Telegram.
CommaInts = Annotated[tuple[_Id, ...], NoDecode, BeforeValidator(_split)]
CommaStrings = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            if text != "*":
                ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text} is no IP address and no network such as 10.0.0.0/8") from None
    return texts


#: IP addresses and networks, with commas; ``*`` is every address.
CommaNetworks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_networks)]


def read_tables(text: str) -> Any:
    """Returns the tables of a setting that is written as TOML or JSON.

    Raises:
        ValueError: it is neither; the error has the line and quotes nothing, since a table may hold a secret.
    """
    try:
        return orjson.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (orjson.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        line = getattr(error, "lineno", None)
        raise ValueError("neither TOML nor JSON" + (f": line {line}" if line else "")) from None


_URL = TypeAdapter(AnyHttpUrl)


def _http(address: str) -> str:
    _URL.validate_python(address)
    return address.rstrip("/")


#: An ``http://`` or ``https://`` URL; a slash at its end is dropped.
Address = Annotated[str, AfterValidator(_http)]


def _exact_http(address: str) -> str:
    _URL.validate_python(address)
    return address


#: ``http://`` or ``https://``, exactly as written.
ExactAddress = Annotated[str, AfterValidator(_exact_http)]

#: The OTLP exporters read the same variables and log what they cannot parse: they can parse all of this.
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*([ !#-+\--:<-\[\]-~]+)")


def otlp_headers(text: str) -> dict[str, str]:
    """Parses headers of the OTLP variables: ``"name=value,name=value"``, values percent-encoded.

    Raises:
        ValueError: a part is no such pair; the text is not repeated, for it may hold a key.
    """
    headers = {}
    for pair in filter(str.strip, text.split(",")):
        found = _HEADER.fullmatch(pair.strip())
        value = unquote(found[2].strip()) if found else ""
        if found is None or not value or not (value.isascii() and value.isprintable()):
            raise ValueError("headers are written name=value,name=value with percent-encoded values")
        headers[found[1]] = value
    return headers


def _checked(headers: SecretStr) -> SecretStr:
    otlp_headers(headers.get_secret_value())
    return headers


OtlpHeaders = Annotated[SecretStr, AfterValidator(_checked)]

#: A right key is accepted after any number of wrong ones, so it must be too long to guess.
MIN_KEY_LENGTH = 16


def _not_guessable(key: SecretStr) -> SecretStr:
    if len(key) < MIN_KEY_LENGTH:
        raise ValueError(f"a key has {MIN_KEY_LENGTH} characters at least")
    return key


ApiKey = Annotated[SecretStr, AfterValidator(_not_guessable)]


def _user_and_password(text: SecretStr) -> SecretStr:
    user, _, password = text.get_secret_value().partition(":")
    if not user or len(password) < MIN_KEY_LENGTH:
        raise ValueError(f"write user:password, with a password of {MIN_KEY_LENGTH} characters at least")
    return text


BasicAuth = Annotated[SecretStr, AfterValidator(_user_and_password)]


class ServiceSettings(BaseSettings):
    """Settings of every service; each adds fields and sets its port."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )

    host: str = Field(
        "127.0.0.1", description="address that services listen on; the sandbox has SANDBOX_HOST"
    )
    port: int = Field(0, ge=0, le=65535, description="TCP port; 0: any free one")
    data_dir: Path = Field(Path("data"), description="folder of all data that must survive a restart")
    api_key: ApiKey | None = Field(
        None, description="bearer key of the API, random; unset: created once, in DATA_DIR/api_key"
    )
    internal_key: ApiKey | None = Field(
        None,
        description="secret by which services of the suite know each other's requests; unset: created once, "
        "in DATA_DIR/internal_key",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest level that is logged"
    )
    otel_traces_exporter: Literal["otlp", "console", "none"] | None = Field(
        None,
        description="where spans go: otlp, console, none; unset: otlp where an endpoint is set, else none",
    )
    otel_exporter_otlp_protocol: Literal["http/protobuf", "grpc"] = Field(
        "http/protobuf", description="of requests to the OTLP receiver: http/protobuf or grpc"
    )
    otel_exporter_otlp_traces_protocol: Literal["http/protobuf", "grpc"] | None = Field(
        None, description="the same for traces, instead: http/protobuf or grpc"
    )
    otel_exporter_otlp_endpoint: Address | None = Field(
        None, description="OTLP receiver, e.g. http://jaeger:4318 (HTTP) or http://jaeger:4317 (gRPC)"
    )
    otel_exporter_otlp_traces_endpoint: ExactAddress | None = Field(
        None,
        description="the same for traces, instead; for HTTP the whole URL, e.g. http://jaeger:4318/v1/traces",
    )
    otel_exporter_otlp_headers: OtlpHeaders | None = Field(
        None, description="headers of every request to the receiver, such as a key: name=value,name=value"
    )
    otel_exporter_otlp_traces_headers: OtlpHeaders | None = Field(
        None, description="the same for traces, instead"
    )
    otel_exporter_otlp_timeout: float = Field(
        10_000, gt=0, description="for a request to the receiver with its repetitions, milliseconds"
    )
    otel_exporter_otlp_traces_timeout: float | None = Field(
        None, gt=0, description="the same for traces, instead, milliseconds"
    )
    otel_exporter_otlp_compression: Literal["none", "gzip"] = Field(
        "none", description="of what is sent to the receiver: none or gzip"
    )
    otel_exporter_otlp_traces_compression: Literal["none", "gzip"] | None = Field(
        None, description="the same for traces, instead: none or gzip"
    )
    otel_exporter_otlp_certificate: FilePath | None = Field(
        None, description="file with the certificates to trust for the receiver; unset: the system's"
    )
    otel_exporter_otlp_traces_certificate: FilePath | None = Field(
        None, description="the same for traces, instead"
    )
    otel_traces_sampler_arg: float = Field(
        1.0, ge=0, le=1, description="share of traces that are sampled, 0 to 1"
    )
    forwarded_allow_ips: CommaNetworks = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded-For is trusted; unset: none; *: all",
    )
    metrics_bearer_token: ApiKey | None = Field(
        None, description="bearer token for /metrics and the checks of mcp-health; unset: none is needed"
    )
    metrics_basic_auth: BasicAuth | None = Field(
        None,
        description="user:password for the same pages (HTTP basic authentication); unset: none is needed",
    )
    metrics_allowed_networks: CommaNetworks = Field(
        (), description="addresses and networks that may read the same pages; unset: all"
    )
    allowed_hosts: CommaStrings = Field(
        (),
        description="names with a dot by which browsers reach the sandbox, and a dashboard without login",
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="largest request body accepted, bytes")
    max_connections: int | None = Field(
        None,
        ge=1,
        description="connections of clients at once in a process; unset: 4000, fewer with few open files",
    )
    request_head_seconds: float = Field(
        10.0, gt=0, description="seconds in which a client must send the head of a request"
    )
    request_body_seconds: float = Field(
        30.0, gt=0, description="seconds in which a client must send the body of a request"
    )
    shutdown_grace_seconds: float = Field(
        10.0, ge=0, description="seconds that requests in flight get at shutdown"
    )

    @property
    def traces_exporter(self) -> Literal["otlp", "console", "none"]:
        """Where spans go."""
        if self.otel_traces_exporter is not None:
            return self.otel_traces_exporter
        endpoint = self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint
        return "otlp" if endpoint else "none"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, EnvironmentSource(settings_cls), FileSource(settings_cls)


def load(settings_class: Callable[[], S]) -> S:
    """Reads settings from the environment.

    Raises:
        StartError: variables are missing or wrong; one line for each, with its name.
    """
    try:
        return settings_class()
    except ValidationError as error:
        raise StartError("\n".join(_line(settings_class, fault) for fault in error.errors())) from error
    except SettingsError as error:
        # pydantic-settings wraps exceptions of a source; ours is the cause.
        if isinstance(error.__cause__, StartError):
            raise error.__cause__ from None
        raise


def add_env_file_option(parser: ArgumentParser) -> None:
    """Adds the option ``--env-file FILE``; the command gives its value to :func:`read_env_file`."""
    parser.add_argument(
        "--env-file",
        type=Path,
        help="file of settings, such as .env; variables of the environment come first",
    )


def read_env_file(path: Path | None) -> None:
    """Adds the variables of a file such as ``.env`` to the environment; those that are set already stay.

    Args:
        path: of the file; None: there is none.

    Raises:
        StartError: the file cannot be read, or a line of it is no ``NAME=value``.
    """
    if path is None:
        return
    try:
        with path.open(encoding="utf-8-sig") as file:
            wrong = next((binding for binding in parse_stream(file) if binding.error), None)
        if wrong is not None:
            raise StartError(f"{path}, line {wrong.original.line}: write NAME=value")
        load_dotenv(path, encoding="utf-8-sig")
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StartError(f"cannot read {path}: it is not UTF-8 text") from error


def check_all(*settings_classes: Callable[[], BaseSettings]) -> None:
    """Loads the settings of several services, to report all wrong variables at once.

    Raises:
        StartError: one line for each wrong variable.
    """
    lines: dict[str, None] = {}
    for settings_class in settings_classes:
        try:
            load(settings_class)
        except StartError as error:
            lines |= dict.fromkeys(str(error).splitlines())
    if lines:
        raise StartError("\n".join(lines))


def _line(settings_class: Any, fault: Any) -> str:
    field = str(fault["loc"][0]) if fault["loc"] else ""
    info = settings_class.model_fields.get(field)
    alias = getattr(info, "validation_alias", None)
    name = alias if isinstance(alias, str) else field
    text = message(fault)
    if fault["type"] == "string_pattern_mismatch" and info is not None:
        # A pattern says nothing to a person; the description names the form.
        text = f"write the {str(info.description).partition(';')[0]}"
    return f"{name.upper()}: {text}" if name else text
