"""``cct chats``: a chat's name, time zone and quiet hours."""

from contextlib import suppress
from typing import Annotated, Any, Literal

import typer

from services.cli import times
from services.cli.command import command, group
from services.cli.session import Session, UsageError
from services.client.errors import NotFoundError
from services.contracts.chats import ChatChanges, ChatView, QuietHours

chats = group("chats", "Show and set chats: names, time zones, quiet hours.")
#: Ids of groups are negative, and would be read as options.
_NEGATIVE: dict[str, Any] = {"ignore_unknown_options": True}
ChatId = Annotated[str, typer.Argument(metavar="CHAT", help="The chat: its id, @username or name.")]
Bot = Annotated[str | None, typer.Option("--bot", help="Name of the bot.")]


@command(chats, "show", "cct chats show -2001", **_NEGATIVE)
def show(session: Session, chat_id: ChatId, bot: Bot = None) -> None:
    """Show the settings and the state of a chat."""
    _print(session, session.client.chat(chat_id, bot=bot))


@command(chats, "set", "cct chats set -2001 --zone Europe/Berlin --quiet-hours 22:00-07:00", **_NEGATIVE)
def set_(
    session: Session,
    chat_id: ChatId,
    *,
    name: Annotated[str | None, typer.Option(help="Name of the chat.")] = None,
    zone: Annotated[str | None, typer.Option(help="Time zone, such as Europe/Berlin.")] = None,
    quiet_hours: Annotated[str | None, typer.Option(help="FROM-TO such as 22:00-07:00, or off.")] = None,
    days: Annotated[str | None, typer.Option(help="Days on which they begin: mon,tue. [all]")] = None,
    action: Annotated[
        Literal["delay", "silent"] | None, typer.Option(help="Messages wait, or make no sound. [delay]")
    ] = None,
    bot: Bot = None,
) -> None:
    """Set what is given; the other settings of the chat stay."""
    changes: dict[str, Any] = {"name": name, "time_zone": zone}
    changes = {field: value for field, value in changes.items() if value is not None}
    if quiet_hours == "off":
        changes["quiet_hours"] = None
    elif quiet_hours or days or action:
        hours = _hours(quiet_hours) if quiet_hours else _present_hours(session, chat_id, bot)
        changes["quiet_hours"] = _changed(hours, days, action)
    _print(session, session.client.change_chat(chat_id, ChatChanges.model_validate(changes), bot=bot))


def _present_hours(session: Session, chat_id: str, bot: str | None) -> QuietHours:
    with suppress(NotFoundError):
        hours = session.client.chat(chat_id, bot=bot).quiet_hours
        if hours is not None:
            return hours
    raise UsageError("--days and --action are for quiet hours: give --quiet-hours FROM-TO too")


def _hours(text: str) -> QuietHours:
    start, dash, end = text.partition("-")
    if not dash:
        raise UsageError("--quiet-hours: write FROM-TO such as 22:00-07:00, or off")
    return QuietHours.model_validate({"from": start.strip(), "to": end.strip()})


def _changed(hours: QuietHours, days: str | None, action: str | None) -> QuietHours:
    written = hours.model_dump(by_alias=True)
    if days:
        written["days"] = [day.strip() for day in days.split(",")]
    if action:
        written["action"] = action
    return QuietHours.model_validate(written)


def _print(session: Session, chat: ChatView) -> None:
    if session.output.json:
        session.output.record(chat)
        return
    hours, now = chat.quiet_hours, session.now
    quiet = f"{hours.start} to {hours.end} on {','.join(hours.days)}: {hours.action}" if hours else "none"
    rows = {
        "chat": chat.chat_id,
        "bot": chat.bot,
        "name": chat.name,
        "time zone": chat.time_zone,
        "quiet hours": quiet,
        "quiet until": times.local(chat.quiet_until, now),
        "muted until": times.local(chat.muted_until, now),
        "blocked": chat.blocked or "",
        "migrated to": chat.migrated_to or "",
    }
    session.output.table(("", ""), [(name, value) for name, value in rows.items() if value != ""])
