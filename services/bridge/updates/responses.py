"""Responses: texts, files, replies, taps and commands of people, stored for ``GET /api/v1/responses``."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import uuid_utils
from sqlalchemy import Connection, delete, func, insert, select, text

from services.bridge.updates.schema import response
from services.contracts.responses import InReplyTo, Response, SentAttachment, User
from services.contracts.stored import from_row
from services.kit.clock import rfc3339
from services.kit.telemetry.telemetry import TraceContext
from services.updates.attachments import ANY_TYPE, Attachment
from services.updates.parse import Sender

CHANNEL = "responses"


class ResponseKind(StrEnum):
    """What a person sent."""

    TEXT = "text"
    REPLY = "reply"
    TAP = "tap"
    COMMAND = "command"
    FILE = "file"  #: that replies to nothing


@dataclass(frozen=True, slots=True)
class ResponseLink:
    """What a response answers: our message, its event and approval; None for what it does not answer."""

    message_id: str | None = None
    event_id: str | None = None
    correlation_id: str | None = None
    approval_id: str | None = None
    trace: TraceContext | None = None


NO_LINK = ResponseLink()


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A response to store; ``text`` is the option of a tap, ``trace`` the span of its update."""

    kind: ResponseKind
    bot: str
    sender: Sender
    text: str
    trace: TraceContext
    chat_id: int | None = None
    thread_id: int | None = None
    telegram_message_id: int | None = None
    link: ResponseLink = NO_LINK
    outcome: str | None = None
    attachment: Attachment | None = None


def add(connection: Connection, new: NewResponse, now: float) -> None:
    """Stores a response; call it last in a transaction.

    Transactions that add responses take turns, so their numbers become visible in ascending order: a
    client that reads on from a number misses none.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        connection.execute(_LOCK)
    connection.execute(
        insert(response).values(
            id=str(uuid_utils.uuid7()),
            at=now,
            kind=new.kind.value,
            bot=new.bot,
            chat_id=new.chat_id,
            thread_id=new.thread_id,
            user_id=new.sender.id,
            name=new.sender.name,
            username=new.sender.username,
            text=new.text,
            telegram_message_id=new.telegram_message_id,
            message_id=new.link.message_id,
            event_id=new.link.event_id,
            correlation_id=new.link.correlation_id,
            approval_id=new.link.approval_id,
            outcome=new.outcome,
            traceparent=new.trace.header(),
            **_file_columns(new.attachment),
        )
    )


def _file_columns(attachment: Attachment | None) -> dict[str, Any]:
    if attachment is None:
        return {}
    return {
        "file_kind": attachment.kind.value,
        "telegram_file_id": attachment.file_id,
        "file_size": attachment.size,
        "file_type": attachment.media_type,
        "file_name": attachment.filename,
        "file_width": attachment.width,
        "file_height": attachment.height,
        "file_seconds": attachment.duration,
    }


_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('cctelegram.response', 0))")


def page(
    connection: Connection,
    *,
    since: float | None,
    correlation_id: str | None,
    bot: str | None,
    after: int,
    limit: int,
) -> list[Any]:
    """Responses that match every given value, in the order of arrival.

    Args:
        connection: for reading.
        since: received at or after, seconds since the epoch; None: from the first.
        correlation_id: of what they answer; None: any.
        bot: that received them; None: any.
        after: number of the last response of the previous page; 0: the first page.
        limit: how many at most.
    """
    query = select(response).where(response.c.seq > after)
    if since is not None:
        query = query.where(response.c.at >= since)
    if correlation_id is not None:
        query = query.where(response.c.correlation_id == correlation_id)
    if bot is not None:
        query = query.where(response.c.bot == bot)
    return list(connection.execute(query.order_by(response.c.seq).limit(limit)).mappings())


@dataclass(frozen=True, slots=True)
class SentFile:
    """The file of a response, as Telegram's id of it and the bot that received it."""

    bot: str
    telegram_id: str
    media_type: str
    name: str | None


def file_of(connection: Connection, response_id: str) -> SentFile | None:
    """The file of a response; None if there is no such response, or it has none."""
    c = response.c
    query = select(c.bot, c.telegram_file_id, c.file_type, c.file_name).where(c.id == response_id)
    row = connection.execute(query).first()
    if row is None or not row.telegram_file_id:
        return None
    return SentFile(row.bot, str(row.telegram_file_id), str(row.file_type or ANY_TYPE), row.file_name)


def private_chat(connection: Connection, bot: str, username: str) -> int | None:
    """The private chat of the person who wrote there last under a username, without the ``@``.

    Telegram itself finds no person by a username for a bot. The id of a private chat is the person's.
    """
    query = select(response.c.chat_id).where(
        response.c.bot == bot,
        response.c.chat_id == response.c.user_id,
        func.lower(response.c.username) == username.lower(),
    )
    found: int | None = connection.execute(query.order_by(response.c.seq.desc()).limit(1)).scalar()
    return found


def delete_old(connection: Connection, before: float, most: int) -> int:
    """Deletes responses that were received before a time; returns how many, ``most`` at most."""
    old = select(response.c.seq).where(response.c.at < before).order_by(response.c.at).limit(most)
    return connection.execute(delete(response).where(response.c.seq.in_(old))).rowcount


def view(row: Any) -> Response:
    """Contract model of a response, from its row."""
    trace = TraceContext.parse(str(row["traceparent"]))
    return from_row(
        Response,
        id=row["id"],
        at=rfc3339(row["at"]),
        kind=row["kind"],
        bot=row["bot"],
        chat_id=row["chat_id"],
        thread_id=row["thread_id"],
        user=from_row(User, id=row["user_id"], name=row["name"], username=row["username"]),
        text=row["text"],
        telegram_message_id=row["telegram_message_id"],
        in_reply_to=from_row(
            InReplyTo, message_id=row["message_id"], event_id=row["event_id"], approval_id=row["approval_id"]
        ),
        correlation_id=row["correlation_id"],
        outcome=row["outcome"],
        trace_id=f"{trace.trace_id:032x}" if trace else None,
        attachment=_attachment(row) if row["telegram_file_id"] else None,
    )


def _attachment(row: Any) -> SentAttachment:
    return from_row(
        SentAttachment,
        kind=row["file_kind"],
        size=row["file_size"],
        media_type=row["file_type"],
        filename=row["file_name"],
        width=row["file_width"],
        height=row["file_height"],
        duration=row["file_seconds"],
        url=f"/api/v1/responses/{row['id']}/file",
    )
