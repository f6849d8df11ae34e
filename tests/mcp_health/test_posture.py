import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.contracts.health import ControlStatus, HealthReport
from services.kit import logs
from services.mcp_health import posture
from services.mcp_health.posture import Listener
from tests.mcp_health.neighbours import NOW, health

LOCAL = {"bridge": "http://127.0.0.1:8080", "dashboard": "http://localhost:8082"}


def file(path: Path, mode: int) -> Path:
    path.write_text("cct_x", encoding="ascii")
    path.chmod(mode)
    return path


def reporting(**database: Any) -> HealthReport:
    """A bridge's report of its database."""
    return HealthReport.model_validate(health(database={"status": "healthy", **database}))


ON_SQLITE = reporting(dialect="sqlite")


class TestKeyFile:
    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
    def test_closed_to_others_passes(self, tmp_path: Path, mode: int) -> None:
        found = posture.key_file(file(tmp_path / "api_key", mode), NOW)
        assert found.status is ControlStatus.PASSED
        assert found.evidence == {"mode": f"{mode:04o}"}

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o660, 0o620, 0o777])
    def test_open_to_others_or_writable_by_a_group_fails(self, tmp_path: Path, mode: int) -> None:
        assert posture.key_file(file(tmp_path / "api_key", mode), NOW).status is ControlStatus.FAILED

    def test_a_file_that_is_not_there_is_unknown(self, tmp_path: Path) -> None:
        found = posture.key_file(tmp_path / "api_key", NOW)
        assert found.status is ControlStatus.UNKNOWN
        assert "No such file" in found.evidence["reason"]

    def test_a_key_from_the_environment_has_no_file_to_look_at(self) -> None:
        found = posture.key_file(None, NOW)
        assert found.status is ControlStatus.UNKNOWN
        assert "API_KEY" in found.evidence["reason"]

    def test_the_evidence_tells_neither_the_key_nor_where_it_is(self, tmp_path: Path) -> None:
        found = posture.key_file(file(tmp_path / "api_key", 0o644), NOW)
        assert "cct_x" not in str(found.evidence)
        assert str(tmp_path) not in str(found.evidence)


class TestDataFiles:
    def test_a_closed_folder_passes_whatever_is_in_it(self, tmp_path: Path) -> None:
        file(tmp_path / "bridge.db", 0o644)
        tmp_path.chmod(0o700)
        assert posture.data_files(tmp_path, ON_SQLITE, NOW).status is ControlStatus.PASSED

    def test_closed_files_in_an_open_folder_pass(self, tmp_path: Path) -> None:
        file(tmp_path / "bridge.db", 0o600)
        tmp_path.chmod(0o755)
        assert posture.data_files(tmp_path, ON_SQLITE, NOW).status is ControlStatus.PASSED

    def test_one_open_file_in_an_open_folder_fails_and_is_named(self, tmp_path: Path) -> None:
        file(tmp_path / "alert_relay.db", 0o600)
        file(tmp_path / "bridge.db", 0o644)
        tmp_path.chmod(0o755)
        found = posture.data_files(tmp_path, ON_SQLITE, NOW)
        assert found.status is ControlStatus.FAILED
        assert found.evidence == {
            "folder_mode": "0755",
            "modes": {"alert_relay.db": "0600", "bridge.db": "0644"},
        }

    def test_an_open_archive_of_messages_in_an_open_folder_fails(self, tmp_path: Path) -> None:
        file(tmp_path / "bridge.db", 0o600)
        (tmp_path / "archive").mkdir()
        file(tmp_path / "archive" / "2026-01.jsonl.gz", 0o644)
        tmp_path.chmod(0o755)
        found = posture.data_files(tmp_path, ON_SQLITE, NOW)
        assert found.status is ControlStatus.FAILED
        assert found.evidence["modes"] == {"bridge.db": "0600", "archive/2026-01.jsonl.gz": "0644"}

    @pytest.mark.parametrize("bridge", [None, reporting(), reporting(dialect="postgresql")])
    def test_files_that_hold_no_messages_of_the_bridge_show_nothing(
        self, bridge: HealthReport | None, tmp_path: Path
    ) -> None:
        file(tmp_path / "alert_relay.db", 0o600)
        tmp_path.chmod(0o700)
        assert posture.data_files(tmp_path, bridge, NOW).status is ControlStatus.UNKNOWN

    def test_no_database_here_is_unknown(self, tmp_path: Path) -> None:
        assert posture.data_files(tmp_path, ON_SQLITE, NOW).status is ControlStatus.UNKNOWN

    def test_a_folder_that_is_not_made_yet_is_unknown(self, tmp_path: Path) -> None:
        assert posture.data_files(tmp_path / "data", ON_SQLITE, NOW).status is ControlStatus.UNKNOWN


class TestRedaction:
    @pytest.fixture
    def handlers(self) -> Iterator[list[logging.Handler]]:
        """The root logger's handlers as the kit sets them up; afterwards they are as before."""
        root = logging.getLogger()
        before, level, pipeline = root.handlers, root.level, structlog.get_config()
        root.handlers = []
        logs.configure("INFO")
        yield root.handlers.copy()  # pytest adds its own to the list
        root.handlers = before
        root.setLevel(level)
        structlog.configure(**pipeline)

    def test_the_kit_s_log_lets_no_secret_through(self, handlers: list[logging.Handler]) -> None:
        found = posture.redaction(handlers, NOW)
        assert found.status is ControlStatus.PASSED
        assert found.evidence == {
            "tried": ["api_key", "bearer", "bot_token", "url_password"],
            "leaked": [],
        }

    def test_trying_writes_nothing(
        self, handlers: list[logging.Handler], capsys: pytest.CaptureFixture[str]
    ) -> None:
        posture.redaction(handlers, NOW)
        assert capsys.readouterr().err == ""

    def test_a_log_that_leaks_fails_and_names_what_leaked(self) -> None:
        careless = logging.StreamHandler(io.StringIO())
        careless.setFormatter(
            structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer())
        )
        found = posture.redaction([careless], NOW)
        assert found.status is ControlStatus.FAILED
        assert found.evidence["leaked"] == ["api_key", "bearer", "bot_token", "url_password"]

    def test_a_log_that_is_not_the_kit_s_is_unknown(self, handlers: list[logging.Handler]) -> None:
        other = logging.StreamHandler(io.StringIO())
        assert posture.redaction([other], NOW).status is ControlStatus.UNKNOWN
        assert posture.redaction([*handlers, other], NOW).status is ControlStatus.UNKNOWN

    def test_no_log_at_all_is_unknown(self) -> None:
        assert posture.redaction([], NOW).status is ControlStatus.UNKNOWN


class TestListeners:
    def test_loopback_passes(self) -> None:
        found = posture.listeners(LOCAL, [Listener("127.0.0.1", 8080), Listener("::1", 8082)], NOW)
        assert found.status is ControlStatus.PASSED
        assert found.evidence["listen_on"] == {"bridge": ["127.0.0.1"], "dashboard": ["::1"]}

    @pytest.mark.parametrize("ip", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::7"])
    def test_an_address_that_others_reach_fails(self, ip: str) -> None:
        both = [Listener("127.0.0.1", 8080), Listener("127.0.0.1", 8082), Listener(ip, 8082)]
        assert posture.listeners(LOCAL, both, NOW).status is ControlStatus.FAILED

    def test_other_programs_do_not_matter(self) -> None:
        ours = [Listener("127.0.0.1", 8080), Listener("127.0.0.1", 8082)]
        assert posture.listeners(LOCAL, [*ours, Listener("0.0.0.0", 22)], NOW).status is ControlStatus.PASSED

    def test_a_service_that_does_not_listen_yet_is_unknown(self) -> None:
        assert posture.listeners(LOCAL, [Listener("127.0.0.1", 8080)], NOW).status is ControlStatus.UNKNOWN

    def test_services_in_other_containers_are_unknown_although_this_one_listens_everywhere(self) -> None:
        elsewhere = {"bridge": "http://bridge:8080", "dashboard": "http://dashboard:8082"}
        found = posture.listeners(elsewhere, [Listener("0.0.0.0", 3000)], NOW)
        assert found.status is ControlStatus.UNKNOWN

    def test_a_service_elsewhere_keeps_the_rest_from_passing(self) -> None:
        mixed = {**LOCAL, "alert_relay": "http://relay:8081"}
        found = posture.listeners(mixed, [Listener("127.0.0.1", 8080), Listener("127.0.0.1", 8082)], NOW)
        assert found.status is ControlStatus.UNKNOWN
        assert found.evidence["elsewhere"] == ["alert_relay"]

    def test_a_machine_that_does_not_show_its_sockets_is_unknown(self) -> None:
        found = posture.listeners(LOCAL, None, NOW)
        assert found.status is ControlStatus.UNKNOWN
        assert "not visible" in found.evidence["reason"]

    async def test_a_real_listener_is_seen(self) -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            seen = posture.listening()
            assert seen is not None
            assert Listener("127.0.0.1", port) in seen
            found = posture.listeners({"bridge": f"http://127.0.0.1:{port}"}, seen, NOW)
        assert found.status is ControlStatus.PASSED

    @pytest.mark.parametrize(
        ("host", "loopback"),
        [
            ("127.0.0.1", True),
            ("127.9.9.9", True),
            ("::1", True),
            ("::ffff:127.0.0.1", True),
            ("localhost", True),
            ("0.0.0.0", False),
            ("::", False),
            ("10.0.0.1", False),
            ("bridge", False),
            ("localhost.example.org", False),
            ("", False),
        ],
    )
    def test_what_is_loopback(self, host: str, loopback: bool) -> None:
        assert posture.is_loopback(host) == loopback


class TestStore:
    @pytest.mark.parametrize(
        ("measured", "status"),
        [
            ({"dialect": "sqlite", "synchronous": "FULL"}, ControlStatus.PASSED),
            ({"dialect": "sqlite", "synchronous": "extra"}, ControlStatus.PASSED),
            ({"dialect": "sqlite", "synchronous": "normal"}, ControlStatus.FAILED),
            ({"dialect": "sqlite"}, ControlStatus.UNKNOWN),
            ({"dialect": "postgresql", "address": "127.0.0.1:5432/x"}, ControlStatus.PASSED),
            (
                {"dialect": "postgresql", "address": "db.example.org:5432/x", "tls": True},
                ControlStatus.PASSED,
            ),
            ({"dialect": "postgresql", "address": "postgres:5432/x"}, ControlStatus.UNKNOWN),
            ({"dialect": "postgresql", "synchronous": "off", "tls": True}, ControlStatus.FAILED),
            ({"dialect": "postgresql"}, ControlStatus.UNKNOWN),
            ({"dialect": "oracle", "tls": True}, ControlStatus.UNKNOWN),
            ({"response_time_ms": 1.0}, ControlStatus.UNKNOWN),
            ({}, ControlStatus.UNKNOWN),
        ],
    )
    def test_it_is_as_the_bridge_says(self, measured: dict[str, Any], status: ControlStatus) -> None:
        assert posture.store(reporting(**measured), NOW).status is status

    def test_only_what_matters_is_evidence(self) -> None:
        found = posture.store(reporting(dialect="sqlite", synchronous="full", response_time_ms=1), NOW)
        assert found.evidence == {"dialect": "sqlite", "synchronous": "full"}

    def test_a_bridge_that_does_not_answer_or_tell_is_unknown(self) -> None:
        assert posture.store(None, NOW).status is ControlStatus.UNKNOWN
        assert posture.store(HealthReport.model_validate(health()), NOW).status is ControlStatus.UNKNOWN
