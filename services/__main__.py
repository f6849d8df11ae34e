"""``python -m services [--env-file FILE]`` (``make run``): the whole suite in one process, on SQLite.

If TELEGRAM_BOT_TOKEN is not set, the services call the Telegram sandbox instead of Telegram. The sandbox
starts before the other services and stops after them, so it can answer the requests that are still open.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import uvloop

from services.alert_relay import app as alert_relay
from services.alert_relay.settings import AlertRelaySettings
from services.bridge import app as bridge
from services.bridge.first_chat.choice import FirstChat
from services.bridge.settings import BridgeSettings
from services.cli import findings
from services.cli.findings import Finding, Verdict
from services.client.sources import URLS_FILE
from services.contracts.health import ComponentHealth
from services.dashboard import app as dashboard
from services.dashboard.settings import DashboardSettings
from services.kit import logs, runner
from services.kit.background import run_in_background
from services.kit.health import Health
from services.kit.runner import Running
from services.kit.settings import (
    ServiceSettings,
    StartError,
    add_env_file_option,
    check_all,
    load,
    read_env_file,
)
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
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


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
    ready = asyncio.Event()

    def started() -> None:
        _write_urls(services, data_dir)
        _announce(services, data_dir)
        ready.set()

    bridge_service = next(service for service in services if service.name == "bridge")
    printing = (_print_bots(bridge_service, ready), _print_first_chat(bridge_service, ready))
    async with run_in_background(*printing):
        await runner.serve(services, on_started=started)


async def _print_bots(service: Running, ready: asyncio.Event) -> None:
    """Prints the name of each bot, or why Telegram refuses it; again whenever that changes."""
    health: Health = service.app.state.health
    printed: dict[str, Finding] = {}
    await ready.wait()
    while True:
        # A component is not listed before its first check.
        checked = {name: each.report() for name, each in health.components.items() if each.last_check}
        report = {name: ComponentHealth.model_validate(each) for name, each in checked.items()}
        for finding in findings.telegram(report):
            if printed.get(finding.name) != finding:
                printed[finding.name] = finding
                _print_finding(finding)
        await asyncio.sleep(1.0)


async def _print_first_chat(service: Running, ready: asyncio.Event) -> None:
    """Prints how the first chat is chosen, if no setting names a chat; and that it was."""
    choice: FirstChat = service.app.state.first_chat
    printed: str | None = None
    await ready.wait()
    while choice.command is not None:
        way = choice.link or f"write to the bot: {choice.command}"
        if way != printed:
            printed = way
            _print_finding(Finding("chat", Verdict.NOTE, "none is set yet", f"to choose it, {_opened(way)}"))
        await asyncio.sleep(1.0)
    if printed is not None:
        _print_finding(Finding("chat", Verdict.OK, "it is chosen, and gets the messages"))


def _opened(way: str) -> str:
    return f"open {way}" if way.startswith("https:") else way


def _print_finding(finding: Finding) -> None:
    red, normal = ("\033[31m", "\033[0m") if sys.stdout.isatty() else ("", "")
    line = f"{finding.name}: {finding.text}" + (f"; {finding.remedy}" if finding.remedy else "")
    if finding.verdict is Verdict.WRONG:
        line = f"{red}{line}{normal}"
    print(f"  {line}", flush=True)  # noqa: T201 - for the person at the terminal


def _read_arguments() -> None:
    parser = argparse.ArgumentParser(prog="python -m services", description="Runs the whole suite.")
    add_env_file_option(parser)
    path = parser.parse_args().env_file
    read_env_file(path)
    if path is not None:
        print(f"Settings are read from {path}.", flush=True)  # noqa: T201 - for the person at the terminal


def main() -> None:
    runner.keep_files_private()
    try:
        _read_arguments()
        services, data_dir = _prepare()
        uvloop.run(_serve(services, data_dir))
    except StartError as error:
        runner.fail(error)


if __name__ == "__main__":
    main()
