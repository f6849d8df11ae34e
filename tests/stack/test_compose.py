"""compose.yaml and related files agree with each other, the contracts and the services."""

import re
from importlib import import_module
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from services.backup.settings import BackupSettings
from services.client.settings import ClientSettings
from tests.stack import config, servers

COMPOSE = config.load(servers.REPOSITORY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TEXT = (servers.REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
ONE_SHOT = {"secrets", "alertmanager-config", "backup"}
# The published ports of the contract.
PUBLISHED = {
    "gateway": {8080},
    "mcp-health": {3000},
    "alert-relay": {8081},
    "dashboard": {8082},
    "telegram-sandbox": {8083},
    "prometheus": {9090},
    "alertmanager": {9093},
    "grafana": {3001},
    "jaeger": {16686, 4317, 4318},
}
# The group that may read each secret.
SECRETS = {
    "api_key": "20001",
    "postgres_password": "20002",
    "database_url": "20002",
    "grafana_admin_password": "20003",
    "internal_key": "20004",
}
# The settings class of each service.
SETTINGS = {
    "bridge": "services.bridge.settings.BridgeSettings",
    "mcp-health": "services.mcp_health.settings.McpHealthSettings",
    "alert-relay": "services.alert_relay.settings.AlertRelaySettings",
    "dashboard": "services.dashboard.settings.DashboardSettings",
    "telegram-sandbox": "services.telegram_sandbox.settings.SandboxSettings",
    "alertmanager-config": "alertmanager.second_path.SecondPath",
}


def _ports(service: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Returns (host address, published port, container port) of a service."""
    split = [str(port).rsplit(":", 2) for port in service.get("ports", [])]
    return [(host, int(outside), int(inside)) for host, outside, inside in split]


def test_ports_are_those_of_the_contract() -> None:
    published = {
        name: {outside for _, outside, _ in _ports(service)}
        for name, service in SERVICES.items()
        if _ports(service)
    }
    assert published == PUBLISHED


#: The variable of each port that needs no key and no login; all others have BIND_ADDRESS.
NO_LOGIN = {
    3000: "MCP_HEALTH",
    8083: "SANDBOX",
    9090: "PROMETHEUS",
    9093: "ALERTMANAGER",
    3001: "GRAFANA",
    16686: "JAEGER",
    4317: "OTLP",
    4318: "OTLP",
}


def test_every_port_is_published_on_loopback_unless_the_user_says_otherwise() -> None:
    hosts = {outside: host for service in SERVICES.values() for host, outside, _ in _ports(service)}
    prefixes = {port: f"{NO_LOGIN[port]}_" if port in NO_LOGIN else "" for port in hosts}
    assert hosts == {port: f"${{{prefix}BIND_ADDRESS:-127.0.0.1}}" for port, prefix in prefixes.items()}
    assert {port for port in hosts if port not in NO_LOGIN} == {8080, 8081, 8082}


def test_the_sandbox_listens_in_its_container_and_no_other_service_opens_it() -> None:
    assert SERVICES["telegram-sandbox"]["environment"]["SANDBOX_HOST"] == "0.0.0.0"
    named = {name for name, one in SERVICES.items() if "SANDBOX_HOST" in one.get("environment", {})}
    assert named == {"telegram-sandbox"}


def test_a_service_that_can_be_scaled_publishes_no_port_and_has_no_name_of_its_own() -> None:
    assert "ports" not in SERVICES["bridge"]
    assert not any("container_name" in service for service in SERVICES.values())


def test_every_image_has_a_version() -> None:
    for name, service in SERVICES.items():
        image, _, tag = service["image"].rpartition(":")
        if "build" in service:
            assert tag == "local", name
        else:
            assert image
            assert re.search(r"\d", tag), f"{name}: {service['image']}"
            assert "@" not in service["image"], name


def test_the_images_that_ours_are_built_from_have_a_version() -> None:
    for path in ("Dockerfile", "gateway/Dockerfile"):
        text = (servers.REPOSITORY / path).read_text(encoding="utf-8")
        bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
        stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
        assert bases - stages
        assert all(re.search(r":(3\.13|trixie)-slim$", base) for base in bases - stages), bases


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    if name == "gateway":  # its Dockerfile says which user, and how to ask for its health
        text = (servers.REPOSITORY / "gateway" / "Dockerfile").read_text(encoding="utf-8")
        assert "\nUSER haproxy\n" in text
        assert "\nHEALTHCHECK " in text
        return
    assert int(service["user"].split(":")[0]) > 0
    assert (name in ONE_SHOT) != ("healthcheck" in service)


def test_everything_that_is_kept_is_in_a_named_volume() -> None:
    used = {
        mount.split(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
        if not mount.startswith((".", "/"))
    }
    assert used == set(COMPOSE["volumes"])


def test_files_of_the_repository_are_mounted_read_only_and_exist() -> None:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            if mount.startswith((".", "/")):
                source, _, mode = mount.split(":")
                assert mode == "ro", name
                assert source == "/" or (servers.REPOSITORY / source).exists(), mount


def test_it_starts_without_any_variable_set() -> None:
    references = re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", TEXT)
    assert references
    assert all(rest.startswith(":-") for _, rest in references), references


def test_each_secret_opens_to_the_groups_that_the_services_using_it_are_in() -> None:
    wanted = [re.match(r"(\w+):(\d+)", argument) for argument in SERVICES["secrets"]["command"]]
    made = {match[1]: match[2] for match in wanted if match}
    assert made == SECRETS
    for name, service in SERVICES.items():
        if name in ONE_SHOT:
            continue
        environment = service.get("environment", {}).values()
        read = {secret for secret in SECRETS if f"/secrets/{secret}" in environment}
        if name == "alertmanager":  # its configuration names the file
            read = {"api_key"}
        groups = set(service.get("group_add", [])) & set(SECRETS.values())
        assert {SECRETS[secret] for secret in read} == groups, name
        assert bool(read) == ("secrets:/secrets:ro" in service.get("volumes", [])), name


def _settings(name: str) -> type[BaseSettings]:
    module, _, attribute = SETTINGS[name].rpartition(".")
    found: type[BaseSettings] = getattr(import_module(module), attribute)
    return found


def _variables(settings: type[BaseSettings]) -> set[str]:
    """Returns the variables that a settings class reads, and their ``_FILE`` variants."""
    fields = settings.model_fields.items()
    names = {str(field.validation_alias or name).upper() for name, field in fields}
    return names | {f"{name}_FILE" for name in names}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_that_is_set_is_one_that_the_service_reads(name: str) -> None:
    command = _variables(ClientSettings) if name == "bridge" else set()
    assert SERVICES[name]["environment"].keys() <= _variables(_settings(name)) | command


def test_the_command_in_the_bridge_s_container_reaches_every_service() -> None:
    set_there = SERVICES["bridge"]["environment"]
    own = {name for name in _variables(ClientSettings) if name.startswith("CCT_") and name.endswith("_URL")}
    # Without CCT_URL the command calls the bridge in its own container.
    assert own - set_there.keys() == {"CCT_URL"}
    assert set_there["CCT_API_KEY_FILE"] == set_there["API_KEY_FILE"]


def test_the_image_has_the_command() -> None:
    text = (servers.REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert "COPY cct .\n" in text
    assert "ln -s /app/cct /usr/local/bin/cct" in text
    assert "!cct\n" in (servers.REPOSITORY / ".dockerignore").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "alertmanager-config"])
def test_each_service_listens_where_it_is_published_and_asked_for_its_health(name: str) -> None:
    port = _settings(name).model_fields["port"].default
    assert SERVICES[name]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/health/ready"
    assert {inside for _, _, inside in _ports(SERVICES[name])} <= {port}
    assert SERVICES[name]["command"] == [SETTINGS[name].rsplit(".", 2)[0]]


def test_what_the_services_call_is_where_it_listens() -> None:
    listening = {
        name: _settings(name).model_fields["port"].default
        for name in SETTINGS
        if name != "alertmanager-config"
    }
    listening |= {"gateway": 8080, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
    listening |= {"jaeger": {16686, 4318}, "redis": 6379}
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            for host, port in re.findall(r"(?:http|redis)://([a-z-]+):(\d+)", str(value)):
                expected = listening[host]
                assert int(port) in (expected if isinstance(expected, set) else {expected}), variable


def test_the_relay_knows_alertmanager_by_the_key_that_both_read() -> None:
    (webhook,) = config.load(config.ALERTMANAGER / "alertmanager.yml")["receivers"][0]["webhook_configs"]
    assert webhook["url"] == "http://alert-relay:8081/webhook/alert"
    assert webhook["http_config"]["authorization"]["credentials_file"] == "/secrets/api_key"
    assert SERVICES["alert-relay"]["environment"]["API_KEY_FILE"] == "/secrets/api_key"


def test_what_reports_a_dead_database_does_not_need_it() -> None:
    relay = SERVICES["alert-relay"]
    assert not {"DATABASE_URL", "DATABASE_URL_FILE"} & relay["environment"].keys()
    assert not {"postgres", "redis", "bridge"} & relay["depends_on"].keys()


def test_who_sends_for_the_bot_shares_its_pace() -> None:
    assert (
        SERVICES["alert-relay"]["environment"]["REDIS_URL"] == SERVICES["bridge"]["environment"]["REDIS_URL"]
    )


def test_prometheus_scrapes_every_service_of_the_stack_at_its_port() -> None:
    scraped = {}
    for job in config.load(config.PROMETHEUS / "prometheus.yml")["scrape_configs"]:
        for found in job.get("static_configs", []):
            (target,) = found["targets"]
            scraped[job["job_name"]] = target
        for found in job.get("dns_sd_configs", []):
            scraped[job["job_name"]] = f"{found['names'][0]}:{found['port']}"
    hosts = {job: target.split(":")[0] for job, target in scraped.items()}
    assert hosts == {job: "localhost" if job == "prometheus" else job for job in scraped}
    assert scraped.keys() == SERVICES.keys() - ONE_SHOT - {"postgres", "redis"}
    for name, service in SERVICES.items():
        inside = {port for _, _, port in _ports(service)}
        if name in scraped and inside and name not in {"gateway", "jaeger"}:  # these two have a port for it
            assert int(scraped[name].split(":")[1]) in inside, name
    assert scraped["gateway"] == "gateway:8404"


def test_the_gateway_listens_where_compose_publishes_it_and_finds_bridge_where_it_listens() -> None:
    text = (servers.REPOSITORY / "gateway" / "haproxy.cfg").read_text(encoding="utf-8")
    (published,) = _ports(SERVICES["gateway"])
    assert f"bind :{published[2]}\n" in text
    assert "bind :8404\n" in text
    assert set(re.findall(r"server-template bridge \d+ (\S+) ", text)) == {"bridge:8080"}
    assert "bridge:8080" in "bridge:" + SERVICES["bridge"]["healthcheck"]["test"][-1].split(":")[-1]


def test_the_gateway_limits_the_time_of_a_head_and_the_connections_of_an_address() -> None:
    text = (servers.REPOSITORY / "gateway" / "haproxy.cfg").read_text(encoding="utf-8")
    most = int(re.findall(r"maxconn (\d+)", text)[0])
    assert re.search(r"^  timeout http-request 10s$", text, re.MULTILINE)
    (per_address,) = re.findall(r"tcp-request connection reject if \{ sc0_conn_cur gt (\d+) \}", text)
    assert int(per_address) <= most / 4


def test_jaeger_receives_what_the_services_send_and_shows_what_prometheus_scrapes() -> None:
    jaeger = config.load(servers.REPOSITORY / "jaeger" / "jaeger.yaml")
    protocols = jaeger["receivers"]["otlp"]["protocols"]
    assert {name: each["endpoint"] for name, each in protocols.items()} == {
        "grpc": "0.0.0.0:4317",
        "http": "0.0.0.0:4318",
    }
    pipeline = jaeger["service"]["pipelines"]["traces"]
    assert pipeline == {
        "receivers": ["otlp"],
        "processors": ["batch"],
        "exporters": ["jaeger_storage_exporter"],
    }
    storage = jaeger["exporters"]["jaeger_storage_exporter"]["trace_storage"]
    backend = jaeger["extensions"]["jaeger_storage"]["backends"][storage]
    assert backend["memory"]["max_traces"] > 0
    assert jaeger["extensions"]["jaeger_query"]["storage"]["traces"] == storage
    assert set(jaeger["service"]["extensions"]) == jaeger["extensions"].keys()
    (reader,) = jaeger["service"]["telemetry"]["metrics"]["readers"]
    assert reader["pull"]["exporter"]["prometheus"]["port"] == 8888
    health = jaeger["extensions"]["healthcheckv2"]["http"]["endpoint"]
    assert health.split(":")[1] in SERVICES["jaeger"]["healthcheck"]["test"][-1]
    endpoint = SERVICES["bridge"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == "${OTEL_EXPORTER_OTLP_ENDPOINT:-http://jaeger:4318}"


def test_the_image_has_no_build_tools_and_runs_as_nobody_special() -> None:
    text = (servers.REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert "--require-hashes" in text
    assert text.endswith("\nFROM services\n")  # built where no target is named
    services = text.split("\nFROM python:3.13-slim AS services\n")[1].split("\nFROM ")[0]
    assert "\nUSER 10001:10001\n" in services
    assert "pip uninstall" in services
    assert 'ENTRYPOINT ["python", "-m"]' in services


def test_the_backup_has_the_programs_of_the_database_that_it_dumps_and_every_volume_with_data() -> None:
    """pg_dump refuses a server of a later version."""
    (version,) = re.findall(r"^postgres:(\d+)", SERVICES["postgres"]["image"])
    backup = (servers.REPOSITORY / "Dockerfile").read_text(encoding="utf-8").split(" AS backup\n")[1]
    assert f"postgresql-client-{version} " in backup
    assert backup.split("\n\n\n")[0].endswith("USER 10001:10001")
    mounted = {mount.split(":")[0] for mount in SERVICES["backup"]["volumes"]}
    ours = {name for name in SERVICES if SERVICES[name]["image"] == "cctelegram:local"}
    data = {
        mount.split(":")[0]
        for name in ours - ONE_SHOT - {"telegram-sandbox", "mcp-health"}  # these keep nothing
        for mount in SERVICES[name].get("volumes", [])
    }
    assert mounted == data | {"backups"}
    assert SERVICES["backup"]["environment"].keys() <= _variables(BackupSettings)


def test_only_what_the_image_is_made_of_is_sent_to_the_build() -> None:
    lines = (servers.REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert {line for line in lines if line.startswith("!")} == {"!cct", "!requirements.lock", "!services"}


def test_the_offline_override_leaves_out_what_cannot_be_had_and_nothing_else() -> None:
    override = config.load(servers.REPOSITORY / "tests" / "stack" / "compose.offline.yaml")
    assert override == {
        "services": {
            name: {"deploy": {"replicas": 0}, "pull_policy": "never"} for name in ("grafana", "jaeger")
        }
    }
