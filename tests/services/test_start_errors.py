"""What a person sees at the terminal when a service cannot start: one line a cause, and exit code 1."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.forking import Programs
from tests.ports import free_port

pytestmark = pytest.mark.xdist_group("programs")

ROOT = Path(__file__).parents[2]
SERVICES = ("bridge", "alert_relay", "mcp_health", "dashboard", "telegram_sandbox")
PORTS = {
    "bridge": "BRIDGE_PORT",
    "alert_relay": "ALERT_RELAY_PORT",
    "mcp_health": "MCP_HEALTH_PORT",
    "dashboard": "MONITORING_SERVER_PORT",
    "telegram_sandbox": "SANDBOX_PORT",
}
TOKEN = "123456789:AAbbCCddEEffGGhhIIjjKKllMMnnOOppQQ"


@dataclass(frozen=True)
class End:
    """How a start went that did not succeed."""

    code: int
    lines: list[str]
    output: str

    @property
    def line(self) -> str:
        """The one line, without what all of them begin with."""
        assert len(self.lines) == 1, self.output
        return self.lines[0]


Start = Callable[..., End]


def variables_of(folder: Path, variables: dict[str, str]) -> dict[str, str]:
    ours = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
    return ours | {variable: str(free_port()) for variable in PORTS.values()} | variables


def end_of(ended: "subprocess.CompletedProcess[str]") -> End:
    assert "Traceback" not in ended.stderr, ended.stderr
    begin = "cannot start: "
    lines = [line.removeprefix(begin) for line in ended.stderr.splitlines() if line.startswith(begin)]
    return End(ended.returncode, lines, ended.stdout + ended.stderr)


@pytest.fixture
def start(programs: Programs, tmp_path: Path) -> Start:
    """Runs a service, or the suite, that cannot start."""

    def run(what: str, **variables: str) -> End:
        return end_of(programs.run(what, environment=variables_of(tmp_path, variables)))

    return run


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b'{"title":"Not authorized"}')


@pytest.fixture
def suite_of_refusals() -> Iterator[int]:
    """The port of something that lets nobody in."""
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        answering = threading.Thread(target=server.serve_forever)
        answering.start()
        yield server.server_port
        server.shutdown()
        answering.join()


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_in_use(service: str, taken: int, tmp_path: Path) -> None:
    """Of a Python that is started for it; the others are forked, which takes a tenth of the time."""
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        cwd=ROOT,
        env=variables_of(tmp_path, {PORTS[service]: str(taken)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    end = end_of(ended)
    assert end.code == 1
    assert end.line == (
        f"{PORTS[service]}: {service} cannot listen on 127.0.0.1:{taken}: Address already in use"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_number_that_is_none(start: Start, service: str) -> None:
    end = start(f"services.{service}", **{PORTS[service]: "eighty", "SHUTDOWN_GRACE_SECONDS": "-1"})
    assert end.code == 1
    assert sorted(line.partition(":")[0] for line in end.lines) == sorted(
        [PORTS[service], "SHUTDOWN_GRACE_SECONDS"]
    )
    assert "eighty" not in end.output


@pytest.mark.parametrize("service", ["telegram_sandbox", "bridge", "alert_relay"])
@pytest.mark.parametrize("wrong", ["hunter2", f"{TOKEN} {TOKEN}", "123456789:hunter/2", "hunter2:AAbb"])
def test_a_token_that_is_none(start: Start, service: str, wrong: str) -> None:
    end = start(f"services.{service}", TELEGRAM_BOT_TOKEN=wrong, TELEGRAM_CHAT_IDS="1001")
    assert end.code == 1
    assert end.line.startswith("TELEGRAM_BOT_TOKEN: ")
    assert "hunter" not in end.output
    assert TOKEN not in end.output


def test_a_secret_file_that_is_missing(start: Start) -> None:
    end = start("services.bridge", API_KEY_FILE="/run/secrets/none")
    assert end.code == 1
    assert end.line == "API_KEY_FILE: cannot read /run/secrets/none: No such file or directory"


@pytest.mark.parametrize("service", ["bridge", "alert_relay", "mcp_health", "dashboard"])
def test_a_data_folder_that_is_a_file(start: Start, service: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    end = start(f"services.{service}")
    assert end.code == 1
    assert end.line.startswith("DATA_DIR: cannot keep the ")
    assert end.line.endswith(f" in {tmp_path}/data: File exists")


def test_a_data_folder_that_is_a_file_with_a_key_from_elsewhere(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    end = start("services.bridge", API_KEY="cct_0123456789abcdef", SIGNING_MASTER="m" * 32)
    assert end.code == 1
    assert end.line.startswith("DATA_DIR or DATABASE_URL: ")


def test_a_sandbox_that_cannot_keep_its_log(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    end = start("services.telegram_sandbox")
    assert end.code == 1
    assert end.line.startswith("SANDBOX_LOG_FILE: cannot use ")


@pytest.mark.parametrize("service", ["bridge", "alert_relay"])
@pytest.mark.parametrize(
    "url", ["nonsense", "postgres://ada:lovelace@db/events", "postgresql://ada:lovelace@db:port/events"]
)
def test_a_database_url_that_is_none(start: Start, service: str, url: str) -> None:
    end = start(f"services.{service}", DATABASE_URL=url)
    assert end.code == 1
    assert end.line.startswith("DATABASE_URL: ")
    assert end.line.endswith("write sqlite:///path or postgresql://user:password@host/name")
    assert "lovelace" not in end.output


def test_a_database_that_does_not_answer(start: Start) -> None:
    """A database that starts beside us is waited for, so this one takes its time."""
    port = free_port()
    url = f"postgresql://ada:lovelace@127.0.0.1:{port}/events"
    end = start("services.bridge", DATABASE_URL=url)
    assert end.code == 1
    assert end.line.startswith(f"DATABASE_URL: cannot use 127.0.0.1:{port}/events: ")
    assert "database_awaited" in end.output
    assert "lovelace" not in end.output


@pytest.mark.parametrize(("host", "reason"), [("203.0.113.1", "Cannot assign requested address")])
def test_an_address_that_is_not_this_machine_s(start: Start, host: str, reason: str) -> None:
    end = start("services.bridge", HOST=host)
    assert end.code == 1
    assert end.line.startswith("HOST: ")
    assert end.line.endswith(reason)


def test_the_sandbox_has_an_address_of_its_own(start: Start) -> None:
    end = start("services.telegram_sandbox", HOST="203.0.113.2", SANDBOX_HOST="203.0.113.1")
    assert end.code == 1
    assert end.line.startswith("SANDBOX_HOST: telegram_sandbox cannot listen on 203.0.113.1:")


# The suite: the same lines, from whichever service they come.


def test_the_suite_names_the_port_that_is_in_use(start: Start, taken: int) -> None:
    end = start("services", MONITORING_SERVER_PORT=str(taken))
    assert end.code == 1
    assert end.line.startswith("MONITORING_SERVER_PORT: dashboard cannot listen on ")


def test_the_suite_names_one_of_two_services_on_one_port(start: Start) -> None:
    port = str(free_port())
    end = start("services", BRIDGE_PORT=port, ALERT_RELAY_PORT=port)
    assert end.code == 1
    assert end.line.startswith("ALERT_RELAY_PORT: alert-relay cannot listen on ")


def test_the_suite_tells_of_a_data_folder_that_is_a_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    end = start("services")
    assert end.code == 1
    assert end.line == (f"DATA_DIR: cannot write the log {tmp_path}/data/logs/suite.log: Not a directory")


def test_the_suite_tells_of_every_wrong_variable_of_every_service_at_once(
    start: Start,
) -> None:
    end = start("services", LOG_LEVEL="loud", ALERT_CHAT_IDS="everybody", DASHBOARD_UPDATE_INTERVAL="soon")
    assert end.code == 1
    assert sorted(line.partition(":")[0] for line in end.lines) == [
        "ALERT_CHAT_IDS",
        "DASHBOARD_UPDATE_INTERVAL",
        "LOG_LEVEL",
    ]


# The demo, which looks for the suite where the suite's own settings say it is.


def test_the_demo_without_a_suite_says_where_it_looked(start: Start) -> None:
    port = free_port()
    end = start("services.demo", BRIDGE_PORT=str(port))
    assert end.code == 1
    assert end.line.startswith(f"Cannot connect to http://127.0.0.1:{port}: ")
    assert end.line.endswith("Is the suite running (make run)?")


def test_the_demo_repeats_what_it_was_refused_with(start: Start, suite_of_refusals: int) -> None:
    end = start("services.demo", BRIDGE_PORT=str(suite_of_refusals))
    assert end.code == 1
    assert end.line == "Not authorized (401)"
