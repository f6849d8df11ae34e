"""The services and the programs that watch them, each a process that can be stopped and started again."""

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx

from benchmarks.alerts_check import shortened
from benchmarks.prove.programs import KEY, SUITE_TOKEN, Program, redis, sandbox
from tests import servers as databases
from tests.ports import free_port
from tests.stack import config, servers

#: People who get the alerts: one who can be reached, and one whose chat is broken on purpose.
READER, BROKEN = 1001, 1003
#: The chat of the bridge's messages.
EVENTS = 1002
#: Further chats of the bridge's messages.
SLOW_CHATS = range(3000, 3060)
MODULES = {
    "bridge": ("services.bridge", "BRIDGE_PORT"),
    "alert-relay": ("services.alert_relay", "ALERT_RELAY_PORT"),
    "mcp-health": ("services.mcp_health", "MCP_HEALTH_PORT"),
    "dashboard": ("services.dashboard", "MONITORING_SERVER_PORT"),
}


class Collector(BaseHTTPRequestHandler):
    """An OTLP receiver that takes spans, or refuses them."""

    refuses = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(401 if type(self).refuses else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@dataclass
class Stack:
    """Everything that runs.

    Args:
        folder: of all files.
        urls: of the services, the sandbox, Prometheus and Alertmanager, by name.
        programs: by name; those that a cause stops.
        postgres: its server.
        database: URL of the bridge's database.
        slow_chats: the chats of the next messages, without end.
        helpers: processes that a cause started.
    """

    folder: Path
    urls: dict[str, str]
    programs: dict[str, Program]
    postgres: databases.Postgres
    database: str
    helpers: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    slow_chats: Iterator[int] = field(default_factory=lambda: itertools.cycle(SLOW_CHATS))
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def post(self, service: str, path: str, body: object) -> int:
        """Posts with the key, and returns the status; 0: no answer."""
        try:
            answer = self.client.post(
                f"{self.urls[service]}{path}", json=body, headers={"Authorization": f"Bearer {KEY}"}
            )
        except httpx.HTTPError:
            return 0
        return answer.status_code

    def fault(self, **fault: object) -> None:
        """Lets the sandbox fail until :meth:`mend`."""
        self.client.post(
            f"{self.urls['sandbox']}/control/faults", json={"times": None, **fault}
        ).raise_for_status()

    def mend(self) -> None:
        self.client.delete(f"{self.urls['sandbox']}/control/faults").raise_for_status()

    def stop_database(self) -> None:
        self.postgres.signal(signal.SIGINT)
        self.postgres.process.wait(30)


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """Runs all of it while the block runs."""
    programs_of_postgres = databases.postgres_programs()
    if programs_of_postgres is None:
        raise SystemExit("PostgreSQL is not installed (make servers)")
    with ExitStack() as stack:
        postgres = stack.enter_context(databases.postgres(programs_of_postgres, ("-c", "max_connections=40")))
        database = stack.enter_context(postgres.database())
        collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        Thread(target=collector.serve_forever, daemon=True).start()
        stack.callback(collector.shutdown)
        made = Stack(folder, {}, {}, postgres, database)
        telegram, cache = sandbox(folder), redis(folder)
        made.programs |= {"sandbox": telegram, "redis": cache}
        made.urls["sandbox"] = telegram.ready_url
        ports = {
            name: free_port() for name in (*MODULES, "prometheus", "alertmanager", "lab", "redis-exporter")
        }
        made.urls |= {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        otlp = f"http://127.0.0.1:{collector.server_port}"
        environment = _environment(folder, made.urls, ports, otlp)
        for name, (module, _) in MODULES.items():
            own = {"DATABASE_URL": database, "DATA_DIR": str(folder / name)} if name == "bridge" else {}
            arguments = [sys.executable, "-m", module]
            made.programs[name] = Program(
                arguments, environment | own, folder / f"{name}.log", made.urls[name]
            )
        made.programs["lab"] = _alertmanager(folder / "lab", ports["lab"], None)
        made.programs["redis-exporter"] = Program(
            [
                servers.find("prometheus-redis-exporter"),
                f"-redis.addr={cache.environment['REDIS_URL']}",
                f"-web.listen-address=127.0.0.1:{ports['redis-exporter']}",
            ],
            {},
            folder / "redis-exporter.log",
        )
        # Retention cannot write its archive: the cause of RetentionFailing is there from the start.
        (folder / "bridge").mkdir(exist_ok=True)
        (folder / "bridge" / "archive").write_text("no folder")
        for name, program in made.programs.items():
            stack.callback(program.stop)
            program.start()
            if name in MODULES or name == "sandbox":
                ready = f"{program.ready_url}/health/live"
                servers.until(f"{name} ({program.log})", partial(_answers, ready), 60)
        for chats in (range(BROKEN, BROKEN + 1), SLOW_CHATS):
            body = {"first_id": chats[0], "count": len(chats)}
            made.client.post(f"{made.urls['sandbox']}/control/chats/range", json=body)
        made.programs["alertmanager"] = _alertmanager(
            folder / "first", ports["alertmanager"], made.urls["alert-relay"]
        )
        made.programs["alertmanager"].start()
        stack.callback(made.programs["alertmanager"].stop)
        exporters = {
            "redis-exporter": made.urls["redis-exporter"].removeprefix("http://"),
            "node-exporter": stack.enter_context(servers.node_exporter(folder)).address,
            "postgres-exporter": stack.enter_context(_postgres_exporter(folder, postgres.port)).address,
        }
        addresses = {name: made.urls[name].removeprefix("http://") for name in (*MODULES, "alertmanager")}
        scraping = config.write_prometheus(folder, addresses | exporters, shortened.rules)
        stack.enter_context(servers.prometheus(scraping, folder, ports["prometheus"]))
        yield made


def _answers(url: str) -> bool:
    return httpx.get(url, timeout=5).is_success


def _environment(folder: Path, urls: dict[str, str], ports: dict[str, int], otlp: str) -> dict[str, str]:
    clusters = {
        "first": {"api_urls": [urls["alertmanager"]], "external_urls": [urls["alertmanager"]]},
        "lab": {"api_urls": [urls["lab"]], "external_urls": [urls["lab"]]},
    }
    return {
        "HOST": "127.0.0.1",
        **{variable: str(ports[name]) for name, (_, variable) in MODULES.items()},
        **{
            f"{name.upper().replace('-', '_')}_URL": urls[name]
            for name in (*MODULES, "prometheus", "alertmanager")
        },
        "DATA_DIR": str(folder / "data"),
        "API_KEY": KEY,
        "TELEGRAM_BOT_TOKEN": SUITE_TOKEN,
        "TELEGRAM_API_URL": urls["sandbox"],
        "TELEGRAM_CHAT_IDS": str(EVENTS),
        "ALERT_CHAT_IDS": f"{READER},{BROKEN}",
        "ALERTMANAGER_CLUSTERS": json.dumps(clusters),
        "ALERTMANAGER_READ_SECONDS": "5",
        "STORM_INCIDENTS": "0",
        "RETENTION_DAYS": "1",
        "RATE_LIMIT_PER_SECOND": "0",
        "TELEGRAM_BOT_PER_SECOND": "0",
        "TELEGRAM_CHAT_PER_SECOND": "0",
        "RETRY_BASE_SECONDS": "0.2",
        "RETRY_CAP_SECONDS": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "LOG_LEVEL": "WARNING",
    }


def _alertmanager(folder: Path, port: int, relay: str | None) -> Program:
    """Alertmanager with our configuration; without a relay it notifies no program."""
    folder.mkdir()
    original = config.load(config.ALERTMANAGER / "alertmanager.yml")
    (folder / "key").write_text(KEY)
    made = config.notifying(original, f"{relay}/webhook/alert", folder / "key", hasten=True)
    if relay is None:
        made = {"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}
    path = folder / "alertmanager.yml"
    path.write_text(json.dumps(made))
    arguments = [
        servers.find("prometheus-alertmanager"),
        f"--config.file={path}",
        f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url=http://127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    return Program(arguments, {}, folder / "alertmanager.log")


@contextmanager
def _postgres_exporter(folder: Path, port: int) -> Iterator[servers.Server]:
    url = f"http://127.0.0.1:{free_port()}"
    environment = {"DATA_SOURCE_NAME": f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"}
    command = [
        servers.find("prometheus-postgres-exporter"),
        f"--web.listen-address={url.removeprefix('http://')}",
    ]
    log = folder / "postgres-exporter.log"
    with servers.started(command, url, log, ready="/", environment=environment) as server:
        yield server
