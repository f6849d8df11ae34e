"""Send: the next part of a message as a call of the Bot API; its answer becomes a result."""

from dataclasses import replace
from typing import Any, Self

import telegram
from telegram.error import BadRequest, TelegramError

from services.kit.clock import Clock
from services.outbox.messages import (
    Album,
    Claimed,
    Document,
    Lane,
    Media,
    MediaKind,
    Outcome,
    Part,
    Reason,
    Rendered,
    Result,
    Text,
)
from services.outbox.messages.step import Render, Step
from services.outbox.telegram import answers, deletion, errors, media, pin
from services.outbox.telegram.answers import Me
from services.outbox.telegram.bot_api import Bot
from services.outbox.telegram.next_step import MEDIA_METHODS, next_step
from services.outbox.telegram.text import CAPTION_LIMIT, MESSAGE_LIMIT, without_entities
from services.outbox.telegram.uploads import Uploads


class Sender:
    """Sends parts of messages. Whatever Telegram answers is a result, not an exception.

    Args:
        bot: the bot that sends; opened and closed with this sender.
        clock: times the attempts.
        pays_for_bulk: whether the bulk lane may exceed Telegram's free rate, for Stars.
        uploads: sends stored files; None: the service's messages have none.
    """

    def __init__(
        self, bot: Bot, clock: Clock, *, pays_for_bulk: bool = False, uploads: Uploads | None = None
    ) -> None:
        self.bot = bot
        self._clock = clock
        self._pays_for_bulk = pays_for_bulk
        self._uploads = uploads

    async def __aenter__(self) -> Self:
        await self.bot.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.bot.shutdown()

    async def check(self) -> Me | Reason:
        """Calls getMe. Returns the bot if Telegram accepts it, else the reason why not."""
        now = self._clock.time()
        try:
            return answers.me_of(await self.bot.call("getMe", {}, read_timeout=10.0))
        except TelegramError as error:
            return errors.translate(error, now, now).reason

    def step(self, message: Claimed, render: Render) -> Step:
        """Returns the next step of a message; see :func:`services.outbox.telegram.next_step.next_step`."""
        return next_step(message, render)

    async def send(self, message: Claimed, rendered: Rendered) -> Result:
        """Sends the next part of a message, or edits or deletes the earlier one that it names."""
        if message.is_deletion:
            return await deletion.send(self.bot, self._clock, message, rendered)
        if pin.is_next(message, rendered):
            return await pin.send(self.bot, self._clock, message)
        started = self._clock.time()
        try:
            sent, *more = answers.sent_message_ids(await self._call(message, rendered))
            detail = _detail(message, rendered)
            finished = self._clock.time()
            return Result(
                Outcome.SENT,
                Reason.NONE,
                started,
                finished,
                message_id=sent,
                detail=detail,
                more_ids=tuple(more),
            )
        except TelegramError as error:
            if message.is_edit and NOT_MODIFIED in str(error.message).lower():
                # An earlier attempt arrived and its answer was lost: the message has this text already.
                finished = self._clock.time()
                return Result(Outcome.SENT, Reason.NONE, started, finished, message_id=message.edits)
            result = _believable(message, errors.translate(error, started, self._clock.time()))
            return replace(result, formatted=not message.plain and _has_entities(message, rendered))

    async def _call(self, message: Claimed, rendered: Rendered) -> Any:
        """Calls the method for the next part; a file that is refused as what it is goes as a document."""
        try:
            return await self._call_once(message, rendered)
        except BadRequest as error:
            instead = media.as_documents(rendered.parts[message.part])
            if instead is None or not media.refused_as_media(str(error.message)):
                raise
        parts = (*rendered.parts[: message.part], instead, *rendered.parts[message.part + 1 :])
        return await self._call_once(message, replace(rendered, parts=parts))

    async def _call_once(self, message: Claimed, rendered: Rendered) -> Any:
        method, data = request_of(message, rendered)
        if self._pays_for_bulk and message.lane is Lane.BULK and method in PAID_METHODS:
            data["allow_paid_broadcast"] = True
        files = _files_of(rendered.parts[message.part])
        if not files:
            return await self.bot.call(method, data)
        if self._uploads is None:
            raise BadRequest("this service sends no stored files")
        return await self._uploads.call(self.bot, method, data, files)


def _believable(message: Claimed, result: Result) -> Result:
    """Refuses a migration that cannot be: all later messages of the chat would go elsewhere, for good."""
    if result.migrate_to is None or (message.chat_id < 0 and message.chat_id != result.migrate_to):
        return result
    detail = f"this chat cannot have become {result.migrate_to}"
    return replace(result, reason=Reason.BAD_ANSWER, migrate_to=None, detail=detail)


def request_of(message: Claimed, rendered: Rendered) -> tuple[str, dict[str, Any]]:
    """The Bot API method and its parameters for the next part of a message."""
    part = rendered.parts[message.part]
    if message.is_edit and message.edits is not None and isinstance(part, Text):
        return _edit(message, message.edits, part, rendered)
    last = message.part == len(rendered.parts) - 1
    data: dict[str, Any] = {"chat_id": message.chat_id}
    # Topic 1 is "General": naming it is an error (telegram.md 1.1).
    if message.thread_id not in (None, 1) and not message.to_general:
        data["message_thread_id"] = message.thread_id
    if message.silent:
        data["disable_notification"] = True
    if rendered.options.protected:
        data["protect_content"] = True
    if (reply_to := rendered.reply_to or message.reply_to) is not None:
        reply = {"message_id": reply_to, "allow_sending_without_reply": True}
        data["reply_parameters"] = reply
    if last and rendered.reply_markup is not None:
        data["reply_markup"] = rendered.reply_markup
    if isinstance(part, Media):
        return MEDIA_METHODS[part.kind], data | {part.kind.value: part} | _described(part, message)
    if isinstance(part, Album):
        items = [{"type": one.kind.value, "media": one} | _described(one, message) for one in part.items]
        return "sendMediaGroup", data | {"media": items}
    if isinstance(part, Document):
        file = telegram.InputFile(part.content, filename=part.filename)
        return "sendDocument", data | {"document": file} | _text(part.caption, "caption", plain=message.plain)
    return "sendMessage", data | _preview(rendered) | _text(part, "text", plain=message.plain)


def _edit(message: Claimed, target: int, text: Text, rendered: Rendered) -> tuple[str, dict[str, Any]]:
    """An edit of an earlier message's text; without a keyboard it removes the one that is there."""
    keyboard = rendered.reply_markup or {"inline_keyboard": []}
    return "editMessageText", {
        "chat_id": message.chat_id,
        "message_id": target,
        "reply_markup": keyboard,
    } | _preview(rendered) | _text(text, "text", plain=message.plain)


def _preview(rendered: Rendered) -> dict[str, Any]:
    preview = rendered.options.link_preview
    return {} if preview is None else {"link_preview_options": dict(preview)}


def _has_entities(message: Claimed, rendered: Rendered) -> bool:
    """Whether the next part has entities; they are left out of plain text."""
    part = rendered.parts[message.part]
    if isinstance(part, Album):
        return any(one.caption.entities for one in part.items)
    return bool((part if isinstance(part, Text) else part.caption).entities)


def _files_of(part: Part) -> tuple[Media, ...]:
    """The stored files of a part."""
    if isinstance(part, Album):
        return part.items
    return (part,) if isinstance(part, Media) else ()


def _described(one: Media, message: Claimed) -> dict[str, Any]:
    """Caption and options of a file, for a message of its own and for an album alike."""
    shown = _text(one.caption, "caption", plain=message.plain) if one.caption.text else {}
    return shown | ({"has_spoiler": True} if one.spoiler and one.kind in HAVE_SPOILERS else {})


def _detail(message: Claimed, rendered: Rendered) -> str:
    """How an attempt that succeeded differs from what was wanted; for people."""
    as_plain = message.plain and _has_entities(message, rendered)
    to_general = message.to_general and not message.is_edit
    return ", ".join([*([AS_PLAIN_TEXT] if as_plain else []), *([TO_GENERAL] if to_general else [])])


def _text(text: Text, field: str, *, plain: bool) -> dict[str, Any]:
    entities = "entities" if field == "text" else "caption_entities"
    if not text.entities:
        return {field: text.text}
    if plain:
        return {field: without_entities(text, MESSAGE_LIMIT if field == "text" else CAPTION_LIMIT)}
    return {field: text.text, entities: list(text.entities)}


#: Methods with allow_paid_broadcast among those used here; edits have none.
PAID_METHODS = (
    "sendMessage",
    "sendDocument",
    "sendPhoto",
    "sendAudio",
    "sendVideo",
    "sendAnimation",
    "sendVoice",
    "sendMediaGroup",
)
#: Kinds that can be covered until a person taps.
HAVE_SPOILERS = frozenset({MediaKind.PHOTO, MediaKind.VIDEO, MediaKind.ANIMATION})
NOT_MODIFIED = "message is not modified"
#: Detail of an attempt that left out entities, because Telegram had refused the message with them.
AS_PLAIN_TEXT = "as plain text"
#: Detail of an attempt without the topic, because Telegram had refused the message with it.
TO_GENERAL = "to General: the topic is gone or closed"
