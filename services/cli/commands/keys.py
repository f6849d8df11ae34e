"""``cct keys``: API keys of programs, over REST with the scope ``keys:admin``."""

from datetime import timedelta
from typing import Annotated

import typer

from services.cli import times
from services.cli.command import command, group
from services.cli.exit_codes import ExitCode
from services.cli.session import Session
from services.contracts.keys import KeyKind, NewKey, Scope

keys = group("keys", "Create, list and revoke API keys.")


@command(keys, "create", "cct keys create ci --scope events:write --scope messages:read --days 365")
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name of the program; rates are per name.")],
    *,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="Scope; may be repeated. [events:write]", show_default=False)
    ] = None,
    signing: Annotated[bool, typer.Option("--signing", help="For signed requests.")] = False,
    days: Annotated[float | None, typer.Option(min=0.001, help="Days until it expires. [never]")] = None,
    per_second: Annotated[
        float | None, typer.Option(min=0, help="Requests a second; 0: no limit. [set by the bridge]")
    ] = None,
) -> None:
    """Create a key and print its secret, which is shown only once."""
    new = NewKey(
        name=name,
        scopes=scope or [Scope.EVENTS_WRITE],
        kind=KeyKind.SIGNING if signing else KeyKind.BEARER,
        expires_at=None if days is None else session.now + timedelta(days=days),
        requests_per_second=per_second,
    )
    made = session.client.create_key(new)
    if session.output.json:
        session.output.record(made)
        return
    for label, value in (("id", made.id), ("secret", made.secret), ("scopes", " ".join(made.scopes))):
        session.output.line(f"{label:<8}{value}")
    session.output.note("Store the secret now: it cannot be shown again.")


@command(keys, "list", "cct keys list")
def list_(session: Session) -> None:
    """List all keys, newest first, without secrets."""
    found = session.client.keys().items
    if session.output.json:
        session.output.records(found)
        return
    now = session.now
    session.output.table(
        ("key", "name", "kind", "state", "last used", "expires", "scopes"),
        [
            (
                key.id,
                key.name,
                key.kind,
                key.status,
                times.local(key.last_used_at, now) or "never",
                times.local(key.expires_at, now) or "never",
                " ".join(key.scopes),
            )
            for key in found
        ],
        empty="no keys beside the suite's own",
    )


@command(keys, "revoke", "cct keys revoke ci")
def revoke(
    session: Session, which: Annotated[str, typer.Argument(metavar="KEY", help="Its id or its name.")]
) -> None:
    """Revoke a key: the bridge refuses it at once."""
    found = [
        each
        for each in session.client.keys().items
        if which == each.id or (which == each.name and each.status == "active")
    ]
    if not found:
        session.output.fail(f"no active key has the id or the name {which}: see cct keys list")
        raise typer.Exit(ExitCode.REFUSED)
    for each in found:
        session.client.revoke_key(each.id)
        session.output.note(f"Revoked {each.id} {each.name}.")
    if session.output.json:
        session.output.records([session.client.key(each.id) for each in found])
