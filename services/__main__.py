"""``python -m services`` (``make run``): the whole suite in one process, on SQLite.

If TELEGRAM_BOT_TOKEN is not set, the services call the Telegram sandbox instead of Telegram. The sandbox
starts before the other services and stops after them, so it can answer the requests that are still open.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import uvloop

from services.alert_relay import app as alert_relay
from services.alert_relay.settings import AlertRelaySettings
from services.bridge import app as bridge
from services.bridge.settings import BridgeSettings
from services.client.sources import URLS_FILE
from services.dashboard import app as dashboard
from services.dashboard.settings import DashboardSettings
from services.kit import logs, runner
from services.kit.runner import Running
from services.kit.settings import ServiceSettings, StartError, check_all, load
from services.mcp_health import app as mcp_health
from services.mcp_health.settings import McpHealthSettings
from services.outbox.rate_limit.buckets import LocalBuckets
from services.telegram_sandbox import app as telegram_sandbox
from services.telegram_sandbox.settings import SandboxSettings

S = TypeVar("S", bound=ServiceSettings)


#: The settings of each service, by the setting that other services have for its URL.
SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "bridge_url": BridgeSettings,
    "alert_relay_url": AlertRelaySettings,
    "mcp_health_url": McpHealthSettings,
    "dashboard_url": DashboardSettings,
    "sandbox_url": SandboxSettings,
}


def _prepare() -> tuple[list[Running], Path]:
    check_all(*SETTINGS.values())
    settings = load(BridgeSettings)
    logs.configure(settings.log_level, settings.data_dir / "logs" / "suite.log")
    urls = addresses()
    services: list[Running] = []
    if settings.uses_sandbox:
        urls["sandbox_ui_url"] = urls["sandbox_url"]
        services.append(runner.prepare(telegram_sandbox.create_app, load(SandboxSettings)))
    else:
        del urls["sandbox_url"]
    # The bridge and alert-relay use the same bot, and Telegram limits the rate of a bot.
    rates = LocalBuckets()
    services.append(runner.prepare(bridge.create_app, with_addresses(settings, urls), beside=rates))
    services.append(
        runner.prepare(alert_relay.create_app, with_addresses(load(AlertRelaySettings), urls), beside=rates)
    )
    services.append(runner.prepare(mcp_health.create_app, with_addresses(load(McpHealthSettings), urls)))
    services.append(runner.prepare(dashboard.create_app, with_addresses(load(DashboardSettings), urls)))
    return services, settings.data_dir


def addresses() -> dict[str, str]:
    """Returns the base URL of each service, by the setting in which other services have it.

    A service that listens on all addresses gets ``127.0.0.1``.
    """
    return {name: _url(load(settings)) for name, settings in SETTINGS.items()}


def _url(settings: ServiceSettings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{host}:{settings.port}"


def with_addresses(settings: S, urls: dict[str, str]) -> S:
    """Returns a copy of the settings; ``urls`` fill the URL settings that the operator did not set."""
    fields = type(settings).model_fields.keys() - settings.model_fields_set
    return settings.model_copy(update={name: url for name, url in urls.items() if name in fields})


def _local(service: Running) -> str:
    """Returns the URL of a running service for programs on this machine."""
    everywhere = service.settings.host in ("0.0.0.0", "::")
    return f"http://127.0.0.1:{service.listener.getsockname()[1]}" if everywhere else service.url


def _announce(services: list[Running], data_dir: Path) -> None:
    print("\nCCTelegram runs. Ctrl-C stops it.\n")  # noqa: T201 - for the person at the terminal
    for service in services:
        print(f"  {service.name:<18} {service.url}{_PAGES.get(service.name, '')}")  # noqa: T201 - the same
    print(f"\n  data, logs and the API key are in {data_dir.resolve()}\n", flush=True)  # noqa: T201 - the same


#: The page of each service for people, if it is not the root.
_PAGES = {"bridge": "/docs", "dashboard": "/dashboard/", "mcp-health": "/health", "alert-relay": "/docs"}


def _write_urls(services: list[Running], data_dir: Path) -> None:
    """Writes where clients on this machine find the services, whatever their ports are."""
    urls = {service.name.replace("-", "_").removeprefix("telegram_"): _local(service) for service in services}
    draft = data_dir / f".{URLS_FILE}.draft"
    draft.write_text(json.dumps(urls), encoding="utf-8")
    draft.replace(data_dir / URLS_FILE)


async def _serve(services: list[Running], data_dir: Path) -> None:
    def started() -> None:
        _write_urls(services, data_dir)
        _announce(services, data_dir)

    await runner.serve(services, on_started=started)


def main() -> None:
    runner.keep_files_private()
    try:
        services, data_dir = _prepare()
        uvloop.run(_serve(services, data_dir))
    except StartError as error:
        runner.fail(error)


if __name__ == "__main__":
    main()
