from pathlib import Path

import pytest
from pydantic import Field, SecretStr, model_validator

from services.bridge.settings import BridgeSettings
from services.kit.settings import (
    CommaInts,
    CommaStrings,
    ServiceSettings,
    StartError,
    load,
    read_env_file,
)
from services.telegram_sandbox.settings import SandboxSettings


class Settings(ServiceSettings):
    port: int = Field(7000, validation_alias="KIT_PORT", ge=0, le=65535, description="port")
    password: SecretStr = Field(SecretStr(""), description="secret")
    chats: CommaInts = Field((), description="numbers")
    names: CommaStrings = Field((), description="words")
    ratio: float = Field(0.5, ge=0, le=1, description="share")

    @model_validator(mode="after")
    def _no_seven(self) -> "Settings":
        if 7 in self.chats:
            raise ValueError("CHATS: seven is taken")
        return self


def refused(settings_class: type[ServiceSettings] = Settings) -> str:
    with pytest.raises(StartError) as caught:
        load(settings_class)
    return str(caught.value)


def test_every_value_has_a_default(clean_environment: None) -> None:
    settings = load(Settings)
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 7000, Path("data"))


def test_variables_are_read_by_their_names(monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> None:
    monkeypatch.setenv("KIT_PORT", "7001")
    monkeypatch.setenv("HOST", "::1")
    monkeypatch.setenv("RATIO", "0.25")
    settings = load(Settings)
    assert (settings.port, settings.host, settings.ratio) == (7001, "::1", 0.25)


def test_a_variable_called_port_moves_no_service(
    monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("PORT", "9")
    assert load(BridgeSettings).port == 8080
    assert load(SandboxSettings).port == 8083


def test_an_empty_variable_is_as_good_as_none(
    monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("KIT_PORT", "")
    monkeypatch.setenv("CHATS", "")
    assert load(Settings).port == 7000
    assert load(Settings).chats == ()


@pytest.mark.parametrize(
    ("text", "numbers"), [("1", (1,)), ("1,2", (1, 2)), (" 1 , -1002 ,", (1, -1002)), (",", ())]
)
def test_lists_are_written_with_commas(
    text: str, numbers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("CHATS", text)
    monkeypatch.setenv("NAMES", "ada, grace")
    assert load(Settings).chats == numbers
    assert load(Settings).names == ("ada", "grace")


def test_a_secret_comes_from_a_file_without_its_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    (tmp_path / "secret").write_text("of the file\n")
    monkeypatch.setenv("PASSWORD_FILE", str(tmp_path / "secret"))
    assert load(Settings).password.get_secret_value() == "of the file"


def test_a_list_and_a_port_come_from_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    (tmp_path / "chats").write_text("4,5\n")
    (tmp_path / "port").write_text("7002\n")
    monkeypatch.setenv("CHATS_FILE", str(tmp_path / "chats"))
    monkeypatch.setenv("KIT_PORT_FILE", str(tmp_path / "port"))
    assert load(Settings).chats == (4, 5)
    assert load(Settings).port == 7002


def test_the_variable_itself_goes_before_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    (tmp_path / "secret").write_text("of the file")
    monkeypatch.setenv("PASSWORD_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("PASSWORD", "of the variable")
    assert load(Settings).password.get_secret_value() == "of the variable"


def test_a_file_that_is_missing_is_one_line_that_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("PASSWORD_FILE", str(tmp_path / "none"))
    assert refused() == f"PASSWORD_FILE: cannot read {tmp_path}/none: No such file or directory"


def test_a_folder_instead_of_a_file_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("PASSWORD_FILE", str(tmp_path))
    assert refused() == f"PASSWORD_FILE: cannot read {tmp_path}: Is a directory"


def test_a_file_of_bytes_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("PASSWORD_FILE", str(tmp_path / "secret"))
    assert refused() == f"PASSWORD_FILE: cannot read {tmp_path}/secret: it is not UTF-8 text"


def test_an_empty_file_is_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    (tmp_path / "secret").write_text("\n")
    monkeypatch.setenv("PASSWORD_FILE", str(tmp_path / "secret"))
    assert refused() == f"PASSWORD_FILE: {tmp_path}/secret is empty"


def test_every_wrong_value_is_named_by_its_variable_and_none_is_repeated(
    monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("KIT_PORT", "eighty-eighty")
    monkeypatch.setenv("RATIO", "3.25")
    monkeypatch.setenv("CHATS", "1,lovelace")
    monkeypatch.setenv("LOG_LEVEL", "shouting")
    text = refused()
    assert {line.partition(":")[0] for line in text.splitlines()} == {
        "KIT_PORT",
        "RATIO",
        "CHATS",
        "LOG_LEVEL",
    }
    assert not any(value in text for value in ("eighty", "3.25", "lovelace", "shouting"))


def test_a_rule_between_fields_says_its_own_sentence(
    monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("CHATS", "7")
    assert refused() == "CHATS: seven is taken"


def test_a_key_that_can_be_guessed_is_refused(
    monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("API_KEY", "changeme")
    assert refused() == "API_KEY: a key has 16 characters at least"


def test_no_secret_shows_in_the_settings_themselves(
    monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.setenv("API_KEY", "cct_very-secret-indeed")
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:lovelace@db/events")
    shown = repr(load(BridgeSettings))
    assert "very-secret" not in shown
    assert "lovelace" not in shown


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_a_file_of_settings_gives_what_the_environment_does_not(
    monkeypatch: pytest.MonkeyPatch, clean_environment: None, env_file: Path
) -> None:
    for variable in ("KIT_PORT", "RATIO", "NAMES"):
        # The file's variables leave the environment with this test.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOST", "::1")
    env_file.write_text(
        "\ufeff# settings\nHOST=0.0.0.0\nexport KIT_PORT=7002\nRATIO='0.75' # share\n\nNAMES=\"a b,c\"\n"
    )
    read_env_file(env_file)
    settings = load(Settings)
    assert (settings.host, settings.port, settings.ratio, settings.names) == ("::1", 7002, 0.75, ("a b", "c"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"HOST=::1\nRATIO 0.5=\n", ", line 2: write NAME=value"),
        (b"HOST='::1\n", ", line 1: write NAME=value"),
        (b"HOST=\xff\n", "it is not UTF-8 text"),
    ],
)
def test_a_file_of_settings_that_cannot_be_read_stops_the_start(
    env_file: Path, content: bytes, reason: str
) -> None:
    env_file.write_bytes(content)
    with pytest.raises(StartError) as caught:
        read_env_file(env_file)
    assert str(env_file) in str(caught.value)
    assert str(caught.value).endswith(reason)


def test_a_file_of_settings_that_is_missing_stops_the_start(env_file: Path) -> None:
    with pytest.raises(StartError, match="No such file or directory"):
        read_env_file(env_file)
