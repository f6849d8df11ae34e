"""Checks the settings of this installation: file modes, log redaction, sockets, durability of the database.

Each check returns a finding: passed, failed or unknown.
"""

import logging
import socket
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from secrets import token_hex, token_urlsafe
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil
import structlog

from services.contracts.health import ControlStatus, HealthReport
from services.kit.health import Level
from services.kit.web.auth import new_key
from services.mcp_health.compliance import Finding

#: What a person can check on the host, which this process cannot see.
CHECK_PUBLISHED = (
    "On the host: `docker compose ps` (or `ss -ltn`) should show each published port on 127.0.0.1."
)
_OTHERS = 0o007
_GROUP_WRITES = 0o020
_GROUP_AND_OTHERS = 0o077


def key_file(path: Path | None, now: float) -> Finding:
    """Passed if other users have no access to the key file and the group cannot write to it.

    The group may read, because secrets of containers need that. Unknown if there is no file, or its mode
    cannot be read.
    """
    if path is None:
        return Finding(ControlStatus.UNKNOWN, {"reason": "the key comes from API_KEY, not from a file"}, now)
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        return Finding(
            ControlStatus.UNKNOWN, {"reason": f"cannot read the file's mode: {error.strerror}"}, now
        )
    closed = not mode & (_OTHERS | _GROUP_WRITES)
    return Finding(ControlStatus.PASSED if closed else ControlStatus.FAILED, {"mode": f"{mode:04o}"}, now)


def data_files(folder: Path, bridge: HealthReport | None, now: float) -> Finding:
    """Passed if group and others have no access to the folder, or to none of its databases and archives.

    Unknown without a database, or where the bridge does not report that it stores messages in SQLite.
    """
    stores = sorted(folder.glob("*.db"))
    database = bridge.components.get("database") if bridge else None
    if database is None or database.measured.get("dialect") != "sqlite":
        return Finding(ControlStatus.UNKNOWN, {"reason": "the bridge does not report SQLite files"}, now)
    if not stores:
        return Finding(ControlStatus.UNKNOWN, {"reason": "no database in DATA_DIR of this service"}, now)
    folder_mode = folder.stat().st_mode & 0o777
    archived = sorted(folder.glob("archive/*.jsonl.gz"))
    modes = {str(store.relative_to(folder)): store.stat().st_mode & 0o777 for store in (*stores, *archived)}
    closed = not folder_mode & _GROUP_AND_OTHERS or not any(
        mode & _GROUP_AND_OTHERS for mode in modes.values()
    )
    evidence = {
        "folder_mode": f"{folder_mode:04o}",
        "modes": {name: f"{mode:04o}" for name, mode in modes.items()},
    }
    return Finding(ControlStatus.PASSED if closed else ControlStatus.FAILED, evidence, now)


#: Levels of a service that does its job.
_WORKING = frozenset({Level.HEALTHY, Level.DEGRADED})


def alert_path(
    relay: HealthReport | None, relay_level: Level, alertmanager: Level | None, now: float
) -> Finding:
    """Passed if the Watchdog alert arrives at an alert relay that does its job.

    Failed if it is overdue, or the relay or Alertmanager fails. Unknown if it never came.

    Args:
        relay: the last report of the alert relay; None without an answer.
        relay_level: result of its check.
        alertmanager: result of Alertmanager's check; None where its URL is not configured.
        now: seconds since the epoch.
    """
    watchdog = relay.components.get("watchdog") if relay else None
    levels = {"alert_relay": relay_level, "watchdog": watchdog.status if watchdog else Level.UNKNOWN}
    if alertmanager is not None:
        levels["alertmanager"] = alertmanager
    evidence: dict[str, Any] = {name: level.value for name, level in levels.items()}
    evidence |= {"watchdog_age_seconds": watchdog.measured.get("age_seconds")} if watchdog else {}
    if set(levels.values()) - _WORKING - {Level.UNKNOWN}:
        return Finding(ControlStatus.FAILED, evidence, now)
    if Level.UNKNOWN in levels.values():
        return Finding(ControlStatus.UNKNOWN, evidence | {"reason": "not all of it was seen working"}, now)
    return Finding(ControlStatus.PASSED, evidence, now)


def redaction(handlers: Sequence[logging.Handler], now: float) -> Finding:
    """Failed if a secret remains in a line that the log's formatters format; nothing is written to the log.

    Unknown if the process does not use the kit's formatters.
    """
    formatters = [handler.formatter for handler in handlers]
    ours = [each for each in formatters if isinstance(each, structlog.stdlib.ProcessorFormatter)]
    if not ours or len(ours) < len(formatters):
        return Finding(ControlStatus.UNKNOWN, {"reason": "this process does not log through the kit"}, now)
    secrets = {
        "bot_token": f"1{int(token_hex(4), 16) + 10**9}:{token_urlsafe(26)}",
        "api_key": new_key(),
        "bearer": token_hex(20),
        "url_password": token_hex(12),
    }
    text = (
        f"https://api.telegram.org/bot{secrets['bot_token']}/getMe key {secrets['api_key']} "
        f"Authorization: Bearer {secrets['bearer']} postgresql://user:{secrets['url_password']}@host/db"
    )
    lines = [formatter.format(_record(text, secrets["url_password"])) for formatter in ours]
    leaked = sorted(name for name, secret in secrets.items() if any(secret in line for line in lines))
    evidence = {"tried": sorted(secrets), "leaked": leaked}
    return Finding(ControlStatus.FAILED if leaked else ControlStatus.PASSED, evidence, now)


def _record(text: str, password: str) -> logging.LogRecord:
    record = logging.LogRecord("audit", logging.INFO, __file__, 0, text, None, None)
    record.password = password
    return record


class Listener(NamedTuple):
    ip: str
    port: int


def listening() -> list[Listener] | None:
    """Returns the listening TCP sockets of this machine or container; None if they may not be read."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return None
    return [
        Listener(each.laddr.ip, each.laddr.port)
        for each in connections
        if each.status == psutil.CONN_LISTEN and each.laddr
    ]


def is_loopback(host: str) -> bool:
    """Returns whether the host is ``localhost`` or a loopback address."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> Any:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def listeners(addresses: Mapping[str, str], found: Iterable[Listener] | None, now: float) -> Finding:
    """Failed if a service with a loopback URL listens on another address as well.

    Passed if all services are on this host and listen on loopback only. Unknown otherwise.

    Args:
        addresses: the URL of each service.
        found: the result of :func:`listening`.
        now: seconds since the epoch.
    """
    here = {name: _port(url) for name, url in addresses.items() if is_loopback(urlsplit(url).hostname or "")}
    if found is None or not here:
        reason = "the services run on other hosts" if found is not None else "sockets are not visible"
        unseen = f"{reason}: this process cannot see which ports are published"
        return Finding(ControlStatus.UNKNOWN, {"reason": unseen, "check": CHECK_PUBLISHED}, now)
    seen = list(found)
    bound = {name: sorted(each.ip for each in seen if each.port == port) for name, port in here.items()}
    evidence = {"listen_on": bound, "elsewhere": sorted(addresses.keys() - here.keys())}
    if any(not is_loopback(ip) for ips in bound.values() for ip in ips):
        return Finding(ControlStatus.FAILED, evidence, now)
    whole = all(bound.values()) and not evidence["elsewhere"]
    return Finding(ControlStatus.PASSED if whole else ControlStatus.UNKNOWN, evidence, now)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or socket.getservbyname(parts.scheme)


def store(bridge: HealthReport | None, now: float) -> Finding:
    """Checks durability and encryption of the bridge's database, as the bridge reports them.

    SQLite: passed if ``synchronous`` is FULL or EXTRA, else failed. PostgreSQL: failed if ``synchronous`` is
    off; passed with TLS or a loopback address; else unknown.
    """
    database = bridge.components.get("database") if bridge else None
    if database is None:
        return Finding(ControlStatus.UNKNOWN, {"reason": "the bridge does not report its database"}, now)
    known = {
        name: database.measured[name]
        for name in ("dialect", "synchronous", "address", "tls")
        if name in database.measured
    }
    return Finding(
        _store(known), known or {"reason": "the bridge does not report its database settings"}, now
    )


def _store(known: Mapping[str, Any]) -> ControlStatus:
    match known.get("dialect"), known.get("synchronous"), known.get("tls"):
        case "sqlite", str(synchronous), _:
            return ControlStatus.PASSED if synchronous.lower() in ("full", "extra") else ControlStatus.FAILED
        case "postgresql", str(synchronous), _ if synchronous.lower() == "off":
            return ControlStatus.FAILED
        case "postgresql", _, True:
            return ControlStatus.PASSED
        case "postgresql", _, _ if is_loopback(_host(str(known.get("address", "")))):
            return ControlStatus.PASSED
    return ControlStatus.UNKNOWN


def _host(address: str) -> str:
    """``host:port/database`` → ``host``."""
    return urlsplit(f"//{address}").hostname or ""
