"""``python -m services.bridge.keys create|list|revoke``: keys at the terminal.

The command changes the database of the settings, whether the bridge runs or not. A running bridge takes a
new key at once, and refuses a revoked one within a second.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from services.bridge.keys import keyring, keys, store
from services.bridge.keys.keys import Key
from services.bridge.settings import BridgeSettings
from services.contracts.keys import KeyKind, Scope
from services.kit import runner
from services.kit.clock import SystemClock, rfc3339
from services.kit.database.connect import Database, open_database
from services.kit.errors import Problem
from services.kit.settings import StartError, add_env_file_option, load, read_env_file
from services.kit.telemetry.telemetry import Telemetry

DAY = 86_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    runner.keep_files_private()
    try:
        read_env_file(options.env_file)
        settings = load(BridgeSettings)
        return asyncio.run(_run(options, settings))
    except StartError as error:
        runner.fail(error)
    except Problem as problem:
        return _print(f"{problem.title}: {problem.detail}", to_error=True)


async def _run(options: argparse.Namespace, settings: BridgeSettings) -> int:
    async with _database(settings) as database:
        if options.command == "create":
            return await _create(options, settings, database)
        if options.command == "revoke":
            return await _revoke(options.key, database)
        return await _list(database)


@asynccontextmanager
async def _database(settings: BridgeSettings) -> AsyncIterator[Database]:
    telemetry = Telemetry("bridge-keys", settings)
    database = await open_database(settings.database("bridge"), telemetry, packages=[keyring.PACKAGE])
    try:
        yield database
    finally:
        await database.close()


async def _create(options: argparse.Namespace, settings: BridgeSettings, database: Database) -> int:
    now = SystemClock().time()
    kind = KeyKind.SIGNING if options.signing else KeyKind.BEARER
    scopes = frozenset(options.scope or [Scope.EVENTS_WRITE])
    if kind is KeyKind.SIGNING and scopes != {Scope.EVENTS_WRITE}:
        return _print("a signing key has exactly the scope events:write", to_error=True)
    key_id = keys.new_id()
    secret = (
        keys.signing_secret(keyring.signing_master(settings), key_id)
        if kind is KeyKind.SIGNING
        else keys.new_secret()
    )
    key = Key(
        id=key_id,
        name=options.name,
        kind=kind,
        digest=keys.digest_of(secret),
        scopes=scopes,
        per_second=options.per_second,
        created_at=now,
        created_by="terminal",
        expires_at=now + options.days * DAY if options.days else None,
    )
    await database.write("key_write", partial(store.add, key=key))
    _print(f"id      {key.id}\nname    {key.name}\nscopes  {keys.scopes_text(key.scopes)}")
    return _print(f"secret  {secret}\n(shown this once)")


async def _revoke(named: str, database: Database) -> int:
    now = SystemClock().time()
    found = [
        key
        for key in await database.read("keys", store.every)
        if key.revoked_at is None and named in (key.id, key.name)
    ]
    for key in found:
        await database.write("key_write", partial(store.revoke, key_id=key.id, now=now))
        _print(f"revoked {key.id} {key.name}")
    return 0 if found else _print(f"no key is named {named}", to_error=True)


async def _list(database: Database) -> int:
    now = SystemClock().time()
    for key in await database.read("keys", store.every):
        state = "active" if key.lives(now) else "revoked" if key.revoked_at else "expired"
        used = rfc3339(key.last_used_at) if key.last_used_at else "never"
        columns = (key.id, key.name, key.kind.value, state, f"used {used}", keys.scopes_text(key.scopes))
        _print("  ".join(columns))
    return 0


def _print(text: str, *, to_error: bool = False) -> int:
    print(text, file=sys.stderr if to_error else sys.stdout)
    return int(to_error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.bridge.keys", description=__doc__)
    add_env_file_option(parser)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="create a key; its secret is shown once")
    create.add_argument("name", type=_name)
    create.add_argument(
        "--scope",
        action="append",
        type=Scope,
        choices=list(Scope),
        help="a scope; may be repeated (default: events:write)",
    )
    create.add_argument("--signing", action="store_true", help="create a signing key")
    create.add_argument("--days", type=_positive, help="days until it expires (default: never)")
    create.add_argument(
        "--per-second", type=_not_negative, help="requests a second (default: RATE_LIMIT_PER_SECOND)"
    )
    commands.add_parser("list", help="list all keys, newest first")
    revoke = commands.add_parser("revoke", help="revoke a key")
    revoke.add_argument("key", help="its ID or its name")
    return parser


def _name(text: str) -> str:
    if not keys.NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("1 to 64 letters, digits, dots, dashes and underscores")
    return text


def _positive(text: str) -> float:
    if not 0 < float(text) < 1e5:  # noqa: PLR2004 - days of a few lifetimes
        raise argparse.ArgumentTypeError("a number of days above 0")
    return float(text)


def _not_negative(text: str) -> float:
    if not 0 <= float(text) <= 1e6:  # noqa: PLR2004 - as in the API
        raise argparse.ArgumentTypeError("a number from 0 on")
    return float(text)


if __name__ == "__main__":
    raise SystemExit(main())
