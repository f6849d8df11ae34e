"""Destinations: recipients with the ids of their chats, once those named by a text are found. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.bridge.chats.names import Found, NamedChat
from services.bridge.routes.routes import Recipient, Target
from services.kit.errors import Problem, invalid_input

#: The status of a request that cannot be stored now, since nothing says who gets it.
NO_CHAT = 503


@dataclass(frozen=True, slots=True)
class Destination:
    """A recipient whose chat is found.

    Args:
        chat_id: of the chat.
        thread_id: a topic of it.
        silent: whether the message makes no sound.
        bot: that sends it; None: the event's bot, or the default one.
        rule: that named it; None if no rule did.
    """

    chat_id: int
    thread_id: int | None = None
    silent: bool = False
    bot: str | None = None
    rule: str | None = None


def named(recipients: Sequence[Recipient], bot: str) -> set[NamedChat]:
    """The chats that are named by a text.

    Args:
        recipients: of an event.
        bot: of the event, for recipients that name none.
    """
    return {_named(one.target, bot) for one in recipients if isinstance(one.target.chat, str)}


def _named(target: Target, bot: str) -> NamedChat:
    return NamedChat(target.bot or bot, str(target.chat))


def destinations(
    recipients: Sequence[Recipient], bot: str, found: Found, where: Sequence[int | str], *, is_list: bool
) -> list[Destination]:
    """The recipients of an event with the ids of their chats; each topic of each chat once.

    Args:
        recipients: of the event.
        bot: of the event, for recipients that name none.
        found: the ids of the chats that are named by a text.
        where: the field ``chat_id`` of the event, for errors.
        is_list: whether that field is a list.

    Raises:
        Problem: 422, the event names an unknown chat, or one chat twice; 503, a route names an unknown chat.
    """
    reached: dict[tuple[int, int | None], Destination] = {}
    for number, one in enumerate(recipients):
        target = one.target
        chat = target.chat if isinstance(target.chat, int) else found[_named(target, bot)]
        if isinstance(chat, str):
            raise _unknown(one, chat, [*where, number] if is_list else where)
        key = (chat, target.thread_id)
        if key in reached and one.rule is None:
            raise invalid_input([{"loc": where, "msg": "a recipient is named twice"}])
        reached.setdefault(key, Destination(chat, target.thread_id, target.silent, target.bot, one.rule))
    return list(reached.values())


def _unknown(one: Recipient, why: str, where: Sequence[int | str]) -> Problem:
    if one.rule is None:
        return invalid_input([{"loc": where, "msg": why}])
    # The client cannot mend it, and the event must not be lost.
    text = f"The route {one.rule} names the chat {one.target.chat}: {why}."
    return Problem(NO_CHAT, "No such chat", text, headers={"Retry-After": "60"})
